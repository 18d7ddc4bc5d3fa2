"""The poses of image files as one json: what `detector.predictions=` of a conditioned model reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dlcpose.structures.errors import ConfigError

if TYPE_CHECKING:
    from dlcpose.predict import Predictor
    from dlcpose.prediction.frame_predictor import Frame
    from dlcpose.prediction.settings import PredictionSettings
    from dlcpose.structures.instances import PosePrediction

OF_IMAGES = ("flip_test", "precision")


def check_image_settings(settings: PredictionSettings) -> None:
    """Raises ConfigError for settings that images do not have."""
    from dlcpose.prediction.settings import PredictionSettings

    usual = PredictionSettings().of_result()
    for name, value in settings.of_result().items():
        if value != usual[name] and name not in OF_IMAGES:
            raise ConfigError(f"{name}={value}: images have no such setting. Predict videos in a command of their own.")


def predict_images(
    predictor: Predictor, images: Sequence[Path], result: Path, settings: PredictionSettings, *, overwrite: bool
) -> None:
    """Write a mapping from each image's name to its poses, each a list of [x, y, score], null where missing.

    Beside the images it has an entry MADE_BY, with what they depend on. A file that is there already, of the same images,
    checkpoint and settings, is left as it is. Raises DataError for a file that is no image, and where the result is of
    others and overwrite is False.
    """
    from dlcpose.detectors.pose_files import MADE_BY
    from dlcpose.prediction.frame_predictor import FramePredictor
    from dlcpose.prediction.model import plain_precision
    from dlcpose.prediction.resumable import check_same, check_writable
    from dlcpose.structures.atomic_files import write_output

    key = _key(predictor, images, settings)
    if result.exists() and not overwrite:
        check_same(result, key, _key_in(result))
        typer.echo(f"{result}: there already, of the same images, checkpoint and settings")
        return
    check_writable(result.parent)
    size = settings.batch_size if isinstance(settings.batch_size, int) else 8
    precision = plain_precision(settings.precision, predictor.pipeline)
    frames = FramePredictor(
        predictor.pipeline, predictor.device, batch_size=size, precision=precision, flip_test=settings.flip_test
    )
    found = {each.key: _as_lists(each) for some in frames.predict(_read(images)) for each in some}
    write_output(result, json.dumps({MADE_BY: key, **found}, indent=1).encode())
    typer.echo(f"{result}: {len(found)} images")


def _key(predictor: Predictor, images: Sequence[Path], settings: PredictionSettings) -> dict[str, Any]:
    """What identifies the poses of images: those themselves, the files of the model, and settings."""
    from dlcpose.datasets.video import fingerprint

    content = sorted((name, fingerprint(image)) for name, image in zip(_names(images), images, strict=True))
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    return {
        "images": f"{len(images)} ({digest})",
        "checkpoint": predictor.model.checkpoint_hash,
        **predictor.model.replaced,
        **{name: value for name, value in settings.of_result().items() if name in OF_IMAGES},
    }


def _key_in(result: Path) -> dict[str, Any]:
    """The same of a file of poses; empty where it does not tell."""
    from dlcpose.detectors.pose_files import MADE_BY
    from dlcpose.structures.data_files import read_json

    content = read_json(result)
    found = content.get(MADE_BY) if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


def _names(images: Sequence[Path]) -> list[str]:
    """Names of images, as short as tells them apart."""
    names = [image.name for image in images]
    return names if len(set(names)) == len(names) else [image.as_posix() for image in images]


def _read(images: Sequence[Path]) -> Iterator[Frame]:
    from dlcpose.datasets.base import read_image_file
    from dlcpose.prediction.frame_predictor import Frame

    return (Frame(name, read_image_file(image)) for name, image in zip(_names(images), images, strict=True))


def _as_lists(prediction: PosePrediction) -> list[Any]:
    import numpy as np

    poses = np.concatenate([prediction.keypoints_in_image, prediction.keypoint_scores[..., None]], axis=-1)
    rounded = poses.astype(float).round(4)
    return [[[None if value != value else value for value in point] for point in pose] for pose in rounded.tolist()]
