"""Predict poses in a stream of frames, in batches, with the forward pass and decoding in parallel."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from dlcpose.detectors.base import Boxes
from dlcpose.prediction.flip_test import merge_mirrored
from dlcpose.prediction.frame_batches import (
    Placement,
    as_rgb_frame,
    batch_of_frames,
    cut_region,
    mirrored,
    mirrored_boxes,
    place_frames,
)
from dlcpose.prediction.overlap import one_by_one, overlapped
from dlcpose.prediction.pose_model import PoseModel
from dlcpose.prediction.precision import autocast
from dlcpose.prediction.regions import boxes_around_last, is_lost, region_around_last
from dlcpose.prediction.stage_times import StageTimes
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import Image


class Frame(NamedTuple):
    """An image with the name its prediction gets."""

    key: str
    image: Image


class Maps(NamedTuple):
    """The networks' maps of a batch and, with `flip_test`, of the mirrored batch; computed: a GPU event, None on a CPU."""

    plain: Any
    of_mirrored: Any
    mirrored: PoseBatch | None
    computed: Any


@dataclass
class FramePredictor:
    """Predicts poses in frames with a model on a device.

    precision: "32", "bf16" or "fp16"; a model of a fixed precision keeps to its own. origin: x, y of the frames' first
    pixel in the full frame, where they are crops of it. detector_every, flip_test, dynamic_crop: as of
    PredictionSettings. is_live: yield each prediction before the next frame is taken.
    """

    pipeline: PoseModel
    device: torch.device
    batch_size: int = 8
    precision: str = "32"
    origin: tuple[int, int] = (0, 0)
    detector_every: int = 1
    flip_test: bool = False
    dynamic_crop: bool = False
    is_live: bool = False
    times: StageTimes = field(default_factory=StageTimes)

    def predict(
        self, frames: Iterable[Frame], *, after: PosePrediction | None = None, done: int = 0
    ) -> Iterator[list[PosePrediction]]:
        """Poses in frames, in order, as many at a time as go through the network together.

        after, done: the prediction of the frame before the first, and the number of frames before, to resume a stopped
        run with the same predictions. Raises InputError for an image that is no (H, W, 3) uint8 RGB.
        """
        frames = (Frame(frame.key, as_rgb_frame(frame.image, frame.key)) for frame in frames)
        if self.dynamic_crop:
            return self._within_regions(frames, after)
        if self.detector_every > 1:
            return self._with_boxes_kept(frames, after, done)
        in_steps = one_by_one if self.is_live else overlapped
        return in_steps(self._batches(frames), self._compute, self._decode)

    # --------------------------------------------------------------------------------------------- independent frames

    def _batches(self, frames: Iterable[Frame]) -> Iterator[tuple[PoseBatch, Placement]]:
        """Frames in batches; frames of unlike size never share one."""
        waiting: list[Frame] = []
        for frame in frames:
            if waiting and frame.image.shape != waiting[0].image.shape:
                yield self._batch(waiting)
                waiting = []
            waiting.append(frame)
            if len(waiting) == self.batch_size:
                yield self._batch(waiting)
                waiting = []
        if waiting:
            yield self._batch(waiting)

    def _batch(self, frames: Sequence[Frame]) -> tuple[PoseBatch, Placement]:
        with self.times.measured("prepare"):
            images = [frame.image for frame in frames]
            placement = place_frames(self.pipeline.frame_input, (images[0].shape[0], images[0].shape[1]), self.origin)
            keys = [frame.key for frame in frames]
            return batch_of_frames(images, keys, placement, self.pipeline.skeleton, self.device), placement

    def _compute(self, job: tuple[PoseBatch, Placement], boxes: Sequence[Boxes] | None = None) -> Maps:
        """The forward passes of a batch, not waited for on a GPU. boxes: those of each frame, in place of the detector's."""
        batch, placement = job
        precision = "32" if self.pipeline.fixed_precision else self.precision  # the model runs at its own precision
        with self.times.measured("forward"), torch.inference_mode(), autocast(self.device, precision):
            plain, of_mirrored, flipped = self._maps(batch, boxes), None, None
            if self.flip_test:
                flipped = mirrored(batch, placement.scaled)
                others = None if boxes is None else [mirrored_boxes(each, placement.scaled) for each in boxes]
                of_mirrored = self._maps(flipped, others)
            computed = None
            if self.device.type == "cuda":
                computed = torch.cuda.Event()  # type: ignore[no-untyped-call]
                computed.record()
        return Maps(plain, of_mirrored, flipped, computed)

    def _maps(self, batch: PoseBatch, boxes: Sequence[Boxes] | None) -> Any:
        return self.pipeline.compute_maps(batch, **({} if boxes is None else {"boxes": boxes}))

    def _decode(self, job: tuple[PoseBatch, Placement], maps: Maps) -> list[PosePrediction]:
        """Decode the poses of a batch's maps; on a GPU in parallel with the next batch's forward pass."""
        if maps.computed is None:
            return self._decoded(job[0], maps)
        with self.times.measured("forward"):
            maps.computed.synchronize()
        # On a stream of its own, or its kernels would queue behind the next forward pass. The maps are held until it is
        # done, so their memory cannot be given away before.
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        with torch.cuda.stream(stream):
            predictions = self._decoded(job[0], maps)
            stream.synchronize()
        return predictions

    def _decoded(self, batch: PoseBatch, maps: Maps) -> list[PosePrediction]:
        with self.times.measured("postprocess"), torch.inference_mode():
            predictions = self.pipeline.decode_maps(batch, maps.plain)
            if maps.mirrored is None:
                return predictions
            others = self.pipeline.decode_maps(maps.mirrored, maps.of_mirrored)
            return [
                merge_mirrored(ours, theirs, self.pipeline.skeleton)
                for ours, theirs in zip(predictions, others, strict=True)
            ]

    # ------------------------------------------------------------------------------------- frames that need the last one

    def _with_boxes_kept(
        self, frames: Iterable[Frame], last: PosePrediction | None, done: int
    ) -> Iterator[list[PosePrediction]]:
        """The detector's boxes in every `detector_every`th frame and after an empty one; else boxes around the last poses."""
        rule = self.pipeline.box_rule
        assert rule is not None
        for number, frame in enumerate(frames, done):
            batch, placement = self._batch([frame])
            boxes = None
            if number % self.detector_every:
                boxes = boxes_around_last(last, rule, placement.canvas_to_image, placement.canvas, self.device)
            predictions = self._predicted(batch, placement, None if boxes is None else [boxes])
            last = predictions[0]
            yield predictions

    def _within_regions(self, frames: Iterable[Frame], last: PosePrediction | None) -> Iterator[list[PosePrediction]]:
        """Predict each frame around the last pose, and again as a whole where the animal is lost."""
        multiple_of = self.pipeline.frame_input.multiple_of
        for frame in frames:
            batch, placement = self._batch([frame])
            region = region_around_last(last, placement.canvas_to_image, placement.canvas, multiple_of=multiple_of)
            predictions = None
            if region is not None:
                size = region[3] - region[1], region[2] - region[0]
                part = Placement(size, size, placement.canvas_to_image)
                predictions = self._predicted(cut_region(batch, region), part)
            if predictions is None or is_lost(predictions[0]):
                predictions = self._predicted(batch, placement)
            last = predictions[0]
            yield predictions

    def _predicted(
        self, batch: PoseBatch, placement: Placement, boxes: Sequence[Boxes] | None = None
    ) -> list[PosePrediction]:
        """Both steps, one after the other."""
        return self._decode((batch, placement), self._compute((batch, placement), boxes))
