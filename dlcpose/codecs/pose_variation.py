"""How poses vary in labeled frames: the directions that animals face, whether mirrored poses occur, and their sizes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dlcpose.codecs.matching import animal_sizes
from dlcpose.structures.sample import FrameLabels

Poses = npt.NDArray[np.float64]  # (P, K, 2) pixels, NaN where missing, in the order of their frames
ComplexPoses = npt.NDArray[np.complex128]  # (P, K) x + iy

MAX_FRAMES = 2000
MAX_POSES = 300  # maximum number of poses to compare with each other
MIN_COMMON = 2  # keypoints that two poses share, at least, to be compared
OFTEN = 0.5  # of the poses: two keypoints must be labeled together at least this often to define a direction
FACING_QUANTILE = 0.9
SIZE_QUANTILES = (0.05, 0.95)
WELL_LABELED = 0.8  # of the largest number of labeled keypoints: poses with fewer look too small
SAME_MOMENT = 0.1  # of the poses: those next to a pose are of the same moment
TOLERANCE = 0.01  # of an animal's size, which no label is more precise than


def facing_spread(poses: Poses) -> float:
    """Degrees to either side of the mean direction within which 90 % of the poses (P, K, 2) face.

    The direction is that of the line between two keypoints, of those two that keep it best: limbs move, but under a camera
    that animals turn round under no line keeps its direction. 162 where all directions are as likely, NaN where no two
    keypoints are often labeled together.
    """
    return min((_spread(lines) for lines in _lines(poses)), default=float("nan"))


def size_ratio(poses: Poses) -> float:
    """How many times as large as the 5th percentile the 95th percentile of animals is, from poses (P, K, 2); at least 1.

    By the distance between two keypoints, of those two that keep it best; NaN where no two are often labeled together.
    """
    ratios = []
    for lines in _lines(poses):
        small, large = np.quantile(np.abs(lines), SIZE_QUANTILES)
        ratios.append(float(large / max(small, 1e-9)))
    return min(ratios, default=float("nan"))


def mirror_distance(poses: Poses, flip_order: tuple[int, ...], max_turn: float) -> float:
    """How far mirrored poses lie from the data, as a multiple of how far the poses (P, K, 2) themselves do; the median.

    A pose, and the same pose mirrored with left and right swapped, are compared with the most similar pose of another
    moment, turned by at most max_turn degrees. About 1 where mirrored poses occur, larger where they do not, NaN with fewer
    than two poses that share keypoints. flip_order: the keypoint at each place after left and right are swapped.
    """
    several = _several(poses)
    forward, mirrored = _complex(several), _complex(several[:, list(flip_order)] * (-1.0, 1.0))
    count = len(several)
    apart = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    is_same_moment = apart <= min(round(SAME_MOMENT * count), max(0, count // 2 - 1))
    nearest, nearest_mirrored = (
        np.where(is_same_moment, np.inf, _distances(moved, forward, np.radians(max_turn))).min(axis=1, initial=np.inf)
        for moved in (forward, mirrored)
    )
    known = np.isfinite(nearest) & np.isfinite(nearest_mirrored)
    if not known.any():
        return float("nan")
    return float(np.median(nearest_mirrored[known] + TOLERANCE) / np.median(nearest[known] + TOLERANCE))


def well_labeled_sizes(poses: Poses) -> npt.NDArray[np.float64]:
    """The size of each well labeled pose, in pixels: (P, K, 2) -> (P',)."""
    several = poses[_labeled(poses) >= MIN_COMMON]
    if not len(several):
        return np.zeros(0)
    whole = several[_labeled(several) >= WELL_LABELED * _labeled(several).max()]
    return np.nan_to_num(animal_sizes(whole))  # 0 where all keypoints lie at one place


def evenly(frames: Sequence[FrameLabels]) -> Sequence[FrameLabels]:
    """At most 2,000 of the frames, evenly chosen in their order: more would not change the statistics."""
    if len(frames) <= MAX_FRAMES:
        return frames
    return [frames[place] for place in np.linspace(0, len(frames) - 1, MAX_FRAMES).round().astype(int)]


def animal_shares(frames: Sequence[FrameLabels]) -> list[float]:
    """The longer side of each animal as a share of the longer side of its image, from frames evenly chosen of many."""
    return [
        float(size) / max(frame.height, frame.width)
        for frame in evenly(frames)
        for size in well_labeled_sizes(frame.keypoints_in_image.astype(np.float64))
    ]


def is_labeled(poses: Poses) -> bool:
    """Whether one of the poses (P, K, 2) has keypoints enough to be compared with others."""
    return bool((_labeled(poses) >= MIN_COMMON).any())


def _labeled(poses: Poses) -> npt.NDArray[np.int64]:
    return np.asarray((~np.isnan(poses).any(axis=2)).sum(axis=1))


def _several(poses: Poses) -> Poses:
    """Poses with several keypoints, evenly chosen where there are many."""
    several = poses[_labeled(poses) >= MIN_COMMON]
    if len(several) <= MAX_POSES:
        return several
    places = np.linspace(0, len(several) - 1, MAX_POSES).round().astype(int)
    return np.asarray(several[places], np.float64)


def _complex(poses: Poses) -> ComplexPoses:
    """Poses as complex numbers, scaled to a root mean square distance of 1 from their centers."""
    points = poses[..., 0] + 1j * poses[..., 1]
    if not len(points):
        return np.zeros(points.shape, np.complex128)
    radius = np.sqrt(np.nanmean(np.abs(points - np.nanmean(points, axis=1, keepdims=True)) ** 2, axis=1, keepdims=True))
    return np.asarray(points / np.maximum(radius, 1e-9))


def _lines(poses: Poses) -> list[npt.NDArray[np.complex128]]:
    """The lines between each two keypoints that are often labeled together, in the poses that have both."""
    several = _several(poses)
    points = several[..., 0] + 1j * several[..., 1]
    first, second = np.triu_indices(points.shape[1], 1)
    lines = [line[~np.isnan(line)] for line in (points[:, second] - points[:, first]).T]
    return [line for line in lines if len(line) >= max(2, OFTEN * len(points))]


def _spread(lines: npt.NDArray[np.complex128]) -> float:
    """Degrees from the mean direction of lines within which 90 % of them stay."""
    angles = np.angle(lines)
    mean = np.angle(np.exp(1j * angles).sum())
    return float(np.degrees(np.quantile(np.abs(np.angle(np.exp(1j * (angles - mean)))), FACING_QUANTILE)))


def _distances(moved: ComplexPoses, fixed: ComplexPoses, max_turn: float) -> npt.NDArray[np.float64]:
    """The root mean square distance of poses (P, K) from others (Q, K): (P, Q), infinite where they share too few keypoints.

    Each is shifted, and turned by at most max_turn radians, to lie on the other as well as it can (Gower 1975).
    """
    common = ~np.isnan(moved)[:, None] & ~np.isnan(fixed)[None]  # (P, Q, K)
    count = np.maximum(common.sum(axis=2, keepdims=True), 1)
    first, second = (np.where(common, points, 0) for points in (moved[:, None], fixed[None]))
    first, second = (
        np.where(common, points - points.sum(axis=2, keepdims=True) / count, 0) for points in (first, second)
    )
    angles = np.clip(np.angle((np.conj(first) * second).sum(axis=2, keepdims=True)), -max_turn, max_turn)
    left = (np.abs(first * np.exp(1j * angles) - second) ** 2).sum(axis=2) / count[..., 0]
    return np.where(common.sum(axis=2) >= MIN_COMMON, np.sqrt(left), np.inf)
