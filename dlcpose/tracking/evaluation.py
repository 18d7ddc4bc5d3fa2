"""HOTA, IDF1, MOTA and switches of a model's predictions, tracked, wherever labeled frames make clips with tracks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dlcpose.codecs.oks import compute_oks, oks_areas
from dlcpose.metrics.base import EvaluatedFrames, Metric
from dlcpose.metrics.figure_info import FigureInfo
from dlcpose.metrics.tracking import tracking_figures
from dlcpose.structures.errors import DataError
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton
from dlcpose.tracking.settings import TrackingSettings
from dlcpose.tracking.track import track

Array = npt.NDArray[Any]
NAMES = ("hota", "idf1", "mota", "switches")


@dataclass(frozen=True)
class TrackingFigures(Metric):
    """`hota`, `idf1`, `mota` and `switches` of the tracked predictions, and `clip_frames`, the mean length of the clips.

    A clip is a run of frames of one video without a gap, of `min_frames` or more, in which every animal's identity is
    known and there are two individuals at least. Each is tracked on its own, with as many animals as are labeled in it.
    threshold: OKS from which an animal counts as detected. NaN where there is no clip.
    """

    figures: ClassVar[Mapping[str, FigureInfo]] = {
        "hota": FigureInfo(
            "HOTA", higher_is_better=True, note="of tracks: detection and association, OKS 0.05 to 0.95"
        ),
        "idf1": FigureInfo(
            "IDF1", higher_is_better=True, note="of tracks: share of animals with a consistent identity"
        ),
        "mota": FigureInfo(
            "MOTA",
            higher_is_better=True,
            note="of tracks: 1 − (false negatives + false positives + switches) / labeled",
        ),
        "switches": FigureInfo(
            "identity switches",
            digits=0,
            higher_is_better=False,
            note="of tracks: changes of an animal's identity",
        ),
        # Longer clips have more chances of switches: figures of tracks are meaningless without their length.
        "clip_frames": FigureInfo("length of a clip", "frames", 0, note="mean, of the clips that tracks are judged in"),
    }
    min_frames: int = 10
    threshold: float = 0.5

    def __call__(self, frames: EvaluatedFrames) -> dict[str, float]:
        """The figures, over all clips together."""
        predictions, labels, skeleton = frames.predictions, frames.labels, frames.skeleton
        clips = clips_of(labels, self.min_frames)
        if not clips:
            return dict.fromkeys((*NAMES, "clip_frames"), float("nan"))
        gt_ids: list[Array] = []
        pred_ids: list[Array] = []
        similarity: list[Array] = []
        # The first ids of a clip: each has animals of its own, which are not compared from clip to clip.
        first_gt = first_pred = 0
        for clip in clips:
            labeled = [labels[place] for place in clip]
            animals = len(set(np.concatenate([frame.identities for frame in labeled]).tolist()))
            tracks = _tracked([predictions[place] for place in clip], labeled, skeleton, animals)
            for row, frame in enumerate(labeled):
                there = np.flatnonzero(tracks.is_present[row])
                known = np.flatnonzero((frame.visibility > 0).any(axis=1))
                gt_ids.append(first_gt + frame.identities[known])
                pred_ids.append(first_pred + there)
                similarity.append(_similarity(tracks.keypoints_in_image[row, there], frame, known, skeleton))
            first_gt += 1 + max(int(frame.identities.max(initial=0)) for frame in labeled)
            first_pred += tracks.is_present.shape[1]
        figures = tracking_figures(gt_ids, pred_ids, similarity, threshold=self.threshold)
        mean_length = float(np.mean([len(clip) for clip in clips]))
        return {**{name: figures[name] for name in NAMES}, "clip_frames": mean_length}


def clips_of(labels: Sequence[FrameLabels], min_frames: int) -> list[list[int]]:
    """Places of the frames of each clip, in the order of time."""
    order = sorted(range(len(labels)), key=lambda place: (labels[place].video, labels[place].frame_index))
    runs: list[list[int]] = []
    for place in order:
        frame, before = labels[place], labels[runs[-1][-1]] if runs else None
        is_next = before is not None and before.video == frame.video and before.frame_index + 1 == frame.frame_index
        if is_next and frame.video:
            runs[-1].append(place)
        else:
            runs.append([place])
    return [run for run in runs if len(run) >= min_frames and _has_tracks([labels[place] for place in run])]


def _has_tracks(frames: Sequence[FrameLabels]) -> bool:
    identities = np.concatenate([frame.identities for frame in frames])
    is_once = all(len(set(frame.identities.tolist())) == len(frame) for frame in frames)
    return is_once and bool((identities >= 0).all()) and len(set(identities.tolist())) >= 2


def _tracked(
    predictions: Sequence[PosePrediction], frames: Sequence[FrameLabels], skeleton: Skeleton, animals: int
) -> PoseTracks:
    poses = _poses_of(predictions, frames, skeleton)
    try:
        return track(poses, TrackingSettings(animals=animals)).tracks
    except DataError:  # there are no predictions at all
        return replace(poses, is_tracked=True)


def _poses_of(predictions: Sequence[PosePrediction], frames: Sequence[FrameLabels], skeleton: Skeleton) -> PoseTracks:
    """The predictions of a clip as untracked poses."""
    count, columns = len(predictions), max(1, *(len(each) for each in predictions))
    keypoints = np.full((count, columns, len(skeleton), 2), np.nan, np.float32)
    keypoint_scores = np.zeros((count, columns, len(skeleton)), np.float32)
    scores = np.zeros((count, columns), np.float32)
    identities = np.full((count, columns), -1, np.int64)
    for row, each in enumerate(predictions):
        keypoints[row, : len(each)] = each.keypoints_in_image
        keypoint_scores[row, : len(each)] = each.keypoint_scores
        scores[row, : len(each)] = each.scores
        identities[row, : len(each)] = each.identities
    return PoseTracks(
        skeleton=skeleton,
        video=VideoInfo(frames[0].video, "", frames[0].height, frames[0].width, count, float("nan")),
        individuals=tuple(f"animal{number + 1}" for number in range(columns)),
        is_tracked=False,
        frame_indices=np.array([frame.frame_index for frame in frames], np.int64),
        times=np.full(count, np.nan),
        keypoints_in_image=keypoints,
        keypoint_scores=keypoint_scores,
        scores=scores,
        boxes_in_image=np.full((count, columns, 4), np.nan, np.float32),
        identities=identities,
        unique_in_image=np.full((count, len(skeleton.unique), 2), np.nan, np.float32),
        unique_scores=np.zeros((count, len(skeleton.unique)), np.float32),
    )


def _similarity(found: Array, frame: FrameLabels, known: Array, skeleton: Skeleton) -> Array:
    gt = np.where((frame.visibility[known] > 0)[..., None], frame.keypoints_in_image[known], np.nan)
    areas = oks_areas(frame.areas[known].astype(np.float64), gt)
    similarity: Array = np.nan_to_num(compute_oks(found, gt, areas, np.asarray(skeleton.sigmas)).T)
    return similarity
