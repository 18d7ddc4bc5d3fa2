"""From trained teachers to a student's pseudo-labels: their poses in videos, smoothed as an ensemble, the most certain."""

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dlcpose.checkpoint import read_checkpoint
from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.coco import CocoFrames
from dlcpose.datasets.pseudo_labeled import PseudoLabeled
from dlcpose.datasets.video import video_info
from dlcpose.exporters.coco import write_coco_dataset
from dlcpose.exporters.pose_file import read_pose_tracks, write_pose_tracks
from dlcpose.postprocessing.ensemble import combine_members
from dlcpose.postprocessing.ensemble_kalman import smooth_ensemble
from dlcpose.postprocessing.pseudo_labels import (
    EnsemblePseudoLabels,
    Labeled,
    PseudoLabeledVideos,
    frame_deviations,
)
from dlcpose.predict import load
from dlcpose.prediction.settings import PredictionSettings
from dlcpose.prediction.video import write_video_poses
from dlcpose.runs.run_json import is_worker_process
from dlcpose.structures.atomic_files import write_atomic
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import CheckpointError, DataError
from dlcpose.structures.home_folder import expand_home
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.split import Split
from dlcpose.tracking.settings import TrackingSettings
from dlcpose.tracking.track import track
from dlcpose.unlabeled.video import UnlabeledVideos

FOLDER = "pseudo_labels"  # of a run folder


@dataclass(frozen=True)
class PseudoLabelStage:
    """What comes between the teachers and the student of a run.

    checkpoints: of the teachers, which need not be there before `make`. folder: where everything goes. data, split: the
    labels of people, whose validation and test frames no pseudo-label comes near.
    """

    settings: EnsemblePseudoLabels
    videos: UnlabeledVideos
    checkpoints: tuple[Path, ...]
    folder: Path
    data: LabeledFrames
    split: Split
    seed: int
    trust: tuple[str, ...]
    device: str | None

    @property
    def dataset(self) -> Path:
        """The folder of the pseudo-labeled frames, as COCO data."""
        return self.folder / "dataset"

    def check(self) -> None:
        """Raises DataError where the videos have nothing to label, whatever the teachers will be sure of.

        That is known before they are trained: a video that cannot be read or ends before `start`, and videos whose frames are
        all labeled, or within a second of validation and test frames.
        """
        left = 0
        for video in self.videos.paths:
            info = video_info(video)
            stop = info.frames if self.videos.stop is None else min(self.videos.stop, info.frames)
            numbers = np.arange(self.videos.start, stop, self.videos.step)
            if not len(numbers):
                raise DataError(
                    f"{video}: expected more than unlabeled.start={self.videos.start} frames, got {info.frames}. Take a "
                    "start below that, or leave the video out."
                )
            left += int((~self._labeled(video).covers(numbers, info.fps)).sum())
        if not left:
            raise DataError(
                f"pseudo_labels: all frames of {', '.join(str(each) for each in self.videos.paths)} are labeled already, or "
                "within a second of validation or test frames. Give other videos, or more of these."
            )

    def make(self) -> None:
        """Make them, going on where an earlier attempt was stopped; of several processes the first one does.

        Raises DataError where the teachers are sure of no frame.
        """
        if self.dataset.exists():
            return
        if is_worker_process():  # that the first process fails ends this one
            while not self.dataset.exists():
                time.sleep(0.5)
            return
        for teacher in range(len(self.checkpoints)):
            self._predict(teacher)
        smoothed = [self._smooth(number, video) for number, video in enumerate(self.videos.paths)]
        rng, frames = np.random.default_rng(self.seed), self.settings.frames
        lengths = np.array([len(each) for each in smoothed])
        ends = np.round(np.cumsum(lengths) * frames / lengths.sum()).astype(int)
        counts = np.diff(ends, prepend=0)
        chosen = [
            self.settings.choose(each, self._labeled(Path(each.video.path)), int(count), rng) if count else []
            for each, count in zip(smoothed, counts, strict=True)
        ]
        labels = PseudoLabeledVideos(
            self.data.skeleton, self.data.individuals, smoothed, chosen, self.settings.min_score
        )
        write_atomic(self.folder / "frames.csv", _table(smoothed, chosen))
        write_coco_dataset(labels, self.dataset)
        deviations = np.concatenate([frame_deviations(each)[rows] for each, rows in zip(smoothed, chosen, strict=True)])
        print(
            f"pseudo-labels: {len(labels)} of {counted(int(lengths.sum()), 'frame')}, from "
            f"{counted(len(self.checkpoints), 'teacher')}; posterior "
            f"deviation {np.median(deviations):.2f} px in the median, {max(deviations):.2f} px at most: {self.folder}",
            flush=True,
        )

    def read(self) -> PseudoLabeled:
        """The frames that were made. Raises DataError where they are gone."""
        return PseudoLabeled(CocoFrames(self.dataset), self.settings.share)

    def _predict(self, teacher: int) -> None:
        """Leave a teacher's poses in all videos; those that are there already are kept."""
        predictor = load(self.checkpoints[teacher], trust=self.trust, device=self.device)
        settings = PredictionSettings(start=self.videos.start, stop=self.videos.stop, step=self.videos.step)
        for number, video in enumerate(self.videos.paths):
            outcome = write_video_poses(predictor.model, video, self._poses_of(teacher, number, video), settings)
            if outcome.problem:
                print(f"warning: {outcome.problem}", flush=True)

    def _poses_of(self, teacher: int, number: int, video: Path) -> Path:
        return self.folder / "predictions" / f"teacher_{teacher + 1}" / f"{number:02d}_{video.stem}.poses.h5"

    def _smooth(self, number: int, video: Path) -> PoseTracks:
        """The smoothed poses of all teachers in a video, which are left in a file too."""
        teachers = range(len(self.checkpoints))
        combined = combine_members([read_pose_tracks(self._poses_of(each, number, video)) for each in teachers])
        if not combined.is_tracked:
            combined = track(combined, TrackingSettings(animals=self.data.max_animals)).tracks
        smoothed = smooth_ensemble(combined)
        smoothed = replace(smoothed, video=replace(smoothed.video, path=str(video)))  # it may have been moved since
        path = self.folder / "smoothed" / self._poses_of(0, number, video).name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pose_tracks(path, smoothed)
        return smoothed

    def _labeled(self, video: Path) -> Labeled:
        """Which frames of a video are labeled; a video's labels are known by its name."""
        stem = video.stem
        numbers: dict[bool, list[int]] = {True: [], False: []}
        held_out = {*self.split.val, *self.split.test}
        for frame in self.data.frames:
            if Path(frame.video).stem == stem:
                numbers[frame.key in held_out].append(frame.frame_index)
        return Labeled(np.array(numbers[False], np.int64), np.array(numbers[True], np.int64))


def check_teachers(checkpoints: Sequence[str], data: LabeledFrames, split: Split) -> tuple[Path, ...]:
    """Paths of teachers that were trained elsewhere.

    Raises CheckpointError for what is no checkpoint, one of other keypoints, and one that has learned from frames that this
    run validates or tests on.
    """
    paths = tuple(expand_home(each) for each in checkpoints)
    held_out = {*split.val, *split.test}
    for path in paths:
        description = read_checkpoint(path).description
        if description.skeleton.names != data.skeleton.names:
            raise CheckpointError(
                f"pseudo_labels.checkpoints: {path}: expected a model of the keypoints {list(data.skeleton.names)}, got one "
                f"of {list(description.skeleton.names)}. Give teachers of the same data."
            )
        if learned := held_out & set(description.split.train):
            raise CheckpointError(
                f"pseudo_labels.checkpoints: {path}: it was trained on {counted(len(learned), 'frame')} that "
                "this run validates or "
                f"tests on, such as {min(learned)}. Give teachers of the same split."
            )
    return paths


def _table(tracks: Sequence[PoseTracks], chosen: Sequence[Sequence[int]]) -> str:
    """Which frames were chosen, and how sure the teachers were of them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["video", "frame", "deviation_px", "lowest_score"])
    for each, rows in zip(tracks, chosen, strict=True):
        deviations = frame_deviations(each)
        for row in rows:
            known = ~np.isnan(each.keypoints_in_image[row, ..., 0])
            lowest = float(each.keypoint_scores[row][known].min())
            frame = int(each.frame_indices[row])
            writer.writerow([each.video.path, frame, f"{deviations[row]:.3f}", f"{lowest:.3f}"])
    return text.getvalue()
