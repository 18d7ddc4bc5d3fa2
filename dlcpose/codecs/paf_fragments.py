"""Join what is one animal although no edge connects it: where a hidden keypoint takes its neighbors' edges with it.

An animal of which every second keypoint is hidden by another falls into single keypoints along the skeleton's edges. Their
distances tell that they belong together: those of the training poses are known.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.codecs.limb_lengths import TypicalDistances
from dlcpose.codecs.paf_grouping import NONE

Array = npt.NDArray[Any]
MAX_DEVIATIONS = 5.0  # of the distance of any two keypoints of two fragments from the usual one, in standard deviations
MAX_MEAN_SQUARE = 4.0  # of all of them
FAR = 1e4  # standard deviations: no sum of its squares is too large for float32
MIN_UNLINKED = 0.5  # of an animal's keypoints: fewer, none of which has a link, may be noise
MAX_FRAGMENTS = 128  # that are looked at: in the first epochs of a training there are hundreds, most of them noise


def join_fragments(
    members: Array, points: Array, scores: Array, edges: Sequence[tuple[int, int]], typical: TypicalDistances
) -> Array:
    """Animals with those fragments joined whose keypoints lie as far from each other as an animal's: (M, K) -> (M', K).

    members: places among the keypoints' candidates, −1 where an animal has none. points: (K, P, 2) px and scores: (K, P)
    of the candidates. edges: that the animals were grouped by. Fragments with a keypoint in common are two animals, and
    those that an edge connects were separated by its field. The pair is joined first whose distances are most usual, for
    the number of its keypoints.
    """
    keypoints = np.arange(members.shape[1])
    has = members != NONE  # (M, K)
    (rows,) = np.nonzero(has.any(axis=1) & ~has.all(axis=1))
    total = np.where(has, scores[keypoints, members], 0.0).sum(axis=1)
    rows = rows[np.argsort(-total[rows], kind="stable")[:MAX_FRAGMENTS]]
    poses = np.where(has[rows, :, None], points[keypoints, members[rows]], np.nan)
    groups = _joined(poses, edges, typical) if len(rows) > 1 else []
    joined, gone = members.copy(), []
    for group in groups:
        first, *others = (rows[fragment] for fragment in group)
        if has[[first, *others]].sum(axis=1).max() > 1 or len(group) >= MIN_UNLINKED * len(keypoints):
            joined[first] = members[[first, *others]].max(axis=0)  # of disjoint keypoints, so the others have −1
            gone += others
    kept: Array = np.delete(joined, gone, axis=0)
    return kept


def _joined(poses: Array, edges: Sequence[tuple[int, int]], typical: TypicalDistances) -> list[list[int]]:
    """Which of the fragments (F, K, 2) px are one animal; those that are joined to none are left out."""
    squares, largest = _deviations(poses, typical)  # (F, F) each
    has = ~np.isnan(poses[..., 0])  # (F, K)
    sizes = has.sum(axis=1)
    # Pairs of which no two fragments of an animal hold one each: a keypoint with itself, and the two of an edge.
    connects = np.eye(has.shape[1], dtype=np.int64)
    for first, second in edges:
        connects[first, second] = connects[second, first] = 1
    counts = has.astype(np.int64)
    apart = (counts @ connects @ counts.T > 0) | (largest > MAX_DEVIATIONS)
    groups = {fragment: [fragment] for fragment in range(len(poses))}
    while True:
        mean_square = squares / (sizes[:, None] * sizes)
        cost = np.where(apart | (mean_square > MAX_MEAN_SQUARE), np.inf, mean_square / (sizes[:, None] + sizes))
        kept, taken = divmod(int(cost.argmin()), len(cost))
        if cost[kept, taken] == np.inf:
            return [group for group in groups.values() if len(group) > 1]
        groups[kept] += groups.pop(taken)
        sizes[kept] += sizes[taken]
        # What is true of two fragments together are sums and unions of what is true of each.
        squares[kept] += squares[taken]
        squares[:, kept] = squares[kept]
        apart[kept] |= apart[taken]
        apart[:, kept] = apart[kept]
        apart[taken] = apart[:, taken] = True


def _deviations(poses: Array, typical: TypicalDistances) -> tuple[Array, Array]:
    """Of the distances of two fragments' keypoints from the usual: the sum of squares, and the largest. (F, F) each.

    In standard deviations, at most FAR, which also stands for a distance that is not known from the training poses.
    """
    fragment, keypoint = np.nonzero(~np.isnan(poses[..., 0]))  # (E,) each, in the order of the fragments
    x, y = poses[fragment, keypoint].T
    pairs = keypoint[:, None], keypoint
    distances = np.sqrt((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2)  # (E, E)
    deviation = typical.deviation[pairs]
    deviations = np.full_like(distances, FAR)
    np.divide(np.abs(distances - typical.mean[pairs]), deviation, out=deviations, where=deviation > 0)  # not NaN
    deviations = np.minimum(deviations, FAR)
    starts = np.searchsorted(fragment, np.arange(len(poses)))
    squares = np.add.reduceat(np.add.reduceat(deviations**2, starts), starts, axis=1)
    return squares, np.maximum.reduceat(np.maximum.reduceat(deviations, starts), starts, axis=1)
