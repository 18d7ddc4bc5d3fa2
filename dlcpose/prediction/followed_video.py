"""A video whose animals a conditional model follows, into a file of poses by a command that resumes after a kill."""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dlcpose.datasets.video import fingerprint
from dlcpose.exporters.pose_file import Provenance, pose_writer, read_provenance
from dlcpose.pipelines.base import TakesConditions
from dlcpose.prediction.frame_batches import batch_of_frames, place_frames
from dlcpose.prediction.model import Chosen, Model, choose, sha256_of
from dlcpose.prediction.partial_results import PartialResults, held
from dlcpose.prediction.pose_model import PoseModel
from dlcpose.prediction.pose_rows import PoseRows, column_names, rows_of, tracks_of
from dlcpose.prediction.precision import autocast
from dlcpose.prediction.settings import PredictionSettings
from dlcpose.prediction.stage_times import StageTimes
from dlcpose.prediction.video import Outcome, Progress, VideoRun, check_same, check_writable, predict_remaining
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.instances import Integers
from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo
from dlcpose.tracking.ctd_tracker import CtdTracker
from dlcpose.tracking.settings import TrackingSettings
from dlcpose.tracking.track import in_columns

FRAMES_COMPARED = 4  # of the video, to choose the precision
FOLLOWING = "following"  # key in a file's provenance: how its animals were followed
NOT_COMPARED = ("precision", "conditions")  # of those settings: chosen for the machine, and a path
MAX_BYTES = 2**33  # of poses with a column for each track


class FollowingRun(VideoRun):
    """Follows the animals of one video, or of its remaining frames; iterate over `stretches`."""

    def __init__(
        self, model: Model, path: Path, tracker: CtdTracker, precision: str, *, done: int = 0, times: StageTimes
    ) -> None:
        super().__init__(model, path, PredictionSettings(), Chosen(1, precision), done=done, times=times)
        self.tracker, self.precision = tracker, precision

    def stretches(self) -> Iterator[PoseRows]:
        """The animals of each frame, with the ids of their tracks. Raises DataError for a file that is no video."""
        pipeline, device = self.model.pipeline, self.model.device
        for frame in self.reader:
            with self.times.measured("forward"):
                placement = place_frames(pipeline.frame_input, frame.image.shape[:2])
                batch = batch_of_frames([frame.image], [str(frame.index)], placement, pipeline.skeleton, device)
                with torch.inference_mode(), autocast(device, self.precision):
                    tracked = self.tracker.step(batch)
            self.done += 1
            yield replace(rows_of([frame.index], [frame.time], [tracked.prediction]), track_ids=tracked.track_ids)

    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """The tracker's."""
        return self.tracker.state()


def tracked_by(pipeline: PoseModel) -> TakesConditions:
    """The conditional model of a pipeline. Raises ConfigError where it takes no pose conditions."""
    model: TakesConditions | None = pipeline.conditional
    if model is None:
        raise ConfigError(
            f"follow: {type(pipeline).__name__} takes no pose conditions, so it cannot be conditioned on the frame "
            "before. Take a checkpoint of one of the models ctd_*."
        )
    return model


def write_followed_video(
    model: Model,
    path: Path,
    output: Path,
    settings: Mapping[str, Any],
    *,
    conditions: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Follow the animals of a video into the file `output`, resuming an earlier attempt that was stopped.

    settings: of `tracking.ctd_tracker.CtdTracker`. conditions: the file that the model was given for them. A track keeps its
    column until it ends; another begins there after `pause` frames without an animal, which the file's provenance has:
    a long video has thousands of tracks. Followed in bf16 where the hardware has it and the first frames give the same
    poses in it. A file that is there already, of the same video, model and settings, is left as it is.
    Raises ConfigError for a model that takes no pose conditions, DataError for what is no video, and where the file, or
    the folder of an earlier attempt, is of another video, model or settings and overwrite is False.
    """
    tracker = CtdTracker(tracked_by(model.pipeline), **settings)
    folder = output.with_name(output.name.removesuffix(".h5") + ".partial")
    check_writable(output.parent)
    with held(folder):
        # A track that is lost for a while has no other in its column.
        pause = max(TrackingSettings().max_coast, tracker.max_lost) + 1
        source = None if conditions is None else sha256_of(conditions)
        given = {**tracker.settings, "pause": pause, "conditions_hash": source}
        key = {"video": fingerprint(path), "checkpoint": model.checkpoint_hash, **given}
        partial = PartialResults(folder)
        if output.exists() and not overwrite:
            check_same(output, key, _key_of(output))
            partial.clear()
            return Outcome(output, True, 0, {})
        run = _begin_or_go_on(model, path, tracker, partial, key, overwrite)
        video = predict_remaining(run, partial, str(key["video"]), progress)
        made = {**given, "conditions": None if conditions is None else str(conditions), "precision": run.precision}
        with run.times.measured("write"):
            _assemble(partial, output, run, video, run.provenance({FOLLOWING: made}), pause)
        partial.clear()
        return Outcome(output, False, run.done, run.seconds(), run.reader.problem)


def column_for_each_track(poses: PoseTracks, pause: int) -> PoseTracks:
    """Poses of a followed video with a column for each track. Raises DataError where there are too many tracks for that."""
    is_present = poses.is_present
    members = [np.flatnonzero(column) for column in is_present.T]
    tracks = [
        (rows, column)
        for column, present in enumerate(members)
        for rows in np.split(present, np.flatnonzero(np.diff(present) > pause) + 1)
        if len(rows)
    ]
    tracks.sort(key=lambda track: (int(track[0][0]), track[1]))
    size = poses.keypoints_in_image[:, :1].nbytes * 2 * len(tracks)
    if size > MAX_BYTES:
        raise DataError(
            f"{poses.video.path}: {len(tracks)} tracks in {len(poses)} frames are too many for a column each "
            f"({size / 1e9:.0f} GB). Say how many animals there are: --animals=N."
        )
    columns = np.full((len(poses), max(1, len(tracks))), -1, np.int64)
    for number, (rows, column) in enumerate(tracks):
        columns[rows, number] = column
    return in_columns(poses, columns)


def shared_columns(track_ids: Integers, rows: Integers, pause: int) -> Integers:
    """Columns (S,) of animals with these track ids (S,) in these rows (S,), rising: as few as the pauses leave.

    A track keeps its column, which is empty for `pause` rows at least before another track has it.
    """
    tracks, begins, of_animals = np.unique(track_ids, return_index=True, return_inverse=True)
    last = np.zeros(len(tracks), np.int64)
    np.maximum.at(last, of_animals, rows)
    columns = np.zeros(len(tracks), np.int64)
    used: list[tuple[int, int]] = []  # of each column the first row at which another track may have it
    for place in np.argsort(rows[begins], kind="stable").tolist():
        is_free = bool(used) and used[0][0] <= rows[begins[place]]
        column = heapq.heappop(used)[1] if is_free else len(used)
        columns[place] = column
        heapq.heappush(used, (int(last[place]) + pause + 1, column))
    return columns[of_animals]


def _begin_or_go_on(
    model: Model, path: Path, tracker: CtdTracker, partial: PartialResults, key: Mapping[str, Any], overwrite: bool
) -> FollowingRun:
    """A run of the whole video, or of the frames that an earlier attempt has not finished."""
    before, times = partial.settings(), StageTimes()
    if before is not None and not overwrite:
        precision = str(before.pop("precision"))
        check_same(partial.folder, key, before)
        finished = partial.go_on()
        times.add_all(finished.seconds)
        if finished.frames:
            tracker.resume(finished.state)
        return FollowingRun(model, path, tracker, precision, done=finished.frames, times=times)
    precision = choose(model, path, PredictionSettings(batch_size=FRAMES_COMPARED)).precision
    partial.begin({**key, "precision": precision})
    return FollowingRun(model, path, tracker, precision, times=times)


def _key_of(output: Path) -> dict[str, Any]:
    """The video, model and settings that identify the poses in a file."""
    content, provenance = read_provenance(output)
    settings = provenance.settings.get(FOLLOWING)
    given = settings if isinstance(settings, Mapping) else {}
    of_result = {name: value for name, value in given.items() if name not in NOT_COMPARED}
    return {"video": content, "checkpoint": provenance.checkpoint_hash, **of_result}


def _assemble(
    partial: PartialResults, output: Path, run: FollowingRun, video: VideoInfo, provenance: Provenance, pause: int
) -> None:
    """All stretches as one file, the poses of one stretch in memory at a time."""
    ids, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for rows in partial.stretches():
        assert rows.track_ids is not None
        ids.append(rows.track_ids)
        counts.append(rows.counts)
    of_frames = np.concatenate(counts)
    columns = shared_columns(np.concatenate(ids), np.repeat(np.arange(len(of_frames)), of_frames), pause)
    names, skeleton, begin = column_names(1 + int(columns.max(initial=0)), ()), run.model.pipeline.skeleton, 0
    with pose_writer(output, len(of_frames), skeleton, names) as writer:
        for rows in partial.stretches():
            end = begin + int(rows.counts.sum())
            writer.append(tracks_of(rows, skeleton, video, names, is_tracked=False, columns=columns[begin:end]))
            begin = end
        writer.finish(video, provenance, is_tracked=False)
