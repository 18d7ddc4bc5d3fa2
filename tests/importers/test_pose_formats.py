"""Poses of other programs in our terms: what our own tables hold comes back, and what no format knows is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlcpose.exporters.formats import TableTarget, table_formats
from dlcpose.exporters.pose_tables import whole_poses
from dlcpose.importers.pose_formats import (
    POSE_FORMATS,
    ForeignPoses,
    check_size,
    pose_tracks,
    read_foreign_poses,
    times_of,
    with_edges,
)
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo
from dlcpose.structures.skeleton import Skeleton
from tests.structures.made_up_tracks import made_up_tracks

FORMATS = ("deeplabcut", "deeplabcut_csv", "sleap", "sleap_analysis", "movement", "movement_0.17", "csv", "parquet")
HOLDS_UNIQUE = ("deeplabcut", "deeplabcut_csv", "csv", "parquet")
HOLDS_ANIMAL_SCORES = ("sleap", "sleap_analysis")
HOLDS_EDGES = ("sleap", "sleap_analysis", "parquet")
IS_TOLD = ("csv",)  # which cannot tell whether its animals are tracked


def read_back(tracks: PoseTracks, name: str, folder: Path) -> PoseTracks:
    """The poses written as a table of this format and imported again, with a row for every frame."""
    (path,) = table_formats()[name].write(tracks, TableTarget(folder, "cage"))
    (poses,) = read_foreign_poses(path, is_tracked=tracks.is_tracked if name in IS_TOLD else None)
    made, _ = pose_tracks(poses, path, tracks.video, times_of(poses.frames, tracks.times))
    return made.gapless()


@pytest.mark.parametrize("name", FORMATS)
@given(
    animals=st.integers(1, 3),
    unique=st.sampled_from([(), ("corner",), ("corner", "door")]),
    missing=st.sampled_from([0.0, 0.3, 0.8]),
    is_tracked=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_a_table_holds_comes_back(
    name: str, animals: int, unique: tuple[str, ...], missing: float, is_tracked: bool, seed: int, tmp_path: Path
) -> None:
    tracks = whole_poses(
        made_up_tracks(
            animals=animals, unique=unique, missing=missing, is_tracked=is_tracked or animals == 1, seed=seed
        )
    )
    if table_formats()[name].needs_tracks and not tracks.is_tracked:
        return
    seen = tracks.is_present.any(axis=0)
    if not seen.all() and name in HOLDS_ANIMAL_SCORES:  # SLEAP has no tracks without an animal
        return
    back = read_back(tracks, name, tmp_path)
    assert back.is_tracked == tracks.is_tracked or not is_tracked
    assert back.skeleton.names == tracks.skeleton.names
    assert back.skeleton.edges == (tracks.skeleton.edges if name in HOLDS_EDGES else ())
    assert back.skeleton.unique == (unique if name in HOLDS_UNIQUE else ())
    ours, theirs = (each if is_tracked else in_order(each) for each in (tracks, back))
    count = len(back.individuals)  # untracked, there are no more columns in a SLEAP file than animals in a frame
    np.testing.assert_array_equal(theirs.keypoints_in_image, ours.keypoints_in_image[:, :count])
    np.testing.assert_array_equal(theirs.keypoint_scores, ours.keypoint_scores[:, :count])
    assert np.isnan(ours.keypoints_in_image[:, count:]).all()
    if name in HOLDS_UNIQUE:
        np.testing.assert_array_equal(back.unique_in_image, tracks.unique_in_image)
        np.testing.assert_array_equal(back.unique_scores, tracks.unique_scores)
    if name in HOLDS_ANIMAL_SCORES:
        np.testing.assert_allclose(theirs.scores, np.where(ours.is_present, ours.scores, 0)[:, :count], rtol=1e-6)
    is_timed = np.isfinite(back.times)  # SLEAP has no rows of frames in which nothing was found
    assert is_timed[tracks.is_present.any(axis=1)].all()
    np.testing.assert_array_equal(back.times[is_timed], tracks.times[is_timed])


def in_order(tracks: PoseTracks) -> PoseTracks:
    """The animals of each frame in the first columns, as formats without tracks have them."""
    order = np.argsort(~tracks.is_present, axis=1, kind="stable")  # (T, N)
    rows = np.arange(len(tracks))[:, None]
    names = ("keypoints_in_image", "keypoint_scores", "scores", "boxes_in_image", "identities")
    return replace(tracks, **{name: getattr(tracks, name)[rows, order] for name in names})


def foreign(**changed: object) -> ForeignPoses:
    """One animal with two keypoints in three frames."""
    points = np.arange(12.0).reshape(3, 1, 2, 2)
    poses = ForeignPoses(
        "a program",
        "a model",
        "cage",
        Skeleton(("a", "b")),
        ("animal1",),
        True,
        np.arange(3),
        points,
        np.ones((3, 1, 2)),
    )
    return replace(poses, **changed)


VIDEO = VideoInfo("cage.mp4", "f" * 32, 48, 64, 3, 25.0)


def imported(poses: ForeignPoses, offset: tuple[float, float] = (0.0, 0.0)) -> tuple[PoseTracks, tuple[str, ...]]:
    return pose_tracks(poses, Path("a.h5"), VIDEO, times_of(poses.frames, np.arange(3) / 25), offset)


def test_scores_are_those_that_poses_have() -> None:
    scores = np.array([[[12.0, 0.5]], [[-0.5, np.nan]], [[1.0, 0.0]]])
    tracks, notes = imported(foreign(scores=scores))
    assert tracks.keypoint_scores[:, 0].tolist() == [[1, 0.5], [0, 0], [1, 0]]
    assert tracks.scores[:, 0].tolist() == [0.75, 0, 0.5]
    assert notes == (
        "1 score above 1 (up to 12), taken as 1",
        "1 score below 0, taken as 0",
        "1 keypoint with a place but no score, taken as 0",
    )


def test_a_keypoint_without_a_place_has_no_score() -> None:
    points = np.arange(12.0).reshape(3, 1, 2, 2)
    points[0, 0, 0, 1] = np.nan
    points[1] = np.nan
    tracks, notes = imported(foreign(points=points, scores=np.full((3, 1, 2), np.nan), animal_scores=np.ones((3, 1))))
    assert np.isnan(tracks.keypoints_in_image[0, 0, 0]).all()
    assert tracks.scores[:, 0].tolist() == [1, 0, 1]
    assert len(notes) == 1


def test_scores_of_animals_that_are_sums_are_replaced_and_said() -> None:
    tracks, notes = imported(foreign(animal_scores=np.array([[7.5], [0.5], [0.2]]), scores=np.full((3, 1, 2), 0.5)))
    assert (tracks.scores == 0.5).all()
    assert notes == ("scores of the animals are not all in [0, 1] (0.2 to 7.5): the mean of the keypoints' is taken",)


def test_coordinates_of_a_part_are_moved_into_the_frame() -> None:
    moved, still = imported(foreign(), (10.0, 20.0))[0], imported(foreign())[0]
    np.testing.assert_array_equal(moved.keypoints_in_image - still.keypoints_in_image, np.full((3, 1, 2, 2), (10, 20)))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"individuals": ("a\0b",)}, "plain characters"),
        ({"individuals": ("a", "a"), "points": np.ones((3, 2, 2, 2)), "scores": np.ones((3, 2, 2))}, "more than once"),
        ({"points": np.full((3, 1, 2, 2), 1e9)}, "no place in an image"),
        ({"points": np.full((3, 1, 2, 2), np.inf)}, "no place in an image"),
        ({"frames": np.array([0, 0, 1])}, "rising"),
    ],
)
def test_what_no_poses_have_is_refused(changed: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        imported(foreign(**changed))


def test_edges_are_those_of_the_project_between_the_keypoints_there_are() -> None:
    skeleton = Skeleton(("tail", "b", "a"), edges=((0, 1), (2, 1)))
    assert with_edges(foreign(), skeleton, Path("project")).skeleton.edges == ((0, 1),)
    with pytest.raises(DataError, match="expected the project of these poses, with a keypoint 'b'"):
        with_edges(foreign(), Skeleton(("a",)), Path("project"))


def test_more_than_memory_is_refused_before_it_is_taken() -> None:
    with pytest.raises(DataError, match="--untracked"):
        check_size(Path("a.slp"), 10**6, 10**4, 20)


@pytest.mark.parametrize(
    ("name", "content"),
    [("cageDLC_full.pickle", b"\x80\x04N."), ("cageDLC_meta.pickle", b"N."), ("renamed.h5", b"\x80\x04N.")],
)
def test_pickles_are_refused_and_not_opened(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"a pickle, which can run any code.*Give the \.h5 or \.csv"):
        read_foreign_poses(tmp_path / name)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"a,b\n1,2\n", b"\x89HDF\r\n\x1a\n", b"scorer,", b"scorer,a\n", b"\xff\xfe"]
)
def test_files_of_other_kinds_are_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_foreign_poses(tmp_path / "a.csv")
    assert "a.csv: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_formats_of_a_refusal_are_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no poses")
    with pytest.raises(DataError) as caught:
        read_foreign_poses(tmp_path / "a.txt")
    assert all(each.opens in str(caught.value) for each in POSE_FORMATS.load().values())
