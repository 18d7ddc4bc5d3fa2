from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.visualization.video import PALETTE, PoseDrawer, SheetOfFrames, animal_colors, write_labeled_video
from tests.structures.made_up_tracks import made_up_tracks

GRAY = np.full((96, 128, 3), 60, np.uint8)


def far_apart(frames: int = 12, *, animals: int = 2, is_tracked: bool = True, moving: float = 3.0) -> PoseTracks:
    """Animals side by side, each walking down, on frames of 128 x 96."""
    tracks = made_up_tracks(frames=frames, animals=animals, missing=0.0, size=(96, 128), is_tracked=is_tracked)
    shape = np.array([[0.0, -6.0], [-5.0, 0.0], [5.0, 0.0], [0.0, 8.0]])
    middles = np.stack(
        np.broadcast_arrays(np.linspace(30, 98, animals)[None], 30 + moving * np.arange(frames)[:, None], subok=False),
        axis=-1,
    )  # (T, N, 2)
    points = middles[:, :, None] + shape
    return replace(
        tracks, keypoints_in_image=points.astype(np.float32), keypoint_scores=np.ones(points.shape[:3], np.float32)
    )


def is_colored(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return np.abs(picture.astype(int) - color).max(axis=-1) < 40


def test_each_animal_has_its_color_where_it_is() -> None:
    tracks = far_apart()
    drawer = PoseDrawer(tracks, scale=4.0)
    picture = drawer.draw(GRAY, 3)
    assert picture.shape == (384, 512, 3)
    for animal, color in enumerate(animal_colors(2)):
        for point in drawer.poses_in_picture(3)[animal].round().astype(int):
            assert is_colored(picture, color)[point[1], point[0]]
    columns = np.nonzero(is_colored(picture, PALETTE[0]))[1]
    assert columns.max() < 256  # nothing of the first animal on the second one's side


def test_poses_of_a_pixel_lie_on_it_at_any_scale() -> None:
    tracks = far_apart(animals=1)
    for scale in (1.0, 2.0, 5.0):
        placed = PoseDrawer(tracks, scale=scale).poses_in_picture(0)
        np.testing.assert_allclose(placed, (tracks.keypoints_in_image[0] + 0.5) * scale - 0.5, atol=1e-4)


def test_a_hidden_keypoint_leaves_no_trace_but_a_filled_one_is_drawn() -> None:
    tracks = far_apart(animals=1)
    scores = tracks.keypoint_scores.copy()
    scores[:, :, 3] = 0.2
    low = replace(tracks, keypoint_scores=scores)
    missing = tracks.keypoints_in_image.copy()
    missing[:, :, 3] = np.nan
    gone = replace(tracks, keypoints_in_image=missing)
    np.testing.assert_array_equal(
        PoseDrawer(low, cutoff=0.3, scale=4.0)._shown, PoseDrawer(gone, cutoff=0.3, scale=4.0)._shown
    )
    assert (PoseDrawer(low, cutoff=0.1, scale=4.0).draw(GRAY, 0) != PoseDrawer(gone, scale=4.0).draw(GRAY, 0)).any()
    filled = replace(tracks, keypoint_scores=np.where(scores == 1, scores, 0))
    point = PoseDrawer(filled, cutoff=0.3, scale=4.0).poses_in_picture(0)[0, 3]
    assert not np.isnan(point).any()


def test_a_keypoint_with_a_high_score_is_seen_better_than_one_with_a_low_score() -> None:
    tracks = far_apart(animals=1)
    contrast = []
    for score in (1.0, 0.4):
        scored = replace(tracks, keypoint_scores=np.full_like(tracks.keypoint_scores, score))
        drawer = PoseDrawer(scored, scale=4.0)
        column, row = drawer.poses_in_picture(0)[0, 3].round().astype(int)
        contrast.append(np.abs(drawer.draw(GRAY, 0)[row, column].astype(int) - 60).max())
    assert contrast[0] > contrast[1] > 10


def test_a_trail_shows_where_the_animal_was_and_only_that_long() -> None:
    tracks = far_apart(frames=12, moving=5.0)
    plain, trailed = PoseDrawer(tracks, scale=4.0).draw(GRAY, 8), PoseDrawer(tracks, scale=4.0, trail=3).draw(GRAY, 8)
    changed = np.nonzero((plain != trailed).any(axis=-1))[0]
    drawer = PoseDrawer(tracks, scale=4.0, trail=3)
    ends = sorted(drawer._paths[[5, 8], 0, 1])
    assert changed.min() >= ends[0] - 4
    assert changed.max() <= ends[1] + 4
    assert (PoseDrawer(tracks, scale=4.0, trail=3).draw(GRAY, 0) == PoseDrawer(tracks, scale=4.0).draw(GRAY, 0)).all()


def test_a_trail_does_not_cross_frames_that_were_not_predicted() -> None:
    tracks = replace(far_apart(frames=12, moving=5.0), frame_indices=np.array([*range(6), *range(500, 506)]))
    plain, trailed = PoseDrawer(tracks, scale=4.0).draw(GRAY, 8), PoseDrawer(tracks, scale=4.0, trail=6).draw(GRAY, 8)
    changed = np.nonzero((plain != trailed).any(axis=-1))[0]
    path = PoseDrawer(tracks, scale=4.0, trail=6)._paths[:, 0, 1]
    across = (changed > path[5] + 4) & (changed < path[6] - 4)
    assert not across.any()
    assert changed.min() < path[5]
    assert changed.max() > path[6]


def test_columns_of_untracked_poses_have_neither_color_nor_name_nor_trail() -> None:
    tracks, untracked = far_apart(), far_apart(is_tracked=False)
    assert PoseDrawer(untracked).colors is None
    swapped = replace(untracked, keypoints_in_image=untracked.keypoints_in_image[:, ::-1])
    first, second = (PoseDrawer(each, trail=5, scale=4.0).draw(GRAY, 5) for each in (untracked, swapped))
    assert (
        is_colored(first, PALETTE[1]).sum() < is_colored(PoseDrawer(tracks, scale=4.0).draw(GRAY, 5), PALETTE[1]).sum()
    )
    np.testing.assert_array_equal(first, second)  # skeletons of two columns would change colors from frame to frame


def test_colors_differ_for_any_number_of_animals() -> None:
    for count in (1, 2, 8, 15):
        assert len(set(animal_colors(count))) == count


def test_small_videos_are_enlarged_by_a_whole_number_and_large_ones_left() -> None:
    assert PoseDrawer(far_apart()).scale == 5
    large = replace(far_apart(), video=replace(far_apart().video, height=960, width=1280))
    assert PoseDrawer(large).scale == 1


def test_the_video_has_the_frames_with_a_row_at_their_times(tmp_path: Path) -> None:
    tracks = far_apart(frames=10)
    times = np.cumsum([0.04, 0.04, 0.2, 0.04, 0.04, 0.3, 0.04, 0.04, 0.04, 0.04])
    tracks = replace(tracks, times=times, frame_indices=np.arange(0, 20, 2))
    rows: list[int] = []
    frames = ((number, GRAY) for number in range(6, 20))
    count = write_labeled_video(
        tmp_path / "out.mp4", PoseDrawer(tracks, scale=1.0), frames, seen=lambda row, _: rows.append(row)
    )
    assert rows == [3, 4, 5, 6, 7, 8, 9]
    with av.open(str(tmp_path / "out.mp4")) as container:
        decoded = [frame.time for frame in container.decode(video=0)]
    assert count == len(decoded) == 7
    np.testing.assert_allclose(decoded, times[3:] - times[3], atol=1e-4)


def test_the_sheet_shows_frames_from_all_of_the_video_that_have_an_animal(tmp_path: Path) -> None:
    tracks = far_apart(frames=40)
    points = tracks.keypoints_in_image.copy()
    points[:20] = np.nan
    drawer = PoseDrawer(replace(tracks, keypoints_in_image=points))
    sheet = SheetOfFrames(drawer, np.arange(40), count=6)
    for row in range(40):
        sheet(row, drawer.draw(GRAY, row))
    assert len(sheet._captions) == 6
    assert sheet._captions[0].startswith("frame 20,")
    assert sheet._captions[-1].startswith("frame 39,")
    assert sheet.picture(tile=120).shape[1] == 4 * 130 + 10


@pytest.mark.parametrize("animals", [0, 1, 3])
def test_frames_without_any_pose_are_drawn_bare(animals: int) -> None:
    tracks = made_up_tracks(animals=animals, missing=1.0, size=(96, 128))
    np.testing.assert_array_equal(PoseDrawer(tracks, scale=1.0, trail=5).draw(GRAY, 4), GRAY)
