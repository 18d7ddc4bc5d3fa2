"""The poses of image files as one json: what `detector.predictions=` of a conditioned model reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcpose.cli.say import say
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError, DataError

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
    checkpoint and settings, is left as it is. An image that cannot be read is printed and has no entry, and DataError is
    raised once the others are written; also where the result is of others and overwrite is False.
    """
    from dlcpose.detectors.pose_files import MADE_BY
    from dlcpose.prediction.frame_predictor import FramePredictor
    from dlcpose.prediction.loaded_model import plain_precision
    from dlcpose.prediction.resumable import check_same
    from dlcpose.structures.atomic_files import check_writable, write_output

    key = _key(predictor, images, settings)
    if result.exists() and not overwrite:
        content = _content(result)
        check_same(result, key, _key_in(content))
        say(f"{result}: there already, of the same images, checkpoint and settings")
        _check_all_are_there(result, images, [name for name in _names(images) if name not in content])
        return
    check_writable(result.parent)
    size = settings.batch_size if isinstance(settings.batch_size, int) else 8
    precision = plain_precision(settings.precision, predictor.pipeline)
    frames = FramePredictor(
        predictor.pipeline, predictor.device, batch_size=size, precision=precision, flip_test=settings.flip_test
    )
    errors: dict[str, DataError] = {}
    found = {each.key: _as_lists(each) for some in frames.predict(_read(images, errors)) for each in some}
    if not found:
        raise next(iter(errors.values()))
    for error in errors.values():
        say(f"dlcpose: {error}", err=True)
    write_output(result, json.dumps({MADE_BY: key, **found}, indent=1).encode())
    say(f"{result}: {counted(len(found), 'image')}")
    _check_all_are_there(result, images, list(errors))


def _check_all_are_there(result: Path, images: Sequence[Path], missing: Sequence[str]) -> None:
    """Raises DataError where images are missing in a result."""
    if missing:
        raise DataError(
            f"{result}: it lacks {len(missing)} of {counted(len(images), 'image')}, which could not be read "
            f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}). Replace or remove them, and add --overwrite."
        )


def _key(predictor: Predictor, images: Sequence[Path], settings: PredictionSettings) -> dict[str, Any]:
    """What identifies the poses of images: those themselves, the files of the model, and settings."""
    content = sorted((name, _fingerprint(image)) for name, image in zip(_names(images), images, strict=True))
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    return {
        "images": f"{len(images)} ({digest})",
        "checkpoint": predictor.model.checkpoint_hash,
        **predictor.model.replaced,
        **{name: value for name, value in settings.of_result().items() if name in OF_IMAGES},
    }


def _fingerprint(image: Path) -> str:
    """Of an image's content; empty where it cannot be read, as a link to a file that is gone."""
    from dlcpose.datasets.video import fingerprint

    try:
        return fingerprint(image)
    except DataError:
        return ""


def _content(result: Path) -> dict[str, Any]:
    """The content of a file of poses; empty where it is no mapping."""
    from dlcpose.structures.data_files import read_json

    content = read_json(result)
    return content if isinstance(content, dict) else {}


def _key_in(content: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies the poses of a file; empty where it does not tell."""
    from dlcpose.detectors.pose_files import MADE_BY

    found = content.get(MADE_BY)
    return found if isinstance(found, dict) else {}


def _names(images: Sequence[Path]) -> list[str]:
    """Names of images, as short as tells them apart."""
    names = [image.name for image in images]
    return names if len(set(names)) == len(names) else [image.as_posix() for image in images]


def _read(images: Sequence[Path], errors: dict[str, DataError]) -> Iterator[Frame]:
    """The images that can be read; of the others, the errors are noted by their names."""
    from dlcpose.datasets.base import read_image_file
    from dlcpose.prediction.frame_predictor import Frame

    for name, image in zip(_names(images), images, strict=True):
        try:
            yield Frame(name, read_image_file(image))
        except DataError as error:
            errors[name] = error


def _as_lists(prediction: PosePrediction) -> list[Any]:
    import numpy as np

    poses = np.concatenate([prediction.keypoints_in_image, prediction.keypoint_scores[..., None]], axis=-1)
    rounded = poses.astype(float).round(4)
    return [[[None if value != value else value for value in point] for point in pose] for pose in rounded.tolist()]
