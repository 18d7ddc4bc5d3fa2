"""Predict the poses of a video, in memory or into a file."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcpose.datasets.video import fingerprint
from dlcpose.exporters.pose_file import Provenance
from dlcpose.prediction.frame_predictor import Frame, FramePredictor
from dlcpose.prediction.loaded_model import Chosen, LoadedModel, choose
from dlcpose.prediction.partial_results import Finished, PartialResults
from dlcpose.prediction.pose_rows import PoseRows, joined, no_rows, rows_of, tracks_of
from dlcpose.prediction.resumable import CHOSEN, Outcome, Progress, assemble_rows, write_resumably
from dlcpose.prediction.settings import AUTO, PredictionSettings
from dlcpose.prediction.stage_times import StageTimes
from dlcpose.prediction.video_run import VideoRun
from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo, column_names


class PredictionRun(VideoRun):
    """Predicts a video, or its remaining frames; iterate over `stretches`."""

    def __init__(
        self, model: LoadedModel, path: Path, settings: PredictionSettings, chosen: Chosen, finished: Finished
    ) -> None:
        super().__init__(model, path, settings, chosen, finished, StageTimes())
        self._last = None if finished.last is None else finished.last.last()
        self._predictor = FramePredictor(
            model.pipeline,
            model.device,
            batch_size=chosen.batch_size,
            precision=chosen.precision,
            origin=(0, 0) if settings.crop is None else settings.crop[:2],
            detector_every=settings.detector_every,
            flip_test=settings.flip_test,
            dynamic_crop=settings.dynamic_crop,
            times=self.times,
        )

    def stretches(self) -> Iterator[PoseRows]:
        """The poses of each batch of frames. Raises DataError for a file that is no video."""
        waiting: deque[tuple[int, float]] = deque()

        def frames() -> Iterator[Frame]:
            for frame in self.reader:
                if self.settings.stop is not None and frame.index >= self.settings.stop:
                    return
                waiting.append((frame.index, frame.time))
                yield Frame(str(frame.index), frame.image)

        for predictions in self._predictor.predict(frames(), after=self._last, done=self.done):
            places = [waiting.popleft() for _ in predictions]
            self.done += len(predictions)
            yield rows_of([index for index, _ in places], [time for _, time in places], predictions)


@dataclass(frozen=True)
class VideoPrediction:
    """The prediction of a video, frame by frame."""

    model: LoadedModel
    path: Path
    given: PredictionSettings

    def settings(self) -> dict[str, Any]:
        """The settings that identify the poses, as plain values."""
        return {**self.given.of_result(), **self.model.replaced}

    def settings_in(self, provenance: Provenance) -> dict[str, Any]:
        """Those of the poses in a file."""
        return {name: value for name, value in provenance.settings.items() if name != CHOSEN}

    def choose(self) -> Chosen:
        """The batch size and precision for a run from the beginning."""
        return choose(self.model, self.path, self.given)

    def run(self, chosen: Chosen, finished: Finished) -> VideoRun:
        """A run over the frames that are not finished; poses do not depend on the batch size, so that may be another."""
        size = chosen.batch_size if self.given.batch_size == AUTO else int(self.given.batch_size)
        return PredictionRun(self.model, self.path, self.given, chosen._replace(batch_size=size), finished)

    def provenance(self, run: VideoRun) -> Provenance:
        """The provenance of a run's poses."""
        return run.provenance({**self.settings(), CHOSEN: run.chosen._asdict()})

    def assemble(self, partial: PartialResults, output: Path, video: VideoInfo, provenance: Provenance) -> None:
        """Write all stretches into one file, the poses of one stretch in memory at a time."""
        pipeline = self.model.pipeline
        is_single, individuals = pipeline.finds_one_animal, self.model.individuals
        assemble_rows(partial, output, pipeline.skeleton, individuals, video, provenance, is_single=is_single)


def predict_video(
    model: LoadedModel, path: Path, settings: PredictionSettings, progress: Progress | None = None
) -> tuple[PoseTracks, Provenance]:
    """The poses of a video in memory, and their provenance.

    Raises DataError for what is no video, ConfigError for settings that do not fit the model or the video.
    """
    work = VideoPrediction(model, path, settings)
    run = work.run(work.choose(), Finished())
    stretches = []
    for rows in run.stretches():
        stretches.append(rows)
        if progress is not None:
            progress(run.done, run.expected())
    video = run.video(fingerprint(path))
    rows = joined(stretches) if stretches else no_rows(model.pipeline.skeleton)
    is_single = model.pipeline.finds_one_animal
    names = column_names(1 if is_single else max(1, int(rows.counts.max())), model.individuals)
    tracks = tracks_of(rows, model.pipeline.skeleton, video, names, is_tracked=is_single)
    return tracks, work.provenance(run)


def write_video_poses(
    model: LoadedModel,
    path: Path,
    output: Path,
    settings: PredictionSettings,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Predict a video into the file `output`; what is left as it is, and errors, as of `resumable.write_resumably`."""
    work = VideoPrediction(model, path, settings)
    return write_resumably(work, output, overwrite=overwrite, progress=progress)
