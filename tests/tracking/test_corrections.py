"""Corrections exchange what they say and nothing else, and a file of anyone's is checked before it is believed."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.tracking.corrections import (
    MAX_ENTRIES,
    Correction,
    Corrections,
    apply_corrections,
    corrections_as_dict,
    read_corrections,
    tracks_digest,
)
from tests.structures.made_up_tracks import made_up_tracks

FRAMES, ANIMALS = 12, 3
TRACKS = made_up_tracks(frames=FRAMES, animals=ANIMALS)


@st.composite
def one_correction(draw: st.DrawFn) -> Correction:
    a, b = draw(st.permutations(range(ANIMALS)))[:2]
    frame = draw(st.integers(0, FRAMES - 1))
    action = draw(st.sampled_from(["keep", "swap_from", "swap_between"]))
    to = draw(st.integers(frame + 1, FRAMES)) if action == "swap_between" else None
    return Correction(frame, a, b, action, to)


def applied(tracks: PoseTracks, *corrections: Correction) -> PoseTracks:
    return apply_corrections(tracks, Corrections(tracks.video.fingerprint, tracks_digest(tracks), corrections))


def assert_same(first: PoseTracks, second: PoseTracks) -> None:
    for name in ("keypoints_in_image", "keypoint_scores", "scores", "boxes_in_image", "identities"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


@settings(deadline=None)
@given(one_correction())
def test_swapping_twice_changes_nothing(correction: Correction) -> None:
    assert_same(applied(TRACKS, correction, correction), TRACKS)


@settings(deadline=None)
@given(st.lists(one_correction(), max_size=6))
def test_the_order_of_swaps_at_different_times_does_not_matter(corrections: list[Correction]) -> None:
    times = [frame for each in corrections for frame in (each.frame, each.to) if frame is not None]
    assume(len(set(times)) == len(times))
    assert_same(applied(TRACKS, *corrections), applied(TRACKS, *reversed(corrections)))


def test_second_swap_refers_to_the_uncorrected_columns() -> None:
    # Animal 0 goes on in column 1 from frame 4, and from there in column 2 from frame 8.
    done = applied(TRACKS, Correction(8, 1, 2, "swap_from"), Correction(4, 0, 1, "swap_from"))
    followed = [0] * 4 + [1] * 4 + [2] * 4
    np.testing.assert_array_equal(done.keypoints_in_image[:, 0], TRACKS.keypoints_in_image[np.arange(FRAMES), followed])


@settings(deadline=None)
@given(st.lists(one_correction(), max_size=6))
def test_undoing_in_reverse_order_gives_the_tracks_back(corrections: list[Correction]) -> None:
    assert_same(applied(TRACKS, *corrections, *reversed(corrections)), TRACKS)


@settings(deadline=None)
@given(one_correction())
def test_only_the_two_animals_change_and_only_in_those_frames(correction: Correction) -> None:
    done = applied(TRACKS, correction)
    end = {"keep": correction.frame, "swap_from": FRAMES}.get(correction.action, correction.to)
    inside = (np.arange(FRAMES) >= correction.frame) & (np.arange(FRAMES) < end)
    order = np.arange(ANIMALS)
    order[[correction.a, correction.b]] = order[[correction.b, correction.a]]
    before, after = TRACKS.keypoints_in_image, done.keypoints_in_image
    np.testing.assert_array_equal(after[~inside], before[~inside])
    np.testing.assert_array_equal(after[inside], before[inside][:, order])
    assert done.individuals == TRACKS.individuals


@settings(deadline=None)
@given(st.lists(one_correction(), max_size=6))
def test_saved_and_read_they_are_the_same(corrections: list[Correction]) -> None:
    import tempfile

    made = Corrections(TRACKS.video.fingerprint, tracks_digest(TRACKS), tuple(corrections))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corrections.json"
        path.write_text(json.dumps(corrections_as_dict(made)))
        assert read_corrections(path) == made


def test_frames_are_those_of_the_video_also_where_only_every_third_was_predicted() -> None:
    tracks = made_up_tracks(frame_indices=[0, 3, 6, 9], animals=2)
    done = applied(tracks, Correction(4, 0, 1, "swap_from"))
    np.testing.assert_array_equal(done.keypoints_in_image[:2], tracks.keypoints_in_image[:2])
    np.testing.assert_array_equal(done.keypoints_in_image[2:], tracks.keypoints_in_image[2:, ::-1])


def test_as_many_swaps_as_a_file_may_have_take_seconds() -> None:
    long = made_up_tracks(frames=100_000, animals=2, missing=0.0)
    long = replace(long, video=replace(long.video, frames=100_000))
    began = time.process_time()
    swaps = [Correction(frame, 0, 1, "swap_from") for frame in range(MAX_ENTRIES)]
    done = applied(long, *swaps)
    assert time.process_time() - began < 10  # going through all frames for each took minutes
    kept = done.keypoints_in_image[:, 0] == long.keypoints_in_image[:, 0]
    np.testing.assert_array_equal(kept.all(axis=(1, 2))[:MAX_ENTRIES], np.arange(MAX_ENTRIES) % 2 == 1)


def test_corrections_of_another_video_are_refused() -> None:
    other = replace(TRACKS, video=replace(TRACKS.video, fingerprint="0" * 16))
    with pytest.raises(DataError, match=r"f{16}.*0{16}"):
        apply_corrections(other, Corrections("f" * 16, tracks_digest(TRACKS), ()))


def test_corrections_of_other_tracks_are_refused() -> None:
    other = made_up_tracks(frames=FRAMES, animals=ANIMALS, seed=1)
    with pytest.raises(DataError, match="other tracks"):
        apply_corrections(other, Corrections(other.video.fingerprint, tracks_digest(TRACKS), ()))


@pytest.mark.parametrize("wrong", [Correction(0, 0, ANIMALS, "swap_from"), Correction(FRAMES, 0, 1, "swap_from")])
def test_what_the_tracks_do_not_have_is_refused(wrong: Correction) -> None:
    with pytest.raises(DataError, match="entry 1"):
        applied(TRACKS, wrong)


def test_a_frame_behind_the_last_is_named_with_the_frames_there_are() -> None:
    with pytest.raises(DataError, match=rf"expected frames from 0 to {FRAMES - 1}, got 99\. "):
        applied(TRACKS, Correction(99, 0, 1, "swap_from"))
    with pytest.raises(DataError, match=rf"expected frames from 0 to {FRAMES - 1}, got 0 to 99\. "):
        applied(TRACKS, Correction(0, 0, 1, "swap_between", 99))


GOOD: dict[str, Any] = {"frame": 3, "a": 0, "b": 1, "action": "swap_from"}


@pytest.mark.parametrize(
    "entry",
    [
        GOOD | {"frame": -1},
        GOOD | {"frame": 1.5},
        GOOD | {"frame": True},
        GOOD | {"frame": "3"},
        GOOD | {"frame": 10**30},
        GOOD | {"b": 0},
        GOOD | {"action": "delete"},
        GOOD | {"action": ["swap_from"]},
        GOOD | {"to": 9},
        GOOD | {"action": "swap_between"},
        GOOD | {"action": "swap_between", "to": 3},
        GOOD | {"more": 1},
        {"frame": 3},
        [3, 0, 1],
        None,
    ],
)
def test_a_strange_entry_is_refused_with_its_place(entry: Any, tmp_path: Path) -> None:
    content = corrections_as_dict(Corrections("f" * 16, "t", ()))
    path = tmp_path / "corrections.json"
    path.write_text(json.dumps(content | {"corrections": [GOOD, entry]}))
    with pytest.raises(DataError, match="entry 2"):
        read_corrections(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        '{"format": "dlcpose-corrections", "version": 2, "video": "a", "tracks": "t", "corrections": []}',
        '{"format": "other", "version": 1, "video": "a", "tracks": "t", "corrections": []}',
        '{"format": "dlcpose-corrections", "version": 1, "video": "a", "corrections": []}',
        '{"format": "dlcpose-corrections", "version": 1, "video": "a", "tracks": "t", "corrections": {}}',
        '{"format": "dlcpose-corrections", "version": 1, "video": "a", "tracks": "t", "corrections": [], "run": "x"}',
        '{"format": "dlcpose-corrections", "version": 1, "video": "a", "tracks": "t", "run": NaN, "corrections": []}',
        '{"format": "dlcpose-corrections", "version": 1, "video": "b", "video": "a", "tracks": "t", "corrections": []}',
        "\x00\xff",
    ],
)
def test_a_file_that_is_none_is_refused_with_its_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "corrections.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"corrections\.json"):
        read_corrections(path)


def test_a_huge_file_and_none_at_all_are_refused(tmp_path: Path) -> None:
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(DataError, match=r"huge\.json"):
        read_corrections(huge)
    with pytest.raises(DataError, match=r"none\.json"):
        read_corrections(tmp_path / "none.json")


@pytest.mark.parametrize("version", ["x" * 100_000, [[]] * 10_000, True])
def test_a_version_of_another_kind_is_shown_in_short(tmp_path: Path, version: object) -> None:
    content = {"format": "dlcpose-corrections", "version": version, "video": "a", "tracks": "b", "corrections": []}
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="expected version 1") as caught:
        read_corrections(tmp_path / "c.json")
    assert len(str(caught.value)) < len(str(tmp_path)) + 200
