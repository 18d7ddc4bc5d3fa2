"""Which limbs a skeleton has."""

import pytest

from dlcpose.heads.paf_graph import all_edges, skeleton_edges
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton

NAMES = ("nose", "left_ear", "right_ear", "tail")


def test_all_limbs_are_all_pairs() -> None:
    assert len(all_edges(Skeleton(NAMES))) == 6
    assert all_edges(Skeleton(("nose",))) == ()


def test_a_skeleton_s_limbs_are_each_there_once() -> None:
    assert skeleton_edges(Skeleton(NAMES, edges=((1, 0), (0, 1), (2, 0), (3, 2)))) == ((0, 1), (0, 2), (2, 3))
    assert skeleton_edges(Skeleton(("nose",))) == ()


@pytest.mark.parametrize(
    ("edges", "apart"), [(((0, 1), (0, 2)), ["tail"]), (((0, 1), (2, 3)), ["right_ear", "tail"]), ((), NAMES[1:])]
)
def test_a_skeleton_that_does_not_hang_together_is_refused_by_name(
    edges: tuple[tuple[int, int], ...], apart: list[str]
) -> None:
    with pytest.raises(ConfigError, match=r"Add a limb such as .* head/edges=all") as refusal:
        skeleton_edges(Skeleton(NAMES, edges=edges))
    assert all(name in str(refusal.value) for name in apart)
    assert "\n" not in str(refusal.value)
