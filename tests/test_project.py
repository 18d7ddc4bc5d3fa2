import json
from pathlib import Path
from typing import Any

import albumentations
import numpy as np
import pytest
from pycocotools.coco import COCO
from torch.utils.data import DataLoader

from dlcpose.datasets.coco import CocoFrames
from dlcpose.project import PoseDataset, Project
from dlcpose.structures.batch import collate
from dlcpose.structures.errors import ConfigError, DataError
from tests.datasets.dlc_projects import ten_frames, write_project
from tests.datasets.test_deeplabcut import write_shuffle

XY = albumentations.KeypointParams(format="xy")


@pytest.fixture
def openfield(shared_data: Path) -> Project:
    return Project(proj_root=shared_data / "openfield-Pranav-2018-10-30")


def test_a_real_project(openfield: Project) -> None:
    assert openfield.skeleton.names == ("snout", "leftear", "rightear", "tailbase")
    assert openfield.individuals == ("individual_1",)
    assert len(openfield.frames) == 116


def test_a_project_may_be_named_by_its_config(openfield: Project) -> None:
    by_config = Project(openfield.root / "config.yaml")
    assert by_config.root == openfield.root
    assert [frame.key for frame in by_config.frames] == [frame.key for frame in openfield.frames]


def test_a_notebook_shows_what_there_is_in_one_line(openfield: Project) -> None:
    assert repr(openfield) == f"Project({str(openfield.root)!r}: 116 frames, 4 keypoints, one animal)"
    assert repr(openfield.split) == "Split(93 train, 0 val, 23 test frames)"
    assert repr(PoseDataset(openfield, mode="test")) == f"PoseDataset(23 test frames of {str(openfield.root)!r})"


def test_a_random_split_warns_without_a_setting_of_the_command(
    openfield: Project, caplog: pytest.LogCaptureFixture
) -> None:
    openfield.train_test_split(by="random")
    assert "The splits block and video avoid it." in caplog.text
    assert "split=" not in caplog.text


def test_splits_are_remembered(openfield: Project) -> None:
    assert (len(openfield.split.train), len(openfield.split.val), len(openfield.split.test)) == (93, 0, 23)
    split = openfield.train_test_split(0.5, by="random", val_fraction=0.25, seed=3)
    assert (len(split.train), len(split.val), len(split.test)) == (29, 29, 58)
    assert openfield.split is split
    assert openfield.train_test_split(0.5, by="random", val_fraction=0.25, seed=3) == split


def test_the_projects_own_split(tmp_path: Path) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()})
    write_shuffle(root, "80shuffle1", range(0, 10, 2), range(1, 10, 2))
    write_shuffle(root, "80shuffle2", range(9), [9])
    assert Project(root, shuffle=2).train_test_split(by="stored").test == ("labeled-data/cage/img0009.png",)
    split = Project(root).train_test_split(by="stored")
    assert split.test == tuple(f"labeled-data/cage/img{number:04d}.png" for number in range(1, 10, 2))
    assert len(split.train) == 5


def test_the_split_of_a_project_with_a_shuffle_is_the_stored_one(tmp_path: Path) -> None:
    root = write_project(tmp_path, {"cage": ten_frames()})
    write_shuffle(root, "80shuffle1", range(0, 10, 2), range(1, 10, 2))
    write_shuffle(root, "80shuffle2", range(9), [9])
    project = Project(root, shuffle=2)
    assert project.split.test == ("labeled-data/cage/img0009.png",)
    assert len(PoseDataset(project)) == 9
    with pytest.raises(ConfigError, match=r"^by='block': shuffle=2"):
        project.train_test_split()
    with pytest.raises(ConfigError, match=r"^train_fraction=0\.5: by='stored'"):
        project.train_test_split(0.5, by="stored")


def test_coco_files_of_the_whole_and_of_a_set(openfield: Project, tmp_path: Path) -> None:
    content = openfield.to_coco(tmp_path / "made" / "all.json")
    assert json.loads((tmp_path / "made" / "all.json").read_text()) == content
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["all.json"]  # nothing half-written beside it
    data = CocoFrames(openfield.root, annotations=str(tmp_path / "made" / "all.json"))
    assert [frame.key for frame in data.frames] == [frame.key for frame in openfield.frames]
    for ours, theirs in zip(openfield.frames, data.frames, strict=True):
        np.testing.assert_array_equal(ours.keypoints_in_image, theirs.keypoints_in_image)
    openfield.to_coco(tmp_path / "test.json", split="test")
    assert {image["file_name"] for image in COCO(str(tmp_path / "test.json")).dataset["images"]} == set(
        openfield.split.test
    )


def test_a_data_set_without_transform_is_the_frames(openfield: Project) -> None:
    test = PoseDataset(openfield, mode="test")
    assert len(test) == 23
    crop = test[0]
    frame = next(frame for frame in openfield.frames if frame.key == crop.key)
    assert crop.key == openfield.split.test[0]
    assert crop.image.shape == (480, 640, 3)
    np.testing.assert_array_equal(crop.keypoints_in_crop, frame.keypoints_in_image)


def test_a_mirrored_data_set_swaps_left_and_right(openfield: Project) -> None:
    plain, mirrored = (
        PoseDataset(openfield, transform)
        for transform in (None, albumentations.Compose([albumentations.HorizontalFlip(p=1)], keypoint_params=XY))
    )
    assert len(mirrored) == 93
    before, after = plain[5], mirrored[5]
    np.testing.assert_array_equal(after.image, before.image[:, ::-1])
    expected = before.keypoints_in_crop[:, [0, 2, 1, 3]] * [-1, 1] + [639, 0]
    np.testing.assert_allclose(after.keypoints_in_crop, expected, atol=1e-3)


@pytest.mark.parametrize(
    "transform",
    [
        albumentations.Normalize(),
        albumentations.ToFloat(),
        albumentations.ToTensorV2(),
        albumentations.ToGray(num_output_channels=1, p=1),
    ],
)
@pytest.mark.filterwarnings("ignore:Got processor for keypoints")
def test_a_transform_that_makes_no_image_is_refused(transform: albumentations.BasicTransform, tmp_path: Path) -> None:
    project = Project(write_project(tmp_path, {"cage": ten_frames()}))
    data = PoseDataset(project, albumentations.Compose([transform], keypoint_params=XY))
    with pytest.raises(ConfigError, match=r"Expected \(H, W, 3\) uint8.*Normalize"):
        data[0]


def test_missing_and_lost_points_keep_their_place(shared_data: Path) -> None:
    project = Project(shared_data / "Reaching-Mackenzie-2018-08-30")
    away = albumentations.Compose([albumentations.Affine(translate_px={"x": 4000, "y": 0}, p=1)], keypoint_params=XY)
    for index in range(3):
        before, after = PoseDataset(project)[index], PoseDataset(project, away)[index]
        np.testing.assert_allclose(after.keypoints_in_crop, before.keypoints_in_crop + np.array([4000, 0]), rtol=1e-4)


def test_batches_of_images_of_unlike_size(shared_data: Path) -> None:
    project = Project(shared_data / "Reaching-Mackenzie-2018-08-30")
    project.train_test_split(by="random")
    batch = next(iter(DataLoader(PoseDataset(project), batch_size=44, collate_fn=collate)))
    assert tuple(batch.images.shape) == (44, 3, 747, 832)
    assert tuple(batch.keypoints_in_crop.shape) == (44, 1, 5, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"train_fraction": "0.8"},
        {"train_fraction": 1.2},
        {"train_fraction": float("nan")},
        {"val_fraction": None},
        {"seed": -1},
        {"seed": 0.5},
        {"by": ["block"]},
    ],
)
def test_settings_of_a_split_that_make_no_sense_are_named(openfield: Project, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"^{next(iter(wrong))}: expected|^Expected a split by"):
        openfield.train_test_split(**{"by": "random", **wrong})


def test_numbers_of_numpy_split_as_plain_ones_do(openfield: Project) -> None:
    plain = openfield.train_test_split(0.75, by="random", seed=3)
    assert openfield.train_test_split(np.float32(0.75), by="random", seed=np.int64(3)) == plain


def test_errors_say_what_to_do(openfield: Project, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"Expected a split by one of \['block', 'video', 'random', 'stored'\], got 'frame'"
    ):
        openfield.train_test_split(by="frame")
    with pytest.raises(ConfigError, match="trian"):
        PoseDataset(openfield, mode="trian")
    with pytest.raises(DataError, match=r"val set.*train_test_split"):
        PoseDataset(openfield, mode="val")
    with pytest.raises(ConfigError, match="The transform has no keypoints"):
        PoseDataset(openfield, albumentations.Compose([albumentations.HorizontalFlip()]))
    with pytest.raises(ConfigError, match=r"train_fraction=0\.5, val_fraction=0\.5"):
        openfield.train_test_split(0.5, val_fraction=0.5)
    with pytest.raises(ConfigError, match=r"^project: expected a Project"):
        PoseDataset(str(openfield.root))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"it has no config\.yaml"):
        Project(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("train_fraction", 80), ("train_fraction", 0), ("train_fraction", "0.8"), ("val_fraction", -0.1), ("seed", -1)],
)
def test_a_split_names_what_it_was_given(tmp_path: Path, name: str, value: object) -> None:
    project = Project(write_project(tmp_path, {"cage": ten_frames()}))
    with pytest.raises(ConfigError, match=f"^{name}.*{value}"):
        project.train_test_split(by="random", **{name: value})
