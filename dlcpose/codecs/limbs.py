"""Which pairs of keypoints a limb joins: those of the skeleton, all, or those that data show to tell animals apart."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.stats import mannwhitneyu

from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton

Array = npt.NDArray[Any]
Limbs = tuple[tuple[int, int], ...]


def all_limbs(skeleton: Skeleton) -> Limbs:
    """Every pair of keypoints, in order."""
    return tuple(itertools.combinations(range(len(skeleton)), 2))


def own_limbs(skeleton: Skeleton) -> Limbs:
    """The skeleton's limbs, each once. Raises ConfigError where they leave keypoints apart, and names those."""
    limbs = tuple(dict.fromkeys((min(limb), max(limb)) for limb in skeleton.limbs))
    parts = _parts(limbs, len(skeleton))
    if len(parts) > 1:
        main, *others = ([skeleton.names[index] for index in part] for part in parts)
        apart = "; ".join(", ".join(part) for part in others)
        raise ConfigError(
            f"head.limbs=skeleton: the skeleton's limbs do not join ({apart}) to ({', '.join(main)}), so no animal can be "
            f"put together from them. Add a limb such as {others[0][0]} - {main[0]}, or take head.limbs=all."
        )
    return limbs


def separability(within: Sequence[Array], between: Sequence[Array]) -> Array:
    """How well each limb's affinity tells an animal's own pairs from pairs of two animals: (L,) in [0, 1].

    within, between: for each limb the affinities inside and between animals. The probability that a pair of one animal
    has the higher of the two (area under the ROC curve); 0.5 where one of them was never seen, as nothing is known.
    """
    return np.array(
        [
            mannwhitneyu(inside, across).statistic / (len(inside) * len(across)) if len(inside) and len(across) else 0.5
            for inside, across in zip(within, between, strict=True)
        ]
    )


def keep_limbs(
    within: Sequence[Array], between: Sequence[Array], limbs: Sequence[tuple[int, int]], keypoints: int, count: int
) -> npt.NDArray[np.bool_]:
    """Which limbs to keep, by how well they tell animals apart: (L,), at most `count` of them true, but a tree at least.

    within, between: for each limb the affinities inside and between animals. The tree that joins all keypoints and
    separates best comes first, so that no keypoint is lost, then the best of the others.
    Raises ValueError where the limbs do not join all keypoints.
    Source: Lauer et al. 2022 (maDLC), data-driven skeleton, with Kruskal's tree.
    """
    scores = separability(within, between)
    kept = np.zeros(len(limbs), bool)
    part_of = list(range(keypoints))
    best_first = np.argsort(-scores, kind="stable")
    for index in best_first:
        one, other = (part_of[end] for end in limbs[index])
        if one != other:
            kept[index] = True
            part_of = [one if part == other else part for part in part_of]
    if len(set(part_of)) > 1:
        raise ValueError(f"expected limbs that join all {keypoints} keypoints, got {len(set(part_of))} parts")
    room = max(0, count - int(kept.sum()))
    kept[[index for index in best_first if not kept[index]][:room]] = True
    return kept


def _parts(limbs: Limbs, keypoints: int) -> list[list[int]]:
    """The keypoints that limbs hold together, the largest part first."""
    ends = np.array(limbs, np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(keypoints, keypoints))
    labels = connected_components(graph, directed=False)[1]
    parts = [np.flatnonzero(labels == label).tolist() for label in range(labels.max() + 1)]
    return sorted(parts, key=len, reverse=True)
