"""From a checkpoint, or an exported model, to poses: without the data set it was trained on and without Hydra.

An exported model needs nothing of what trains one: Lightning and the parts are imported where a checkpoint is loaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dlcpose.datasets.base import read_image_file
from dlcpose.datasets.crops import fit_to_canvas
from dlcpose.prediction.batch_norm_folding import fold_batch_norms
from dlcpose.prediction.frame_batches import as_rgb_frame
from dlcpose.prediction.frame_predictor import Frame, FramePredictor
from dlcpose.prediction.loaded_model import LoadedModel, check_settings, plain_precision
from dlcpose.prediction.onnx_file import is_onnx, read_onnx_model
from dlcpose.prediction.pose_model import PoseModel
from dlcpose.prediction.precision import NO_MPS, autocast
from dlcpose.prediction.resumable import Outcome
from dlcpose.prediction.settings import PredictionSettings, check_names
from dlcpose.prediction.video import predict_video
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.checked_values import is_whole_number
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError, InputError, explain_os_errors
from dlcpose.structures.home_folder import expand_home
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.sample import Floats, FrameLabels, Image, PoseSample, labels_of
from dlcpose.structures.skeleton import Skeleton

if TYPE_CHECKING:
    from dlcpose.checkpoint import Checkpoint, Description
    from dlcpose.prediction.graph_description import GraphDescription
    from dlcpose.tracking.ctd_tracker import CtdTracker, TrackedFrame


@dataclass
class Predictor:
    """Predicts images and videos with a trained model. images and seconds: so far, decoding of files left out."""

    model: LoadedModel
    images: int = 0
    seconds: float = 0.0

    def __repr__(self) -> str:
        return f"Predictor({type(self.pipeline).__name__}, {counted(len(self.skeleton), 'keypoint')}, on {self.device})"

    @property
    def pipeline(self) -> PoseModel:
        """The model's network, with its decoding; batch norms are folded into the convolutions before them."""
        return self.model.pipeline

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    @property
    def individuals(self) -> tuple[str, ...]:
        """Names of the animals, where the model's data names all."""
        return self.model.individuals

    @property
    def skeleton(self) -> Skeleton:
        """Names and order of the keypoints in every prediction."""
        return self.pipeline.skeleton

    @explain_os_errors()
    def predict(self, images: Iterable[Image | str | Path], *, batch_size: int = 8) -> list[PosePrediction]:
        """Poses in images: arrays (H, W, 3) uint8 RGB, or paths. The key is the path or the number.

        Raises DataError for a file that is not an image, InputError (also a ValueError) for an array of another kind.
        """
        if isinstance(images, str | Path):
            raise InputError(f"Expected a list of images, got one path: predict([{str(images)!r}]).")
        named = (_named(number, image) for number, image in enumerate(images))
        return [prediction for batch in self.stream(named, batch_size) for prediction in batch]

    def stream(self, named: Iterable[tuple[str, Image]], batch_size: int) -> Iterator[list[PosePrediction]]:
        """Poses for any number of (key, image) pairs, batch by batch; images with different canvases never share a batch.

        Raises ConfigError for a model that predicts only in labeled images.
        """
        self._refuse_unlabeled()
        return self.stream_labeled((self._unlabeled(key, image) for key, image in named), batch_size)

    def _unlabeled(self, key: str, image: Image) -> PoseSample:
        return PoseSample(_no_labels(key, image, self.skeleton), image)

    def _refuse_unlabeled(self) -> None:
        if self.pipeline.needs_labels:
            raise ConfigError(
                "This model has no detector of its own (detector=ground_truth): it predicts in ground-truth boxes, and "
                "plain images have no labels. Evaluate it with evaluate.py, or train with detector=centernet. A conditional "
                "model (detector=perturbed_pose_boxes) needs another's poses: load(..., conditions=best.ckpt of that)."
            )

    @explain_os_errors()
    def predict_video(
        self, path: str | Path, *, progress: Callable[[int, int | None], None] | None = None, **settings: Any
    ) -> PoseTracks:
        """The poses in a video, or in a part of it; each frame's are those that `predict([frame])` gives.

        settings: of `prediction.settings.PredictionSettings`: start, stop, step, batch_size, precision, crop, ...
        progress: called with the frames done and, where the file tells, how many there are.
        Raises DataError for what is no video, ConfigError for settings that make no sense or do not fit.
        """
        check_names(settings, self.predict_video, PredictionSettings)
        return predict_video(self.model, expand_home(path), PredictionSettings(**settings), progress)[0]

    def predict_stream(
        self, frames: Iterable[Image], *, batch_size: int = 8, precision: str = "auto"
    ) -> Iterator[PosePrediction]:
        """Poses of each array (H, W, 3) uint8 RGB of a stream, in order; the key is the number.

        Frames are taken as they are needed. With batch_size=1 every prediction comes before the next frame is taken, as a
        camera wants it; with more, it comes a batch or two later, and decoding goes on beside the forward pass.
        precision: "32", "bf16" or "fp16"; "auto" is 32 bits, or what the model was exported in.
        Raises ConfigError for a model that predicts only in labeled images, InputError (also a ValueError) for an array of
        another kind.
        """
        settings = PredictionSettings(batch_size=batch_size, precision=precision)
        check_settings(settings, self.pipeline)
        predictor = FramePredictor(
            self.pipeline,
            self.device,
            batch_size=batch_size,
            precision=plain_precision(precision, self.pipeline),
            is_live=batch_size == 1,
        )
        named = (Frame(str(number), image) for number, image in enumerate(frames))
        return (prediction for some in predictor.predict(named) for prediction in some)

    def follow(
        self, images: Iterable[Image | str | Path], *, precision: str = "32", **settings: Any
    ) -> Iterator[TrackedFrame]:
        """Poses in the frames of one video, in order, each animal with the id of its track.

        The poses of each frame are the conditions of the next; new animals come from the model behind the conditions.
        precision: "32", "bf16" or "fp16"; "auto" is 32 bits. settings: of `tracking.ctd_tracker.CtdTracker`: max_lost,
        min_score, ... Raises ConfigError for another precision or setting, and for a model that takes no pose conditions.
        """
        from dlcpose.prediction.followed_video import tracked_by
        from dlcpose.tracking.ctd_tracker import CtdTracker

        check_names(settings, self.follow, CtdTracker)
        precision = plain_precision(PredictionSettings(precision=precision).precision, self.pipeline)
        tracker = CtdTracker(tracked_by(self.pipeline), **settings)
        self._refuse_unlabeled()
        return self._tracked_frames(images, tracker, precision)

    @explain_os_errors()
    def follow_video(
        self,
        path: str | Path,
        output: str | Path,
        *,
        overwrite: bool = False,
        progress: Callable[[int, int | None], None] | None = None,
        **settings: Any,
    ) -> Outcome:
        """The same through a video into a file of poses (.poses.h5), resuming an earlier attempt that was stopped.

        Arguments and errors as of `prediction.followed_video.write_followed_video`.
        """
        from dlcpose.prediction.followed_video import write_followed_video
        from dlcpose.tracking.ctd_tracker import CtdTracker

        check_names(settings, self.follow_video, CtdTracker)
        self._refuse_unlabeled()
        return write_followed_video(
            self.model,
            expand_home(path),
            expand_home(output),
            settings,
            overwrite=overwrite,
            progress=progress,
        )

    def _tracked_frames(
        self, images: Iterable[Image | str | Path], tracker: CtdTracker, precision: str
    ) -> Iterator[TrackedFrame]:
        for number, image in enumerate(images):
            key, pixels = _named(number, image)
            with torch.inference_mode(), autocast(self.device, precision):
                tracked = tracker.step(self._batch_of([self._unlabeled(key, pixels)]))
            yield tracked

    def stream_labeled(
        self,
        samples: Iterable[PoseSample],
        batch_size: int,
        predict_batch: Callable[[PoseBatch], list[PosePrediction]] | None = None,
    ) -> Iterator[list[PosePrediction]]:
        """The same for labeled frames; predict_batch: another way than the pipeline's own, such as one of its oracles."""
        if not is_whole_number(batch_size, 1):
            raise InputError(f"Expected a whole number as batch_size, of at least 1, got {batch_size!r}.")
        predict_batch = predict_batch or self.pipeline.predict_batch
        waiting: list[PoseSample] = []
        for sample in samples:
            if waiting and (len(waiting) == batch_size or _unlike(waiting[0].image, sample.image, self.pipeline)):
                yield self._predict_batch(waiting, predict_batch)
                waiting = []
            waiting.append(sample)
        if waiting:
            yield self._predict_batch(waiting, predict_batch)

    def _predict_batch(
        self, samples: Sequence[PoseSample], predict_batch: Callable[[PoseBatch], list[PosePrediction]]
    ) -> list[PosePrediction]:
        began = time.perf_counter()
        batch = self._batch_of(samples)
        with torch.inference_mode():
            predictions = predict_batch(batch)
        self.seconds += time.perf_counter() - began
        self.images += len(samples)
        return predictions

    def _batch_of(self, samples: Sequence[PoseSample]) -> PoseBatch:
        return collate([fit_to_canvas(sample, self.pipeline.frame_input) for sample in samples]).to(self.device)


@explain_os_errors()
def load(
    checkpoint: str | Path,
    *,
    device: str | None = None,
    trust: Sequence[str] = (),
    conditions: str | Path | None = None,
    detector: Mapping[str, Any] | None = None,
) -> Predictor:
    """The model of a checkpoint, or of a file or folder that `dlcpose export --format onnx` wrote, ready to predict.

    device: "cpu", "cuda", ..., or None for a GPU where there is one. trust: packages of your own that it was made of.
    conditions: for a conditional model, the checkpoint whose poses it is conditioned on, or a json file of predictions.
    detector: the config of one to take instead of the checkpoint's own. An exported model takes none of the three.
    Raises CheckpointError when the file is not a checkpoint of dlcpose, ConfigError for a device that is not there.
    """
    if isinstance(trust, str):
        raise InputError(f"trust: expected a list of packages, got one text: load(..., trust=[{trust!r}]).")
    checkpoint = expand_home(checkpoint)
    if is_onnx(checkpoint):
        if trust or conditions is not None or detector is not None:
            raise ConfigError(
                f"{checkpoint}: an exported model takes no trust, conditions or detector. Leave them out, or load the "
                "checkpoint that it was exported from."
            )
        model = read_onnx_model(checkpoint, device)
        return Predictor(LoadedModel(model, torch.device("cpu"), model.path, _names_of_all(model.description)))
    from dlcpose.checkpoint import read_checkpoint, restore
    from dlcpose.instantiate import Instantiator

    chosen = _device(device)
    read = read_checkpoint(checkpoint)
    named = None if conditions is None else expand_home(conditions)
    replacing = detector if named is None else _conditions_from(named, read)
    pipeline = restore(read, Instantiator(tuple(trust)), replacing)
    fold_batch_norms(pipeline)
    return Predictor(
        LoadedModel(
            pipeline.to(chosen, memory_format=torch.channels_last),
            chosen,
            checkpoint=read.path,
            individuals=_names_of_all(read.description),
            conditions=named,
            detector=detector if named is None else None,
        )
    )


def _names_of_all(description: Description | GraphDescription) -> tuple[str, ...]:
    """The names of the animals; none where the data named some of its animals only."""
    return description.individuals if len(description.individuals) >= description.max_animals else ()


def _device(name: str | None) -> torch.device:
    """The named device, or the best one of this machine. Raises ConfigError for one that is unknown or not there."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device={name}: torch knows no such device. Take cpu, cuda or cuda:1.") from error
    if device.type == "mps":
        raise ConfigError(f"device={name}: {NO_MPS} Take device=cpu.")
    there = {"cpu": 1, "cuda": torch.cuda.device_count()}
    if (device.index or 0) >= there.get(device.type, 0):
        number = "" if device.index is None else f" number {device.index}"
        raise ConfigError(f"device={name}: this machine has no {device.type.upper()} device{number}. Take device=cpu.")
    return device


def _conditions_from(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """The config of the detector whose poses are those of a checkpoint, or of a json file."""
    config = checkpoint.description.config
    if not config.get("condition"):
        raise ConfigError(
            f"{checkpoint.path}: conditions are for conditional models, this one takes no pose conditions. "
            "Leave them out, or train one of the models ctd_*."
        )
    kind = "predictions" if path.suffix == ".json" else "checkpoint"
    return {
        "_target_": "dlcpose.detectors.pose_boxes.pose_detector",
        "_partial_": True,
        "boxes": config["detector"]["boxes"],
        **{"checkpoint": None, "predictions": None, "bottom_up": None, kind: str(path)},
    }


def _named(number: int, image: Image | str | Path) -> tuple[str, Image]:
    if isinstance(image, str | Path):
        return str(image), read_image_file(expand_home(image))
    if not isinstance(image, np.ndarray):
        raise InputError(f"{number}: expected an image (H, W, 3) uint8 RGB or a path, got {type(image).__name__}.")
    return str(number), image


def _no_labels(key: str, image: Image, skeleton: Skeleton) -> FrameLabels:
    as_rgb_frame(image, key)
    none: Floats = np.zeros((0, len(skeleton), 2), np.float32)
    return labels_of(key, image.shape[:2], none, unique_in_image=np.zeros((len(skeleton.unique), 2), np.float32))


def _unlike(first: Image, second: Image, pipeline: PoseModel) -> bool:
    """Whether two images have canvases of different size: padding one to the other's would change its prediction."""
    return pipeline.frame_input.canvas is None and first.shape != second.shape
