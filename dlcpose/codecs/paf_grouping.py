"""From scored pairs of candidates to animals: the best matching of each limb, then candidates joined along their links.

Numpy and plain Python, one image at a time: what is left of an image is a few hundred numbers. Letters: K keypoints, P
candidates of each, L limbs, E links. A candidate's node is its keypoint · P + its place among the keypoint's candidates.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Array = npt.NDArray[Any]
NONE = -1
SWEEPS = 2  # over all keypoints: where one does not settle all, animals lie over each other
SAME = 1e-4  # affinities nearer to each other than this are alike
DOUBT = 0.5  # fragments are joined while what their limbs say on average is this share of the least affinity, or more


def group_keypoints(affinity: Array, known: Array, edges: Sequence[tuple[int, int]], least: float) -> Array:
    """Which candidates make up each animal: (M, K) places among the keypoints' candidates, −1 where it has none.

    affinity: (L, P, P) of each limb's first with its second keypoint's candidates, 0 where they do not meet. known:
    (K, P) which candidates there are. limbs: L pairs of keypoints, the lower first. least: affinity of a link. No candidate
    belongs to two animals, each belongs to one: those without a link are animals of their own.
    """
    keypoints, places = known.shape
    edge, first, second = np.nonzero(match_edges(affinity, least))
    ends = np.array(edges, np.int64).reshape(-1, 2)
    links = np.stack((ends[edge, 0] * places + first, ends[edge, 1] * places + second), axis=1)  # (E, 2) nodes
    animals = join(links, affinity[edge, first, second], known.shape, edges, least)
    members = np.full((len(animals), keypoints), NONE)
    owners = np.repeat(np.arange(len(animals)), [len(animal) for animal in animals])
    nodes = np.array([node for animal in animals for node in animal], np.int64)
    keypoint, place = np.divmod(nodes, max(places, 1))
    members[owners, keypoint] = np.where(known[keypoint, place], place, NONE)
    # Where no link lies between two animals each limb has its best matching, and nothing can be better.
    owner = np.zeros(known.size, np.int64)
    owner[nodes] = owners
    between = owner[links[:, 0]] != owner[links[:, 1]]
    entangled = np.unique(owner[links[between]])
    members[entangled] = refine_groups(members[entangled], affinity, ends)
    found: Array = members[(members != NONE).any(axis=1)]
    return found


def match_edges(affinity: Array, least: float) -> npt.NDArray[np.bool_]:
    """The matching of each limb's candidates with the greatest sum of affinities: (L, P, P) -> which pairs are in it.

    Pairs below `least` are in none. A candidate has one partner for each limb at most.
    """
    gains = np.where(affinity >= least, affinity, 0.0)
    chosen = np.zeros(gains.shape, bool)
    if gains.size == 0:
        return chosen
    # Where every candidate's best partner is no other's best, no matching is better: often there is no more to do.
    np.put_along_axis(chosen, gains.argmax(axis=2)[..., None], True, axis=2)
    chosen &= gains > 0
    disputed = np.flatnonzero((chosen.sum(axis=1) > 1).any(axis=1))
    if len(disputed):
        columns = np.array([linear_sum_assignment(gains[edge], maximize=True)[1] for edge in disputed])  # (L', P)
        at = disputed[:, None], np.arange(gains.shape[1]), columns
        chosen[disputed] = False
        chosen[at] = gains[at] > 0
    return chosen


def join(
    links: Array, strengths: Array, shape: tuple[int, int], edges: Sequence[tuple[int, int]], least: float
) -> list[list[int]]:
    """Nodes joined along links (E, 2) with strengths (E,), the strongest first: the nodes of each animal.

    shape: (K, P). Two fragments become one where they share no keypoint and their limbs agree on average, those without
    a link at strength 0: one link by chance must not join the head of an animal to the tail of another while ten limbs
    know nothing of it.
    """
    order = np.argsort(-strengths, kind="stable")
    firsts, seconds = links[order].T.tolist()
    weights = strengths[order].tolist()
    nodes = shape[0] * shape[1]
    edges_of = _edges_of(edges, shape[0])
    is_forest = len(edges) < len(edges_of)  # then one limb at most joins two fragments, and its link is all there is
    strength_of = {} if is_forest else dict(zip((links[order] @ (nodes, 1)).tolist(), weights, strict=True))
    part_of = list(range(nodes))
    members = [[node] for node in part_of]
    keypoint_of = [keypoint for keypoint in range(shape[0]) for _ in range(shape[1])]
    keypoints = [1 << keypoint for keypoint in keypoint_of]  # of each part, a bit for each
    for first, second, weight in zip(firsts, seconds, weights, strict=True):
        one, other = part_of[first], part_of[second]
        if one == other or keypoints[one] & keypoints[other]:
            continue
        if len(members[one]) < len(members[other]):
            one, other = other, one
        if not is_forest:
            count = sum([(edges_of[keypoint_of[node]] & keypoints[one]).bit_count() for node in members[other]])
            needed = DOUBT * least * count
            if weight < needed and not _is_strong(members[one], members[other], strength_of, nodes, needed):
                continue
        for node in members[other]:
            part_of[node] = one
        keypoints[one] |= keypoints[other]
        members[one] += members[other]
        members[other] = []
    return [nodes_of_one for nodes_of_one in members if nodes_of_one]


def refine_groups(members: Array, affinity: Array, ends: Array) -> Array:
    """Animals (M, K) whose candidates go where all their limbs together say, not where the strongest alone did.

    Keypoint by keypoint candidates change places between the animals that have that keypoint, as the sum of affinities
    is greatest, until nothing moves. ends: (L, 2) of the limbs. Source: coordinate ascent, as by iterated conditional modes.
    """
    members = members.copy()
    if len(members) < 2 or len(ends) < members.shape[1]:  # in a tree one limb alone joins two parts
        return members
    for _ in range(SWEEPS):
        moving = _unsettled(members, _support(members, affinity, ends))
        for keypoint in moving:
            (rows,) = np.nonzero(members[:, keypoint] != NONE)
            its_own = (ends == keypoint).any(axis=1)
            support = _support_of(keypoint, members[rows], affinity[its_own], ends[its_own])  # (P, rows)
            places = members[rows, keypoint]
            staying = SAME * np.eye(len(rows))
            candidates, animals = linear_sum_assignment(support[places] + staying, maximize=True)
            members[rows[animals], keypoint] = places[candidates]
        if not len(moving):
            break
    return members


def _unsettled(members: Array, support: Array) -> Array:
    """Keypoints of which some candidate would rather be in another animal that has one: (·,)."""
    has = (members != NONE).T  # (K, M)
    here = support[np.arange(len(has))[:, None], members.T]  # (K, M, M) of each animal's candidate in every animal
    own = here.diagonal(axis1=1, axis2=2)[..., None]
    rather = (here > own + SAME) & has[:, :, None] & has[:, None]
    return np.flatnonzero(rather.any(axis=(1, 2)))


def _support(members: Array, affinity: Array, ends: Array) -> Array:
    """What the limbs to an animal's other keypoints say of each candidate: (M, K), (L, P, P) -> (K, P, M)."""
    keypoints = np.arange(members.shape[1])
    each = np.concatenate((_seen_from_second(members, affinity, ends), _seen_from_first(members, affinity, ends)))
    at = keypoints[:, None] == np.concatenate((ends[:, 0], ends[:, 1]))  # (K, 2L)
    total: Array = at.astype(affinity.dtype) @ each.reshape(len(each), -1)
    return total.reshape(len(keypoints), len(members), -1).transpose(0, 2, 1)


def _support_of(keypoint: int, members: Array, affinity: Array, ends: Array) -> Array:
    """The same for one keypoint, by the limbs (L', 2) that it is an end of: (P, M)."""
    first = ends[:, 0] == keypoint
    from_second = _seen_from_second(members, affinity[first], ends[first])
    from_first = _seen_from_first(members, affinity[~first], ends[~first])
    total: Array = from_second.sum(axis=0) + from_first.sum(axis=0)
    return total.T


def _seen_from_second(members: Array, affinity: Array, ends: Array) -> Array:
    """What the candidate at each limb's second end says of all at its first: (L, M, P), 0 where there is none."""
    others = members.T[ends[:, 1]]  # (L, M)
    found: Array = affinity[np.arange(len(ends))[:, None], :, others] * (others != NONE)[..., None]
    return found


def _seen_from_first(members: Array, affinity: Array, ends: Array) -> Array:
    """What the candidate at each limb's first end says of all at its second: (L, M, P), 0 where there is none."""
    others = members.T[ends[:, 0]]  # (L, M)
    found: Array = affinity[np.arange(len(ends))[:, None], others] * (others != NONE)[..., None]
    return found


def _is_strong(one: list[int], other: list[int], strength_of: dict[int, float], nodes: int, needed: float) -> bool:
    """Whether the links between two fragments sum up to what is needed; the lower node of a link counts `nodes` times."""
    total = 0.0
    for first in other:
        for second in one:
            total += strength_of.get(first * nodes + second if first < second else second * nodes + first, 0.0)
            if total >= needed:
                return True
    return False


def _edges_of(edges: Sequence[tuple[int, int]], keypoints: int) -> list[int]:
    """For each keypoint those that a limb joins it to, a bit for each."""
    joined = [0] * keypoints
    for first, second in edges:
        joined[first] |= 1 << second
        joined[second] |= 1 << first
    return joined
