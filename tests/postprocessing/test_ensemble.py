from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dlcpose.postprocessing.ensemble import combine_members
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.skeleton import Skeleton
from tests.structures.made_up_tracks import made_up_tracks


def apart(frames: int = 40, animals: int = 3, **options: Any) -> PoseTracks:
    """Animals that stay far enough from each other to be told apart."""
    tracks = made_up_tracks(frames=frames, animals=animals, missing=0.0, **options)
    places = np.arange(animals)[None, :, None, None] * np.array([40.0, 25.0])
    return replace(tracks, keypoints_in_image=(tracks.keypoints_in_image % 20 + places).astype(np.float32))


def noisy(tracks: PoseTracks, sigma: float, seed: int) -> PoseTracks:
    rng = np.random.default_rng(seed)
    points = tracks.keypoints_in_image + rng.normal(0, sigma, tracks.keypoints_in_image.shape)
    return replace(tracks, keypoints_in_image=points.astype(np.float32))


def with_columns(tracks: PoseTracks, orders: np.ndarray) -> PoseTracks:
    """Animals in other columns: orders (T, N)."""
    rows = np.arange(len(tracks))[:, None]
    names = ("keypoints_in_image", "keypoint_scores", "scores", "boxes_in_image", "identities")
    return replace(tracks, **{name: getattr(tracks, name)[rows, orders] for name in names})


@pytest.mark.parametrize("statistic", ["median", "mean"])
def test_members_that_agree_are_the_ensemble(statistic: Any) -> None:
    tracks = made_up_tracks(unique=("door",))
    combined = combine_members([tracks] * 3, statistic=statistic)
    for name in ("keypoints_in_image", "keypoint_scores", "scores", "unique_in_image", "unique_scores", "times"):
        np.testing.assert_allclose(getattr(combined, name), getattr(tracks, name), atol=1e-5)
    spreads = combined.keypoint_spreads
    assert spreads is not None
    np.testing.assert_array_equal(np.isnan(spreads), np.isnan(tracks.keypoints_in_image[..., 0]))
    assert np.nanmax(spreads) < 1e-4


@pytest.mark.parametrize(("statistic", "reduce"), [("median", np.median), ("mean", np.mean)])
def test_each_keypoint_is_numpys_median_or_mean_of_the_members(statistic: Any, reduce: Any) -> None:
    tracks = apart()
    members = [noisy(tracks, 0.5, seed) for seed in range(4)]
    combined = combine_members(members, statistic=statistic)
    expected = reduce([member.keypoints_in_image for member in members], axis=0)
    np.testing.assert_allclose(combined.keypoints_in_image, expected, atol=1e-4)


@pytest.mark.parametrize("statistic", ["median", "mean"])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 10, 11, 25])
def test_the_spread_is_the_standard_deviation_of_a_coordinate(statistic: Any, count: int) -> None:
    tracks = apart(frames=1000, animals=1)
    spreads = combine_members([noisy(tracks, 0.7, seed) for seed in range(count)], statistic=statistic).keypoint_spreads
    assert spreads is not None
    assert float(np.sqrt(np.mean(spreads**2))) == pytest.approx(0.7, rel=0.04)


def test_one_member_far_off_moves_neither_median_nor_spread_by_much() -> None:
    tracks = apart(animals=1)
    members = [noisy(tracks, 0.5, seed) for seed in range(4)]
    stray = replace(tracks, keypoints_in_image=tracks.keypoints_in_image + 1000)
    combined = combine_members([*members, stray])
    assert np.abs(combined.keypoints_in_image - tracks.keypoints_in_image).max() < 3
    assert combined.keypoint_spreads is not None
    assert combined.keypoint_spreads.max() < 5


def orders_of(frames: int, animals: int, *, fixed: bool) -> np.ndarray:
    rng = np.random.default_rng(3)
    order = rng.permutation(animals)
    return np.stack([order if fixed else rng.permutation(animals) for _ in range(frames)])


@pytest.mark.parametrize("fixed", [True, False])
def test_the_order_of_a_members_columns_does_not_matter(fixed: bool) -> None:
    tracks = apart(frames=50)
    members = [noisy(tracks, 0.5, seed) for seed in range(3)]
    shuffled = [members[0], *(with_columns(m, orders_of(50, 3, fixed=fixed)) for m in members[1:])]
    expected, combined = combine_members(members), combine_members(shuffled)
    for name in ("keypoints_in_image", "keypoint_scores", "scores", "keypoint_spreads"):
        np.testing.assert_allclose(getattr(combined, name), getattr(expected, name), atol=1e-5)


def without(tracks: PoseTracks, rows: Sequence[int], column: int, keypoint: int | None = None) -> PoseTracks:
    points, scores = tracks.keypoints_in_image.copy(), tracks.keypoint_scores.copy()
    which = slice(None) if keypoint is None else keypoint
    points[list(rows), column, which], scores[list(rows), column, which] = np.nan, 0
    return replace(tracks, keypoints_in_image=points, keypoint_scores=scores)


def test_a_keypoint_stays_where_half_the_members_have_it() -> None:
    tracks = apart()
    missing = without(tracks, [5], 0, 1)
    assert not np.isnan(combine_members([tracks, missing]).keypoints_in_image[5, 0, 1]).any()
    assert not np.isnan(combine_members([missing, missing, tracks, tracks]).keypoints_in_image[5, 0, 1]).any()
    gone = combine_members([tracks, missing, missing])
    assert np.isnan(gone.keypoints_in_image[5, 0, 1]).all()
    assert gone.keypoint_scores[5, 0, 1] == 0
    alone = combine_members([tracks, missing])
    assert alone.keypoint_spreads is not None
    assert np.isnan(alone.keypoint_spreads[5, 0, 1])  # one member has no spread
    assert alone.keypoint_scores[5, 0, 1] == pytest.approx(tracks.keypoint_scores[5, 0, 1] / 2)


def test_an_animal_that_the_first_member_lacks_takes_its_column_all_the_same() -> None:
    tracks = apart()
    order = np.tile([2, 0, 1], (40, 1))
    combined = combine_members([without(tracks, [7, 8], 1), with_columns(tracks, order), tracks])
    np.testing.assert_allclose(combined.keypoints_in_image, tracks.keypoints_in_image, atol=1e-5)


def test_a_member_with_fewer_columns_or_frames_takes_no_vote_where_it_has_none() -> None:
    tracks = apart(frames=20)
    rows = slice(0, 20, 2)
    short = replace(
        apart(frame_indices=range(0, 20, 2), frames=20),
        **{
            name: getattr(tracks, name)[rows]
            for name in ("times", "keypoints_in_image", "keypoint_scores", "scores", "boxes_in_image", "identities")
        },
    )
    combined = combine_members([short, short, short, tracks])
    np.testing.assert_array_equal(combined.frame_indices, tracks.frame_indices)
    np.testing.assert_allclose(combined.keypoints_in_image, tracks.keypoints_in_image, atol=1e-5)
    np.testing.assert_allclose(combined.keypoint_scores, tracks.keypoint_scores, atol=1e-5)


def test_frames_far_apart_take_no_memory() -> None:
    members = [made_up_tracks(frame_indices=[0, 3, last], animals=1, missing=0.0) for last in (10**9, 10**9 + 1)]
    found = combine_members(members)
    assert found.frame_indices.tolist() == [0, 3, 10**9, 10**9 + 1]
    np.testing.assert_array_equal(found.keypoints_in_image[3], members[1].keypoints_in_image[2])


def test_thousands_of_animals_are_not_compared_with_each_other() -> None:
    with pytest.raises(DataError, match="at most 256 animals to combine, got 3000"):
        combine_members([made_up_tracks(frames=2, animals=3000, seed=seed) for seed in range(2)])


def test_the_members_stay_as_they_are() -> None:
    members = [apart(), noisy(apart(), 1, 0)]
    before = [member.keypoints_in_image.copy() for member in members]
    combine_members(members)
    for member, points in zip(members, before, strict=True):
        np.testing.assert_array_equal(member.keypoints_in_image, points)


def test_poses_of_another_video_or_animal_are_refused_and_so_is_one_alone() -> None:
    tracks = made_up_tracks()
    other = replace(tracks, video=replace(tracks.video, fingerprint="0" * 16, path="other.mp4"))
    with pytest.raises(DataError, match=r"other\.mp4"):
        combine_members([tracks, other])
    renamed = replace(tracks, skeleton=Skeleton(("a", "b", "c", "d")))
    with pytest.raises(DataError, match="nose"):
        combine_members([tracks, renamed])
    with pytest.raises(DataError, match="two"):
        combine_members([tracks])
