from dataclasses import replace

import numpy as np
import pytest

from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo
from dlcpose.structures.skeleton import Skeleton
from tests.structures.made_up_tracks import made_up_tracks


def test_a_row_for_every_frame_of_the_video() -> None:
    tracks = made_up_tracks(frame_indices=(2, 4, 5), frames=8)
    whole = tracks.gapless()
    assert whole.frame_indices.tolist() == list(range(8))
    np.testing.assert_array_equal(whole.keypoints_in_image[[2, 4, 5]], tracks.keypoints_in_image)
    assert not whole.is_present[[0, 1, 3, 6, 7]].any()
    assert (whole.keypoint_scores[[0, 1, 3, 6, 7]] == 0).all()


def test_a_notebook_shows_tracks_in_one_line() -> None:
    tracks = made_up_tracks(frame_indices=(2, 4, 5), frames=8)
    shown = f"PoseTracks({tracks.video.path!r}: 3 frames, {{}}, {len(tracks.skeleton)} keypoints)"
    named = f"animals {', '.join(tracks.individuals)}"
    assert repr(replace(tracks, is_tracked=True)) == shown.format(named)
    assert repr(replace(tracks, is_tracked=False)) == shown.format(
        f"up to {len(tracks.individuals)} animals, not tracked"
    )


def test_an_ensembles_spread_has_a_value_for_every_keypoint_and_frame() -> None:
    tracks = made_up_tracks(frame_indices=(2, 4, 5), frames=8)
    spread = replace(tracks, keypoint_spreads=tracks.keypoint_scores).gapless().keypoint_spreads
    assert spread is not None
    np.testing.assert_array_equal(spread[[2, 4, 5]], tracks.keypoint_scores)
    assert np.isnan(spread[[0, 1, 3, 6, 7]]).all()
    assert tracks.gapless().keypoint_spreads is None
    with pytest.raises(ValueError, match="keypoint_spreads"):
        replace(tracks, keypoint_spreads=np.zeros((3, 1), np.float32))


def test_filling_gaps_twice_changes_nothing() -> None:
    whole = made_up_tracks(frame_indices=(1, 3), frames=4).gapless()
    assert whole.gapless() is whole


def test_shapes_that_do_not_agree_are_refused() -> None:
    skeleton = Skeleton(("nose", "tail"))
    with pytest.raises(ValueError, match="keypoint_scores"):
        PoseTracks(
            skeleton=skeleton,
            video=VideoInfo("a.mp4", "0", 10, 10, 3, 25.0),
            individuals=("one",),
            is_tracked=True,
            frame_indices=np.arange(3),
            times=np.arange(3.0),
            keypoints_in_image=np.zeros((3, 1, 2, 2), np.float32),
            keypoint_scores=np.zeros((3, 1, 3), np.float32),
            scores=np.zeros((3, 1), np.float32),
            boxes_in_image=np.zeros((3, 1, 4), np.float32),
            identities=np.zeros((3, 1), np.int64),
            unique_in_image=np.zeros((3, 0, 2), np.float32),
            unique_scores=np.zeros((3, 0), np.float32),
        )


def test_frame_numbers_that_fall_are_refused() -> None:
    with pytest.raises(ValueError, match="rising"):
        made_up_tracks(frame_indices=(2, 1), frames=3)
