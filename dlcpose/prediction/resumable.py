"""Write the poses of a video into a file, by a command that resumes after a kill."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dlcpose.datasets.video import fingerprint
from dlcpose.exporters.pose_file import Provenance, pose_writer, read_provenance
from dlcpose.prediction.loaded_model import Chosen, LoadedModel
from dlcpose.prediction.partial_results import Finished, PartialResults, held
from dlcpose.prediction.pose_rows import tracks_of
from dlcpose.prediction.settings import differences
from dlcpose.prediction.video_run import VideoRun
from dlcpose.structures.atomic_files import check_writable
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import DataError, Stopped
from dlcpose.structures.pose_tracks import VideoInfo, column_names
from dlcpose.structures.skeleton import Skeleton

Progress = Callable[[int, int | None], None]  # (frames done, frames in all where that is known)
CHOSEN, OVERWRITES = "chosen", "overwrites"  # kept with unfinished results beside what identifies them


class Outcome(NamedTuple):
    """The outcome for a video: the file of its poses, whether that existed before, frames predicted, seconds by stage."""

    path: Path
    was_there: bool
    frames: int
    seconds: Mapping[str, float]
    problem: str | None = None


class VideoWork(Protocol):
    """A way to the poses of a video."""

    @property
    def model(self) -> LoadedModel:
        """The model that finds them."""

    @property
    def path(self) -> Path:
        """The video."""

    def settings(self) -> dict[str, Any]:
        """The settings that identify the poses, as plain values."""

    def settings_in(self, provenance: Provenance) -> dict[str, Any]:
        """Those of the poses in a file."""

    def choose(self) -> Chosen:
        """The batch size and precision for a run from the beginning."""

    def run(self, chosen: Chosen, finished: Finished) -> VideoRun:
        """A run over the frames that are not finished."""

    def provenance(self, run: VideoRun) -> Provenance:
        """The provenance of a run's poses."""

    def assemble(self, partial: PartialResults, output: Path, video: VideoInfo, provenance: Provenance) -> None:
        """Write all stretches into one file, the poses of one stretch in memory at a time."""


def write_resumably(work: VideoWork, output: Path, *, overwrite: bool, progress: Progress | None) -> Outcome:
    """Write the poses of a video into the file `output`, resuming an earlier attempt that was stopped.

    A file that is there already, of the same video, model and settings, is left as it is; overwrite replaces it, resuming
    an attempt to do so. Memory does not grow with the video: finished frames are kept in a folder beside the output,
    `NAME.poses.partial`, until all are done. Raises DataError where the file, or the folder, is of another video, model or
    settings and overwrite is False.
    """
    folder = partial_folder(output)
    check_writable(output.parent)
    output.parent.mkdir(parents=True, exist_ok=True)
    with held(folder):
        content = fingerprint(work.path)
        key = {"video": content, "checkpoint": work.model.checkpoint_hash, **work.settings()}
        partial = PartialResults(folder)
        if output.exists() and not overwrite:
            of_video, provenance = read_provenance(output)
            there = {"video": of_video, "checkpoint": provenance.checkpoint_hash, **work.settings_in(provenance)}
            check_same(output, key, there)
            partial.clear()
            return Outcome(output, True, 0, {})
        run = _begin_or_go_on(work, partial, key, overwrite)
        video = _predict_remaining(run, partial, content, progress)
        with run.times.measured("write"):
            work.assemble(partial, output, video, work.provenance(run))
        partial.clear()
        return Outcome(output, False, run.done, run.seconds(), run.reader.problem)


def partial_folder(output: Path) -> Path:
    """The folder beside a file of poses that keeps the frames that are finished."""
    return output.with_name(output.name.removesuffix(".h5") + ".partial")


def assemble_rows(
    partial: PartialResults,
    output: Path,
    skeleton: Skeleton,
    individuals: Sequence[str],
    video: VideoInfo,
    provenance: Provenance,
    *,
    is_single: bool,
) -> int:
    """Write all stretches into one file, the poses of one stretch in memory at a time, and return how many frames there are.

    individuals: names of the columns where they are as many. is_single: whether all poses are one animal's, which is its
    track; else a column is any animal.
    """
    frames, most = 0, 1
    for rows in partial.stretches():
        frames, most = frames + len(rows), max(most, int(rows.counts.max()))
    names = column_names(1 if is_single else most, individuals)
    with pose_writer(output, frames, skeleton, names) as writer:
        for rows in partial.stretches():
            writer.append(tracks_of(rows, skeleton, video, names, is_tracked=is_single))
        writer.finish(video, provenance, is_tracked=is_single)
    return frames


def check_same(place: Path, key: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raises DataError where results are of another video, model or settings."""
    if unlike := differences(key, other):
        raise DataError(
            f"{place}: it holds poses of {'; '.join(unlike)}. Add --overwrite to replace them, or give another --output."
        )


def _begin_or_go_on(work: VideoWork, partial: PartialResults, key: Mapping[str, Any], overwrite: bool) -> VideoRun:
    """A run over the whole video, or over the frames that an earlier attempt has not finished."""
    before = partial.settings()
    # Whoever overwrites does not want what an attempt without it has left; a job that is begun again wants its own.
    if before is not None and (not overwrite or before.get(OVERWRITES)):
        try:
            return _go_on(work, partial, key, before)
        except DataError:  # of other settings, or damaged
            if not overwrite:
                raise
    chosen = work.choose()
    partial.begin({**key, CHOSEN: chosen._asdict(), OVERWRITES: overwrite})
    return work.run(chosen, Finished())


def _go_on(work: VideoWork, partial: PartialResults, key: Mapping[str, Any], before: Mapping[str, Any]) -> VideoRun:
    there = {name: value for name, value in before.items() if name not in (CHOSEN, OVERWRITES)}
    check_same(partial.folder, key, there)
    try:
        chosen = Chosen(**before[CHOSEN])
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{partial.folder}: its settings lack the batch size and precision. Remove the folder, or add --overwrite."
        ) from error
    return work.run(chosen, partial.go_on())


def _predict_remaining(run: VideoRun, partial: PartialResults, content: str, progress: Progress | None) -> VideoInfo:
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
            first = counted(run.done, "frame is", "frames are")
            saved = f"The first {first} saved in {partial.folder}, and the same command goes on from there"
            raise Stopped(saved) from None
        raise
    with run.times.measured("write"):
        partial.flush(run.seconds())
    return video
