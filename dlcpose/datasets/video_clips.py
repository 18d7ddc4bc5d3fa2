"""Clips of videos without labels beside labeled batches: a few consecutive frames each, as the model sees frames."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlcpose.codecs.affine import place_on_canvas
from dlcpose.datasets.crops import resize_onto
from dlcpose.datasets.video_frames import VideoFrames
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.errors import DataError
from dlcpose.structures.input import Input
from dlcpose.structures.sample import PoseCrop

Clips = npt.NDArray[np.uint8]  # (C, T, H, W, 3) RGB


@dataclass(frozen=True)
class BatchWithClips(PoseBatch):
    """A labeled batch, and unlabeled clips, on whole frames: geometry is not varied in them."""

    clips: Tensor = field(kw_only=True)  # (C, T, 3, H, W) uint8


class VideoClips:
    """So many clips, drawn from videos by a seed, of which each batch gets `per_batch`.

    The same clips serve the whole run: they are decoded once, before it begins, and kept in memory at the size of the
    model's input. videos: each gives clips by its length. start, stop: numbers of the first frame, and of that to end
    before, in every video. frames: of a clip, `step` frames of the video apart.
    Raises DataError for what is no video, one too short for a clip, and, where frames keep their size, videos of several.
    """

    def __init__(
        self,
        videos: Sequence[Path],
        model_input: Input,
        *,
        count: int,
        frames: int,
        per_batch: int,
        seed: int,
        start: int = 0,
        stop: int | None = None,
        step: int = 1,
    ) -> None:
        self.model_input, self.per_batch = model_input, per_batch
        self.videos = [VideoFrames(path) for path in videos]
        span = (frames - 1) * step + 1
        ends = [video.frames if stop is None else min(stop, video.frames) for video in self.videos]
        rooms = np.array([end - start - span + 1 for end in ends])
        if rooms.min() < 1:
            short = self.videos[int(rooms.argmin())]
            raise DataError(
                f"{short.path}: expected a clip of {span} frames between unlabeled.start and unlabeled.stop, the video has "
                f"{short.frames}. Take a longer video, or a smaller unlabeled.frames."
            )
        canvases = {place_on_canvas(model_input, video.size)[2] for video in self.videos}
        if len(canvases) > 1:
            raise DataError(
                f"unlabeled.videos: expected videos of one size where the input keeps it, got {len(canvases)} sizes. "
                "Take input=letterbox, or videos of one size."
            )
        (self.canvas,) = canvases
        self.places = _places(rooms, count, np.random.default_rng(seed))
        self.numbers = [(video, range(start + at, start + at + span, step)) for video, at in self.places]
        self._clips: Clips | None = None

    def load(self) -> Clips:
        """All clips, decoded now where that was not done before: (C, T, H, W, 3)."""
        if self._clips is None:
            self._clips = np.stack([self._read(self.videos[video], numbers) for video, numbers in self.numbers])
        return self._clips

    def draw(self, seed: int) -> Clips:
        """The clips of a batch: (per_batch, T, H, W, 3)."""
        clips = self.load()
        chosen = np.random.default_rng((seed, len(clips))).choice(len(clips), min(self.per_batch, len(clips)), False)
        return clips[np.sort(chosen)]

    def _read(self, video: VideoFrames, numbers: Sequence[int]) -> Clips:
        _, scaled, canvas = place_on_canvas(self.model_input, video.size)
        return np.stack([resize_onto(image, scaled, canvas) for image in video.read_several(numbers)])


def _places(rooms: npt.NDArray[Any], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """(video, place of the first frame) of `count` clips, spread over all videos: one at random in each of equal parts."""
    total = int(rooms.sum())
    parts = np.linspace(0, total, min(count, total) + 1).astype(int)
    ends, places = rooms.cumsum(), []
    for low, high in itertools.pairwise(parts):
        place = int(rng.integers(low, max(high, low + 1)))
        video = int(np.searchsorted(ends, place, side="right"))
        places.append((video, place - int(ends[video] - rooms[video])))
    return places


def collate_with_clips(items: Sequence[PoseCrop | Clips]) -> BatchWithClips:
    """A batch of crops, with the clips that stand behind them."""
    clips = items[-1]
    assert isinstance(clips, np.ndarray)
    labeled = collate([item for item in items if isinstance(item, PoseCrop)])
    known = {each.name: getattr(labeled, each.name) for each in fields(labeled)}
    return BatchWithClips(**known, clips=torch.from_numpy(clips).permute(0, 1, 4, 2, 3))
