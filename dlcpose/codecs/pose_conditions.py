"""Poses as conditions: drawn as images beside the crop, and spoiled as a bottom-up model would (Zhou et al. 2023, BUCTD)."""

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
# Object keypoint similarities that part one kind of error from the next (Moon et al. 2019, PoseFix).
GOOD_FROM, JITTER_FROM, MISS_FROM = 0.85, 0.5, 0.1
TRIES = 10  # places drawn for a keypoint before it stays where it belongs


def draw_stacked(points_in_crop: Tensor, sigma: float, size: tuple[int, int]) -> Tensor:
    """A map for each keypoint of one pose in each crop: (M, K, 2) -> (M, K, H, W) in [0, 1], NaN draws nothing."""
    return draw_gaussians(points_in_crop[:, None], sigma, size)


def draw_colored(points_in_crop: Tensor, sigma: float, size: tuple[int, int]) -> Tensor:
    """All keypoints of a pose on one picture, each in its own colour: (M, K, 2) -> (M, 3, H, W) in [0, 1]."""
    maps = draw_stacked(points_in_crop, sigma, size)
    colors = rainbow(points_in_crop.shape[1]).to(maps)  # (K, 3)
    # A channel at a time: all three at once would hold every keypoint's map three times.
    return torch.stack([(maps * color[:, None, None]).amax(dim=1) for color in colors.unbind(dim=1)], dim=1)


def rainbow(count: int) -> Tensor:
    """Colours from violet over green to red, evenly spaced: (count, 3) in [0, 1]."""
    x = torch.linspace(0, 1, count)
    return torch.stack(((2 * x - 0.5).abs(), (math.pi * x).sin(), (math.pi / 2 * x).cos()), dim=1).clamp(0, 1)


class ErrorKind(IntEnum):
    """What became of a keypoint of a condition."""

    UNLABELLED = -1
    GOOD = 0
    JITTER = 1
    MISS = 2
    INVERSION = 3
    SWAP = 4
    ABSENT = 5


@dataclass(frozen=True)
class PoseNoise:
    """How often a keypoint of a condition is wrong, and how; what is left is good.

    jitter: near its place, but not on it. miss: far from it. inversion: at its left or right twin. swap: at another
    animal near by. Where a kind cannot be (no twin, no neighbour), the others share what it would have had.
    absent: not found at all, of all keypoints and before the rest; the paper has no such kind, but part affinity fields
    leave out what they cannot join. nobody: of all conditions, additional ones at places where no animal is.
    Raises ValueError for shares that are none. Shares of the first four: those of DeepLabCut 3.
    """

    jitter: float = 0.16
    miss: float = 0.10
    inversion: float = 0.03
    swap: float = 0.08
    absent: float = 0.05
    background: float = 0.05

    def __post_init__(self) -> None:
        wrong = [name for name, share in vars(self).items() if not 0 <= share < 1]
        if wrong or self.jitter + self.miss + self.inversion + self.swap > 1:
            raise ValueError(
                "expected shares from 0 to below 1, and jitter, miss, inversion and swap to be 1 at most together"
                f"{f'; wrong is {wrong[0]}' if wrong else ''}"
            )


class PerturbedPoses(NamedTuple):
    """The conditions of a frame's animals, and what became of each keypoint."""

    keypoints: Array  # (N, K, 2), NaN where unlabelled or absent
    kinds: Array  # (N, K) of Kind


def perturb_poses(
    gt: Array,
    areas: Array,
    sigmas: Sequence[float],
    flip_order: Sequence[int],
    errors: PoseNoise,
    rng: np.random.Generator,
) -> PerturbedPoses:
    """Labelled poses (N, K, 2) of one frame with the errors of a bottom-up model; each keeps a keypoint at least.

    areas: (N,) px², NaN for that of the keypoints' box. sigmas: (K,). flip_order: each keypoint's twin, or itself.
    How far off a keypoint lies follows from its object keypoint similarity, and no place is nearer to something else
    that it could be mistaken for than to what it was drawn around.
    Sources: Moon et al. 2019 (PoseFix), section 3; Zhou et al. 2023 (BUCTD), section 3.3.
    """
    gt = gt.astype(np.float64)
    count, joints = gt.shape[:2]
    if not count:
        return PerturbedPoses(gt.astype(np.float32), np.zeros((0, joints), np.int64))
    twins = gt[:, list(flip_order)]  # (N, K, 2)
    reach = _distances(oks_areas(areas, gt), np.asarray(sigmas))  # (4, N, K) px: at most good, jitter, miss
    neighbours, has_neighbour = _neighbours(gt, twins, reach[-1].max(axis=1), rng)  # (N, K, 2), (N, K)
    has_twin = ~np.isnan(twins).any(axis=-1) & (np.asarray(flip_order) != np.arange(joints))
    kinds = _kinds(gt, has_twin, has_neighbour, errors, rng)
    centers = np.where((kinds == ErrorKind.INVERSION)[..., None], twins, gt)
    centers = np.where((kinds == ErrorKind.SWAP)[..., None], neighbours, centers)
    nearest = np.where(kinds == ErrorKind.JITTER, reach[1], np.where(kinds == ErrorKind.MISS, reach[2], 0.0))
    farthest = np.where(kinds == ErrorKind.GOOD, reach[1], np.where(kinds == ErrorKind.MISS, reach[3], reach[2]))
    angles = rng.uniform(0, 2 * np.pi, (TRIES, count, joints))
    radii = rng.uniform(0, 1, (TRIES, count, joints)) * (farthest - nearest) + nearest
    places = centers + radii[..., None] * np.stack((np.cos(angles), np.sin(angles)), axis=-1)  # (T, N, K, 2)
    fits = _fits(places, radii, gt, twins, kinds, reach[2])
    chosen = np.take_along_axis(places, fits.argmax(axis=0)[None, ..., None], axis=0)[0]
    never = ~fits.any(axis=0) & (kinds >= 0)
    kinds = np.where(never, ErrorKind.GOOD, kinds)
    found = np.where(never[..., None], gt, chosen)
    found[(kinds == ErrorKind.ABSENT) | (kinds == ErrorKind.UNLABELLED)] = np.nan
    return PerturbedPoses(found.astype(np.float32), kinds)


def displaced_pose(pose: Array, gt: Array, size: tuple[int, int], rng: np.random.Generator) -> Array | None:
    """A pose (K, 2) moved to where nobody is, None where no such place was found: a condition that is wrong.

    truth: (N, K, 2) the frame's animals. size: (height, width) of the frame. Its middle comes to lie farther from every
    animal's keypoints than half of its own length.
    """
    known = pose[~np.isnan(pose).any(axis=-1)]
    others = gt[~np.isnan(gt).any(axis=-1)]  # (P, 2)
    if not len(known):
        return None
    middle = (known.min(axis=0) + known.max(axis=0)) / 2
    room = float((known.max(axis=0) - known.min(axis=0)).max()) / 2
    for _ in range(TRIES):
        place = rng.uniform(0, 1, 2) * (size[1] - 1, size[0] - 1)
        if not len(others) or np.linalg.norm(others - place, axis=-1).min() > room:
            moved: Array = (pose + (place - middle)).astype(np.float32)
            return moved
    return None


def _distances(areas: Array, sigmas: Array) -> Array:
    """How far off a keypoint is at a similarity of 1, GOOD_FROM, JITTER_FROM and MISS_FROM: (4, N, K) px."""
    spread = 2 * areas[:, None] * (2 * sigmas) ** 2  # (N, K)
    levels = np.array([1.0, GOOD_FROM, JITTER_FROM, MISS_FROM])
    return np.asarray(np.sqrt(-np.log(levels)[:, None, None] * spread))


def _neighbours(gt: Array, twins: Array, reach: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """For each keypoint the like one of another animal, or its twin, drawn among those near by: (N, K, 2), (N, K).

    reach: (N,) px. Only what lies within three times that is mistaken for the animal's own: part of it shows there.
    """
    count = len(gt)
    candidates = np.concatenate([gt, twins])  # (2N, K, 2)
    away = np.linalg.norm(candidates[None] - gt[:, None], axis=-1)  # (N, 2N, K)
    is_other = np.tile(~np.eye(count, dtype=bool), 2)[..., None]
    near = is_other & (np.nan_to_num(away, nan=np.inf) < 3 * reach[:, None, None])
    drawn = np.where(near, rng.uniform(0.5, 1, near.shape), 0.0).argmax(axis=1)  # (N, K)
    chosen = np.take_along_axis(candidates[None], drawn[:, None, :, None], axis=1)[:, 0]
    return chosen, near.any(axis=1)


def _kinds(gt: Array, has_twin: Array, has_neighbour: Array, errors: PoseNoise, rng: np.random.Generator) -> Array:
    """What becomes of each keypoint: (N, K)."""
    good = 1 - errors.jitter - errors.miss - errors.inversion - errors.swap
    shares = np.broadcast_to(
        [good, errors.jitter, errors.miss, errors.inversion, errors.swap], (*gt.shape[:2], 5)
    ).copy()
    shares[..., ErrorKind.INVERSION] *= has_twin
    shares[..., ErrorKind.SWAP] *= has_neighbour
    # Where nothing that was asked for can be, the keypoint is good.
    total = shares.sum(axis=-1, keepdims=True)
    shares = np.where(total > 0, shares / np.where(total > 0, total, 1), np.arange(5) == ErrorKind.GOOD)
    draws = rng.uniform(0, 1, (*gt.shape[:2], 1))
    kinds = np.minimum((draws >= shares.cumsum(axis=-1)).sum(axis=-1), 4)
    labelled = ~np.isnan(gt).any(axis=-1)
    absent = rng.uniform(0, 1, labelled.shape) < errors.absent
    is_left = (labelled & ~absent).any(axis=1, keepdims=True)
    kinds = np.where(absent & is_left, ErrorKind.ABSENT, kinds)
    return np.where(labelled, kinds, ErrorKind.UNLABELLED)


def _fits(places: Array, radii: Array, gt: Array, twins: Array, kinds: Array, missed_from: Array) -> Array:
    """Which places (T, N, K, 2) can be what they were drawn as: nothing else is nearer, and a miss is far from all."""
    sources = np.concatenate([gt, twins])  # (2N, K, 2)
    away = np.linalg.norm(places[:, :, None] - sources[None, None], axis=-1)  # (T, N, 2N, K)
    least = np.nan_to_num(away, nan=np.inf).min(axis=2)  # (T, N, K)
    is_nearest = radii <= least + 1e-9
    fits: Array = np.where(kinds == ErrorKind.MISS, least >= missed_from - 1e-9, is_nearest)
    return fits


def rng_for_frame(key: str, seed: int) -> np.random.Generator:
    """The chance of one frame, the same wherever and in whatever company it is looked at."""
    return np.random.default_rng((seed, zlib.crc32(key.encode())))
