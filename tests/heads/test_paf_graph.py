"""The PAF graphs of head/edges."""

import pytest

from dlcpose.heads.paf_graph import all_edges, skeleton_edges
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton

NAMES = ("nose", "left_ear", "right_ear", "tail")


def test_all_edges_are_all_pairs() -> None:
    assert len(all_edges(Skeleton(NAMES))) == 6
    assert all_edges(Skeleton(("nose",))) == ()


def test_a_skeleton_s_edges_are_each_there_once() -> None:
    assert skeleton_edges(Skeleton(NAMES, edges=((1, 0), (0, 1), (2, 0), (3, 2)))) == ((0, 1), (0, 2), (2, 3))
    assert skeleton_edges(Skeleton(("nose",))) == ()


@pytest.mark.parametrize(
    ("edges", "apart"), [(((0, 1), (0, 2)), ["tail"]), (((0, 1), (2, 3)), ["right_ear", "tail"]), ((), NAMES[1:])]
)
def test_a_disconnected_skeleton_is_refused_with_its_keypoints(
    edges: tuple[tuple[int, int], ...], apart: list[str]
) -> None:
    with pytest.raises(ConfigError, match="head/edges=all") as refusal:
        skeleton_edges(Skeleton(NAMES, edges=edges))
    assert all(name in str(refusal.value) for name in apart)
    assert "\n" not in str(refusal.value)
