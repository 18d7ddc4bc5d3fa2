"""Predict the poses of a video, in memory or into a file by a command that resumes after a kill."""

import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt

from dlcpose.datasets.video import VideoReader, fingerprint, video_info
from dlcpose.exporters.pose_file import Provenance, pose_writer, read_provenance
from dlcpose.prediction.frame_predictor import Frame, FramePredictor
from dlcpose.prediction.model import Chosen, Model, choose
from dlcpose.prediction.partial_results import PartialResults, held
from dlcpose.prediction.pose_rows import PoseRows, column_names, joined, no_rows, rows_of, tracks_of
from dlcpose.prediction.settings import PredictionSettings, differences
from dlcpose.prediction.stage_times import StageTimes
from dlcpose.structures.errors import DataError, Stopped
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo

Progress = Callable[[int, int | None], None]  # (frames done, frames in all where that is known)


class Outcome(NamedTuple):
    """The outcome for a video: the file of its poses, whether that existed before, frames predicted, seconds by stage."""

    path: Path
    was_there: bool
    frames: int
    seconds: Mapping[str, float]
    problem: str | None = None


class VideoRun:
    """Predicts one video, or its remaining frames; iterate over `stretches`.

    done, last: number of finished frames, and the prediction of the last one, to resume from.
    """

    def __init__(
        self,
        model: Model,
        path: Path,
        settings: PredictionSettings,
        chosen: Chosen,
        *,
        done: int = 0,
        last: PosePrediction | None = None,
        times: StageTimes | None = None,
    ) -> None:
        self.model, self.path, self.settings = model, path, settings
        self.done, self.last = done, last
        self.times = times or StageTimes()
        self._first = settings.start + done * settings.step
        # A reader needs a `stop` beyond its `start`, also where no frame is left.
        stop = None if settings.stop is None else max(settings.stop, self._first + 1)
        crop = settings.crop
        self.reader = VideoReader(
            path, start=self._first, stop=stop, step=settings.step, crop=crop, ahead=2 * chosen.batch_size + 2
        )
        self._decoding_before = self.times.as_dict()["decode"]
        self._predictor = FramePredictor(
            model.pipeline,
            model.device,
            batch_size=chosen.batch_size,
            precision=chosen.precision,
            origin=(0, 0) if crop is None else crop[:2],
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

        for predictions in self._predictor.predict(frames(), after=self.last, done=self.done):
            places = [waiting.popleft() for _ in predictions]
            self.done += len(predictions)
            yield rows_of([index for index, _ in places], [time for _, time in places], predictions)

    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """What the next frame depends on besides the last prediction."""
        return {}

    def seconds(self) -> dict[str, float]:
        """Seconds by stage so far."""
        return {**self.times.as_dict(), "decode": self._decoding_before + self.reader.seconds}

    def expected(self) -> int | None:
        """How many frames will be predicted in all, where the file tells."""
        if self.reader.expected is None:
            return None
        stop = self.reader.expected if self.settings.stop is None else min(self.settings.stop, self.reader.expected)
        return len(range(self.settings.start, stop, self.settings.step))

    def video(self, content: str) -> VideoInfo:
        """The VideoInfo of the poses; content: its fingerprint. Raises DataError where the settings select no frame."""
        frames = self.reader.frames or video_info(self.path).frames
        if not self.done:
            raise DataError(
                f"{self.path}: start={self.settings.start}: the video has {frames} frames. Take a start below that."
            )
        assert self.reader.size is not None
        height, width = self.reader.size
        return VideoInfo(str(self.path), content, height, width, frames, self.reader.fps)

    def provenance(self, settings: Mapping[str, Any]) -> Provenance:
        """Of the poses so far; settings: those that they depend on."""
        return Provenance(
            checkpoint="" if self.model.checkpoint is None else str(self.model.checkpoint),
            checkpoint_hash=self.model.checkpoint_hash,
            settings=settings,
            versions=dict(self.model.versions),
            seconds=self.seconds(),
            missing_frames=tuple((each.start, each.stop - 1) for each in self.reader.missing),
            problem=self.reader.problem,
        )


def predict_video(
    model: Model, path: Path, settings: PredictionSettings, progress: Progress | None = None
) -> tuple[PoseTracks, Provenance]:
    """The poses of a video in memory, and their provenance.

    Raises DataError for what is no video, ConfigError for settings that do not fit the model or the video.
    """
    chosen = choose(model, path, settings)
    run = VideoRun(model, path, settings, chosen)
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
    return tracks, run.provenance(_made_by(settings, chosen))


def write_video_poses(
    model: Model,
    path: Path,
    output: Path,
    settings: PredictionSettings,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Predict a video into the file `output`, resuming an earlier attempt that was stopped.

    A file that is there already, of the same video, checkpoint and settings, is left as it is. Memory does not grow
    with the video: finished frames are kept in a folder beside the output, `NAME.poses.partial`, until all are done.
    Raises DataError where the file, or the folder, is of another video, checkpoint or settings and overwrite is False.
    """
    folder = output.with_name(output.name.removesuffix(".h5") + ".partial")
    check_writable(output.parent)
    with held(folder):
        key = {"video": fingerprint(path), "checkpoint": model.checkpoint_hash, **settings.of_result()}
        partial = PartialResults(folder)
        if output.exists() and not overwrite:
            check_same(output, key, _key_of(output))
            partial.clear()
            return Outcome(output, True, 0, {})
        run, chosen = _begin_or_go_on(model, path, settings, partial, key, overwrite)
        video = predict_remaining(run, partial, str(key["video"]), progress)
        with run.times.measured("write"):
            _assemble(partial, output, run, video, run.provenance(_made_by(settings, chosen)))
        partial.clear()
        return Outcome(output, False, run.done, run.seconds(), run.reader.problem)


def predict_remaining(run: VideoRun, partial: PartialResults, content: str, progress: Progress | None) -> VideoInfo:
    """Add a run's frames to the finished ones; the VideoInfo of all, content being the video's fingerprint.

    What is finished survives an error, Ctrl-C and a kill.
    """
    try:
        for rows in run.stretches():
            with run.times.measured("write"):
                partial.add(rows, run.seconds(), run.state())
            if progress is not None:
                progress(run.done, run.expected())
        video = run.video(content)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.flush(run.seconds())
            if not run.done:
                partial.clear()
        if isinstance(error, KeyboardInterrupt) and run.done:
            saved = (
                f"The first {run.done} frames are saved in {partial.folder}, and the same command goes on from there"
            )
            raise Stopped(saved) from None
        raise
    with run.times.measured("write"):
        partial.flush(run.seconds())
    return video


def check_writable(folder: Path) -> None:
    """Make a folder, and raise DataError where nothing can be written into it."""
    trial = folder / f".dlcpose-{hashlib.sha1(os.fsencode(folder)).hexdigest()[:8]}.trial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial.write_bytes(b"")
        trial.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: nothing can be written into this folder ({error.strerror or error}). Give another with --output."
        ) from error


def _begin_or_go_on(
    model: Model,
    path: Path,
    settings: PredictionSettings,
    partial: PartialResults,
    key: Mapping[str, Any],
    overwrite: bool,
) -> tuple[VideoRun, Chosen]:
    """A run of the whole video, or of the frames that an earlier attempt has not finished."""
    before = partial.settings()
    if before is not None and not overwrite:
        chosen = Chosen(**before.pop("chosen"))
        check_same(partial.folder, key, before)
        finished = partial.go_on()
        times = StageTimes()
        times.add_all(finished.seconds)
        last = None if finished.last is None else finished.last.last()
        return VideoRun(model, path, settings, chosen, done=finished.frames, last=last, times=times), chosen
    chosen = choose(model, path, settings)
    partial.begin({**key, "chosen": chosen._asdict()})
    return VideoRun(model, path, settings, chosen), chosen


def _key_of(output: Path) -> dict[str, Any]:
    """The video, checkpoint and settings that identify the poses in a file."""
    content, provenance = read_provenance(output)
    settings = {name: value for name, value in provenance.settings.items() if name != "chosen"}
    return {"video": content, "checkpoint": provenance.checkpoint_hash, **settings}


def check_same(place: Path, key: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raises DataError where results are of another video, checkpoint or settings."""
    if unlike := differences(key, other):
        raise DataError(
            f"{place}: it holds poses of {'; '.join(unlike)}. Add --overwrite to replace them, or give another --output."
        )


def _assemble(partial: PartialResults, output: Path, run: VideoRun, video: VideoInfo, provenance: Provenance) -> None:
    """All stretches as one file, one stretch in memory at a time."""
    frames, most = 0, 1
    for rows in partial.stretches():
        frames, most = frames + len(rows), max(most, int(rows.counts.max()))
    skeleton, is_single = run.model.pipeline.skeleton, run.model.pipeline.finds_one_animal
    names = column_names(1 if is_single else most, run.model.individuals)
    with pose_writer(output, frames, skeleton, names) as writer:
        for rows in partial.stretches():
            writer.append(tracks_of(rows, skeleton, video, names, is_tracked=is_single))
        writer.finish(video, provenance, is_tracked=is_single)


def _made_by(settings: PredictionSettings, chosen: Chosen) -> dict[str, Any]:
    """The settings that poses depend on, as plain values."""
    return {**settings.of_result(), "chosen": chosen._asdict()}
