"""Tracking by conditioning: the poses of one frame are the conditions of the next (DeepLabCut 3's CTD tracking)."""

import inspect
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from dlcpose.codecs.matching import animal_sizes
from dlcpose.codecs.oks import pairwise_oks
from dlcpose.detectors.pose_boxes import points_in_frame
from dlcpose.pipelines.base import TakesConditions
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import Floats, Integers, PoseInstances, PosePrediction

SIZES = 500  # of the latest detected poses


class TrackedFrame(NamedTuple):
    """The animals of one frame, and the id of each one's track: (M,), from 0, never used again."""

    prediction: PosePrediction
    track_ids: Integers


@dataclass(frozen=True)
class Track:
    """A tracked animal. lost: frames since it was last predicted. unseen: runs of the detector since it detected it."""

    track_id: int
    keypoints_in_image: Floats  # (K, 2) of its last prediction; NaN where the score was too low
    lost: int = 0
    unseen: int = 0


class CtdTracker:
    """Predicts each frame conditioned on the tracks' last poses, and on detector poses that match none of them.

    One tracker is for one video, whose frames come in order, one at a time. max_lost: a track ends when its animal has not
    been predicted in more frames than this; until then its last pose stays a condition. min_score: minimum score of a
    predicted animal. min_keypoint_score: keypoints below it are missing in the next condition. match_oks: a detector pose
    with this OKS or more to a track's pose is the same animal. detect_every: frames between two runs of the detector, which
    also runs whenever there are no tracks. max_size: a predicted pose that is longer than this many of the detector's, in
    the median, is no animal: it has keypoints of several, and its next crop would hold more of them. max_unseen: a track
    ends when the detector has found nothing where it is in more runs than this, or only what another track is nearer to:
    it may follow a shadow, or a second time an animal that has a track.
    Raises ValueError for a max_lost or a max_unseen below 0, a detect_every or a max_size below 1, or a match_oks that is
    not above 0 and up to 1.
    Source: DeepLabCut 3's tracking by conditional top-down models (after Zhou et al. 2023, BUCTD).
    """

    def __init__(
        self,
        model: TakesConditions,
        *,
        max_lost: int = 5,
        min_score: float = 0.1,
        min_keypoint_score: float = 0.05,
        match_oks: float = 0.25,
        detect_every: int = 1,
        max_size: float = 2.0,
        max_unseen: int = 25,
    ) -> None:
        if min(max_lost, max_unseen) < 0 or detect_every < 1 or not 0 < match_oks <= 1 or not max_size >= 1:
            raise ValueError(
                "expected max_lost and max_unseen of 0 or more, detect_every and max_size of 1 or more, match_oks above 0 "
                f"and up to 1, got {max_lost}, {max_unseen}, {detect_every}, {max_size} and {match_oks}"
            )
        self.model, self.max_lost, self.detect_every = model, max_lost, detect_every
        self.min_score, self.min_keypoint_score, self.match_oks = min_score, min_keypoint_score, match_oks
        self.max_size, self.max_unseen = max_size, max_unseen
        self.tracks: list[Track] = []
        self._sizes: deque[float] = deque(maxlen=SIZES)  # px of the image, of poses that were detected
        self.frames = 0
        self.next_id = 0

    @property
    def settings(self) -> dict[str, int | float]:
        """All settings that the tracks depend on, those that were left at their defaults too."""
        return {name: getattr(self, name) for name in default_settings()}

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What the next frame depends on; another tracker of these settings that it is given goes on as this one would."""
        return {
            "track_ids": np.array([track.track_id for track in self.tracks], np.int64),
            "keypoints_in_image": self._last_poses(),
            "lost": np.array([track.lost for track in self.tracks], np.int64),
            "unseen": np.array([track.unseen for track in self.tracks], np.int64),
            "sizes": np.array(self._sizes, np.float64),
            "frames": np.array(self.frames),
            "next_id": np.array(self.next_id),
        }

    def resume(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from another tracker's state."""
        track_ids, lost, unseen = (state[name].tolist() for name in ("track_ids", "lost", "unseen"))
        self.tracks = [Track(*each) for each in zip(track_ids, state["keypoints_in_image"], lost, unseen, strict=True)]
        self._sizes = deque(state["sizes"].tolist(), maxlen=SIZES)
        self.frames, self.next_id = int(state["frames"]), int(state["next_id"])

    def step(self, batch: PoseBatch) -> TrackedFrame:
        """The animals of the next frame, given as a batch of one."""
        conditions, detected = self._track_conditions(batch), None
        if not self.tracks or self.frames % self.detect_every == 0:
            (detected,) = self.model.detect_conditions(batch)
            self._measure(detected, batch)
            conditions = PoseInstances.concatenate([conditions, self._unmatched(conditions, detected)])
        (prediction,), (places,) = self.model.predict_with_conditions(batch, [conditions])
        kept = np.flatnonzero((prediction.scores >= self.min_score) & self._has_size_of_animal(prediction))
        track_ids = self._assign_ids(places.cpu().numpy()[kept])
        self._update_tracks(prediction[kept], track_ids)
        if detected is not None:
            self._end_unseen(detected, batch)
        self.frames += 1
        return TrackedFrame(prediction[kept], track_ids)

    def _track_conditions(self, batch: PoseBatch) -> PoseInstances:
        """The last pose of each track, in the frame's pixels."""
        keypoints = points_in_frame(self._last_poses(), batch.crop_to_image[0])
        # With the highest score: where a track and a detector pose lead to one animal, NMS keeps the track's.
        return PoseInstances.from_keypoints(
            keypoints, keypoints.new_ones(keypoints.shape[:2]), keypoints.new_ones(len(keypoints))
        )

    def _last_poses(self) -> Floats:
        """Of each track, in the image: (M, K, 2), also of none."""
        poses = [track.keypoints_in_image for track in self.tracks]
        return np.array(poses, np.float32).reshape(-1, len(self.model.skeleton), 2)

    def _measure(self, detected: PoseInstances, batch: PoseBatch) -> None:
        """Take note of the sizes of detected poses that have most of their keypoints."""
        points = detected.keypoints_in_crop.double().cpu().numpy()
        is_whole = (~np.isnan(points[..., 0])).mean(axis=1) > 0.5
        scale = float(torch.linalg.vector_norm(batch.crop_to_image[0, :, 0]))
        sizes = animal_sizes(points[is_whole]) * scale
        self._sizes.extend(sizes[~np.isnan(sizes)].tolist())

    def _has_size_of_animal(self, prediction: PosePrediction) -> npt.NDArray[np.bool_]:
        """Which predicted poses are not much larger than detected ones: (M,)."""
        limit = self.max_size * float(np.median(self._sizes)) if self._sizes else np.inf
        is_too_large: npt.NDArray[np.bool_] = animal_sizes(prediction.keypoints_in_image) > limit
        return ~is_too_large

    def _unmatched(self, conditions: PoseInstances, detected: PoseInstances) -> PoseInstances:
        """The detector's poses that match no track."""
        return detected[(self._similarity(detected, conditions) < self.match_oks).all(dim=1)]

    def _similarity(self, detected: PoseInstances, conditions: PoseInstances) -> Tensor:
        """OKS of each detected pose to each track's: (D, M)."""
        poses = torch.cat([conditions.keypoints_in_crop, detected.keypoints_in_crop])
        return pairwise_oks(poses, self.model.skeleton.sigmas)[len(conditions) :, : len(conditions)]

    def _assign_ids(self, condition_places: Integers) -> Integers:
        """The track id of each animal by the place of its condition: the tracks come first, then new animals."""
        track_ids = np.empty(len(condition_places), np.int64)
        for animal, place in enumerate(condition_places.tolist()):
            if place < len(self.tracks):
                track_ids[animal] = self.tracks[place].track_id
            else:
                track_ids[animal] = self.next_id
                self.next_id += 1
        return track_ids

    def _update_tracks(self, prediction: PosePrediction, track_ids: Integers) -> None:
        tracks = {track.track_id: replace(track, lost=track.lost + 1) for track in self.tracks}
        for track_id, keypoints, scores in zip(
            track_ids.tolist(), prediction.keypoints_in_image, prediction.keypoint_scores, strict=True
        ):
            is_known = scores >= min(self.min_keypoint_score, float(scores.max()))  # the best keypoint is always kept
            known = np.where(is_known[:, None], keypoints, np.nan).astype(np.float32)
            unseen = tracks[track_id].unseen if track_id in tracks else 0
            tracks[track_id] = Track(track_id, known, unseen=unseen)
        self.tracks = [track for track in tracks.values() if track.lost <= self.max_lost]

    def _end_unseen(self, detected: PoseInstances, batch: PoseBatch) -> None:
        """End the tracks at which nothing was detected for long; a detected pose shows one track, which it matches best."""
        now = self._track_conditions(batch)  # where the tracks are in this frame
        oks = self._similarity(detected, now).cpu().numpy()
        rows, columns = linear_sum_assignment(-np.where(oks >= self.match_oks, oks, 0.0))
        seen = set(columns[oks[rows, columns] >= self.match_oks].tolist())
        tracks = [
            replace(track, unseen=0 if place in seen else track.unseen + 1) for place, track in enumerate(self.tracks)
        ]
        self.tracks = [track for track in tracks if track.unseen <= self.max_unseen]


def default_settings() -> dict[str, Any]:
    """The settings of a CtdTracker, at their defaults."""
    parameters = inspect.signature(CtdTracker).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
