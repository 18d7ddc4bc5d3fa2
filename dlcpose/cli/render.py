"""`dlcpose render`: rendered animals as files, to try any tool on data whose labels are exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcpose.structures.errors import ConfigError

if TYPE_CHECKING:
    from dlcpose.datasets.base import LabelledFrames

Writer = Callable[["LabelledFrames", Path, float], None]


def render_command(
    out: Annotated[Path, typer.Argument(help="Folder to write: new or empty.")],
    frames: Annotated[int, typer.Option(help="How many frames, over all videos.")] = 200,
    format: Annotated[str, typer.Option(help="deeplabcut: a project with videos; coco: images and a json.")] = (
        "deeplabcut"
    ),
    animals: Annotated[int, typer.Option(help="Animals in each video.")] = 1,
    skeleton: Annotated[str, typer.Option(help="quadruped, mouse or fly.")] = "quadruped",
    videos: Annotated[int, typer.Option(help="Videos, each with its own arena, light and coat.")] = 4,
    height: Annotated[int, typer.Option(help="Pixels.")] = 256,
    width: Annotated[int, typer.Option(help="Pixels.")] = 256,
    occlusion: Annotated[float, typer.Option(help="RankSampler of the image under cover.")] = 0.05,
    identity_marks: Annotated[bool, typer.Option(help="Paint each individual in colours of its own.")] = False,
    unique_points: Annotated[int, typer.Option(help="Landmarks of the arena to label, up to 6.")] = 0,
    fps: Annotated[float, typer.Option(help="Frames to a second of the animals' lives, and of the videos.")] = 10.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same pictures.")] = 0,
) -> None:
    """Write rendered animals with exact labels as a DeepLabCut project or as COCO."""
    if (write := WRITERS.get(format)) is None:
        raise ConfigError(f"--format: expected one of {', '.join(WRITERS)}, got {format!r}.")
    if not fps > 0:
        raise ConfigError(f"--fps: expected more than 0, got {fps}.")
    from dlcpose.datasets.synthetic.frames import SyntheticFrames

    data = SyntheticFrames(
        frames=frames,
        height=height,
        width=width,
        animals=animals,
        skeleton=skeleton,
        videos=min(videos, frames) if frames > 0 else videos,  # a video without a frame is no video
        occlusion=occlusion,
        identity_marks=identity_marks,
        unique_points=unique_points,
        seconds_between_frames=1 / fps,
        seed=seed,
    )
    write(data, out, fps)
    typer.echo(f"{out}: {len(data)} frames of {animals} {skeleton} in {len({f.video for f in data.frames})} videos.")


def _write_deeplabcut(data: LabelledFrames, out: Path, fps: float) -> None:
    from dlcpose.exporters.deeplabcut import write_deeplabcut_project

    write_deeplabcut_project(data, out, fps=fps)


def _write_coco(data: LabelledFrames, out: Path, fps: float) -> None:
    """images/VIDEO/imgNNNN.png and annotations.json, whose file_name starts from the folder."""
    import json

    import cv2

    from dlcpose.exporters.coco import coco_labels
    from dlcpose.structures.atomic_files import atomic_folder

    labels = coco_labels(data, range(len(data)))
    place = {frame.key: index for index, frame in enumerate(data.frames)}
    with atomic_folder(out) as partial:
        for image in labels["images"]:
            index = place[image["file_name"]]
            image["file_name"] = image["file_name"].replace("labeled-data/", "images/", 1)
            path = partial / image["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imencode(".png", data.read_image(index)[..., ::-1])[1].tofile(path)
        (partial / "annotations.json").write_text(json.dumps(labels), encoding="utf-8")


WRITERS: Mapping[str, Writer] = {"deeplabcut": _write_deeplabcut, "coco": _write_coco}
