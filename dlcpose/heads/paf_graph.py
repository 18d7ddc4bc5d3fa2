"""PAF graphs: the pairs of keypoints that part affinity fields are drawn between, the options of `head/edges`."""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, shortest_path

from dlcpose.codecs.paf_graph import Edges
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton

FEWEST = 136  # all pairs of COCO's 17 keypoints
PER_KEYPOINT = 3  # as many as DeepLabCut 3 leaves of a large graph, at random


def near_edges(skeleton: Skeleton) -> Edges:
    """Every pair of up to 17 keypoints; of more the skeleton's edges, then the pairs that are nearest along them.

    The fields of all pairs of 24 keypoints are 552 maps, most of them drawn across half an animal. 136 pairs are taken,
    three for each keypoint where those are more, and the skeleton's edges always. Where those leave keypoints apart, the
    first keypoints of the parts are linked in order, so that a skeleton without edges is one chain of its keypoints.
    """
    pairs, keypoints = all_edges(skeleton), len(skeleton)
    if len(pairs) <= FEWEST:
        return pairs
    linked = _unique(skeleton.edges)
    firsts = sorted(part[0] for part in _components(linked, keypoints))
    linked = _unique([*linked, *itertools.pairwise(firsts)])
    graph = coo_matrix((np.ones(len(linked)), np.transpose(linked)), shape=(keypoints, keypoints))
    steps = shortest_path(graph.tocsr(), directed=False, unweighted=True)  # (K, K)
    nearest = sorted(pairs, key=lambda pair: (steps[pair], pair[1] - pair[0]))
    return tuple(sorted(nearest[: max(FEWEST, PER_KEYPOINT * keypoints, len(linked))]))


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
    edges = _unique(skeleton.edges)
    parts = _components(edges, len(skeleton))
    if len(parts) > 1:
        main, *others = ([skeleton.names[index] for index in part] for part in parts)
        apart = "; ".join(", ".join(part) for part in others)
        raise ConfigError(
            f"head/edges=skeleton: the skeleton's edges do not connect ({apart}) to ({', '.join(main)}), so no animal can be "
            f"assembled from them. Add an edge such as {others[0][0]} - {main[0]}, or take head/edges=all."
        )
    return edges


def _unique(edges: Sequence[tuple[int, int]]) -> Edges:
    """Each edge once, its lower keypoint first."""
    return tuple(dict.fromkeys((min(edge), max(edge)) for edge in edges))


def _components(edges: Edges, keypoints: int) -> list[list[int]]:
    """The connected components of the keypoints, the largest first."""
    ends = np.array(edges, np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(keypoints, keypoints))
    labels = connected_components(graph, directed=False)[1]
    components = [np.flatnonzero(labels == label).tolist() for label in range(labels.max() + 1)]
    return sorted(components, key=len, reverse=True)
