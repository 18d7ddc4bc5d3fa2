"""Which pairs of keypoints a part affinity head draws its fields between: what `head/limbs` chooses from."""

import itertools

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dlcpose.codecs.limbs import Limbs
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton


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
            f"head/limbs=skeleton: the skeleton's limbs do not join ({apart}) to ({', '.join(main)}), so no animal can be "
            f"put together from them. Add a limb such as {others[0][0]} - {main[0]}, or take head/limbs=all."
        )
    return limbs


def _parts(limbs: Limbs, keypoints: int) -> list[list[int]]:
    """The keypoints that limbs hold together, the largest part first."""
    ends = np.array(limbs, np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(keypoints, keypoints))
    labels = connected_components(graph, directed=False)[1]
    parts = [np.flatnonzero(labels == label).tolist() for label in range(labels.max() + 1)]
    return sorted(parts, key=len, reverse=True)
