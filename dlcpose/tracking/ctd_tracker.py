"""Animals followed through a video: what a conditioned model found in one frame is what it asks for in the next."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from dlcpose.codecs.pose_nms import pose_similarity
from dlcpose.detectors.pose_boxes import points_in_frame
from dlcpose.pipelines.conditional_top_down import ConditionalTopDown
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import Floats, Integers, PoseInstances, PosePrediction


class TrackedFrame(NamedTuple):
    """The animals found in one frame, and for each the number of its track: (M,), from 0, never given twice."""

    prediction: PosePrediction
    tracks: Integers


@dataclass(frozen=True)
class Track:
    """An animal that is followed. lost: frames since it was found last."""

    number: int
    keypoints_in_image: Floats  # (K, 2), where it was found last; NaN where it was not sure
    lost: int = 0


class CtdTracker:
    """Asks in each frame for the animals of the frame before, and for those of the detector that are none of them.

    One follower is for one video, whose frames come in order, one at a time. lost_after: a track ends when its animal
    has not been found in more frames than this, in which it is asked for where it was found last. min_score: an
    answer below this is nobody. min_keypoint_score: what is less sure is not asked for in the next frame. same: a
    pose of the detector with this object keypoint similarity to a track's, or more, is that animal. search_every: the
    detector looks at every so many frames, and wherever nobody is followed.
    Raises ValueError for numbers that make no sense.
    Source: DeepLabCut 3's tracking by conditional top-down models (after Zhou et al. 2023, BUCTD).
    """

    def __init__(
        self,
        pipeline: ConditionalTopDown,
        *,
        lost_after: int = 5,
        min_score: float = 0.1,
        min_keypoint_score: float = 0.05,
        same: float = 0.25,
        search_every: int = 1,
    ) -> None:
        if lost_after < 0 or search_every < 1 or not 0 < same <= 1:
            raise ValueError(
                "expected lost_after of 0 or more, search_every of 1 or more and same above 0 and up to 1, got "
                f"{lost_after}, {search_every} and {same}"
            )
        self.pipeline, self.lost_after, self.search_every = pipeline, lost_after, search_every
        self.min_score, self.min_keypoint_score, self.same = min_score, min_keypoint_score, same
        self.tracks: list[Track] = []
        self.frames = 0
        self.begun = 0  # tracks so far

    def step(self, batch: PoseBatch) -> TrackedFrame:
        """The animals of the next frame: a batch of one."""
        known = self._known(batch)
        searches = not self.tracks or self.frames % self.search_every == 0
        asked = _joined(known, self._new(known, self.pipeline.find_conditions(batch)[0])) if searches else known
        (prediction,), (places,) = self.pipeline.predict_conditioned(batch, [asked])
        sure = np.flatnonzero(prediction.scores >= self.min_score)
        prediction, asked_by = _some(prediction, sure), places.cpu().numpy()[sure]
        numbers = self._numbers(asked_by)
        self._remember(prediction, numbers)
        self.frames += 1
        return TrackedFrame(prediction, numbers)

    def _known(self, batch: PoseBatch) -> PoseInstances:
        """Where the tracks' animals were found last, in the frame's pixels."""
        last = np.array([track.keypoints_in_image for track in self.tracks], np.float32)
        points = points_in_frame(last.reshape(-1, len(self.pipeline.skeleton), 2), batch.crop_to_image[0])
        # As sure as can be: where a track and a pose of the detector lead to one animal, it is the track's.
        return PoseInstances.from_keypoints(points, points.new_ones(points.shape[:2]), points.new_ones(len(points)))

    def _new(self, known: PoseInstances, found: PoseInstances) -> PoseInstances:
        """What the detector found that is none of the tracks' animals."""
        poses = torch.cat([known.keypoints_in_crop, found.keypoints_in_crop])
        likeness = pose_similarity(poses, self.pipeline.skeleton.sigmas)[len(known) :, : len(known)]
        is_new = (likeness < self.same).all(dim=1)
        return PoseInstances.from_keypoints(
            found.keypoints_in_crop[is_new], found.keypoint_scores[is_new], found.scores[is_new]
        )

    def _numbers(self, asked_by: Integers) -> Integers:
        """The track of each animal, by the place of its condition: a new one behind those that are known."""
        numbers = np.empty(len(asked_by), np.int64)
        for place, condition in enumerate(asked_by.tolist()):
            if condition < len(self.tracks):
                numbers[place] = self.tracks[condition].number
            else:
                numbers[place] = self.begun
                self.begun += 1
        return numbers

    def _remember(self, prediction: PosePrediction, numbers: Integers) -> None:
        """Tracks as they are after this frame."""
        known = {track.number: replace(track, lost=track.lost + 1) for track in self.tracks}
        for number, keypoints, scores in zip(
            numbers.tolist(), prediction.keypoints_in_image, prediction.keypoint_scores, strict=True
        ):
            sure = scores >= min(self.min_keypoint_score, float(scores.max()))
            known[number] = Track(number, np.where(sure[:, None], keypoints, np.nan).astype(np.float32))
        self.tracks = [track for track in known.values() if track.lost <= self.lost_after]


def _joined(first: PoseInstances, second: PoseInstances) -> PoseInstances:
    return PoseInstances.from_keypoints(
        torch.cat([first.keypoints_in_crop, second.keypoints_in_crop]),
        torch.cat([first.keypoint_scores, second.keypoint_scores]),
        torch.cat([first.scores, second.scores]),
    )


def _some(prediction: PosePrediction, indices: Integers) -> PosePrediction:
    each = ("keypoints_in_image", "keypoint_scores", "scores", "identities", "boxes_in_image")
    return replace(prediction, **{name: getattr(prediction, name)[indices] for name in each})
