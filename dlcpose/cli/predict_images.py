"""The poses of image files as one json: what `detector.predictions=` of a conditioned model reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dlcpose.structures.errors import ConfigError, DataError

if TYPE_CHECKING:
    from dlcpose.predict import Predictor
    from dlcpose.prediction.frame_predictor import Frame
    from dlcpose.prediction.settings import PredictionSettings
    from dlcpose.structures.instances import PosePrediction

OF_IMAGES = ("flip_test", "precision")


def predict_images(
    predictor: Predictor, images: Sequence[Path], result: Path, settings: PredictionSettings, *, overwrite: bool
) -> None:
    """Write a mapping from each image's name to its poses, each a list of [x, y, score], null where missing.

    Raises ConfigError for settings that images do not have, DataError for a file that is no image, and where the result
    is there already and overwrite is False.
    """
    from dlcpose.prediction.frame_predictor import FramePredictor
    from dlcpose.prediction.model import plain_precision
    from dlcpose.prediction.resumable import check_writable
    from dlcpose.prediction.settings import PredictionSettings
    from dlcpose.structures.atomic_files import write_output

    usual = PredictionSettings().of_result()
    for name, value in settings.of_result().items():
        if value != usual[name] and name not in OF_IMAGES:
            raise ConfigError(f"{name}={value}: images have no such setting. Predict videos in a command of their own.")
    if result.exists() and not overwrite:
        raise DataError(f"{result}: it is there already. Add --overwrite to replace it, or give another --output.")
    check_writable(result.parent)
    size = settings.batch_size if isinstance(settings.batch_size, int) else 8
    precision = plain_precision(settings.precision, predictor.pipeline)
    frames = FramePredictor(
        predictor.pipeline, predictor.device, batch_size=size, precision=precision, flip_test=settings.flip_test
    )
    found = {each.key: _as_lists(each) for some in frames.predict(_read(images)) for each in some}
    write_output(result, json.dumps(found, indent=1).encode())
    typer.echo(f"{result}: {len(found)} images")


def _read(images: Sequence[Path]) -> Iterator[Frame]:
    """Images with names as short as tells them apart."""
    from dlcpose.datasets.base import read_image_file
    from dlcpose.prediction.frame_predictor import Frame

    names = [image.name for image in images]
    keys = names if len(set(names)) == len(names) else [image.as_posix() for image in images]
    return (Frame(key, read_image_file(image)) for key, image in zip(keys, images, strict=True))


def _as_lists(prediction: PosePrediction) -> list[Any]:
    import numpy as np

    poses = np.concatenate([prediction.keypoints_in_image, prediction.keypoint_scores[..., None]], axis=-1)
    rounded = poses.astype(float).round(4)
    return [[[None if value != value else value for value in point] for point in pose] for pose in rounded.tolist()]
