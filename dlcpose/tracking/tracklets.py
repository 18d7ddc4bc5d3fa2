"""Link detections to tracklets, frame by frame, only where the link is unambiguous."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from filterpy.kalman import KalmanFilter

from dlcpose.codecs.matching import match_by_similarity
from dlcpose.structures.skeleton import Skeleton
from dlcpose.tracking.detections import Detections, completed
from dlcpose.tracking.settings import TrackingSettings

Array = npt.NDArray[Any]
F = np.eye(4) + np.eye(4, k=2)  # state x, y and their change from frame to frame
H = np.eye(2, 4)
NEAR = 0.6  # sizes: two animals whose centroids are nearer may be detected as one
SOLID = 5  # detections from which on a tracklet is joined to others; shorter ones are often mixtures of two animals
WINDOW = 8  # detections near the end of a tracklet that its velocity is taken from
# Detections at either end of a longer tracklet that tell nothing of its animal: it ends where animals meet, and there they
# take keypoints from each other, or are detected twice.
OUTER = 2
MEASUREMENT_NOISE = 0.04  # standard deviation of an animal's centroid, in its sizes


class Speeds(NamedTuple):
    """Motion of animals between frames, px: usual maximum displacement, and its usual change."""

    most: float
    change: float


@dataclass
class _Growing:
    """A tracklet that still grows. pose: (K, 2) where it was seen last, with its missing keypoints filled in.

    seen: the step of that; now: the step to which the filter has predicted.
    """

    members: list[int]
    pose: Array
    centroid: Array
    kalman: KalmanFilter
    seen: int
    now: int

    @property
    def expected(self) -> Array:
        """The pose of the current frame, after `kalman.predict`: (K, 2)."""
        pose: Array = self.pose + (self.expected_centroid - self.centroid)
        return pose

    @property
    def expected_centroid(self) -> Array:
        """Where the filter expects the centroid, px: (2,)."""
        centroid: Array = self.kalman.x[:2, 0]
        return centroid


class Tracklets(NamedTuple):
    """members: for each tracklet the places of its detections, rising, each detection in one tracklet at most; ordered by
    their first. poses_in_image: (D, K, 2) px, the detections with missing keypoints where the tracklet saw them last.
    """

    members: list[Array]
    poses_in_image: Array

    def is_solid(self) -> Array:
        """Which have SOLID detections, or fewer where half of all detections are in tracklets that short: (S,)."""
        lengths = np.array([len(members) for members in self.members], np.int64)
        longest = np.sort(lengths)[::-1]
        usual = longest[np.searchsorted(np.cumsum(longest), lengths.sum() / 2)] if len(lengths) else 0
        solid: Array = lengths >= min(SOLID, usual)
        return solid

    def inner(self, steps: Array) -> list[Array]:
        """Each tracklet's detections but OUTER at either end, where WINDOW are left; steps: (D,) of the detections.

        At the video's own beginning and end no animals meet, and all count.
        """
        found = []
        for members in self.members:
            spare = max(len(members) - WINDOW, 0)
            begins, ends = steps[members[0]] > steps[0], steps[members[-1]] < steps[-1]
            skipped = min(OUTER, spare // (1 + ends)) if begins else 0
            left = min(OUTER, spare - skipped) if ends else 0
            found.append(members[skipped : len(members) - left])
        return found

    def only(self, places: Array) -> "Tracklets":
        """Some of the tracklets; the other detections are in none."""
        return self._replace(members=[self.members[place] for place in places.tolist()])

    def centroids(self) -> Array:
        """The mean of each pose's keypoints: (D, 2) px."""
        known = ~np.isnan(self.poses_in_image)
        centroids: Array = np.where(known, self.poses_in_image, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        return centroids


def tracklets_of(detections: Detections, skeleton: Skeleton, settings: TrackingSettings) -> Tracklets:
    """Link detections to tracklets without ambiguous links.

    In every frame, tracklets and detections are assigned to each other by the similarity of the pose expected from
    motion (a Kalman filter of constant velocity) and the pose detected (as in OKS). Where two detections fit a
    tracklet, or two tracklets a detection, nearly as well, the tracklet ends.
    """
    speeds = typical_speeds(detections)
    bounds = detections.frame_bounds()
    poses = detections.keypoints_in_image.copy()
    growing: list[_Growing] = []
    ended: list[list[int]] = []
    for row in range(detections.frames):
        here = detections.of_frame(bounds, row)
        if not len(here):
            continue
        step = int(detections.steps[here[0]])
        late = [each for each in growing if step - each.seen > settings.max_coast + 1]
        ended += [each.members for each in late]
        growing = [each for each in growing if step - each.seen <= settings.max_coast + 1]
        for each in growing:
            _predict(each, step)
        likeness = _similarity(growing, detections.keypoints_in_image[here], skeleton, detections.size)
        pairs, doubtful = _sure_pairs(likeness, settings)
        doubtful |= _near_changes(growing, pairs, detections.keypoints_in_image[here], detections.size, step)
        pairs = {place: found for place, found in pairs.items() if place not in doubtful}
        for place, found in pairs.items():
            _grow(growing[place], int(here[found]), detections, step)
            poses[here[found]] = growing[place].pose
        ended += [growing[place].members for place in doubtful]
        growing = [each for place, each in enumerate(growing) if place not in doubtful]
        new = sorted(set(range(len(here))) - set(pairs.values()))
        growing += [_begin(int(here[found]), detections, speeds, step) for found in new]
    ended += [each.members for each in growing]
    return Tracklets([np.array(members) for members in sorted(ended)], poses)


def tracklets_of_columns(detections: Detections, skeleton: Skeleton, settings: TrackingSettings) -> Tracklets:
    """Each column of the poses as tracklets, where a conditional model has followed the animals.

    A tracklet ends where its animal is missing for more than `max_coast` frames, and where another animal is lost or turns
    up beside it: one of two that overlap can be followed as both, and it may be either.
    """
    order = np.lexsort((detections.steps, detections.columns))
    is_new = np.diff(detections.columns[order], prepend=-1) != 0
    is_new |= np.diff(detections.steps[order], prepend=0) > settings.max_coast + 1
    runs = np.split(order, np.flatnonzero(is_new)[1:]) if len(order) else []
    members = [
        part for run, cuts in zip(runs, _changes_beside(runs, detections), strict=True) for part in np.split(run, cuts)
    ]
    poses = detections.keypoints_in_image.copy()
    for each in members:
        for before, after in pairwise(each.tolist()):
            poses[after] = completed(poses[after], poses[before])
    return Tracklets(sorted(members, key=lambda each: int(each[0])), poses)


def _changes_beside(runs: list[Array], detections: Detections) -> list[list[int]]:
    """For each run the places in it at which another begins, or has just ended, beside it; rising."""
    centroids = detections.centroids()
    run_of, place_of = np.zeros(len(detections), np.int64), np.zeros(len(detections), np.int64)
    for number, run in enumerate(runs):
        run_of[run], place_of[run] = number, np.arange(len(run))
    cuts: list[set[int]] = [set() for _ in runs]
    for number, run in enumerate(runs):
        for member, step in ((run[0], detections.steps[run[0]]), (run[-1], detections.steps[run[-1]] + 1)):
            here = slice(*np.searchsorted(detections.steps, (step, step + 1)))
            near = np.linalg.norm(centroids[here] - centroids[member], axis=-1) < NEAR * detections.size
            for other in (np.flatnonzero(near & (run_of[here] != number)) + here.start).tolist():
                cuts[run_of[other]].add(int(place_of[other]))
    return [sorted(each - {0}) for each in cuts]


def typical_speeds(detections: Detections) -> Speeds:
    """Measured between neighboring frames, from each detection to the nearest of the next; at least the noise."""
    noise = MEASUREMENT_NOISE * detections.size
    bounds = detections.frame_bounds()
    centroids = detections.centroids()
    rows = np.arange(detections.frames - 1)
    if len(rows) > 4000:
        rows = rows[:: len(rows) // 4000]
    steps = []
    for row in rows.tolist():
        here, there = detections.of_frame(bounds, row), detections.of_frame(bounds, row + 1)
        if len(here) and len(there) and detections.steps[there[0]] - detections.steps[here[0]] == 1:
            away = np.linalg.norm(centroids[here][:, None] - centroids[there][None], axis=-1)
            steps += away.min(axis=1).tolist()
    near = [step for step in steps if step < detections.size]
    if not near:
        return Speeds(detections.size / 4, detections.size / 8)
    most = max(float(np.quantile(near, 0.95)), noise)
    return Speeds(most, max(most / 4, noise / 4))


def _begin(member: int, detections: Detections, speeds: Speeds, step: int) -> _Growing:
    pose = detections.keypoints_in_image[member]
    centroid = np.nanmean(pose, axis=0)
    kalman = KalmanFilter(dim_x=4, dim_z=2)
    noise = (MEASUREMENT_NOISE * detections.size) ** 2
    kalman.F, kalman.H, kalman.R = F, H, noise * np.eye(2)
    kalman.x[:2, 0] = centroid
    kalman.P = np.diag([noise, noise, speeds.most**2, speeds.most**2])
    # White noise of the acceleration over one frame.
    kalman.Q = speeds.change**2 * np.kron([[0.25, 0.5], [0.5, 1.0]], np.eye(2))
    return _Growing([member], pose, centroid, kalman, seen=step, now=step)


def _grow(tracklet: _Growing, member: int, detections: Detections, step: int) -> None:
    tracklet.pose = completed(detections.keypoints_in_image[member], tracklet.pose)
    tracklet.centroid = np.nanmean(tracklet.pose, axis=0)
    tracklet.kalman.update(tracklet.centroid[:, None])
    tracklet.members.append(member)
    tracklet.seen = step


def _predict(tracklet: _Growing, step: int) -> None:
    for _ in range(step - tracklet.now):
        tracklet.kalman.predict()
    tracklet.now = step


def _similarity(growing: list[_Growing], found: Array, skeleton: Skeleton, size: float) -> Array:
    """Similarity of each detection (M, K, 2) to each tracklet's expected pose, in [0, 1]: (A, M).

    As OKS, over the keypoints both have, and with the uncertainty of the motion added to a keypoint's spread. Left and
    right may be swapped: then a tenth is subtracted.
    """
    if not growing:
        return np.zeros((0, len(found)))
    expected = np.stack([each.expected for each in growing])  # (A, K, 2)
    uncertain = np.array([each.kalman.P[0, 0] for each in growing])  # (A,) px²
    # The area of a usual animal of that size: the box of one pose varies with how it stands.
    spread = (0.35 * size**2) * (2 * np.asarray(skeleton.sigmas)) ** 2  # (K,) px²
    variance = spread + uncertain[:, None]  # (A, K)
    best = np.zeros((len(growing), len(found)))
    orders = [(np.arange(len(skeleton)), 1.0)]
    if skeleton.pairs:
        orders.append((np.array(skeleton.flip_order), 0.9))
    for order, factor in orders:
        squared = ((expected[:, None] - found[None][:, :, order]) ** 2).sum(axis=-1)  # (A, M, K)
        shared = ~np.isnan(squared)
        near = np.where(shared, np.exp(-np.where(shared, squared, 0) / (2 * variance[:, None])), 0.0)
        best = np.maximum(best, factor * near.sum(axis=-1) / np.maximum(shared.sum(axis=-1), 1))
    return best


def _sure_pairs(similarity: Array, settings: TrackingSettings) -> tuple[dict[int, int], set[int]]:
    """Unambiguous pairs of tracklets and detections, and the tracklets that end for ambiguity: (A, M) -> both."""
    pairs: dict[int, int] = {}
    doubtful: set[int] = set()
    if not similarity.size:
        return pairs, doubtful
    for place, found in match_by_similarity(similarity, settings.min_similarity):
        value = similarity[place, found]
        row, column = similarity[place].copy(), similarity[:, found].copy()
        row[found] = column[place] = 0.0
        if max(row.max(), column.max()) > value - settings.similarity_margin:
            doubtful.add(place)
        else:
            pairs[place] = found
    # An unmatched tracklet whose place another detection or tracklet takes is ambiguous, too.
    left_over = set(range(len(similarity))) - set(pairs) - doubtful
    doubtful |= {place for place in left_over if similarity[place].max() >= settings.min_similarity}
    return pairs, doubtful


def _near_changes(growing: list[_Growing], pairs: dict[int, int], found: Array, size: float, step: int) -> set[int]:
    """Tracklets near which an animal is lost or appears: overlapping animals may be detected as one, which may be either.

    Those that are lost near another detection are ambiguous too.
    """
    centroids = np.nanmean(found, axis=1)  # (M, 2)
    new = [m for m in range(len(found)) if m not in set(pairs.values())]
    back = [m for place, m in pairs.items() if growing[place].seen < step - 1]
    turned_up = {m: centroids[m] for m in [*new, *back]}
    lost = [place for place, each in enumerate(growing) if place not in pairs and each.seen == step - 1]
    places = [growing[place].expected_centroid for place in lost]
    reach = NEAR * size
    beside: set[int] = set()
    for place, m in pairs.items():
        others = [*(at for other, at in turned_up.items() if other != m), *places]
        if others and np.linalg.norm(others - centroids[m], axis=1).min() < reach:
            beside.add(place)
    for place, at in zip(lost, places, strict=True):
        if len(centroids) and np.linalg.norm(centroids - at, axis=1).min() < reach:
            beside.add(place)
    return beside
