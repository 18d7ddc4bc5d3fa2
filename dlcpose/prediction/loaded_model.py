"""A model with its origin, the settings that it supports, and the choice of batch size and precision for "auto"."""

import functools
import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dlcpose.datasets.video import VideoReader
from dlcpose.prediction.frame_batches import batch_of_frames, place_frames
from dlcpose.prediction.frame_predictor import Frame, FramePredictor
from dlcpose.prediction.pose_model import PoseModel
from dlcpose.prediction.precision import autocast, automatic_batch_size, fastest_precision
from dlcpose.prediction.regions import MIN_SIDE
from dlcpose.prediction.settings import AUTO, PredictionSettings
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.heap import keep_freed_memory
from dlcpose.structures.instances import PosePrediction


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline on a device, with its origin.

    checkpoint: the file that it came from. individuals: names of the animals, where its data names all. conditions, detector:
    the file of its conditions, or the config of its detector, where it takes others than its checkpoint has.
    """

    pipeline: PoseModel
    device: torch.device
    checkpoint: Path | None = None
    individuals: tuple[str, ...] = ()
    conditions: Path | None = None
    detector: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.device.type == "cpu":
            keep_freed_memory()

    @functools.cached_property
    def checkpoint_hash(self) -> str:
        """SHA-256 of the checkpoint's file; empty without one."""
        if self.checkpoint is None:
            return ""
        return sha256_of(self.checkpoint)

    @functools.cached_property
    def replaced(self) -> dict[str, str]:
        """SHA-256 of the conditions' file and of the detector's config, where they are others than the checkpoint's."""
        hashes = {}
        if self.conditions is not None:
            hashes["conditions_hash"] = sha256_of(self.conditions)
        if self.detector is not None:
            content = json.dumps(self.detector, sort_keys=True, default=str)
            hashes["detector_hash"] = hashlib.sha256(content.encode()).hexdigest()
        return hashes


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Chosen(NamedTuple):
    """The batch size and precision chosen for "auto"."""

    batch_size: int
    precision: str


def check_settings(settings: PredictionSettings, pipeline: PoseModel) -> None:
    """Raises ConfigError for settings that this model does not support."""
    if pipeline.needs_labels:
        raise ConfigError(
            "checkpoint: this model predicts in ground-truth boxes (detector=ground_truth), and a video has no labels. "
            "Train it with detector=centernet; for a conditioned model give conditions=best.ckpt of another."
        )
    if settings.detector_every > 1 and pipeline.box_rule is None:
        raise ConfigError(
            f"detector_every={settings.detector_every}: {type(pipeline).__name__} has no detector of boxes. Leave it out, "
            "or take a top-down model."
        )
    if settings.dynamic_crop and not pipeline.finds_one_animal:
        raise ConfigError(
            "dynamic_crop: it follows one animal, this model finds several. Leave it out, or take a single-animal model."
        )
    if settings.dynamic_crop and pipeline.finds_unique:
        raise ConfigError(
            "dynamic_crop: it looks around the animal only, where unique keypoints "
            f"({', '.join(pipeline.skeleton.unique)}) need not be. Leave it out."
        )
    if settings.dynamic_crop and settings.detector_every > 1:
        raise ConfigError("dynamic_crop: it takes the place of a detector. Leave detector_every out.")
    if pipeline.fixed_precision is not None and settings.precision not in (AUTO, pipeline.fixed_precision):
        raise ConfigError(
            f"precision={settings.precision}: this model was exported in {pipeline.fixed_precision}. Leave it out, or export "
            f"the checkpoint with --precision {settings.precision}."
        )


def plain_precision(precision: str, pipeline: PoseModel) -> str:
    """A precision without "auto", which is then the model's own, or 32 bits."""
    return precision if precision != AUTO else pipeline.fixed_precision or "32"


def choose(model: LoadedModel, path: Path, settings: PredictionSettings) -> Chosen:
    """The batch size and the precision for a video, from its first frames.

    Raises DataError for what is no video, ConfigError for settings that do not fit the model or the video.
    """
    check_settings(settings, model.pipeline)
    reader = VideoReader(path, start=settings.start, stop=settings.stop, step=settings.step, ahead=8)
    images = [frame.image for frame in itertools.islice(reader, 8)]
    if reader.size is not None:
        settings.check_crop(reader.size, path)
    if not images:
        return Chosen(1, plain_precision(settings.precision, model.pipeline))
    if settings.crop is not None:
        x1, y1, x2, y2 = settings.crop
        images = [image[y1:y2, x1:x2] for image in images]
    placement = place_frames(model.pipeline.frame_input, (images[0].shape[0], images[0].shape[1]))
    size = settings.batch_size
    if size == AUTO:
        half = settings.precision in ("bf16", "fp16")

        def forward(count: int) -> None:
            frames = [images[0]] * count
            batch = batch_of_frames(frames, ["0"] * count, placement, model.pipeline.skeleton, model.device)
            with torch.inference_mode(), autocast(model.device, settings.precision if half else "32"):
                model.pipeline.compute_maps(batch)

        size = automatic_batch_size(model.device, placement.canvas, forward)
    if settings.dynamic_crop:
        _check_reads_any_size(model)
    if settings.precision != AUTO or model.pipeline.fixed_precision is not None:
        return Chosen(int(size), plain_precision(settings.precision, model.pipeline))

    def predict(precision: str) -> list[PosePrediction]:
        predictor = FramePredictor(model.pipeline, model.device, batch_size=int(size), precision=precision)
        frames = (Frame(str(number), image) for number, image in enumerate(images[: int(size)]))
        return [each for some in predictor.predict(frames) for each in some]

    scale = placement.scaled[0] / images[0].shape[0]
    return Chosen(int(size), fastest_precision(model.device, predict, scale))


def _check_reads_any_size(model: LoadedModel) -> None:
    """Raises ConfigError for a model that reads images of one size only."""
    model_input = replace(model.pipeline.frame_input, height=None, width=None)
    frame = np.zeros((MIN_SIDE, 2 * MIN_SIDE, 3), np.uint8)
    placement = place_frames(model_input, (MIN_SIDE, 2 * MIN_SIDE))
    batch = batch_of_frames([frame], ["0"], placement, model.pipeline.skeleton, model.device)
    try:
        with torch.inference_mode():
            model.pipeline.predict_batch(batch)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(
            "dynamic_crop: this model reads images of one size only, a crop has another. Leave it out, or take a "
            "convolutional model."
        ) from error
