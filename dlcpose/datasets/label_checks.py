"""Checks of labels: counts of keypoints, left/right swaps, and keypoints that coincide."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from dlcpose.structures.counted import counted
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton

logger = logging.getLogger(__name__)

MIN_DISTANCE = 0.01  # px: two keypoints that are nearer coincide
MIN_LATERAL = 0.05  # of the body axis: a pair less far apart across it says nothing of left and right
MIN_MAJORITY = 0.8  # of the animals that must agree before one that differs is suspected
MIN_ANIMALS = 5  # animals: with fewer, no majority is trusted


@dataclass(frozen=True)
class KeypointCount:
    """How often a keypoint of the animals in the data is labeled, missing, or labeled outside its image."""

    name: str
    labeled: int
    missing: int
    out_of_frame: int


@dataclass(frozen=True)
class Swap:
    """A left/right pair of one animal that is swapped in comparison with most animals."""

    key: str
    animal: int
    left: str
    right: str

    def __str__(self) -> str:
        return f"{self.key}: {self.left} and {self.right} of animal {self.animal} are probably swapped"


def find_swaps(frames: Sequence[FrameLabels], skeleton: Skeleton) -> list[Swap]:
    """Left/right pairs that are swapped in comparison with most animals.

    In images from one viewpoint (from above, say), an animal's left lies on the same side of its body axis. The axis
    joins the two midline points that lie farthest apart: unpaired keypoints, and the centers of the other pairs. Where
    less than 80 % of the animals agree, as in images from all around, none is suspected.
    """
    animals = [
        (frame.key, number, points) for frame in frames for number, points in enumerate(frame.keypoints_in_image)
    ]
    if not animals:
        return []
    points_in_image = np.stack([points for _, _, points in animals]).astype(np.float64)  # (A, K, 2)
    swaps = []
    for left, right in skeleton.pairs:
        for sides in _sides(points_in_image, skeleton, left, right):  # (A,) each
            agreeing = (sides > 0).sum(), (sides < 0).sum()
            if sum(agreeing) < MIN_ANIMALS or max(agreeing) <= MIN_MAJORITY * sum(agreeing):
                continue
            unusual = 1 if agreeing[0] < agreeing[1] else -1
            swaps += [
                Swap(*animals[place][:2], skeleton.names[left], skeleton.names[right])
                for place in np.flatnonzero(sides == unusual)
            ]
    return sorted(swaps, key=lambda swap: (swap.key, swap.animal))


def _sides(
    points_in_image: npt.NDArray[np.float64], skeleton: Skeleton, left: int, right: int
) -> Iterable[npt.NDArray[np.int64]]:
    """The side of its body axis on which each animal's left lies, 1 or -1, 0 where unclear: (A,) for each axis.

    Animals in which an end of the longest axis is not labeled are compared along the next longest, with each other.
    """
    midline = _midline(points_in_image, skeleton, left, right)  # (A, M, 2)
    axes = list(combinations(range(midline.shape[1]), 2))
    lengths = [np.linalg.norm(midline[:, head] - midline[:, tail], axis=-1) for head, tail in axes]  # (A,) each
    median_lengths = [np.median(length[~np.isnan(length)]) if (~np.isnan(length)).any() else 0.0 for length in lengths]
    across = points_in_image[:, right] - points_in_image[:, left]  # (A, 2)
    compared = np.isnan(across).any(axis=-1)  # (A,)
    for place in np.argsort(median_lengths)[::-1]:
        head, tail = axes[place]
        along = midline[:, head] - midline[:, tail]
        usable = ~compared & (lengths[place] > 0)  # NaN is not
        with np.errstate(invalid="ignore", divide="ignore"):
            lateral = (along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]) / lengths[place] ** 2
        yield np.where(usable & (np.abs(lateral) > MIN_LATERAL), np.sign(lateral), 0).astype(np.int64)
        compared |= usable


def _midline(
    points_in_image: npt.NDArray[np.float64], skeleton: Skeleton, left: int, right: int
) -> npt.NDArray[np.float64]:
    """Points on the midline that a swap of this pair does not move: (A, M, 2)."""
    paired = {index for pair in skeleton.pairs for index in pair}
    single = [points_in_image[:, index] for index in range(len(skeleton)) if index not in paired]
    centers = [
        (points_in_image[:, first] + points_in_image[:, second]) / 2
        for first, second in skeleton.pairs
        if (first, second) != (left, right)
    ]
    return np.stack([*single, *centers], axis=1) if single or centers else np.zeros((len(points_in_image), 0, 2))


def count_keypoints(frames: Sequence[FrameLabels], skeleton: Skeleton) -> Iterable[KeypointCount]:
    """A count of each keypoint over all animals, then of each unique keypoint over all frames."""
    sizes = _sizes(frames)
    unique = np.array([frame.unique_in_image for frame in frames], np.float32)
    animals = (skeleton.names, _of_animals(frames), np.repeat(sizes, [len(frame) for frame in frames], axis=0))
    for names, points_in_image, size in (animals, (skeleton.unique, unique, sizes)):
        points = points_in_image.reshape(len(points_in_image), len(names), 2)
        labeled = (~np.isnan(points).any(axis=-1)).sum(axis=0)  # (K,)
        out_of_frame = _is_outside(points, size).sum(axis=0)
        for name, count, outside in zip(names, labeled.tolist(), out_of_frame.tolist(), strict=True):
            yield KeypointCount(name, count, len(points) - count, outside)


def count_out_of_frame(frames: Sequence[FrameLabels]) -> int:
    """How many keypoints of animals, and unique ones, are labeled outside of their images."""
    sizes = _sizes(frames)
    of_animals = _is_outside(_of_animals(frames), np.repeat(sizes, [len(frame) for frame in frames], axis=0))
    unique = np.array([frame.unique_in_image for frame in frames], np.float32).reshape(len(frames), -1, 2)
    return int(of_animals.sum() + _is_outside(unique, sizes).sum())


def _sizes(frames: Sequence[FrameLabels]) -> npt.NDArray[np.int64]:
    """(height, width) of each frame: (F, 2)."""
    return np.array([(frame.height, frame.width) for frame in frames], np.int64).reshape(-1, 2)


def _is_outside(points_in_image: npt.NDArray[np.float32], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of points (P, K, 2) lie outside of images of (height, width) (P, 2): (P, K). NaN does not."""
    x, y = np.moveaxis(points_in_image, -1, 0)
    height, width = np.split(sizes, 2, axis=1)
    is_outside: npt.NDArray[np.bool_] = (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)
    return is_outside


def find_coinciding(frames: Sequence[FrameLabels], skeleton: Skeleton) -> Iterable[str]:
    """One line for each pair of keypoints of an animal, and of animals of a frame, that lie at the same place."""
    for frame in frames:
        for number, points in enumerate(frame.keypoints_in_image):
            apart = np.linalg.norm(points[:, None] - points[None], axis=-1)  # (K, K), NaN where one is missing
            for first, second in np.argwhere(np.triu(apart <= MIN_DISTANCE, k=1)):
                names = f"{skeleton.names[first]} and {skeleton.names[second]}"
                yield f"{frame.key}: {names} of animal {number} are at the same place"
        for first, second in _doubles(frame):
            yield f"{frame.key}: animals {first} and {second} have the same keypoints"


def _doubles(frame: FrameLabels) -> Iterable[tuple[int, int]]:
    """Each animal of a frame whose keypoints are those of an earlier one, with that one."""
    first: dict[bytes, int] = {}
    for number, points in enumerate(frame.keypoints_in_image):
        if not np.isnan(points).all() and (earlier := first.setdefault(points.tobytes(), number)) != number:
            yield earlier, number


def warn_of_labels(named: object, frames: Sequence[FrameLabels]) -> None:
    """Warn of labels that no animal has: outside of their image, or all at one place. named: their file or folder."""
    points_in_image = _of_animals(frames)
    spread = np.fmax.reduce(points_in_image, axis=1) - np.fmin.reduce(points_in_image, axis=1)  # (A, 2), without NaN
    labeled = (~np.isnan(points_in_image).any(axis=-1)).sum(axis=-1)  # (A,)
    counts = {
        ("keypoint lies", "keypoints lie", "outside of the image"): count_out_of_frame(frames),
        ("animal has", "animals have", "all keypoints at one place"): int(
            ((labeled > 1) & (spread <= MIN_DISTANCE).all(axis=-1)).sum()
        ),
        ("animal has", "animals have", "the keypoints of another in the image"): sum(
            len(list(_doubles(frame))) for frame in frames if len(frame) > 1
        ),
    }
    for (one, several, what), count in counts.items():
        if count:
            logger.warning("%s: %s %s (listed by dlcpose inspect).", named, counted(count, one, several), what)


def _of_animals(frames: Sequence[FrameLabels]) -> npt.NDArray[np.float32]:
    """The keypoints of all animals: (A, K, 2)."""
    points_in_image = [frame.keypoints_in_image for frame in frames if len(frame)]
    return np.concatenate(points_in_image) if points_in_image else np.zeros((0, 1, 2), np.float32)
