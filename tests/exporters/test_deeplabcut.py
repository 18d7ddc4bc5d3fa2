from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd
import pytest
import sleap_io
import yaml

from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.exporters.deeplabcut import write_deeplabcut_project
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import FrameLabels, Image, labels_of
from dlcpose.structures.skeleton import Skeleton

SMALL: dict[str, Any] = {"frames": 10, "height": 64, "width": 80, "videos": 2}
MANY: dict[str, Any] = {**SMALL, "animals": (1, 3), "unique_points": 5, "identity_marks": True}


class GivenFrames(LabeledFrames):
    """Frames with the labels of a test and gray images."""

    def __init__(self, frames: Sequence[FrameLabels], individuals: tuple[str, ...] = (), broken: int = -1) -> None:
        self.skeleton = Skeleton(("a", "b"))
        self.individuals = individuals
        self.frames = frames
        self.broken = broken

    def read_image(self, index: int) -> Image:
        if index == self.broken:
            raise DataError("frame is broken")
        return np.full((self.frames[index].height, self.frames[index].width, 3), 7 * index, np.uint8)


def given(video: str, frame_index: int, identities: Sequence[int], size: tuple[int, int] = (20, 30)) -> FrameLabels:
    points = np.arange(4 * len(identities), dtype=np.float32).reshape(-1, 2, 2) + 1
    key = f"{video}/{frame_index}"
    return labels_of(key, size, points, identities=np.array(identities), video=video, frame_index=frame_index)


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("options", [SMALL, MANY])
def test_what_is_written_reads_back_as_the_same_frames(tmp_path: Path, options: dict[str, Any]) -> None:
    data = SyntheticFrames(**options)
    data.pcutoff = 0.3
    back = DeepLabCutFrames(write_deeplabcut_project(data, tmp_path / "project"))
    assert back.pcutoff == data.pcutoff
    assert (back.skeleton.names, back.skeleton.edges) == (data.skeleton.names, data.skeleton.edges)
    assert back.skeleton.unique == data.skeleton.unique
    assert len(back.individuals) == len(data.individuals)
    assert back.has_identities == data.has_identities
    place = {frame.key: index for index, frame in enumerate(back.frames)}
    assert set(place) == {frame.key for frame in data.frames}
    for index, frame in enumerate(data.frames):
        read = back.frames[place[frame.key]]
        np.testing.assert_array_equal(read.keypoints_in_image, frame.keypoints_in_image)
        np.testing.assert_array_equal(read.unique_in_image, frame.unique_in_image)
        np.testing.assert_array_equal(read.identities, frame.identities)
        assert (read.video, read.frame_index) == (frame.video, frame.frame_index)
        np.testing.assert_array_equal(back.read_image(place[frame.key]), data.read_image(index))


def test_the_tables_are_what_pandas_finds_in_a_project_of_deeplabcut(tmp_path: Path, shared_data: Path) -> None:
    theirs = pd.read_hdf(next((shared_data / "flypair13-SLEAP-2024-12-20").rglob("CollectedData_*.h5")))
    data = SyntheticFrames(**MANY)
    project = write_deeplabcut_project(data, tmp_path / "project", scorer="Ada")
    for folder in sorted((project / "labeled-data").iterdir()):
        ours = pd.read_hdf(folder / "CollectedData_Ada.h5", "df_with_missing")
        assert ours.columns.names == theirs.columns.names == ["scorer", "individuals", "bodyparts", "coords"]
        assert (ours.index.nlevels, list(ours.index.names)) == (3, list(theirs.index.names))
        as_csv = pd.read_csv(
            folder / "CollectedData_Ada.csv", header=[0, 1, 2, 3], index_col=[0, 1, 2], float_precision="round_trip"
        )
        np.testing.assert_array_equal(as_csv.to_numpy(), ours.to_numpy())
        assert list(as_csv.columns) == list(ours.columns)
        assert list(as_csv.index) == list(ours.index)
        for _, video, image in ours.index:
            frame = next(frame for frame in data.frames if frame.key == f"labeled-data/{video}/{image}")
            expected_points = {
                (data.individuals[identity], name): tuple(point)
                for animal, identity in zip(frame.keypoints_in_image, frame.identities, strict=True)
                for point, name in zip(animal, data.skeleton.names, strict=True)
            }
            expected_points |= {
                ("single", name): tuple(point)
                for point, name in zip(frame.unique_in_image, data.skeleton.unique, strict=True)
            }
            for (_, owner, name, coordinate), value in ours.loc[("labeled-data", video, image)].items():
                point = expected_points.get((owner, name), (np.nan, np.nan))
                np.testing.assert_array_equal(value, point["xy".index(coordinate)])
        assert [owner for owner, *_ in ours.columns.droplevel("scorer")][-10:] == ["single"] * 10


def test_a_single_animal_project_has_no_individuals(tmp_path: Path) -> None:
    project = write_deeplabcut_project(SyntheticFrames(**SMALL), tmp_path / "project")
    table = pd.read_hdf(project / "labeled-data/rendered0/CollectedData_dlcpose.h5")
    assert list(table.columns.names) == ["scorer", "bodyparts", "coords"]
    config = yaml.safe_load((project / "config.yaml").read_text())
    assert not config["multianimalproject"]
    assert config["x1"] < config["x2"]  # else DeepLabCut 3 refuses the project, although nothing is cropped
    assert config["y1"] < config["y2"]
    assert config["bodyparts"] == list(SyntheticFrames(**SMALL).skeleton.names)
    assert "individuals" not in config


@pytest.mark.parametrize("options", [SMALL, {**SMALL, "animals": 2}])
def test_sleap_reads_the_same_points(tmp_path: Path, options: dict[str, Any]) -> None:
    data = SyntheticFrames(**options)
    project = write_deeplabcut_project(data, tmp_path / "project")
    labels = sleap_io.load_file(str(project / "labeled-data/rendered1/CollectedData_dlcpose.csv"))
    frames = [frame for frame in data.frames if frame.video == "rendered1"]
    assert len(labels) == len(frames)
    for found, frame in zip(labels, frames, strict=True):
        theirs = np.stack([instance.numpy() for instance in found.instances])
        names = [node.name for node in labels.skeletons[0].nodes]
        order = [names.index(name) for name in data.skeleton.names]
        np.testing.assert_allclose(theirs[:, order], frame.keypoints_in_image, atol=1e-4)


@pytest.mark.parametrize("size", [(64, 80), (63, 81)])
def test_the_video_shows_the_labeled_frames(tmp_path: Path, size: tuple[int, int]) -> None:
    data = SyntheticFrames(frames=12, videos=2, height=size[0], width=size[1])
    project = write_deeplabcut_project(data, tmp_path / "project", fps=12.5)
    for video in ("rendered0", "rendered1"):
        images = [data.read_image(index) for index, frame in enumerate(data.frames) if frame.video == video]
        found = decoded(project / "videos" / f"{video}.mp4")
        assert len(found) == len(images) == 6
        for ours, theirs in zip(images, found, strict=True):
            assert theirs.shape == (*size, 3)
            own = np.abs(ours.astype(float) - theirs).mean()
            # Nearer to its own frame than to any other, and near.
            assert own < 8
            assert own == min(np.abs(other.astype(float) - theirs).mean() for other in images)
        reader = cv2.VideoCapture(str(project / "videos" / f"{video}.mp4"))
        assert reader.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
        assert reader.get(cv2.CAP_PROP_FRAME_COUNT) == 6
        reader.release()


def test_animals_without_a_name_take_the_places_left_free(tmp_path: Path) -> None:
    data = GivenFrames([given("v", 0, [-1, 1, -1]), given("v", 5, [1])], individuals=("ann", "bob"))
    project = write_deeplabcut_project(data, tmp_path / "project")
    table = pd.read_hdf(project / "labeled-data/v/CollectedData_dlcpose.h5")
    values = table.to_numpy().reshape(2, 3, 2, 2)
    frame = data.frames[0].keypoints_in_image
    np.testing.assert_array_equal(values[0], frame[[0, 1, 2]])
    np.testing.assert_array_equal(values[1, 1], data.frames[1].keypoints_in_image[0])
    assert np.isnan(values[1, [0, 2]]).all()
    assert [image for _, _, image in table.index] == ["img0000.png", "img0005.png"]
    individuals = yaml.safe_load((project / "config.yaml").read_text())["individuals"]
    assert individuals == ["ann", "bob", "animal1"]


def test_videos_of_one_name_and_frames_of_one_number_stay_apart(tmp_path: Path) -> None:
    frames = [given(video, 3, [0]) for video in ("one/clip.mp4", "two\\clip.mp4", "", "one/clip.mp4", "dots.in.name")]
    project = write_deeplabcut_project(GivenFrames(frames), tmp_path / "project", fps=25)
    folders = {path.name: sorted(image.name for image in path.glob("*.png")) for path in project.glob("labeled-data/*")}
    assert folders == {
        "clip": ["img0000.png", "img0001.png"],
        "clip_2": ["img0003.png"],
        "frames": ["img0003.png"],
        "dots.in.name": ["img0003.png"],
    }
    assert {path.stem for path in (project / "videos").iterdir()} == set(folders)
    config = yaml.safe_load((project / "config.yaml").read_text())
    assert {Path(path).stem for path in config["video_sets"]} == set(folders)
    assert config["video_sets"]["videos/clip.mp4"] == {"crop": "0, 30, 0, 20"}


def test_frames_of_several_sizes_are_written_without_a_video(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = GivenFrames([given("v", 0, [0]), given("v", 1, [0], size=(24, 30))])
    project = write_deeplabcut_project(data, tmp_path / "project", fps=25)
    assert "2 sizes" in caplog.text
    assert not list((project / "videos").iterdir())
    assert len(DeepLabCutFrames(project)) == 2


def test_a_folder_with_files_is_refused_and_an_empty_one_taken(tmp_path: Path) -> None:
    data = GivenFrames([given("v", 0, [0])])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"full: expected a new or empty folder"):
        write_deeplabcut_project(data, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    assert (write_deeplabcut_project(data, tmp_path / "empty") / "config.yaml").is_file()
    assert (write_deeplabcut_project(data, tmp_path / "new" / "deep") / "config.yaml").is_file()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (GivenFrames([given("v", index, [0]) for index in range(3)], broken=2), "frame is broken"),
        (GivenFrames([given("v", 4, [1, 1])], individuals=("ann", "bob")), "v/4.*bob"),
        (GivenFrames([]), "got none"),
    ],
)
def test_what_fails_leaves_nothing_behind(tmp_path: Path, data: GivenFrames, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_deeplabcut_project(data, tmp_path / "project")
    assert not list(tmp_path.iterdir())


def test_real_labels_survive_the_way_out_and_back(tmp_path: Path, shared_data: Path) -> None:
    data = DeepLabCutFrames(shared_data / "rodentpair15-SLEAP-2024-12-17")
    back = DeepLabCutFrames(write_deeplabcut_project(data, tmp_path / "project"))
    assert (back.individuals, back.skeleton, back.has_identities) == (
        data.individuals,
        data.skeleton,
        data.has_identities,
    )
    assert [frame.key for frame in back.frames] == [frame.key for frame in data.frames]
    for ours, theirs in zip(back.frames, data.frames, strict=True):
        np.testing.assert_array_equal(ours.keypoints_in_image, theirs.keypoints_in_image)
        np.testing.assert_array_equal(ours.identities, theirs.identities)
