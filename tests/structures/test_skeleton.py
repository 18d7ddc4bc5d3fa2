import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.structures.skeleton import Skeleton, pairs_from_names

MARKS = ("L", "R", "l", "r", "_", "left", "right", "x")
NAMES = st.lists(st.sampled_from(MARKS), min_size=1, max_size=4).map("".join)


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (["snout", "leftear", "rightear", "tailbase"], {("leftear", "rightear")}),
        (["wingL", "wingR", "forelegL1", "forelegR1", "Lip"], {("wingL", "wingR"), ("forelegL1", "forelegR1")}),
        (
            ["Ear_R", "Ear_L", "Shoulder_left", "Shoulder_right"],
            {("Ear_L", "Ear_R"), ("Shoulder_left", "Shoulder_right")},
        ),
        (["L_Eye", "R_Eye", "Nose"], {("L_Eye", "R_Eye")}),
        (["left_front_paw", "right_front_paw", "left_back_paw"], {("left_front_paw", "right_front_paw")}),
        (["Hand", "Finger1", "Tongue", "Joystick1", "Joystick2"], set()),
        (
            ["right_l", "right_r", "left_l", "left_r"],
            {("left_l", "right_l"), ("left_r", "right_r")},
        ),  # a word is clearer
        (["ear_l", "ear_r", "left ear_r"], {("ear_l", "ear_r")}),
    ],
)
def test_names_tell_left_from_right(names: list[str], pairs: set[tuple[str, str]]) -> None:
    assert {(names[left], names[right]) for left, right in pairs_from_names(names)} == pairs


@given(st.lists(NAMES, min_size=1, unique=True))
def test_names_make_pairs_that_can_be_flipped(names: list[str]) -> None:
    pairs = pairs_from_names(names)
    paired = [place for pair in pairs for place in pair]
    assert len(set(paired)) == len(paired)
    flip = Skeleton(tuple(names), pairs=pairs).flip_order
    assert [flip[flip[place]] for place in range(len(names))] == list(range(len(names)))


@given(st.permutations(range(6)))
def test_flipping_twice_changes_nothing(order: list[int]) -> None:
    skeleton = Skeleton(tuple("abcdef"), pairs=((order[0], order[1]), (order[2], order[3])))
    flip = skeleton.flip_order
    assert [flip[flip[k]] for k in range(6)] == list(range(6))
    assert flip[order[0]] == order[1]
    assert flip[order[4]] == order[4]


def test_what_is_saved_is_what_is_read() -> None:
    skeleton = Skeleton(("a", "b", "c"), ((0, 1), (1, 2)), ((0, 2),), (0.1, 0.2, 0.05), ("x", "y"), ((0, 1),))
    assert Skeleton.from_dict(skeleton.as_dict()) == skeleton


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"names": ()}, "keypoint"),
        ({"names": ("a", "a")}, "'a'"),
        ({"names": ("a\0", "b")}, "plain characters"),
        ({"names": ("a",), "unique": ("\ud800",)}, "plain characters"),
        ({"names": ("a", "b"), "edges": ((0, 2),)}, "edge .* got a and 2"),
        ({"names": ("a", "b"), "edges": ((1, 1),)}, "edge .* got b and b"),
        ({"names": ("a", "b"), "sigmas": (0.1,)}, "each of the 2 keypoints, got 1"),
        ({"names": ("a", "b", "c"), "pairs": ((0, 1), (1, 2))}, "'b' is in pairs with two others"),
        ({"names": ("a",), "unique": ("x", "y", "z"), "unique_pairs": ((0, 1), (2, 0))}, "'x' is in pairs"),
    ],
)
def test_a_skeleton_that_makes_no_sense_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Skeleton(**settings)


@pytest.mark.parametrize(
    "wrong", [{"edges": [[float("inf"), 0]]}, {"pairs": [[0, float("inf")]]}, {"sigmas": [10**400] * 2}]
)
def test_numbers_of_a_file_that_are_none_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="Expected keypoints by their numbers"):
        Skeleton.from_dict({**Skeleton(("a", "b")).as_dict(), **wrong})
