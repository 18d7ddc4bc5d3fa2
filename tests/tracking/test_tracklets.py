"""Tracklets hold one animal each, end where there is doubt, and hold every detection once."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.tracking.detections import completed, detections_of, median_size
from dlcpose.tracking.motion import bends, ends_of, learn_motion
from dlcpose.tracking.settings import TrackingSettings
from dlcpose.tracking.track import track
from dlcpose.tracking.tracklets import Tracklets, tracklets_of, tracklets_of_columns
from tests.structures.made_up_tracks import made_up_tracks
from tests.tracking.noisy_poses import (
    FOUR_POINT_SKELETON,
    FOUR_POINTS,
    Noise,
    noisy_poses,
    poses_in_columns,
    rendered_ground_truth,
    straight,
)

EXACT = Noise(0.005, *[0.0] * 9)
SHAPE, SKELETON = FOUR_POINTS, FOUR_POINT_SKELETON


@pytest.mark.parametrize("seed", range(3))
def test_a_tracklet_holds_one_animal_even_where_they_cross(seed: int) -> None:
    noisy = noisy_poses(rendered_ground_truth(animals=4, frames=400, seed=seed), seed=seed)
    detections = detections_of(noisy.poses)
    tracklets = tracklets_of(detections, noisy.poses.skeleton, TrackingSettings(animals=4))
    of_detections = noisy.sources[detections.rows, detections.columns]
    assert np.array_equal(np.sort(np.concatenate(tracklets.members)), np.arange(len(detections)))
    mixed = 0
    for members in tracklets.members:
        assert (np.diff(detections.rows[members]) > 0).all()
        animals = of_detections[members]
        mixed += len(animals) - np.bincount(animals + 1).max()
    assert mixed < 0.01 * len(detections)  # found as one with another, a detection is of both


def test_far_animals_are_one_tracklet_each() -> None:
    noisy = noisy_poses(straight([(50, 50), (50, 300)], [(2, 0), (2, 0)], 100), EXACT)
    detections = detections_of(noisy.poses)
    tracklets = tracklets_of(detections, SKELETON, TrackingSettings())
    assert [len(members) for members in tracklets.members] == [100, 100]


def test_a_tracklet_ends_where_two_detections_fit_alike() -> None:
    """Two animals run into each other head on and lie on each other at frame 50."""
    noisy = noisy_poses(straight([(100, 200), (300, 200)], [(2, 0), (-2, 0)], 100), EXACT)
    detections = detections_of(noisy.poses)
    tracklets = tracklets_of(detections, SKELETON, TrackingSettings())
    across = [
        members
        for members in tracklets.members
        if detections.steps[members[0]] < 45 < 55 < detections.steps[members[-1]]
    ]
    assert not across
    assert sum(len(members) >= 40 for members in tracklets.members) == 4


def test_left_and_right_confused_for_a_frame_do_not_end_a_tracklet() -> None:
    noisy = noisy_poses(straight([(50, 50)], [(2, 0)], 60), Noise(0.005, *[0.0] * 6, flips=0.3, merged=0.0, mixed=0.0))
    assert len(tracklets_of(detections_of(noisy.poses), SKELETON, TrackingSettings()).members) == 1


@given(st.integers(0, 1000))
def test_detections_are_all_animals_in_their_order(seed: int) -> None:
    poses = made_up_tracks(animals=3, missing=0.5, seed=seed)
    detections = detections_of(poses, min_score=0.2)
    there = poses.is_present & (poses.scores >= 0.2)
    assert len(detections) == there.sum()
    bounds = detections.frame_bounds()
    for row in range(len(poses)):
        here = detections.of_frame(bounds, row)
        np.testing.assert_array_equal(detections.columns[here], np.flatnonzero(there[row]))
        expected = poses.keypoints_in_image[row, there[row]]
        np.testing.assert_array_equal(detections.keypoints_in_image[here], expected)


def test_missing_keypoints_are_filled_in_where_they_were_seen_last() -> None:
    before = SHAPE + 10
    now = SHAPE + 17
    now[0] = np.nan
    np.testing.assert_allclose(completed(now, before), SHAPE + 17)
    np.testing.assert_array_equal(completed(np.full((4, 2), np.nan), before), np.full((4, 2), np.nan))


def test_the_size_of_animals_is_their_longer_side() -> None:
    assert median_size(np.stack([SHAPE, SHAPE + 3, np.full((4, 2), np.nan)])) == 40
    assert median_size(np.zeros((0, 4, 2))) == 1


def test_velocities_at_the_ends_are_those_of_the_animal() -> None:
    noisy = noisy_poses(straight([(50, 50), (50, 300)], [(2, 1), (3, -1)], 60), EXACT, seed=1)
    detections = detections_of(noisy.poses)
    tracklets = tracklets_of(detections, SKELETON, TrackingSettings())
    ends = ends_of(detections, tracklets)
    order = np.argsort(ends.start_centroid[:, 1])
    np.testing.assert_allclose(ends.end_velocity[order], [(2, 1), (3, -1)], atol=0.2)
    np.testing.assert_allclose(ends.start_velocity[order], [(2, 1), (3, -1)], atol=0.2)


def test_a_join_costs_the_less_the_nearer_an_animal_is_to_where_it_was_going() -> None:
    noisy = noisy_poses(rendered_ground_truth(animals=1, frames=1500, seed=2), EXACT, seed=2)
    detections = detections_of(noisy.poses)
    whole = tracklets_of(detections, noisy.poses.skeleton, TrackingSettings())
    motion = learn_motion(detections, whole, noisy.poses.skeleton)
    assert motion.carry[0] == pytest.approx(1, abs=0.1)
    members = max(whole.members, key=len)
    more = []
    for gap in (1, 12, 48):
        cuts = range(40, len(members) - gap - 40, 10)
        pieces = [part for at in cuts for part in (members[at - 30 : at], members[at + gap : at + gap + 30])]
        ends = ends_of(detections, whole._replace(members=pieces))
        before = np.arange(0, len(pieces), 2)
        right = motion.costs(ends, before, before + 1)
        shift = np.array([0, 0.3 * detections.size])
        aside = replace(ends, start_centroid=ends.start_centroid + shift, start_pose=ends.start_pose + shift)
        more.append((motion.costs(aside, before, before + 1) - right).mean())
    assert more[-1] > 0
    assert (np.diff(more) < 0).all()  # the longer the gap, the less being beside the way tells


def test_a_bend_does_not_count_where_an_animal_is_nor_which_side_is_left() -> None:
    flipped = SHAPE[[0, 2, 1, 3]] + 30
    answer = bends(SHAPE[None], flipped[None], np.array([0, 2, 1, 3]))
    np.testing.assert_allclose(answer, 0, atol=1e-9)
    assert bends(SHAPE[None], 2 * SHAPE[None], np.arange(4))[0] == pytest.approx(np.linalg.norm(SHAPE, axis=1).mean())


def test_followed_animals_are_a_tracklet_for_each_column() -> None:
    """Also through an encounter, where linking alone would end them."""
    truth = straight([(100, 200), (300, 200)], [(2, 0), (-2, 0)], 100)
    detections = detections_of(poses_in_columns(truth, np.tile([0, 1], (100, 1))))
    assert [len(each) for each in tracklets_of_columns(detections, SKELETON, TrackingSettings()).members] == [100, 100]


@pytest.mark.parametrize("survivor", [0, 1])
def test_where_one_of_two_followed_animals_is_lost_the_other_may_be_either(survivor: int) -> None:
    """Both run into each other head on; one column is lost there, and its animal begins another on the far side."""
    truth = straight([(100, 200), (300, 200)], [(2, 0), (-2, 0)], 100)
    columns = np.full((100, 3), -1)
    columns[:, survivor] = survivor
    columns[50:, survivor] = 1 - survivor  # the column goes on, on the other animal
    columns[:50, 1 - survivor] = 1 - survivor
    columns[51:, 2] = survivor
    poses = poses_in_columns(truth, columns)
    settings = TrackingSettings(animals=2)
    cut = tracklets_of_columns(detections_of(poses), SKELETON, settings).members
    assert np.array_equal(np.sort(np.concatenate(cut)), np.arange(len(detections_of(poses))))
    tracks = track(poses, settings, link=tracklets_of_columns).tracks
    assert len(tracks.individuals) == 2
    for animal in (0, 1):
        away = np.linalg.norm(tracks.keypoints_in_image - truth.keypoints_in_image[:, animal, None], axis=-1).mean(
            axis=-1
        )
        at = [int(np.nanargmin(away[row])) for row in (*range(45), *range(56, 100))]
        assert len(set(at)) == 1


def tracklets_of_lengths(lengths: list[int]) -> Tracklets:
    """Tracklets of so many detections, one after the other."""
    ends = np.cumsum(lengths)
    members = [np.arange(end - length, end) for end, length in zip(ends, lengths, strict=True)]
    return Tracklets(members, np.zeros((int(ends[-1]), 1, 2)))


@pytest.mark.parametrize(
    ("lengths", "solid"),
    [
        ([30, 4, 5, 2], [True, False, True, False]),
        ([3, 3, 3, 1], [True, True, True, False]),  # of a short video, or an animal that is hardly seen
        ([1, 1, 1], [True, True, True]),
    ],
)
def test_short_tracklets_are_solid_only_where_there_are_few_others(lengths: list[int], solid: list[bool]) -> None:
    assert tracklets_of_lengths(lengths).is_solid().tolist() == solid


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_inner_detections_are_a_stretch_of_each_tracklet(lengths: list[int]) -> None:
    tracklets = tracklets_of_lengths(lengths)
    steps = np.arange(sum(lengths))
    for number, (members, inner) in enumerate(zip(tracklets.members, tracklets.inner(steps), strict=True)):
        begin, end = inner[0] - members[0], members[-1] - inner[-1]
        np.testing.assert_array_equal(inner, members[begin : len(members) - end])
        assert 0 <= begin <= 2
        assert 0 <= end <= 2
        assert len(inner) >= min(len(members), 8)
        if len(members) >= 12:
            assert begin == (2 if number else 0)
            assert end == (2 if number < len(lengths) - 1 else 0)


def test_what_an_animal_takes_from_another_where_they_meet_does_not_turn_it_round() -> None:
    """In its last two frames before a gap the animal is found aside; a keypoint is another animal's for longer."""
    detections = detections_of(poses_in_columns(straight([(50, 100)], [(2, 0)], 60), np.zeros((60, 1), int)))
    poses = detections.keypoints_in_image.copy()
    poses[36:40, 0] += (0, 60)
    poses[38:40] += (0, 15)
    poses[45:48, 3] -= (60, 0)
    ends = ends_of(detections, Tracklets([np.arange(40), np.arange(45, 60)], poses))
    assert (ends.last[0], ends.first[1]) == (37, 47)
    np.testing.assert_allclose(ends.end_velocity[0], (2, 0), atol=1e-5)
    np.testing.assert_allclose(ends.start_velocity[1], (2, 0), atol=1e-5)
    np.testing.assert_allclose(ends.shifts(np.array([0]), np.array([1])), [(20, 0)], atol=1e-5)
