"""Clips of unlabeled videos, and their loss in training."""

import functools
import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dlcpose.datasets.video_clips import VideoClips
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.home_folder import expand_home
from dlcpose.structures.input import Input
from dlcpose.unlabeled.base import VideoLoss


@dataclass(frozen=True)
class VideoObjective:
    """The losses on clips, each in `begin` to `full` of the run growing from nothing to its weight."""

    losses: Mapping[str, VideoLoss]
    begin: float
    full: float

    def strength(self, progress: float) -> float:
        """The factor of all weights at a share of the run: 0 before `begin`, 1 from `full` on, and linear in between."""
        if progress < self.begin:
            return 0.0
        return 1.0 if progress >= self.full else (progress - self.begin) / (self.full - self.begin)

    def __call__(self, keypoints_in_input: Tensor, scores: Tensor, strength: float) -> dict[str, Tensor]:
        """The weighted terms by name: of clips (C, T, K, 2) and scores (C, T, K)."""
        return {
            name: strength * loss.weight * loss(keypoints_in_input, scores)
            for name, loss in self.losses.items()
            if loss.weight
        }


class UnlabeledVideos:
    """Which videos are learned from, and how.

    videos: files, or patterns (`videos/*.mp4`). start, stop: in each of them, the first frame, and that to end before.
    frames: of a clip, `step` apart. clips: drawn from all videos for the run. clips_per_batch: beside each labeled batch.
    losses: on the clips, by name; without any, the videos serve pseudo-labels alone. begin, full: shares of the run at which
    the losses begin to count, when the network knows something, and from which they count in full.
    Raises ConfigError for values outside their range.
    """

    def __init__(
        self,
        videos: Sequence[str],
        losses: Mapping[str, VideoLoss],
        *,
        start: int = 0,
        stop: int | None = None,
        step: int = 1,
        frames: int = 5,
        clips: int = 64,
        clips_per_batch: int = 1,
        begin: float = 0.3,
        full: float = 0.6,
    ) -> None:
        ranges = {
            "videos": (len(videos) > 0, "one video or more", list(videos)),
            "start": (start >= 0, "a frame number of 0 or more", start),
            "stop": (stop is None or stop > start, f"null, or a frame number above start={start}", stop),
            "step": (step >= 1, "1 or more", step),
            "frames": (frames >= 2, "2 or more frames of a clip", frames),
            "clips": (clips >= 1, "1 or more", clips),
            "clips_per_batch": (clips_per_batch >= 1, "1 or more", clips_per_batch),
            "begin": (0 <= begin <= 1, "a share of the run from 0 to 1", begin),
            "full": (begin <= full <= 1, f"a share of the run from begin={begin} to 1", full),
        }
        for name, (is_right, expected, got) in ranges.items():
            if not is_right:
                raise ConfigError(f"unlabeled.{name}: expected {expected}, got {got}.")
        self.losses, self.start, self.stop, self.step = losses, start, stop, step
        self.frames, self.clips, self.clips_per_batch = frames, clips, clips_per_batch
        self.begin, self.full = begin, full
        self.videos = tuple(videos)

    @functools.cached_property
    def paths(self) -> tuple[Path, ...]:
        """The video files. Raises DataError for a pattern without a file, or a file that is not there."""
        return tuple(dict.fromkeys(path for name in self.videos for path in _files(name)))

    def objective(self) -> VideoObjective:
        """The losses with their schedule."""
        return VideoObjective(self.losses, self.begin, self.full)

    def open_clips(self, model_input: Input, seed: int) -> VideoClips:
        """The clips for a model. Raises DataError where a video cannot be opened or is too short."""
        return VideoClips(
            self.paths,
            model_input,
            count=self.clips,
            frames=self.frames,
            per_batch=self.clips_per_batch,
            seed=seed,
            start=self.start,
            stop=self.stop,
            step=self.step,
        )


def _files(name: str) -> list[Path]:
    path = expand_home(name)
    if path.is_file() or not set(name) & set("*?["):
        if not path.is_file():
            raise DataError(f"unlabeled.videos: {path}: no such file. Correct the path.")
        return [path]
    matching = sorted(Path(each) for each in glob.glob(str(path)))  # noqa: PTH207 - a pattern may be absolute
    if not matching:
        raise DataError(f"unlabeled.videos: {name}: no file matches this pattern. Correct it.")
    return matching
