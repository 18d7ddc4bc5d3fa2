from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sleap_io

from dlcpose.datasets.base import read_image_file
from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.datasets.deeplabcut_config import read_project_config
from dlcpose.exporters.machine_labels import (
    LabelColumns,
    columns_for,
    frames_in_folder,
    write_machine_labels,
    write_sleap_suggestions,
)
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.skeleton import Skeleton
from tests.datasets.dlc_projects import MULTI, labels, multi_columns, ten_frames, write_project
from tests.structures.made_up_tracks import NAMES, made_up_tracks


def pictures(rows: tuple[int, ...]) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(0)
    return {row: rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for row in rows}


def own_columns(tracks: PoseTracks) -> LabelColumns:
    return columns_for(tracks, None)


def read(path: Path) -> pd.DataFrame:
    frame = pd.read_hdf(path)  # without a key, as napari-deeplabcut reads it
    assert isinstance(frame, pd.DataFrame)
    pd.testing.assert_frame_equal(frame, pd.read_hdf(path, key="df_with_missing"))
    return frame


@pytest.mark.parametrize(("animals", "unique"), [(1, ()), (2, ()), (2, ("door",)), (1, ("door",))])
def test_pandas_reads_the_poses_of_the_frames(tmp_path: Path, animals: int, unique: tuple[str, ...]) -> None:
    tracks = made_up_tracks(animals=animals, unique=unique)
    folder = tmp_path / "labeled-data" / "cage"
    names = write_machine_labels(folder, tracks, pictures((2, 7)), own_columns(tracks), iteration=3)
    assert names == ["img0002.png", "img0007.png"]
    frame = read(folder / "machinelabels-iter3.h5")
    assert frame.index.to_list() == [("labeled-data", "cage", name) for name in names]
    for column, individual in enumerate(tracks.individuals):
        for k, name in enumerate(NAMES):
            of_animal = frame["dlcpose"][individual] if animals > 1 or unique else frame["dlcpose"]
            values = of_animal[name][["x", "y", "likelihood"]].to_numpy()
            np.testing.assert_allclose(values[:, :2], tracks.keypoints_in_image[[2, 7], column, k])
            np.testing.assert_allclose(values[:, 2], tracks.keypoint_scores[[2, 7], column, k])
    if unique:
        np.testing.assert_allclose(
            frame["dlcpose"]["single"]["door"].to_numpy()[:, :2], tracks.unique_in_image[[2, 7], 0]
        )
    levels = 3 + (animals > 1 or bool(unique))
    from_csv = pd.read_csv(folder / "machinelabels.csv", header=list(range(levels)), index_col=[0, 1, 2])
    np.testing.assert_allclose(from_csv.to_numpy(), frame.to_numpy())
    assert from_csv.columns.to_list() == frame.columns.to_list()


def test_the_images_are_beside_the_table_bit_for_bit(tmp_path: Path) -> None:
    tracks, images = made_up_tracks(), pictures((0, 11))
    names = write_machine_labels(tmp_path / "cage", tracks, images, own_columns(tracks))
    for name, image in zip(names, images.values(), strict=True):
        np.testing.assert_array_equal(read_image_file(tmp_path / "cage" / name), image)
    assert sorted(path.name for path in (tmp_path / "cage").iterdir()) == [
        *names,
        "machinelabels-iter0.h5",
        "machinelabels.csv",
    ]


def test_numbers_in_names_are_the_videos_and_long_enough_for_all_of_it(tmp_path: Path) -> None:
    tracks = made_up_tracks(frame_indices=range(100, 112), frames=120_000)
    assert write_machine_labels(tmp_path / "a", tracks, pictures((3,)), own_columns(tracks)) == ["img000103.png"]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "img00012.png").touch()
    assert write_machine_labels(tmp_path / "b", tracks, pictures((3,)), own_columns(tracks)) == ["img00103.png"]


def project(root: Path, tables: dict[str, pd.DataFrame], individuals: list[str]) -> Path:
    config: dict[str, Any] = {**MULTI, "individuals": individuals, "iteration": 2, "uniquebodyparts": ["door"]}
    return write_project(root, tables, config)


def poses_of_project(**options: Any) -> PoseTracks:
    """Poses with the keypoints of the project, in another order, and one fewer."""
    tracks = made_up_tracks(**options)
    skeleton = Skeleton(("earR", "nose"))
    return replace(
        tracks,
        skeleton=skeleton,
        keypoints_in_image=tracks.keypoints_in_image[:, :, :2],
        keypoint_scores=tracks.keypoint_scores[:, :, :2],
    )


def two_labeled_frames() -> pd.DataFrame:
    return labels("cage", np.arange(28.0).reshape(2, 14), multi_columns(), ["img0001.png", "img0004.png"])


def test_poses_go_under_the_names_of_the_project(tmp_path: Path) -> None:
    root = project(tmp_path / "project", {"cage": two_labeled_frames()}, ["a", "b"])
    config = read_project_config(root)
    tracks = replace(poses_of_project(missing=0.0), individuals=("b", "a"))
    folder = root / "labeled-data" / "cage"
    write_machine_labels(folder, tracks, pictures((7,)), columns_for(tracks, config), iteration=config.iteration)
    frame = read(folder / "machinelabels-iter2.h5")["dlcpose"].iloc[0]
    np.testing.assert_allclose(frame["a"]["earR"].to_numpy()[:2], tracks.keypoints_in_image[7, 1, 0])
    np.testing.assert_allclose(frame["b"]["nose"].to_numpy()[:2], tracks.keypoints_in_image[7, 0, 1])
    assert np.isnan(frame["a"]["earL"].to_numpy()[:2]).all()
    np.testing.assert_array_equal(frame["single"]["door"].to_numpy(), [np.nan, np.nan, 0])


def test_the_projects_labels_and_how_we_read_them_stay_as_they_are(tmp_path: Path) -> None:
    root = project(tmp_path / "project", {"cage": two_labeled_frames()}, ["a", "b"])
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    labeled = [frame.key for frame in DeepLabCutFrames(root).frames]
    tracks = poses_of_project()
    columns = columns_for(tracks, read_project_config(root))
    for video in ("cage", "new"):
        write_machine_labels(root / "labeled-data" / video, tracks, pictures((7, 8)), columns)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert [frame.key for frame in DeepLabCutFrames(root).frames] == labeled


def test_with_more_animals_than_the_project_has_the_best_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_project(tmp_path / "project", {"cage": ten_frames()})
    tracks = made_up_tracks(animals=3, missing=0.0)
    tracks = replace(
        tracks,
        skeleton=Skeleton(("nose", "tail")),
        keypoints_in_image=tracks.keypoints_in_image[:, :, :2],
        keypoint_scores=tracks.keypoint_scores[:, :, :2],
    )
    best = tracks.scores[5].argmax()
    write_machine_labels(tmp_path / "cage", tracks, pictures((5,)), columns_for(tracks, read_project_config(root)))
    frame = read(tmp_path / "cage" / "machinelabels-iter0.h5")["dlcpose"].iloc[0]
    np.testing.assert_allclose(frame["nose"].to_numpy()[:2], tracks.keypoints_in_image[5, best, 0])
    assert "3 animals" in caplog.text


def test_no_images_or_labels_of_an_iteration_are_ever_overwritten(tmp_path: Path) -> None:
    tracks = made_up_tracks()
    folder = tmp_path / "cage"
    write_machine_labels(folder, tracks, pictures((5,)), own_columns(tracks))
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match="machinelabels-iter0"):
        write_machine_labels(folder, tracks, pictures((6,)), own_columns(tracks))
    (folder / "machinelabels-iter0.h5").rename(tmp_path / "away.h5")
    with pytest.raises(DataError, match="img0005"):
        write_machine_labels(folder, tracks, pictures((5,)), own_columns(tracks))
    assert {path.name for path in folder.iterdir()} == {"img0005.png", "machinelabels.csv"}
    assert (folder / "img0005.png").read_bytes() == before[folder / "img0005.png"]


def test_the_next_iteration_replaces_the_csv_and_keeps_the_h5(tmp_path: Path) -> None:
    tracks, folder = made_up_tracks(animals=1), tmp_path / "cage"
    write_machine_labels(folder, tracks, pictures((5,)), own_columns(tracks))
    first = (folder / "machinelabels-iter0.h5").read_bytes()
    write_machine_labels(folder, tracks, pictures((6,)), own_columns(tracks), iteration=1)
    assert (folder / "machinelabels-iter0.h5").read_bytes() == first
    from_csv = pd.read_csv(folder / "machinelabels.csv", header=[0, 1, 2], index_col=[0, 1, 2])
    assert from_csv.index.to_list() == [("labeled-data", "cage", "img0006.png")]


def test_keypoints_that_the_project_lacks_are_named(tmp_path: Path) -> None:
    root = write_project(tmp_path / "project", {"cage": ten_frames()})
    with pytest.raises(DataError, match="left ear"):
        columns_for(made_up_tracks(), read_project_config(root))
    with pytest.raises(DataError, match="single"):
        columns_for(replace(made_up_tracks(unique=("door",)), individuals=("single", "b")), None)


def test_frames_with_labels_or_an_image_are_known_whoever_labeled(tmp_path: Path) -> None:
    root = write_project(
        tmp_path / "project", {"cage": labels("cage", np.ones((2, 4)), images=["img003.png", "img4.png"])}
    )
    folder = root / "labeled-data" / "cage"
    (folder / "img017.png").touch()
    (folder / "img003.png").unlink()
    labels("cage", np.ones((1, 4)), images=["img0088.png"]).to_hdf(
        folder / "CollectedData_Bob.h5", key="df_with_missing", mode="w"
    )
    assert frames_in_folder(folder) == {3, 4, 17, 88}
    assert frames_in_folder(root / "labeled-data" / "none") == set()


@pytest.mark.parametrize("is_tracked", [True, False])
def test_sleap_io_reads_suggestions_with_their_poses(tmp_path: Path, is_tracked: bool) -> None:
    tracks = made_up_tracks(frame_indices=range(0, 120, 10), frames=130, is_tracked=is_tracked)
    write_sleap_suggestions(tmp_path / "cage.slp", tracks, [1, 4, 9], tmp_path / "cage.mp4")
    read_back = sleap_io.load_slp(str(tmp_path / "cage.slp"), open_videos=False)
    assert [suggestion.frame_idx for suggestion in read_back.suggestions] == [10, 40, 90]
    assert [path.name for path in tmp_path.iterdir()] == ["cage.slp"]
    assert Path(read_back.videos[0].filename).name == "cage.mp4"
    assert read_back.skeletons[0].node_names == list(NAMES)
    assert {tuple(edge) for edge in read_back.skeletons[0].edge_inds} == set(tracks.skeleton.edges)
    for frame, row in zip(read_back.labeled_frames, [1, 4, 9], strict=True):
        assert frame.frame_idx == tracks.frame_indices[row]
        present = np.flatnonzero(tracks.is_present[row])
        assert len(frame.instances) == len(present)
        for instance, column in zip(frame.instances, present, strict=True):
            assert isinstance(instance, sleap_io.PredictedInstance)
            np.testing.assert_allclose(instance.numpy(), tracks.keypoints_in_image[row, column], atol=1e-5)
            assert (instance.track.name if instance.track else None) == (
                tracks.individuals[column] if is_tracked else None
            )
