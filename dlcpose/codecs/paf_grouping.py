"""Group keypoint candidates into animals along a PAF graph (Cao et al. 2017, section 2.3).

Each edge's candidates are matched, the matched pairs are links, and candidates are joined along links, strongest first.
Numpy and plain Python, one image at a time: what is left of an image is a few hundred numbers. Letters: K keypoints, P
candidates of each, L edges, E links. A candidate's node is its keypoint · P + its place among the keypoint's candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Array = npt.NDArray[Any]
NONE = -1
SWEEPS = 2  # over all keypoints: more than one is needed only where animals lie over each other
MIN_GAIN = 1e-4  # affinity by which another candidate must be better
MIN_MEAN = 0.5  # of min_affinity: mean affinity of the edges between two fragments, for them to be joined


def group_keypoints(affinity: Array, known: Array, edges: Sequence[tuple[int, int]], min_affinity: float) -> Array:
    """The candidates of each animal: (M, K) places among the keypoints' candidates, −1 where it has none.

    affinity: (L, P, P) of each edge's first with its second keypoint's candidates, 0 where they are not connected. known:
    (K, P) which candidates exist. edges: L pairs of keypoints, in either order. min_affinity: of a link. Each candidate
    belongs to exactly one animal: those without a link are animals of their own.
    """
    keypoints, places = known.shape
    # Not by the matrix's own nonzero, which takes ten times as long in three dimensions.
    pairs = np.flatnonzero(match_edges(affinity, min_affinity))
    edge, first, second = np.unravel_index(pairs, affinity.shape)
    ends = np.array(edges, np.int64).reshape(-1, 2)
    links = np.stack((ends[edge, 0] * places + first, ends[edge, 1] * places + second), axis=1)  # (E, 2) nodes
    animals = join(links, affinity.reshape(-1)[pairs], known.shape, edges, min_affinity)
    members = np.full((len(animals), keypoints), NONE)
    owners = np.repeat(np.arange(len(animals)), [len(animal) for animal in animals])
    nodes = np.array([node for animal in animals for node in animal], np.int64)
    keypoint, place = np.divmod(nodes, max(places, 1))
    members[owners, keypoint] = np.where(known[keypoint, place], place, NONE)
    # Only animals with a link between them can be improved: elsewhere each edge has its best matching.
    owner = np.zeros(known.size, np.int64)
    owner[nodes] = owners
    between = owner[links[:, 0]] != owner[links[:, 1]]
    entangled = np.unique(owner[links[between]])
    members[entangled] = refine_groups(members[entangled], affinity, ends)
    grouped: Array = members[(members != NONE).any(axis=1)]
    return grouped


def match_edges(affinity: Array, min_affinity: float) -> npt.NDArray[np.bool_]:
    """The matching of each edge's candidates with the greatest total affinity: (L, P, P) -> which pairs are in it, bool.

    Pairs below `min_affinity` are in none. A candidate has at most one partner per edge.
    """
    gains = np.where(affinity >= min_affinity, affinity, 0.0)
    chosen = np.zeros(gains.shape, bool)
    if gains.size == 0:
        return chosen
    # Where no two candidates have the same best partner, no matching is better: often nothing else is to be done.
    np.put_along_axis(chosen, gains.argmax(axis=2)[..., None], True, axis=2)
    chosen &= gains > 0
    contested = np.flatnonzero((chosen.sum(axis=1) > 1).any(axis=1))
    if len(contested):
        columns = np.array([linear_sum_assignment(gains[edge], maximize=True)[1] for edge in contested])  # (L', P)
        at = contested[:, None], np.arange(gains.shape[1]), columns
        chosen[contested] = False
        chosen[at] = gains[at] > 0
    return chosen


def join(
    links: Array, strengths: Array, shape: tuple[int, int], edges: Sequence[tuple[int, int]], min_affinity: float
) -> list[list[int]]:
    """The nodes of each animal, joined along links (E, 2) with strengths (E,), the strongest first.

    shape: (K, P). Two fragments are joined where they share no keypoint and the mean strength of all edges between them is
    high enough, edges without a link counting as 0: one spurious link must not join the head of an animal to the tail of
    another against ten edges without one.
    """
    order = np.argsort(-strengths, kind="stable")
    firsts, seconds = links[order].T.tolist()
    weights = strengths[order].tolist()
    nodes = shape[0] * shape[1]
    edges_of = _edges_of(edges, shape[0])
    is_forest = len(edges) < len(edges_of)  # then at most one edge connects two fragments, and its link decides alone
    keys = np.sort(links[order], axis=1) @ (nodes, 1)
    strength_of = {} if is_forest else dict(zip(keys.tolist(), weights, strict=True))
    fragment_of = list(range(nodes))
    members = [[node] for node in fragment_of]
    keypoint_of = [keypoint for keypoint in range(shape[0]) for _ in range(shape[1])]
    keypoints = [1 << keypoint for keypoint in keypoint_of]  # of each fragment, as bits
    for first, second, weight in zip(firsts, seconds, weights, strict=True):
        one, other = fragment_of[first], fragment_of[second]
        if one == other or keypoints[one] & keypoints[other]:
            continue
        if len(members[one]) < len(members[other]):
            one, other = other, one
        if not is_forest:
            count = sum([(edges_of[keypoint_of[node]] & keypoints[one]).bit_count() for node in members[other]])
            needed = MIN_MEAN * min_affinity * count
            if weight < needed and not _is_strong(members[one], members[other], strength_of, nodes, needed):
                continue
        for node in members[other]:
            fragment_of[node] = one
        keypoints[one] |= keypoints[other]
        members[one] += members[other]
        members[other] = []
    return [fragment for fragment in members if fragment]


def refine_groups(members: Array, affinity: Array, ends: Array) -> Array:
    """Animals (M, K) with candidates exchanged between them so that the total affinity over all edges rises.

    Joining follows the strongest links alone. Here, keypoint by keypoint, the animals' candidates are assigned anew, so that
    the sum of affinities is greatest, until nothing changes. ends: (L, 2) of the edges.
    Source: coordinate ascent, as in iterated conditional modes (Besag 1986).
    """
    members = members.copy()
    if len(members) < 2 or len(ends) < members.shape[1]:  # in a tree a single edge connects two fragments
        return members
    affinities = _Affinities.of(affinity, ends)
    for _ in range(SWEEPS):
        moving = _improvable(members, affinities.to_animals(members))
        for keypoint in moving:
            (rows,) = np.nonzero(members[:, keypoint] != NONE)
            support = affinities.of_keypoint(keypoint, members[rows])  # (P, rows)
            places = members[rows, keypoint]
            staying = MIN_GAIN * np.eye(len(rows))
            candidates, animals = linear_sum_assignment(support[places] + staying, maximize=True)
            members[rows[animals], keypoint] = places[candidates]
        if not len(moving):
            break
    return members


@dataclass(frozen=True)
class _Affinities:
    """Affinities of all pairs of candidates, laid out to be read by the candidate of an animal.

    ends: (L, 2) of the edges. to_seconds: (L, P + 1, P), of each first candidate to all second ones. to_firsts: likewise, of
    each second candidate to all first ones. Their last rows are 0, and are those of NONE.
    """

    ends: Array
    to_seconds: Array
    to_firsts: Array

    @classmethod
    def of(cls, affinity: Array, ends: Array) -> "_Affinities":
        """From affinities (L, P, P)."""
        below = ((0, 0), (0, 1), (0, 0))
        return cls(ends, np.pad(affinity, below), np.pad(affinity.transpose(0, 2, 1), below))

    def to_animals(self, members: Array) -> Array:
        """Each candidate's total affinity to an animal's other keypoints: (M, K) -> (K, P, M)."""
        edges = np.arange(len(self.ends))[:, None]
        total = np.zeros((members.shape[1], len(members), self.to_firsts.shape[-1]), self.to_firsts.dtype)
        # Not as a product of matrices: BLAS's threads wait for each other where a network computes beside (16 ms, not 0.3).
        firsts, seconds = self.ends.T
        for keypoint, values in zip(firsts.tolist(), self.to_firsts[edges, members.T[seconds]], strict=True):
            total[keypoint] += values
        for keypoint, values in zip(seconds.tolist(), self.to_seconds[edges, members.T[firsts]], strict=True):
            total[keypoint] += values
        return total.transpose(0, 2, 1)

    def of_keypoint(self, keypoint: int, members: Array) -> Array:
        """The same for the candidates of one keypoint: (M, K) -> (P, M)."""
        (as_first,), (as_second,) = np.nonzero(self.ends[:, 0] == keypoint), np.nonzero(self.ends[:, 1] == keypoint)
        from_second = self.to_firsts[as_first[:, None], members.T[self.ends[as_first, 1]]]  # (L', M, P)
        from_first = self.to_seconds[as_second[:, None], members.T[self.ends[as_second, 0]]]
        total: Array = from_second.sum(axis=0) + from_first.sum(axis=0)
        return total.T


def _improvable(members: Array, support: Array) -> Array:
    """Keypoints of which some candidate has more affinity to another animal that has that keypoint: (·,)."""
    present = (members != NONE).T  # (K, M)
    keypoints = np.arange(len(present))[:, None]
    to_each = support[keypoints, members.T]  # (K, M, M) of each animal's candidate in every animal
    own = to_each.diagonal(axis1=1, axis2=2)[..., None]
    is_better = (to_each > own + MIN_GAIN) & present[:, :, None] & present[:, None]
    return np.flatnonzero(is_better.any(axis=(1, 2)))


def _is_strong(one: list[int], other: list[int], strength_of: dict[int, float], nodes: int, needed: float) -> bool:
    """Whether the links between two fragments sum up to `needed`. Keys of strength_of: lower node · nodes + higher one."""
    total = 0.0
    for first in other:
        for second in one:
            total += strength_of.get(first * nodes + second if first < second else second * nodes + first, 0.0)
            if total >= needed:
                return True
    return False


def _edges_of(edges: Sequence[tuple[int, int]], keypoints: int) -> list[int]:
    """For each keypoint those that an edge connects it to, as bits."""
    neighbors = [0] * keypoints
    for first, second in edges:
        neighbors[first] |= 1 << second
        neighbors[second] |= 1 << first
    return neighbors
