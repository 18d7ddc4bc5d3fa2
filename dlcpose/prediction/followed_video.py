"""A video whose animals a conditional model follows, into a file of poses."""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dlcpose.datasets.video import fingerprint
from dlcpose.exporters.pose_file import Provenance, pose_writer, read_provenance
from dlcpose.pipelines.base import TakesConditions
from dlcpose.prediction.frame_batches import batch_of_frames, place_frames
from dlcpose.prediction.loaded_model import Chosen, LoadedModel, choose, sha256_of
from dlcpose.prediction.partial_results import Finished, PartialResults
from dlcpose.prediction.pose_model import PoseModel
from dlcpose.prediction.pose_rows import PoseRows, rows_of, tracks_of
from dlcpose.prediction.precision import autocast
from dlcpose.prediction.resumable import Outcome, Progress, partial_folder, write_resumably
from dlcpose.prediction.settings import PredictionSettings
from dlcpose.prediction.stage_times import StageTimes
from dlcpose.prediction.video_run import VideoRun
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.instances import Integers
from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo, column_names
from dlcpose.tracking.ctd_tracker import CtdTracker, default_settings
from dlcpose.tracking.settings import TrackingSettings
from dlcpose.tracking.track import in_columns

FRAMES_COMPARED = 4  # of the video, to choose the precision
FOLLOWING = "following"  # key in a file's provenance: how its animals were followed
# Of that: chosen for the machine, a path, and what follows from others.
NOT_COMPARED = ("precision", "conditions", "pause")
MAX_BYTES = 2**33  # of poses with a column for each track


class FollowingRun(VideoRun):
    """Follows the animals of a video, or of its remaining frames; iterate over `stretches`."""

    def __init__(self, model: LoadedModel, path: Path, tracker: CtdTracker, chosen: Chosen, finished: Finished) -> None:
        super().__init__(model, path, PredictionSettings(), chosen, finished, StageTimes())
        if finished.frames:
            tracker.resume(finished.state)
        self.tracker = tracker

    def stretches(self) -> Iterator[PoseRows]:
        """The animals of each frame, with the ids of their tracks. Raises DataError for a file that is no video."""
        pipeline, device = self.model.pipeline, self.model.device
        for frame in self.reader:
            with self.times.measured("forward"):
                placement = place_frames(pipeline.frame_input, frame.image.shape[:2])
                batch = batch_of_frames([frame.image], [str(frame.index)], placement, pipeline.skeleton, device)
                with torch.inference_mode(), autocast(device, self.chosen.precision):
                    tracked = self.tracker.step(batch)
            self.done += 1
            yield replace(rows_of([frame.index], [frame.time], [tracked.prediction]), track_ids=tracked.track_ids)

    def state(self) -> Mapping[str, npt.NDArray[Any]]:
        """The tracker's."""
        return self.tracker.state()


@dataclass(frozen=True)
class VideoFollowing:
    """Animals followed through a video by a conditional model. given: settings of `tracking.ctd_tracker.CtdTracker`."""

    model: LoadedModel
    path: Path
    given: Mapping[str, Any]

    def settings(self) -> dict[str, Any]:
        """The settings that identify the poses, as plain values."""
        return {**self._tracker().settings, **self.model.replaced}

    def settings_in(self, provenance: Provenance) -> dict[str, Any]:
        """Those of the poses in a file."""
        return _settings_in(provenance)

    def choose(self) -> Chosen:
        """bf16 where the hardware has it and the first frames give the same poses in it; frames come one by one."""
        settings = PredictionSettings(batch_size=FRAMES_COMPARED)
        return Chosen(1, choose(self.model, self.path, settings).precision)

    def run(self, chosen: Chosen, finished: Finished) -> VideoRun:
        """A run over the frames that are not finished."""
        return FollowingRun(self.model, self.path, self._tracker(), chosen, finished)

    def provenance(self, run: VideoRun) -> Provenance:
        """The provenance of a run's poses."""
        conditions = None if self.model.conditions is None else str(self.model.conditions)
        made = {"pause": self.pause, "conditions": conditions, "precision": run.chosen.precision}
        return run.provenance({FOLLOWING: {**self.settings(), **made}})

    def assemble(self, partial: PartialResults, output: Path, video: VideoInfo, provenance: Provenance) -> None:
        """Write all stretches into one file, the poses of one stretch in memory at a time."""
        ids, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for rows in partial.stretches():
            assert rows.track_ids is not None
            ids.append(rows.track_ids)
            counts.append(rows.counts)
        of_frames = np.concatenate(counts)
        frames = np.repeat(np.arange(len(of_frames)), of_frames)
        columns = shared_columns(np.concatenate(ids), frames, self.pause)
        names, skeleton = column_names(1 + int(columns.max(initial=0)), ()), self.model.pipeline.skeleton
        begin = 0
        with pose_writer(output, len(of_frames), skeleton, names) as writer:
            for rows in partial.stretches():
                end = begin + int(rows.counts.sum())
                writer.append(tracks_of(rows, skeleton, video, names, is_tracked=False, columns=columns[begin:end]))
                begin = end
            writer.finish(video, provenance, is_tracked=False)

    @property
    def pause(self) -> int:
        """Frames between two tracks of one column: a track that is lost for a while has no other in its column."""
        return max(TrackingSettings().max_coast, self._tracker().max_lost) + 1

    def _tracker(self) -> CtdTracker:
        return CtdTracker(tracked_by(self.model.pipeline), **self.given)


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
    model: LoadedModel,
    path: Path,
    output: Path,
    settings: Mapping[str, Any],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Follow the animals of a video into the file `output`.

    settings: of `tracking.ctd_tracker.CtdTracker`. A track keeps its column until it ends; another begins there after
    `pause` frames without an animal, which the file's provenance has: a long video has thousands of tracks.
    What is left as it is, and errors, as of `resumable.write_resumably`; ConfigError for a model that takes no pose
    conditions.
    """
    work = VideoFollowing(model, path, settings)
    return write_resumably(work, output, overwrite=overwrite, progress=progress)


def was_followed(
    checkpoint: Path, conditions: Path | None, path: Path, output: Path, settings: Mapping[str, Any]
) -> bool:
    """Whether `output` holds what following a video would give, by the files of the model: it need not be loaded for that.

    checkpoint, conditions: the files of the model. settings: as of `write_followed_video`. Raises DataError where `output`
    is no file of poses.
    """
    if not output.exists() or partial_folder(output).exists() or not checkpoint.is_file():
        return False
    if conditions is not None and not conditions.is_file():
        return False
    hashes = {} if conditions is None else {"conditions_hash": sha256_of(conditions)}
    of_video, provenance = read_provenance(output)
    return (
        provenance.checkpoint_hash == sha256_of(checkpoint)
        and of_video == fingerprint(path)
        and _settings_in(provenance) == {**default_settings(), **settings, **hashes}
    )


def _settings_in(provenance: Provenance) -> dict[str, Any]:
    settings = provenance.settings.get(FOLLOWING)
    there = settings if isinstance(settings, Mapping) else {}
    return {name: value for name, value in there.items() if name not in NOT_COMPARED}


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
            f"{poses.video.path}: {len(tracks)} tracks in {counted(len(poses), 'frame')} are too many for a column each "
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
