"""A motion model for gaps, learned from the video's own tracklets, and the costs of joins by it."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from dlcpose.structures.skeleton import Skeleton
from dlcpose.tracking.detections import Detections
from dlcpose.tracking.heavy_tails import student_t_cost
from dlcpose.tracking.tracklets import WINDOW, Tracklets, typical_speeds

Array = npt.NDArray[Any]
GAPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)  # frames, of which the spread is measured
MIN_FOR_VELOCITY = 4
SAMPLES, MIN_SAMPLES = 1500, 40
# Of Student's t: animals turn and stop more often than under a Gaussian, and gaps are where animals meet and detections are
# worse than in the stretches that spreads are measured on.
DEGREES_OF_FREEDOM = 2.0
# Of the evidence. Where two animals meet, one detection holds keypoints of both: an error of one join is one of the other's.
SHARE_OF_ITS_OWN = 0.5
RAYLEIGH_MEDIAN = 1.1774  # of the length of a vector with standard deviation 1 along both axes


@dataclass(frozen=True)
class Ends:
    """Both ends of S tracklets, of their inner detections (`Tracklets.inner`).

    first, last: (S,) steps. detections: (S,) how many there are in all. start_*: at the first step, end_*: at the last.
    *_pose: (S, K, 2) px. *_centroid: (S, 2). *_velocity: (S, 2) px a frame, NaN for short tracklets.
    """

    first: Array
    last: Array
    detections: Array
    start_pose: Array
    end_pose: Array
    start_centroid: Array
    end_centroid: Array
    start_velocity: Array
    end_velocity: Array

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, places: Array) -> "Ends":
        return Ends(*(getattr(self, field.name)[places] for field in fields(self)))

    def shifts(self, before: Array, after: Array) -> Array:
        """How far animals are moved from the end of `before[p]` to the start of `after[p]`, px: (P, 2).

        The median of the keypoints that both have: some may be another animal's.
        """
        shifts = self.start_pose[after] - self.end_pose[before]  # (P, K, 2)
        apart = np.isnan(shifts).all(axis=(1, 2))
        shifts[apart] = (self.start_centroid[after] - self.end_centroid[before])[apart, None]
        median: Array = np.nanmedian(shifts, axis=1) if len(shifts) else shifts[:, 0]
        return median


@dataclass(frozen=True)
class MotionModel:
    """Spreads over gaps of G lengths, px.

    gaps: (G,) frames, from 1. carry: (G,) share of the way at constant velocity that animals go. moving: (G,) standard
    deviation of what is left then, along each axis. resting: (G,) of the displacement itself. bend, bend_spread: (G,)
    mean and standard deviation of the logarithm of how far keypoints move within the animal. farthest: upper limit of
    all spreads. flip_order: (K,).
    """

    gaps: Array
    carry: Array
    moving: Array
    resting: Array
    bend: Array
    bend_spread: Array
    farthest: float
    flip_order: Array

    def at(self, values: Array, gap: Array) -> Array:
        """A curve of the model at gaps of any length; constant beyond the last."""
        return np.interp(np.log(gap), np.log(self.gaps), values)

    def spread(self, values: Array, gap: Array) -> Array:
        """A standard deviation at gaps of any length; beyond the last it grows as in a random walk."""
        beyond = np.sqrt(np.maximum(gap / self.gaps[-1], 1.0))
        spread: Array = np.minimum(np.exp(self.at(np.log(values), gap)) * beyond, self.farthest)
        return spread

    def costs(self, ends: Ends, before: Array, after: Array) -> Array:
        """Costs in nats of joining tracklet `after[p]` to `before[p]`: (P,), (P,) -> (P,).

        Every `after` begins later than its `before` ends.
        """
        gap = (ends.first[after] - ends.last[before]).astype(np.float64)
        moved = ends.shifts(before, after)
        moving, resting = self.spread(self.moving, gap), self.spread(self.resting, gap)
        squared = np.full((2, len(gap)), np.nan)
        for side, velocity in enumerate((ends.end_velocity[before], ends.start_velocity[after])):
            left = moved - velocity * (self.at(self.carry, gap) * gap)[:, None]
            squared[side] = (left**2).sum(axis=-1) / moving**2
        is_moving = ~np.isnan(squared).all(axis=0)
        still = (moved**2).sum(axis=-1) / resting**2
        motion = np.where(
            is_moving, np.nan_to_num(squared).sum(axis=0) / np.maximum((~np.isnan(squared)).sum(axis=0), 1), still
        )
        scale = np.where(is_moving, moving, resting)
        bend = np.log(np.maximum(bends(ends.end_pose[before], ends.start_pose[after], self.flip_order), 1e-6))
        surprise = np.maximum(bend - self.at(self.bend, gap), 0) / self.at(self.bend_spread, gap)
        costs: Array = 2 * np.log(scale / self.moving[0]).clip(min=0)
        costs += student_t_cost(motion, dimensions=2, freedom=DEGREES_OF_FREEDOM)
        costs += np.nan_to_num(student_t_cost(surprise**2, dimensions=1, freedom=DEGREES_OF_FREEDOM))
        return SHARE_OF_ITS_OWN * costs


def bends(first: Array, second: Array, flip_order: Array) -> Array:
    """How far keypoints are apart once the centroids lie on each other, px: (P, K, 2) twice -> (P,).

    The mean over shared keypoints, also with left and right exchanged; NaN below two.
    """
    distances = []
    for order in (np.arange(first.shape[1]), flip_order):
        away = second[:, order] - first
        shared = ~np.isnan(away[..., 0])
        count = np.maximum(shared.sum(axis=1), 1)
        middle = np.where(shared[..., None], away, 0).sum(axis=1) / count[:, None]
        lengths = np.linalg.norm(away - middle[:, None], axis=-1)
        distances.append(np.where(shared.sum(axis=1) >= 2, np.where(shared, lengths, 0).sum(axis=1) / count, np.nan))
    return np.fmin(*distances)


def ends_of(detections: Detections, tracklets: Tracklets) -> Ends:
    """Poses, centroids and velocities at both ends of each tracklet."""
    inner = tracklets.inner(detections.steps)
    lengths = np.array([len(members) for members in inner], np.int64)
    begins = np.array([members[0] for members in inner], np.int64)
    finals = np.array([members[-1] for members in inner], np.int64)
    speeds = np.full((2, len(inner), 2), np.nan)
    # Windows of one length at a time, so that all of that length are computed at once.
    for length in range(MIN_FOR_VELOCITY, WINDOW + 1):
        fits = np.flatnonzero(np.minimum(lengths, WINDOW) == length)
        if len(fits):
            heads = np.stack([inner[place][:length] for place in fits])
            tails = np.stack([inner[place][-length:] for place in fits])
            speeds[0, fits] = velocities(tracklets.poses_in_image[heads], detections.steps[heads])
            speeds[1, fits] = velocities(tracklets.poses_in_image[tails], detections.steps[tails])
    centroids = tracklets.centroids()
    return Ends(
        first=detections.steps[begins],
        last=detections.steps[finals],
        detections=np.array([len(members) for members in tracklets.members], np.int64),
        start_pose=tracklets.poses_in_image[begins],
        end_pose=tracklets.poses_in_image[finals],
        start_centroid=centroids[begins],
        end_centroid=centroids[finals],
        start_velocity=speeds[0],
        end_velocity=speeds[1],
    )


def velocities(poses_in_image: Array, steps: Array) -> Array:
    """By least squares for each keypoint, and the median of those, px a frame: (P, W, K, 2), (P, W) -> (P, 2).

    Keypoints that are not in all W poses do not count; where there is none, the centroid does.
    """
    away = steps - steps.mean(axis=1, keepdims=True)  # (P, W)
    spread = (away**2).sum(axis=1)
    slopes = (away[..., None, None] * poses_in_image).sum(axis=1) / spread[:, None, None]  # (P, K, 2)
    unknown = np.isnan(slopes).all(axis=(1, 2))
    centroids = np.nanmean(poses_in_image[unknown], axis=2)  # (·, W, 2)
    slopes[unknown] = ((away[unknown, :, None] * centroids).sum(axis=1) / spread[unknown, None])[:, None]
    velocity: Array = np.nanmedian(slopes, axis=1) if len(slopes) else slopes[:, 0]
    return velocity


def learn_motion(detections: Detections, tracklets: Tracklets, skeleton: Skeleton, seed: int = 0) -> MotionModel:
    """The spreads over gaps, measured by cutting gaps of that length into the video's tracklets."""
    rng = np.random.default_rng(seed)
    flip_order = np.array(skeleton.flip_order)
    gaps, curves = [], []
    for gap in GAPS:
        cut = _cut_open(detections, tracklets, gap, rng)
        if len(cut) < MIN_SAMPLES:
            break
        gaps.append(gap)
        curves.append(_measure(cut, gap, flip_order, detections.size))
    if not gaps:
        speeds = typical_speeds(detections)
        gaps = [1]
        curves = [(1.0, 2 * speeds.change, speeds.most, float(np.log(detections.size / 20)), 0.5)]
    carry, moving, resting, bend, bend_spread = np.array(curves).T
    return MotionModel(
        np.array(gaps, np.float64),
        carry,
        np.maximum.accumulate(moving),
        np.maximum.accumulate(resting),
        np.maximum.accumulate(bend),
        bend_spread,
        farthest=max(4 * detections.size, float(resting.max())),
        flip_order=flip_order,
    )


def _cut_open(detections: Detections, tracklets: Tracklets, gap: int, rng: np.random.Generator) -> Ends:
    """Ends of artificial pairs: 2p and 2p + 1 are the parts of one tracklet on both sides of a cut gap."""
    room = gap + 2 * WINDOW
    long = [members for members in tracklets.members if len(members) >= room]
    pairs = np.zeros((0, 2, WINDOW), np.int64)
    if long:
        windows = np.concatenate([sliding_window_view(members, room) for members in long])  # (P, room)
        windows = windows[np.sort(rng.choice(len(windows), min(SAMPLES, len(windows)), replace=False))]
        pairs = np.stack([windows[:, :WINDOW], windows[:, -WINDOW:]], axis=1)
        # Between the two windows' inner ends lie gap + 1 steps: the later window is taken one detection sooner.
        pairs[:, 1] = windows[:, -WINDOW - 1 : -1]
        is_whole = detections.steps[pairs[:, 1, 0]] - detections.steps[pairs[:, 0, -1]] == gap
        pairs = pairs[is_whole]
    return ends_of(detections, tracklets._replace(members=list(pairs.reshape(-1, WINDOW))))


def _measure(cut: Ends, gap: int, flip_order: Array, size: float) -> tuple[float, float, float, float, float]:
    """carry, moving, resting, bend and bend_spread of one gap."""
    before, after = np.arange(0, len(cut), 2), np.arange(1, len(cut), 2)
    moved = cut.shifts(before, after)
    displacement = np.stack([cut.end_velocity[before], cut.start_velocity[after]]) * gap  # (2, P, 2)
    carry = float(np.clip((displacement * moved).sum() / max((displacement**2).sum(), 1e-9), 0, 1))
    left = np.linalg.norm(moved - carry * displacement, axis=-1)
    least = 0.01 * size
    bend = np.log(np.maximum(bends(cut.end_pose[before], cut.start_pose[after], flip_order), 1e-3 * size))
    bend = bend[~np.isnan(bend)]
    middle = float(np.median(bend)) if len(bend) else float(np.log(size / 20))
    spread = 1.4826 * float(np.median(np.abs(bend - middle))) if len(bend) else 0.5
    return (
        carry,
        max(float(np.median(left)) / RAYLEIGH_MEDIAN, least),
        max(float(np.median(np.linalg.norm(moved, axis=-1))) / RAYLEIGH_MEDIAN, least),
        middle,
        max(spread, 0.15),
    )
