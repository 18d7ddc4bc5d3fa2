"""Which limbs tell animals apart, by what the fields of labelled ones say."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import mannwhitneyu

Array = npt.NDArray[Any]
Edges = tuple[tuple[int, int], ...]


def edge_separability(within: Sequence[Array], between: Sequence[Array]) -> Array:
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


def select_edges(
    within: Sequence[Array], between: Sequence[Array], edges: Sequence[tuple[int, int]], keypoints: int, count: int
) -> npt.NDArray[np.bool_]:
    """Which limbs to keep, by how well they tell animals apart: (L,), at most `count` of them true, but a tree at least.

    within, between: for each limb the affinities inside and between animals. The tree that joins all keypoints and
    separates best comes first, so that no keypoint is lost, then the best of the others.
    Raises ValueError where the limbs do not join all keypoints.
    Source: Lauer et al. 2022 (maDLC), data-driven skeleton, with Kruskal's tree.
    """
    scores = edge_separability(within, between)
    kept = np.zeros(len(edges), bool)
    part_of = list(range(keypoints))
    best_first = np.argsort(-scores, kind="stable")
    for index in best_first:
        one, other = (part_of[end] for end in edges[index])
        if one != other:
            kept[index] = True
            part_of = [one if part == other else part for part in part_of]
    if len(set(part_of)) > 1:
        raise ValueError(f"expected limbs that join all {keypoints} keypoints, got {len(set(part_of))} parts")
    room = max(0, count - int(kept.sum()))
    kept[[index for index in best_first if not kept[index]][:room]] = True
    return kept
