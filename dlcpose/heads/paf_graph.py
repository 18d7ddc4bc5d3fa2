"""Which pairs of keypoints a part affinity head draws its fields between: what `head/limbs` chooses from."""

import itertools

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dlcpose.codecs.paf_graph import Edges
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton


def all_edges(skeleton: Skeleton) -> Edges:
    """Every pair of keypoints, in order."""
    return tuple(itertools.combinations(range(len(skeleton)), 2))


def skeleton_edges(skeleton: Skeleton) -> Edges:
    """The skeleton's limbs, each once. Raises ConfigError where they leave keypoints apart, and names those."""
    edges = tuple(dict.fromkeys((min(edge), max(edge)) for edge in skeleton.edges))
    parts = _parts(edges, len(skeleton))
    if len(parts) > 1:
        main, *others = ([skeleton.names[index] for index in part] for part in parts)
        apart = "; ".join(", ".join(part) for part in others)
        raise ConfigError(
            f"head/edges=skeleton: the skeleton's limbs do not join ({apart}) to ({', '.join(main)}), so no animal can be "
            f"put together from them. Add a limb such as {others[0][0]} - {main[0]}, or take head/edges=all."
        )
    return edges


def _parts(edges: Edges, keypoints: int) -> list[list[int]]:
    """The keypoints that limbs hold together, the largest part first."""
    ends = np.array(edges, np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(keypoints, keypoints))
    labels = connected_components(graph, directed=False)[1]
    parts = [np.flatnonzero(labels == label).tolist() for label in range(labels.max() + 1)]
    return sorted(parts, key=len, reverse=True)
