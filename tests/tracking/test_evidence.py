"""What tells animals apart: found where it is, and nothing where there is nothing."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from dlcpose.structures.skeleton import Skeleton
from dlcpose.tracking.detections import detections_of
from dlcpose.tracking.evidence import Evidence, evidence_of, shape_features
from dlcpose.tracking.individuals import votes_of
from tests.structures.made_up_tracks import made_up_tracks

FEATURES, PIECES = 5, 12


def made_up(differs: float, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Two animals side by side in ten tracklets each; features are noise, and the first also differs between animals."""
    rng = np.random.default_rng(seed)
    features, members, steps = [], [], []
    count = 0
    for part in range(10):
        for animal in (0, 1):
            values = rng.normal(0, 1, (10 * PIECES, FEATURES))
            values[:, 0] += differs * animal
            features.append(values)
            members.append(np.arange(count, count + len(values)))
            steps.append(part * 200 + np.arange(len(values)))
            count += len(values)
    return np.concatenate(features), members, np.concatenate(steps)


def test_tracklets_of_different_animals_differ_and_those_of_one_do_not() -> None:
    evidence = evidence_of(*made_up(differs=2.0))
    assert evidence.sums.shape[1] >= 1
    assert (evidence.pieces == PIECES).all()
    first, second = np.arange(0, 20, 2), np.arange(1, 20, 2)
    same = np.concatenate([evidence.differences(first[:-1], first[1:]), evidence.differences(second[:-1], second[1:])])
    different = evidence.differences(first, second)
    assert same.max() < 5 < different.min()


def test_where_nothing_differs_nothing_tells() -> None:
    evidence = evidence_of(*made_up(differs=0.0))
    first, second = np.arange(0, 20, 2), np.arange(1, 20, 2)
    assert evidence.differences(first, second).max(initial=0) < 6


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_unit_of_a_feature_means_nothing(scale: float) -> None:
    features, members, steps = made_up(differs=2.0)
    first, second = np.arange(0, 20, 2), np.arange(1, 20, 2)
    answer = evidence_of(features * scale, members, steps).differences(first, second)
    np.testing.assert_allclose(answer, evidence_of(features, members, steps).differences(first, second), rtol=1e-3)


def test_missing_features_leave_pieces_out() -> None:
    features, members, steps = made_up(differs=2.0)
    features[members[3]] = np.nan
    features[members[5][::2]] = np.nan
    evidence = evidence_of(features, members, steps)
    assert evidence.pieces[3] == 0
    assert evidence.pieces[5] == PIECES
    assert evidence.differences(np.array([3]), np.array([4])) == 0


def test_no_features_and_no_tracklets_are_no_trouble() -> None:
    assert evidence_of(np.zeros((5, 0)), [np.arange(5)], np.arange(5)).sums.shape == (1, 0)
    assert evidence_of(np.zeros((0, 3)), [], np.zeros(0)).sums.shape == (0, 0)


def test_differences_are_symmetric() -> None:
    rng = np.random.default_rng(0)
    evidence = Evidence(rng.normal(0, 3, (8, 2)), rng.integers(1, 9, 8), np.array([0.1, 0.3]))
    first, second = rng.integers(0, 8, (2, 30))
    np.testing.assert_allclose(evidence.differences(first, second), evidence.differences(second, first))


def test_shapes_are_distances_that_neither_place_nor_turning_changes() -> None:
    skeleton = Skeleton(("nose", "left", "right", "tail"), edges=((0, 1), (0, 2), (1, 3), (2, 3)))
    detections = detections_of(made_up_tracks(missing=0.0))
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = replace(detections, keypoints_in_image=detections.keypoints_in_image @ turn.T + 100)
    ours = shape_features(detections, skeleton)
    assert ours.shape[1] >= 4
    np.testing.assert_allclose(shape_features(moved, skeleton), ours, rtol=1e-5)


def test_votes_are_cheapest_for_the_identity_that_was_predicted_most() -> None:
    rng = np.random.default_rng(0)
    poses = made_up_tracks(frames=200, missing=0.0)
    detections = detections_of(poses)
    members = [np.flatnonzero(detections.columns == column) for column in (0, 1)]
    wrong = rng.random(len(detections)) < 0.2
    named = replace(detections, identities=np.where(wrong, 1 - detections.columns, detections.columns))
    votes = votes_of(named, members, 2)
    assert votes.argmin(axis=1).tolist() == [0, 1]
    assert np.abs(votes[:, 0] - votes[:, 1]).min() > 5
    unnamed = replace(detections, identities=np.full(len(detections), -1))
    assert not votes_of(unnamed, members, 2).any()
    assert not votes_of(replace(detections, identities=np.full(len(detections), 7)), members, 2).any()


def test_a_keypoint_that_no_animal_has_is_no_feature() -> None:
    tracks = made_up_tracks(frames=20, missing=0.0)
    points, scores = tracks.keypoints_in_image.copy(), tracks.keypoint_scores.copy()
    points[:, :, 2], scores[:, :, 2] = np.nan, 0
    detections = detections_of(replace(tracks, keypoints_in_image=points, keypoint_scores=scores), 0.0)
    skeleton = Skeleton(tracks.skeleton.names)  # without edges: the keypoints farthest apart
    distances = shape_features(detections, skeleton)
    others = ~np.isnan(distances).any(axis=0)
    assert others.sum() == 3  # the pairs of the other three keypoints


def test_a_feature_that_is_known_of_no_detection_changes_nothing() -> None:
    features, members, steps = made_up(differs=2.0)
    without = evidence_of(features, members, steps)
    unknown = np.full((len(features), 3), np.nan)
    assert without.sums.shape[1] >= 1
    for given in (np.concatenate([features, unknown], axis=1), np.concatenate([unknown, features], axis=1)):
        for expected, got in zip(without, evidence_of(given, members, steps), strict=True):
            np.testing.assert_array_equal(got, expected)
    assert not evidence_of(unknown, members, steps).sums.shape[1]


def turning(seed: int = 0) -> tuple[np.ndarray, list[np.ndarray], np.ndarray, np.ndarray]:
    """Tracklets of three animals that differ in their first feature, and by mood, anew in each tracklet, in their second."""
    rng = np.random.default_rng(seed)
    members, values, steps, names = [], [], [], []
    for turn in range(30):
        for animal in range(3):
            members.append(np.arange(len(values), len(values) + 60))
            mood = rng.normal(0, 3)
            values += [rng.normal([animal, mood, 0], 1) for _ in range(60)]
            steps += range(turn * 60, turn * 60 + 60)
            names.append(animal)
    return np.array(values), members, np.array(steps), np.array(names)


def test_animals_that_are_named_are_known_by_what_stays() -> None:
    features, members, steps, names = turning()
    first, second = (np.array(each) for each in zip(*combinations(range(len(members)), 2), strict=True))
    is_one = names[first] == names[second]

    def rate_of_wrong(evidence: Evidence) -> float:
        costs = evidence.differences(first, second)
        return float((costs[is_one][:, None] >= costs[~is_one][None]).mean())

    unnamed, named = evidence_of(features, members, steps), evidence_of(features, members, steps, names)
    assert rate_of_wrong(unnamed) > 0.2
    assert rate_of_wrong(named) < 0.01
    assert named.sums.shape[1] == 1
    # A few wrong names change little; where one name is on all, or names are drawn, they tell nothing.
    wrong = names.copy()
    wrong[::15] = (wrong[::15] + 1) % 3
    assert rate_of_wrong(evidence_of(features, members, steps, wrong)) < 0.02
    for telling_nothing in (np.zeros_like(names), np.random.default_rng(1).integers(0, 3, len(names))):
        assert not evidence_of(features, members, steps, telling_nothing).sums.shape[1]
