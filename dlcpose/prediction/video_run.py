"""A run of a model over a video, or over the frames that an earlier run has not finished."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from dlcpose.datasets.video import VideoReader, video_info
from dlcpose.exporters.pose_file import Provenance
from dlcpose.prediction.loaded_model import Chosen, LoadedModel
from dlcpose.prediction.partial_results import Finished
from dlcpose.prediction.pose_rows import PoseRows
from dlcpose.prediction.settings import PredictionSettings
from dlcpose.prediction.stage_times import StageTimes
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import VideoInfo
from dlcpose.structures.versions import versions


class VideoRun(ABC):
    """Goes through a video, or through its remaining frames; iterate over `stretches`.

    settings: the frames of the video among them. finished: what an earlier run has done. done: frames finished so far.
    """

    def __init__(
        self,
        model: LoadedModel,
        path: Path,
        settings: PredictionSettings,
        chosen: Chosen,
        finished: Finished,
        times: StageTimes,
    ) -> None:
        self.model, self.path, self.settings, self.chosen, self.times = model, path, settings, chosen, times
        self.done = finished.frames
        times.add_all(finished.seconds)
        self._decoding_before = times.as_dict()["decode"]
        # By its number, as frames before it may be missing.
        last = None if finished.last is None else int(finished.last.frame_indices[-1])
        first = settings.start if last is None else last + settings.step
        # A reader needs a `stop` beyond its `start`, also where no frame is left.
        stop = None if settings.stop is None else max(settings.stop, first + 1)
        self.reader = VideoReader(
            path,
            start=first,
            stop=stop,
            step=settings.step,
            crop=settings.crop,
            ahead=2 * chosen.batch_size + 2,
            least_ahead=chosen.batch_size,
        )

    @abstractmethod
    def stretches(self) -> Iterator[PoseRows]:
        """The animals of one or several frames at a time. Raises DataError for a file that is no video."""

    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """What the next frame depends on besides the last prediction."""
        return {}

    def seconds(self) -> dict[str, float]:
        """Seconds by stage so far."""
        return {**self.times.as_dict(), "decode": self._decoding_before + self.reader.seconds}

    def expected(self) -> int | None:
        """How many frames there will be in all, where the file tells."""
        if self.reader.expected is None:
            return None
        stop = self.reader.expected if self.settings.stop is None else min(self.settings.stop, self.reader.expected)
        return len(range(self.settings.start, stop, self.settings.step))

    def video(self, content: str) -> VideoInfo:
        """The VideoInfo of the poses; content: its fingerprint. Raises DataError where the settings select no frame."""
        frames = self.reader.frames or video_info(self.path).frames
        if not self.done:
            raise DataError(
                f"{self.path}: start={self.settings.start}: the video has {counted(frames, 'frame')}. Take a "
                "start below that."
            )
        assert self.reader.size is not None
        height, width = self.reader.size
        return VideoInfo(str(self.path.absolute()), content, height, width, frames, self.reader.fps)

    def provenance(self, settings: Mapping[str, Any]) -> Provenance:
        """Of the poses so far; settings: those that they depend on."""
        return Provenance(
            checkpoint="" if self.model.checkpoint is None else str(self.model.checkpoint),
            checkpoint_hash=self.model.checkpoint_hash,
            individuals=self.model.individuals,
            settings=settings,
            versions=versions(),
            seconds=self.seconds(),
            missing_frames=tuple((each.start, each.stop - 1) for each in self.reader.missing),
            problem=self.reader.problem,
        )
