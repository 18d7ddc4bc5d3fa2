"""How poses vary: laws on poses made by known rotations, mirrorings and sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcpose.codecs.pose_variation import animal_shares, facing_spread, mirror_distance, size_ratio, well_labeled_sizes
from tests.datasets.lit_frames import frame

# Nose, left ear, right ear, tail base of an animal seen from above; left and right are mirror images.
ABOVE = np.array([[0.0, -50.0], [-12.0, -35.0], [12.0, -35.0], [0.0, 50.0]])
FROM_ABOVE = (0, 2, 1, 3)
# Nose, left paw, right paw, tail base of one that is seen from the side and looks to the right.
ASIDE = np.array([[60.0, -10.0], [30.0, 40.0], [20.0, 36.0], [-60.0, 0.0]])


def poses_of(shape: np.ndarray, angles: np.ndarray, seed: int = 0, noise: float = 1.0) -> np.ndarray:
    """The shape at each angle in degrees, somewhere in the frame, with labels that are off by about `noise` px."""
    rng = np.random.default_rng(seed)
    turns = np.radians(angles)
    turn = np.moveaxis(np.array([[np.cos(turns), -np.sin(turns)], [np.sin(turns), np.cos(turns)]]), 2, 0)
    return (
        np.einsum("pij,kj->pki", turn, shape)
        + rng.uniform(100, 400, (len(angles), 1, 2))
        + rng.normal(0, noise, (len(angles), *shape.shape))
    )


@settings(max_examples=30, deadline=None)
@given(st.floats(2, 60), st.floats(-180, 180), st.integers(0, 99))
def test_the_spread_is_that_of_the_angles(spread: float, mean: float, seed: int) -> None:
    angles = mean + np.random.default_rng(seed).uniform(-spread, spread, 200)
    found = facing_spread(poses_of(ABOVE, angles, seed, noise=0.0))
    assert found == pytest.approx(0.9 * spread, abs=0.1 * spread)


def test_animals_that_turn_round_spread_over_all_angles() -> None:
    assert facing_spread(poses_of(ABOVE, np.linspace(0, 360, 200))) > 140


def test_a_limb_that_swings_is_no_animal_that_turns() -> None:
    poses = poses_of(ASIDE, np.zeros(100))
    swings = np.radians(np.linspace(0, 360, 100))
    poses[:, 1] = poses[:, 0] + 30 * np.stack([np.cos(swings), np.sin(swings)], axis=1)
    assert facing_spread(poses) < 10


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.floats(0.2, 5.0))
def test_shift_and_size_change_nothing(seed: int, size: float) -> None:
    poses = poses_of(ABOVE, np.random.default_rng(seed).uniform(-30, 30, 40), seed)
    assert facing_spread(poses * size + 1000) == pytest.approx(facing_spread(poses))
    assert mirror_distance(poses * size + 1000, FROM_ABOVE, 40) == pytest.approx(mirror_distance(poses, FROM_ABOVE, 40))


def test_an_animal_seen_from_above_is_its_own_mirror_image_once_left_and_right_are_swapped() -> None:
    poses = poses_of(ABOVE, np.random.default_rng(0).uniform(0, 360, 100))
    assert mirror_distance(poses, FROM_ABOVE, 180) < 1.3
    assert mirror_distance(poses, (0, 1, 2, 3), 180) > 3


def test_an_animal_seen_from_one_side_never_occurs_mirrored() -> None:
    poses = poses_of(ASIDE, np.random.default_rng(0).uniform(-8, 8, 100))
    assert mirror_distance(poses, FROM_ABOVE, 10) > 3


def test_an_animal_that_walks_both_ways_occurs_mirrored_but_does_not_turn() -> None:
    rng = np.random.default_rng(0)
    right = poses_of(ASIDE, rng.uniform(-8, 8, 100))
    left = (poses_of(ASIDE, rng.uniform(-8, 8, 100), seed=1) * (-1, 1))[:, list(FROM_ABOVE)]
    poses = rng.permutation(np.concatenate([right, left]))
    assert mirror_distance(poses, FROM_ABOVE, 10) < 1.5


def test_two_views_in_one_frame_do_not_occur_mirrored() -> None:
    angles = np.random.default_rng(0).uniform(-5, 5, 100)
    views = np.concatenate(
        [ASIDE, ABOVE + np.array([0, 200])]
    )  # the same animal from the side and, in a mirror, from below
    assert mirror_distance(poses_of(views, angles), (0, 2, 1, 3, 4, 6, 5, 7), 10) > 3


def test_sizes_are_those_of_the_boxes_of_well_labeled_poses() -> None:
    poses = np.stack([ABOVE, 2 * ABOVE, 3 * ABOVE])
    poses[2, :2] = np.nan
    np.testing.assert_allclose(well_labeled_sizes(poses), [100, 200])
    np.testing.assert_array_equal(well_labeled_sizes(np.ones((1, 4, 2))), [0])


@given(st.floats(1, 3))
@settings(max_examples=20, deadline=None)
def test_the_ratio_of_sizes_is_that_of_the_animals(ratio: float) -> None:
    sizes = np.exp(np.linspace(0, np.log(ratio), 101))
    poses = ABOVE[None] * sizes[:, None, None]
    assert size_ratio(poses) == pytest.approx(ratio**0.9, rel=0.02)


@pytest.mark.parametrize("poses", [np.zeros((0, 4, 2)), np.full((3, 4, 2), np.nan), ABOVE[None], np.zeros((5, 1, 2))])
def test_what_labels_do_not_show_is_not_a_number(poses: np.ndarray) -> None:
    assert np.isnan(facing_spread(poses))
    assert np.isnan(size_ratio(poses))
    assert np.isnan(mirror_distance(poses, tuple(range(poses.shape[1])), 180))


def test_missing_keypoints_are_left_out() -> None:
    poses = poses_of(ABOVE, np.random.default_rng(0).uniform(0, 360, 100))
    poses[np.random.default_rng(1).uniform(size=poses.shape[:2]) < 0.15] = np.nan
    assert facing_spread(poses) > 130
    assert mirror_distance(poses, FROM_ABOVE, 180) < 1.5


def test_of_many_frames_some_are_looked_at_from_the_first_to_the_last() -> None:
    frames = [frame(np.zeros((100, 100, 3), np.uint8), np.array([[[10.0, 10.0], [30.0, 60.0]]])).labels] * 5000
    assert animal_shares(frames) == [0.5] * 2000
    assert animal_shares(frames[:3]) == [0.5] * 3
