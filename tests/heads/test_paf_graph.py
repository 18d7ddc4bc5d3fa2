"""The PAF graphs of head/edges."""

from random import Random

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.heads.paf_graph import all_edges, near_edges, skeleton_edges
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton

NAMES = ("nose", "left_ear", "right_ear", "tail")


def numbered(keypoints: int, edges: tuple[tuple[int, int], ...] = ()) -> Skeleton:
    return Skeleton(tuple(f"keypoint_{number}" for number in range(keypoints)), edges)


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


@pytest.mark.parametrize("keypoints", [1, 4, 17])
def test_of_few_keypoints_all_pairs_are_near(keypoints: int) -> None:
    assert near_edges(numbered(keypoints)) == all_edges(numbered(keypoints))


@given(keypoints=st.integers(18, 60), parent=st.randoms(use_true_random=False))
def test_of_many_keypoints_the_pairs_with_the_fewest_edges_between_them_are_near(
    keypoints: int, parent: Random
) -> None:
    tree = tuple((parent.randrange(end), end) for end in range(1, keypoints))
    found = near_edges(numbered(keypoints, tree))
    assert len(found) == max(136, 3 * keypoints)
    steps = dict(networkx.all_pairs_shortest_path_length(networkx.Graph(tree)))
    left_out = set(all_edges(numbered(keypoints))) - set(found)
    assert max(steps[one][other] for one, other in found) <= min(steps[one][other] for one, other in left_out)
    assert set(tree) <= set(found)


@given(
    keypoints=st.integers(18, 60),
    edges=st.lists(
        st.tuples(st.integers(0, 17), st.integers(0, 17)).filter(lambda pair: pair[0] != pair[1]), max_size=40
    ),
)
def test_near_pairs_connect_all_keypoints_and_hold_the_skeleton_s_edges(
    keypoints: int, edges: list[tuple[int, int]]
) -> None:
    found = near_edges(numbered(keypoints, tuple(edges)))
    assert set(skeleton_edges(numbered(keypoints, found))) == set(found)  # which refuses a graph in pieces
    assert {(min(edge), max(edge)) for edge in edges} <= set(found)


def test_a_skeleton_with_more_edges_than_pairs_are_taken_keeps_all_of_them() -> None:
    dense = all_edges(numbered(24))[:200]
    assert set(dense) <= set(near_edges(numbered(24, dense)))
