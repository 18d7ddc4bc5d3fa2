"""Conditional poses: drawn as images for the network, and perturbed as bottom-up models err (BUCTD, Zhou et al. 2023)."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlcpose.codecs.gaussian import draw_gaussians
from dlcpose.codecs.oks import oks_areas

Array = npt.NDArray[Any]
# Object keypoint similarities at which one kind of error ends and the next begins (Moon et al. 2019, PoseFix).
MIN_OKS_GOOD, MIN_OKS_JITTER, MIN_OKS_MISS = 0.85, 0.5, 0.1
MOVED, TURNED = 0.12, 0.2  # standard deviations: of the animal's length along each axis, and radians
TRIES = 10  # places drawn for a keypoint before it is left at its label


def draw_stacked(points_in_crop: Tensor, sigma: float, size: tuple[int, int]) -> Tensor:
    """A Gaussian map per keypoint of the one pose in each crop: (M, K, 2) -> (M, K, H, W) in [0, 1], 0 for NaN."""
    return draw_gaussians(points_in_crop[:, None], sigma, size)


def draw_colored(points_in_crop: Tensor, sigma: float, size: tuple[int, int]) -> Tensor:
    """All keypoints of a pose in one image, each in its own color: (M, K, 2) -> (M, 3, H, W) in [0, 1]."""
    maps = draw_stacked(points_in_crop, sigma, size)
    colors = rainbow(points_in_crop.shape[1]).to(maps)  # (K, 3)
    # A channel at a time: all three at once would hold each keypoint's map three times.
    return torch.stack([(maps * color[:, None, None]).amax(dim=1) for color in colors.unbind(dim=1)], dim=1)


def rainbow(count: int) -> Tensor:
    """Colors from violet over green to red, evenly spaced: (count, 3) in [0, 1]."""
    x = torch.linspace(0, 1, count)
    return torch.stack(((2 * x - 0.5).abs(), (math.pi * x).sin(), (math.pi / 2 * x).cos()), dim=1).clamp(0, 1)


class ErrorKind(IntEnum):
    """The kinds of error of a conditional pose's keypoint."""

    UNLABELED = -1
    GOOD = 0
    JITTER = 1
    MISS = 2
    INVERSION = 3
    SWAP = 4
    ABSENT = 5


@dataclass(frozen=True)
class PoseNoise:
    """Probabilities of the errors of a conditional pose's keypoints; the rest is good.

    jitter: near the label, but not on it. miss: far from it. inversion: at the left or right counterpart. swap: at a
    nearby animal. Where a kind is impossible (no counterpart, no neighbor), the others share its probability.
    absent: not predicted, drawn before the others; the paper has no such kind, but part affinity fields leave out
    keypoints that they cannot link. background: additional poses where no animal is, as a fraction of all.
    Raises ValueError for values that are no probabilities. The first four have DeepLabCut 3's values.
    """

    jitter: float = 0.16
    miss: float = 0.10
    inversion: float = 0.03
    swap: float = 0.08
    absent: float = 0.05
    background: float = 0.05

    def __post_init__(self) -> None:
        wrong = [name for name, probability in vars(self).items() if not 0 <= probability < 1]
        if wrong or self.jitter + self.miss + self.inversion + self.swap > 1:
            raise ValueError(
                "expected probabilities from 0 to below 1, and jitter, miss, inversion and swap to sum up to 1 at most"
                f"{f'; wrong is {wrong[0]}' if wrong else ''}"
            )


class PerturbedPoses(NamedTuple):
    """The conditional poses of a frame's animals, and the kind of error of each keypoint."""

    keypoints: Array  # (N, K, 2), NaN where unlabeled or absent
    kinds: Array  # (N, K) of ErrorKind


def perturb_poses(
    gt: Array,
    areas: Array,
    sigmas: Sequence[float],
    flip_order: Sequence[int],
    noise: PoseNoise,
    rng: np.random.Generator,
) -> PerturbedPoses:
    """Labeled poses (N, K, 2) of one frame with the errors of a bottom-up model; each keeps at least one keypoint.

    areas: (N,) px², NaN to take that of the keypoints' box. sigmas: (K,). flip_order: each keypoint's left/right
    counterpart, or itself.
    The distance of an error follows from its object keypoint similarity, and no drawn place is nearer to another keypoint
    that it could be mistaken for than to the one it was drawn around.
    Sources: Moon et al. 2019 (PoseFix), section 3; Zhou et al. 2023 (BUCTD), section 3.3.
    """
    gt = gt.astype(np.float64)
    count, keypoints = gt.shape[:2]
    if not count:
        return PerturbedPoses(gt.astype(np.float32), np.zeros((0, keypoints), np.int64))
    flipped = gt[:, list(flip_order)]  # (N, K, 2)
    radii = _distances(oks_areas(areas, gt), np.asarray(sigmas))  # (4, N, K) px: of 0, good, jitter and miss
    neighbors, has_neighbor = _neighbors(gt, flipped, radii[-1].max(axis=1), rng)  # (N, K, 2), (N, K)
    has_flipped = ~np.isnan(flipped).any(axis=-1) & (np.asarray(flip_order) != np.arange(keypoints))
    kinds = _kinds(gt, has_flipped, has_neighbor, noise, rng)
    centers = np.where((kinds == ErrorKind.INVERSION)[..., None], flipped, gt)
    centers = np.where((kinds == ErrorKind.SWAP)[..., None], neighbors, centers)
    min_distance = np.where(kinds == ErrorKind.JITTER, radii[1], np.where(kinds == ErrorKind.MISS, radii[2], 0.0))
    max_distance = np.where(kinds == ErrorKind.GOOD, radii[1], np.where(kinds == ErrorKind.MISS, radii[3], radii[2]))
    angles = rng.uniform(0, 2 * np.pi, (TRIES, count, keypoints))
    distances = rng.uniform(0, 1, (TRIES, count, keypoints)) * (max_distance - min_distance) + min_distance
    places = centers + distances[..., None] * np.stack((np.cos(angles), np.sin(angles)), axis=-1)  # (T, N, K, 2)
    fits = _fits(places, distances, gt, flipped, kinds, radii[2])
    chosen = np.take_along_axis(places, fits.argmax(axis=0)[None, ..., None], axis=0)[0]
    no_place = ~fits.any(axis=0) & (kinds >= 0)
    kinds = np.where(no_place, ErrorKind.GOOD, kinds)
    perturbed = np.where(no_place[..., None], gt, chosen)
    perturbed[(kinds == ErrorKind.ABSENT) | (kinds == ErrorKind.UNLABELED)] = np.nan
    return PerturbedPoses(perturbed.astype(np.float32), kinds)


def move_poses(poses: Array, gt: Array, share: float, rng: np.random.Generator) -> Array:
    """A share of the poses (N, K, 2) moved and turned as a whole, as an animal is from one frame of a video to the next.

    gt: (N, K, 2) the labels, whose boxes are the animals' lengths and centers. The paper has no such error: of keypoints
    that err each for itself, a network may take the animal's place, and then does not follow an animal that moves.
    """
    is_moved = rng.random(len(gt)) < share
    lengths = np.zeros(len(gt))
    centers = np.zeros((len(gt), 2))
    for animal in np.flatnonzero(is_moved):
        known = gt[animal][~np.isnan(gt[animal]).any(axis=-1)]
        lengths[animal] = (known.max(axis=0) - known.min(axis=0)).max()
        centers[animal] = (known.max(axis=0) + known.min(axis=0)) / 2
    shifts = rng.normal(0, MOVED, (len(gt), 2)) * lengths[:, None]
    angles = rng.normal(0, TURNED, len(gt)) * is_moved
    cosines, sines = np.cos(angles), np.sin(angles)
    turns = np.stack([np.stack([cosines, -sines], axis=-1), np.stack([sines, cosines], axis=-1)], axis=-2)  # (N, 2, 2)
    turned = np.einsum("nij,nkj->nki", turns, poses - centers[:, None])
    moved: Array = (turned + (centers + shifts)[:, None]).astype(np.float32)
    return moved


def background_pose(pose: Array, gt: Array, size: tuple[int, int], rng: np.random.Generator) -> Array | None:
    """A pose (K, 2) moved to the background, as a false positive; None where no place is free.

    gt: (N, K, 2) the frame's animals. size: (height, width) of the frame. Its center then lies farther from every animal's
    keypoints than half of its own length.
    """
    known = pose[~np.isnan(pose).any(axis=-1)]
    others = gt[~np.isnan(gt).any(axis=-1)]  # (P, 2)
    if not len(known):
        return None
    center = (known.min(axis=0) + known.max(axis=0)) / 2
    room = float((known.max(axis=0) - known.min(axis=0)).max()) / 2
    for _ in range(TRIES):
        place = rng.uniform(0, 1, 2) * (size[1] - 1, size[0] - 1)
        if not len(others) or np.linalg.norm(others - place, axis=-1).min() > room:
            moved: Array = (pose + (place - center)).astype(np.float32)
            return moved
    return None


def _distances(areas: Array, sigmas: Array) -> Array:
    """A keypoint's distance at similarities of 1, MIN_OKS_GOOD, MIN_OKS_JITTER and MIN_OKS_MISS: (4, N, K) px."""
    spread = 2 * areas[:, None] * (2 * sigmas) ** 2  # (N, K)
    levels = np.array([1.0, MIN_OKS_GOOD, MIN_OKS_JITTER, MIN_OKS_MISS])
    return np.asarray(np.sqrt(-np.log(levels)[:, None, None] * spread))


def _neighbors(gt: Array, flipped: Array, radius: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """For each keypoint the same one of a nearby animal, or its flipped one, at random: (N, K, 2), and whether there is any.

    radius: (N,) px. Only keypoints within three times that are mistaken for the animal's own.
    """
    count = len(gt)
    candidates = np.concatenate([gt, flipped])  # (2N, K, 2)
    distances = np.linalg.norm(candidates[None] - gt[:, None], axis=-1)  # (N, 2N, K)
    is_other = np.tile(~np.eye(count, dtype=bool), 2)[..., None]
    near = is_other & (np.nan_to_num(distances, nan=np.inf) < 3 * radius[:, None, None])
    drawn = np.where(near, rng.uniform(0.5, 1, near.shape), 0.0).argmax(axis=1)  # (N, K)
    chosen = np.take_along_axis(candidates[None], drawn[:, None, :, None], axis=1)[:, 0]
    return chosen, near.any(axis=1)


def _kinds(gt: Array, has_flipped: Array, has_neighbor: Array, noise: PoseNoise, rng: np.random.Generator) -> Array:
    """The kind of error of each keypoint: (N, K)."""
    good = 1 - noise.jitter - noise.miss - noise.inversion - noise.swap
    probabilities = np.broadcast_to(
        [good, noise.jitter, noise.miss, noise.inversion, noise.swap], (*gt.shape[:2], 5)
    ).copy()
    probabilities[..., ErrorKind.INVERSION] *= has_flipped
    probabilities[..., ErrorKind.SWAP] *= has_neighbor
    # Where no kind with a probability is possible, the keypoint is good.
    total = probabilities.sum(axis=-1, keepdims=True)
    probabilities = np.where(total > 0, probabilities / np.where(total > 0, total, 1), np.arange(5) == ErrorKind.GOOD)
    draws = rng.uniform(0, 1, (*gt.shape[:2], 1))
    kinds = np.minimum((draws >= probabilities.cumsum(axis=-1)).sum(axis=-1), 4)
    labeled = ~np.isnan(gt).any(axis=-1)
    absent = rng.uniform(0, 1, labeled.shape) < noise.absent
    has_other = (labeled & ~absent).any(axis=1, keepdims=True)
    kinds = np.where(absent & has_other, ErrorKind.ABSENT, kinds)
    return np.where(labeled, kinds, ErrorKind.UNLABELED)


def _fits(places: Array, drawn: Array, gt: Array, flipped: Array, kinds: Array, min_miss: Array) -> Array:
    """Which places (T, N, K, 2) are valid for their kind: no other keypoint is nearer, and a miss is far from all.

    drawn: (T, N, K) px from the keypoint that each place was drawn around. min_miss: (N, K) px.
    """
    sources = np.concatenate([gt, flipped])  # (2N, K, 2)
    distances = np.linalg.norm(places[:, :, None] - sources[None, None], axis=-1)  # (T, N, 2N, K)
    nearest = np.nan_to_num(distances, nan=np.inf).min(axis=2)  # (T, N, K)
    is_nearest = drawn <= nearest + 1e-9
    fits: Array = np.where(kinds == ErrorKind.MISS, nearest >= min_miss - 1e-9, is_nearest)
    return fits


def rng_for_frame(key: str, seed: int) -> np.random.Generator:
    """A random generator for one frame, which depends on nothing but its key and the seed."""
    return np.random.default_rng((seed, zlib.crc32(key.encode())))
