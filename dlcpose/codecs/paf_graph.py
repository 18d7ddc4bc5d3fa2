"""Data-driven choice of the PAF graph: the edges whose affinities separate animals best (Lauer et al. 2022)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import mannwhitneyu

Array = npt.NDArray[Any]
Edges = tuple[tuple[int, int], ...]


def edge_separability(within: Sequence[Array], between: Sequence[Array]) -> Array:
    """How well each edge's affinity separates pairs within an animal from pairs between animals: (L,) in [0, 1].

    within, between: per edge, the affinities within and between animals. The area under the ROC curve: the probability
    that a pair within has the higher affinity; 0.5 where one kind has no samples.
    """
    return np.array(
        [
            mannwhitneyu(own, other).statistic / (len(own) * len(other)) if len(own) and len(other) else 0.5
            for own, other in zip(within, between, strict=True)
        ]
    )


def select_edges(
    within: Sequence[Array], between: Sequence[Array], edges: Sequence[tuple[int, int]], keypoints: int, count: int
) -> npt.NDArray[np.bool_]:
    """Which edges to keep, by `edge_separability`: (L,) bool, `count` of them true, but at least a spanning tree.

    within, between: per edge, the affinities within and between animals. The best spanning tree of the keypoints comes
    first, so that no keypoint is lost, then the best of the other edges.
    Raises ValueError where the edges do not connect all keypoints.
    Source: Lauer et al. 2022 (maDLC), data-driven skeleton, with Kruskal's spanning tree.
    """
    scores = edge_separability(within, between)
    kept = np.zeros(len(edges), bool)
    component_of = list(range(keypoints))
    best_first = np.argsort(-scores, kind="stable")
    for index in best_first:
        one, other = (component_of[end] for end in edges[index])
        if one != other:
            kept[index] = True
            component_of = [one if component == other else component for component in component_of]
    if len(set(component_of)) > 1:
        raise ValueError(
            f"expected edges that connect all {keypoints} keypoints, got {len(set(component_of))} components"
        )
    remaining = max(0, count - int(kept.sum()))
    kept[[index for index in best_first if not kept[index]][:remaining]] = True
    return kept
