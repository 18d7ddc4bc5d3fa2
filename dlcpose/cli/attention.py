"""`dlcpose attention`: attention maps of each keypoint, drawn over images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlcpose.cli.registry import command
from dlcpose.cli.say import say
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError

if TYPE_CHECKING:
    from dlcpose.pipelines.base import PoseEstimator
    from dlcpose.structures.sample import Floats, Image, PoseCrop
    from dlcpose.structures.skeleton import Skeleton

COLUMNS = 6


@command("attention")
def attention_command(
    checkpoint: Annotated[Path, typer.Argument(help="Of a model with attention: TokenPose, TransPose, ViTPose.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    keypoint: Annotated[list[str] | None, typer.Option(help="One to draw, again for more; all if left out.")] = None,
    layer: Annotated[int, typer.Option(help="Of the attention, from 0; -1 is the last.")] = -1,
    output: Annotated[Path, typer.Option(help="The PNG or JPEG to write.")] = Path("attention.png"),
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best of this machine unless given.")] = None,
) -> None:
    """Draw the attention map of each keypoint: warm colors are high weights, the dot is the prediction."""
    import numpy as np

    from dlcpose.datasets.base import read_image_file
    from dlcpose.predict import load
    from dlcpose.visualization.pictures import check_picture_output, write_picture

    check_picture_output(output, "--output")
    loaded = load(checkpoint, device=device).pipeline
    chosen, pipeline = _chosen(keypoint, loaded.skeleton), loaded.estimator
    if pipeline is None or pipeline.one_animal_per_crop:
        raise ConfigError(
            f"{checkpoint}: {type(loaded).__name__} predicts crops of animals, `dlcpose attention` draws whole images. "
            "Expected a checkpoint of pipeline=bottom_up."
        )
    sheets = []
    for path in images:
        crop, keypoints_in_crop, weights = attention_maps(pipeline, str(path), read_image_file(path), layer)
        sheets.append(_sheet(crop, keypoints_in_crop, weights, chosen, pipeline.skeleton))
    max_width = max(sheet.shape[1] for sheet in sheets)
    padded = [
        np.pad(sheet, ((0, 0), (0, max_width - sheet.shape[1]), (0, 0)), constant_values=sheet[0, 0, 0])
        for sheet in sheets
    ]
    write_picture(output, np.concatenate(padded))
    say(f"{output}: attention maps of {counted(len(chosen), 'keypoint')} in {counted(len(images), 'image')}")


def attention_maps(pipeline: PoseEstimator, key: str, image: Image, layer: int) -> tuple[PoseCrop, Floats, Floats]:
    """The crop of an image, its highest-scoring animal (K, 2) in crop pixels, and its attention maps (K, h, w).

    Of head, neck and backbone, the first that has attention gives the maps. Raises ConfigError where none has, or for a
    layer that it lacks.
    """
    import numpy as np
    import torch

    from dlcpose.datasets.crops import fit_to_canvas
    from dlcpose.structures.batch import collate
    from dlcpose.structures.sample import PoseSample, labels_of

    no_labels = np.zeros((0, len(pipeline.skeleton), 2), np.float32)
    crop = fit_to_canvas(PoseSample(labels_of(key, image.shape[:2], no_labels), image), pipeline.model_input)
    batch = pipeline.normalized(collate([crop]).to(pipeline.device))
    with torch.inference_mode():
        (instances,) = pipeline.decode_batch(batch, pipeline(batch.images))
        points = batch.images.new_full((1, len(pipeline.skeleton), 2), torch.nan)
        if len(instances):
            points[0] = instances.keypoints_in_crop[instances.scores.argmax()]
        levels = pipeline.backbone(batch.images)
        parts: tuple[tuple[Any, Any], ...] = (
            (pipeline.head, pipeline.neck(levels)),
            (pipeline.neck, levels),
            (pipeline.backbone, batch.images),
        )
        for part, given in parts:
            try:
                weights = part.attention_maps(given, points, layer)  # (1, K, h, w)
            except IndexError as error:
                raise ConfigError(
                    f"--layer {layer}: {type(part).__name__} has fewer layers. Leave it out for the last, or take 0 for the "
                    "first."
                ) from error
            if weights is not None:
                return crop, points[0].float().cpu().numpy(), weights[0].float().cpu().numpy()
    raise ConfigError(
        "attention: neither the head nor the neck nor the backbone of this model has any. "
        "Train one of model=tokenpose_base, transpose_r_a4, vitpose_s, or with neck=attention."
    )


def _chosen(names: Sequence[str] | None, skeleton: Skeleton) -> list[int]:
    """Indices of the named keypoints, in the order given; of all without names."""
    if unknown := [name for name in names or () if name not in skeleton.names]:
        raise ConfigError(f"--keypoint: this model knows no {unknown[0]!r}. It knows {', '.join(skeleton.names)}.")
    return [skeleton.names.index(name) for name in names or skeleton.names]


def _sheet(
    crop: PoseCrop, keypoints_in_crop: Floats, weights: Floats, chosen: Sequence[int], skeleton: Skeleton
) -> Image:
    """One image: a tile of the pose, then a tile for each keypoint."""
    import numpy as np

    from dlcpose.visualization.heatmap_overlay import draw_heatmap
    from dlcpose.visualization.pictures import contact_sheet, draw_poses

    tiles, captions = [draw_poses(crop.image, keypoints_in_crop[None], skeleton)], [crop.key]
    for index in chosen:
        only = np.full_like(keypoints_in_crop, np.nan)
        only[index] = keypoints_in_crop[index]
        tiles.append(draw_poses(draw_heatmap(crop.image, weights[index]), only[None], skeleton))
        highest = float(np.nan_to_num(weights[index]).max(initial=0.0))
        captions.append(f"{skeleton.names[index]}: up to {highest:.1%} in a cell")
    return contact_sheet(tiles, captions, columns=min(COLUMNS, len(tiles)))
