"""Choose frames of a video to label: those whose poses look wrong, and that differ from each other."""

import warnings
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2
from scipy.stats import rankdata

from dlcpose.codecs.oks import oks_areas
from dlcpose.postprocessing.time_axis import time_axis
from dlcpose.structures.pose_tracks import PoseTracks

Array = npt.NDArray[Any]
USUAL_QUANTILE = 0.95  # of a keypoint's departures from its neighbors in time: what is still usual
HALF_JUMP = 5.0  # times the usual departure, where a jump is rated 0.5: no end to it, so that large ones still rank
MIN_JUMP = 0.02  # animal lengths: less is jitter, however still the animals sit
DIVERSITY = "diversity"  # the reason of a frame in which nothing seems wrong
POOL = 10  # candidates for each frame that is chosen


def rate_frames(tracks: PoseTracks) -> dict[str, Array]:
    """How much each frame may be wrong, by reason: (T,) in [0, 1] each.

    "low confidence": 1 minus the mean keypoint score of the animal with the lowest. "missing animal": the share of the
    usual number of animals that is not there. "crossing": how far two animals overlap, or how little speaks against
    their having swapped since the row before. With tracks also "jump": how far a keypoint departs from the middle between
    the rows before and after. With an ensemble also "disagreement": 1 minus the OKS at the distance of the spread.
    """
    reasons = {"low confidence": _low_confidence(tracks), "missing animal": _missing_animals(tracks)}
    if len(tracks.individuals) > 1:
        reasons["crossing"] = np.maximum(_overlaps(tracks), _ambiguous_moves(tracks))
    if tracks.is_tracked:
        reasons["jump"] = _jumps(tracks)
    if tracks.keypoint_spreads is not None:
        reasons["disagreement"] = _disagreement(tracks, tracks.keypoint_spreads)
    return reasons


def rank_frames(reasons: Mapping[str, Array]) -> tuple[Array, list[str]]:
    """How much each frame is worth labeling, in [0, 1], and its main reason, `DIVERSITY` where none is above 0: (T,), T.

    A frame is worth the highest of its ranks among the reasons, so that a reason that is always high does not take all
    places.
    """
    names = list(reasons)
    # Many equal values share a middle rank: what is wrong in every frame singles out none.
    ranks = np.stack([np.where(values > 0, rankdata(values) / len(values), 0) for values in reasons.values()])  # (R, T)
    worth = ranks.max(axis=0)
    return worth, [
        names[index] if value > 0 else DIVERSITY for index, value in zip(ranks.argmax(axis=0), worth, strict=True)
    ]


def pool_of_frames(tracks: PoseTracks, worth: Array, excluded: Array, count: int) -> Array:
    """The rows worth most, some for each of `count` frames to choose, and not next to each other: rising.

    excluded: numbers of frames that are not to be chosen, such as labeled ones.
    """
    frames, size = tracks.frame_indices, POOL * count
    per_second = tracks.video.fps if tracks.video.fps > 0 else 25.0
    if not len(frames):
        return np.zeros(0, np.int64)
    # Far apart, but with room for twice as many frames; a second is enough for a different image.
    span = frames[-1] - frames[0]
    least = 2 if span >= 4 * count else 1  # neighbors are nearly the same image
    apart = float(np.clip(span / (2 * size), least, max(least, per_second)))
    by_worth = np.argsort(-worth, kind="stable")
    by_worth = by_worth[~np.isin(frames[by_worth], excluded)]
    chosen: list[int] = []
    for row in by_worth:
        if len(chosen) == size:
            break
        if not chosen or np.abs(frames[chosen] - frames[row]).min() >= apart:
            chosen.append(int(row))
    if len(chosen) < count:  # a short video has no others
        chosen += [int(row) for row in by_worth if row not in chosen][: count - len(chosen)]
    return np.sort(np.array(chosen, np.int64))


def choose_diverse(features: Array, worth: Array, count: int, rng: np.random.Generator) -> Array:
    """Places of `count` of P candidates, rising: from each k-means cluster of the features (P, D) the one worth most."""
    if len(features) <= count:
        return np.arange(len(features))
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / (float(spread.mean()) or 1.0)
    kinds = min(count, len(np.unique(scaled, axis=0)))  # k-means++ cannot start from more centers than there are points
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of empty clusters, which are made up for below
        _, clusters = kmeans2(scaled.astype(np.float64), kinds, minit="++", rng=rng)
    by_worth = np.argsort(-worth, kind="stable")
    first_of = {int(clusters[place]): int(place) for place in by_worth[::-1]}
    chosen = list(first_of.values())
    chosen += [int(place) for place in by_worth if int(place) not in chosen][: count - len(chosen)]  # empty clusters
    return np.sort(np.array(chosen, np.int64))


def pose_features(tracks: PoseTracks, rows: Array) -> Array:
    """Features of the poses of some rows: (P, D), coordinates as shares of the frame, missing ones at their mean."""
    points = tracks.keypoints_in_image[rows].reshape(len(rows), -1).astype(np.float64)
    known = ~np.isnan(points)
    means = np.where(known, points, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, points, means) / max(tracks.video.height, tracks.video.width)


def _low_confidence(tracks: PoseTracks) -> Array:
    means = tracks.keypoint_scores.mean(axis=-1)  # (T, N)
    return np.asarray(np.where(tracks.is_present, 1 - means, 0).max(axis=1, initial=0))


def _missing_animals(tracks: PoseTracks) -> Array:
    counts = tracks.is_present.sum(axis=1)
    usual = np.median(counts) if len(counts) else 0
    return np.asarray(np.clip(usual - counts, 0, None) / max(usual, 1))


def _sizes(tracks: PoseTracks) -> Array:
    """The usual length of an animal, px, in each column: (N,), the root of its usual area."""
    return np.sqrt([_usual_area(tracks.keypoints_in_image[:, column]) for column in range(len(tracks.individuals))])


def _usual_area(poses: Array) -> float:
    seen = poses[~np.isnan(poses[..., 0]).all(axis=-1)]
    return float(np.median(oks_areas(np.full(len(seen), np.nan), seen))) if len(seen) else 1.0


def _jumps(tracks: PoseTracks) -> Array:
    points = tracks.keypoints_in_image.astype(np.float64)
    if len(points) < 3:
        return np.zeros(len(points))
    departures = np.full(points.shape[:3], np.nan)  # (T, N, K)
    departures[1:-1] = np.linalg.norm(points[1:-1] - (points[:-2] + points[2:]) / 2, axis=-1)
    jumps = time_axis(tracks).jumps
    departures[jumps | np.append(jumps[1:], False)] = np.nan  # rows before and after are too far away to compare with
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of keypoints that are never in three rows on end
        usual = np.nan_to_num(np.nanquantile(departures, USUAL_QUANTILE, axis=0))  # (N, K)
    usual = np.maximum(usual, MIN_JUMP * _sizes(tracks)[:, None])
    excess = np.clip((np.nan_to_num(departures / usual) - 1) / (HALF_JUMP - 1), 0, None)
    return np.asarray((excess / (1 + excess)).max(axis=(1, 2), initial=0))


def _overlaps(tracks: PoseTracks) -> Array:
    """The largest intersection over union of the boxes around two animals' keypoints: (T,)."""
    known = ~np.isnan(tracks.keypoints_in_image)
    low = np.where(known, tracks.keypoints_in_image, np.inf).min(axis=2)  # (T, N, 2)
    high = np.where(known, tracks.keypoints_in_image, -np.inf).max(axis=2)
    areas = np.where(tracks.is_present, np.prod(np.maximum(high - low, 1), axis=-1), 0)
    largest = np.zeros(len(tracks))
    for a, b in combinations(range(len(tracks.individuals)), 2):
        shared = np.clip(np.minimum(high[:, a], high[:, b]) - np.maximum(low[:, a], low[:, b]), 0, None).prod(axis=-1)
        largest = np.maximum(largest, shared / np.maximum(areas[:, a] + areas[:, b] - shared, 1))
    return largest


def _ambiguous_moves(tracks: PoseTracks) -> Array:
    """How little tells two animals' places from each other's since the row before, 1 where a swap is nearer: (T,)."""
    points, worst = tracks.keypoints_in_image.astype(np.float64), np.zeros(len(tracks))
    if not tracks.is_tracked or len(tracks) < 2:
        return worst

    def moved(before: int, after: int) -> Array:
        """Median distance over shared keypoints, from a column to a column: (T - 1,), NaN without any."""
        distances = np.linalg.norm(points[1:, after] - points[:-1, before], axis=-1)  # (T - 1, K)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of animals that share no keypoint
            return np.asarray(np.nanmedian(distances, axis=-1))

    for a, b in combinations(range(len(tracks.individuals)), 2):
        kept, swapped = moved(a, a) + moved(b, b), moved(a, b) + moved(b, a)
        margin = (swapped - kept) / np.maximum(swapped + kept, 1e-6)
        worst[1:] = np.maximum(worst[1:], np.nan_to_num(np.clip(1 - margin, 0, 1)))
    return worst


def _disagreement(tracks: PoseTracks, spreads: Array) -> Array:
    areas = _sizes(tracks)[:, None] ** 2  # (N, 1)
    reach = 2 * areas * (2 * np.array(tracks.skeleton.sigmas)) ** 2  # (N, K) px²
    unlike = 1 - np.exp(-(spreads.astype(np.float64) ** 2) / reach)  # (T, N, K)
    known = ~np.isnan(unlike)
    means = np.where(known, unlike, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)  # (T, N)
    return np.asarray(means.max(axis=1, initial=0))
