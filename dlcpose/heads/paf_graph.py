"""PAF graphs: the pairs of keypoints that part affinity fields are drawn between, the options of `head/edges`."""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dlcpose.codecs.paf_graph import Edges
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton


def all_edges(skeleton: Skeleton) -> Edges:
    """Every pair of keypoints, in order."""
    return tuple(itertools.combinations(range(len(skeleton)), 2))


def listed_edges(skeleton: Skeleton, *, pairs: Sequence[Sequence[int]]) -> Edges:
    """The pairs as they are given. Raises ConfigError for one that is none of two different keypoints."""
    for pair in pairs:
        if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= end < len(skeleton) for end in pair):
            raise ConfigError(
                f"head.edges.pairs: expected pairs of two of the keypoints 0 to {len(skeleton) - 1}, got {list(pair)}."
            )
    return tuple((pair[0], pair[1]) for pair in pairs)


def skeleton_edges(skeleton: Skeleton) -> Edges:
    """The skeleton's edges, each once. Raises ConfigError, with the keypoints' names, where they do not connect all."""
    edges = tuple(dict.fromkeys((min(edge), max(edge)) for edge in skeleton.edges))
    parts = _components(edges, len(skeleton))
    if len(parts) > 1:
        main, *others = ([skeleton.names[index] for index in part] for part in parts)
        apart = "; ".join(", ".join(part) for part in others)
        raise ConfigError(
            f"head/edges=skeleton: the skeleton's edges do not connect ({apart}) to ({', '.join(main)}), so no animal can be "
            f"assembled from them. Add an edge such as {others[0][0]} - {main[0]}, or take head/edges=all."
        )
    return edges


def _components(edges: Edges, keypoints: int) -> list[list[int]]:
    """The connected components of the keypoints, the largest first."""
    ends = np.array(edges, np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(keypoints, keypoints))
    labels = connected_components(graph, directed=False)[1]
    components = [np.flatnonzero(labels == label).tolist() for label in range(labels.max() + 1)]
    return sorted(components, key=len, reverse=True)
