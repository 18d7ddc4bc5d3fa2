"""The reader of Lightning Pose's labels against pandas, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dlcpose.datasets.lightning_pose import LightningPoseFrames
from dlcpose.datasets.readers import open_data
from dlcpose.structures.errors import DataError
from tests.datasets.dlc_projects import write_images

NAN = np.nan


def folder_of(
    root: Path, values: Any, coordinates: tuple[str, ...] = ("x", "y"), name: str = "CollectedData.csv"
) -> Path:
    """A data folder as Lightning Pose's own converter writes it, with black 30x40 images."""
    columns = pd.MultiIndex.from_product(
        [["lightning_tracker"], ["nose", "pawL", "pawR"], coordinates], names=["scorer", "bodyparts", "coords"]
    )
    keys = [f"labeled-data/run{row % 2}/img{row:08d}.png" for row in range(len(values))]
    for key in keys:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        write_images((root / key).parent, [key])
    pd.DataFrame(np.asarray(values, float), index=keys, columns=columns).to_csv(root / name)
    return root


def test_agrees_with_pandas(tmp_path: Path) -> None:
    root = folder_of(tmp_path, [[1.25, 2, 3, 4, NAN, NAN], [NAN] * 6, [9, 8.123456789, 7, 6, 5, 4]])
    data = open_data(root)
    assert isinstance(data, LightningPoseFrames)
    table = pd.read_csv(root / "CollectedData.csv", header=[0, 1, 2], index_col=0)
    for frame in data.frames:
        expected = table.loc[frame.key].to_numpy().reshape(1, 3, 2)
        np.testing.assert_array_equal(frame.exact_keypoints, expected[: len(frame)])
    assert [(frame.video, frame.frame_index, len(frame)) for frame in data.frames] == [
        ("run0", 0, 1), ("run0", 2, 1), ("run1", 1, 0)
    ]  # fmt: skip
    assert (data.skeleton.pairs, data.max_animals, data.empty_is_label) == (((1, 2),), 1, False)
    assert data[0].image.shape == (30, 40, 3)
    assert len(open_data(root / "CollectedData.csv")) == 3


def test_files_elsewhere_are_read_only_where_that_is_said(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", [[1, 2, 3, 4, 5, 6]])
    picture = next(root.rglob("*.png"))
    picture.rename(tmp_path / "elsewhere.png")
    picture.symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(DataError, match="follow_links"):
        LightningPoseFrames(root)
    assert open_data(root, follow_links=True)[0].image.shape == (30, 40, 3)
    table = root / "CollectedData.csv"
    for named in ("../elsewhere.png", str(tmp_path / "elsewhere.png")):
        table.write_text(table.read_text().replace("labeled-data/run0/img00000000.png", named))
        with pytest.raises(DataError, match="follow_links"):
            LightningPoseFrames(root)
        table.write_text(table.read_text().replace(named, "labeled-data/run0/img00000000.png"))
    table.write_text(table.read_text().replace("labeled-data/run0/img00000000.png", "a\0b" + "x" * 300))
    with pytest.raises(DataError, match=r"image is missing|no such file"):
        LightningPoseFrames(root)


def test_an_image_by_two_names_is_one(tmp_path: Path) -> None:
    """Else it could be learned from and tested on."""
    root = folder_of(tmp_path, [[1, 2, 3, 4, 5, 6]] * 3)
    table = root / "CollectedData.csv"
    table.write_text(table.read_text().replace("labeled-data/run0/img00000002", "./labeled-data//run0/img00000000"))
    assert len(LightningPoseFrames(root).frames) == 2
    table.write_text(table.read_text().replace("6.0", "7.0", 1))
    with pytest.raises(DataError, match="two rows"):
        LightningPoseFrames(root)


def test_half_of_a_keypoint_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = LightningPoseFrames(folder_of(tmp_path, [[1, NAN, 3, 4, 5, 6]]))
    assert "1 keypoint has only one of x and y" in caplog.text
    assert np.isnan(data.frames[0].keypoints_in_image[0, 0]).all()


def test_labels_that_no_animal_has_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    LightningPoseFrames(folder_of(tmp_path, [[1, 2, 3, 4, 500, 6], [7, 7, 7, 7, 7, 7]]))
    assert "1 keypoint lies outside" in caplog.text
    assert "1 animal has all keypoints at one place" in caplog.text


def test_the_third_coordinate_says_what_is_hidden(tmp_path: Path) -> None:
    row = [1, 2, 2, 3, 4, 1, 5, 6, 0]
    unknown = [NAN, NAN, 1, 3, 4, NAN, NAN, NAN, 0]  # hidden somewhere; nothing said of a place
    data = LightningPoseFrames(folder_of(tmp_path, [row, unknown], ("x", "y", "visible")))
    assert [frame.visibility.tolist() for frame in data.frames] == [[[2, 1, 0]], []]
    np.testing.assert_array_equal(data.frames[0].exact_keypoints, [[[1, 2], [3, 4], [NAN, NAN]]])


@pytest.mark.parametrize(
    ("values", "coordinates", "message"),
    [
        ([[1, 2, 3, 3, 4, 1, 5, 6, 0]], ("x", "y", "visible"), r"img00000000\.png.*nose.*3"),
        ([[1, 2, 3]], ("x",), r"column y of nose"),
        ([[NAN] * 6], ("x", "y"), "no keypoint"),
    ],
)
def test_invalid_values_are_reported(tmp_path: Path, values: Any, coordinates: tuple[str, ...], message: str) -> None:
    root = folder_of(tmp_path, values, coordinates)
    with pytest.raises(DataError, match=message):
        LightningPoseFrames(root)


def test_a_name_that_no_table_can_hold_is_refused(tmp_path: Path) -> None:
    table = folder_of(tmp_path, [[1, 2, 3, 4, 5, 6]]) / "CollectedData.csv"
    table.write_text(table.read_text().replace("nose", "no\0se"))
    with pytest.raises(DataError, match=r"CollectedData\.csv: Each keypoint needs a name of plain characters"):
        LightningPoseFrames(table.parent)


def test_missing_images_and_several_tables_are_reported(tmp_path: Path) -> None:
    root = folder_of(folder_of(tmp_path, [[1, 2, 3, 4, 5, 6]]), [[1, 2, 3, 4, 5, 6]], name="second.csv")
    (root / "notes.csv").write_text("a,b\n")
    with pytest.raises(DataError, match=r"CollectedData\.csv.*second\.csv.*labels"):
        LightningPoseFrames(root)
    assert len(LightningPoseFrames(root, labels="second.csv")) == 1
    next(root.rglob("*.png")).unlink()
    with pytest.raises(DataError, match=r"img00000000\.png.*missing"):
        LightningPoseFrames(root, labels="second.csv")


def test_a_table_of_individuals_is_deeplabcuts(tmp_path: Path) -> None:
    head = "scorer,a,a\nindividuals,one,one\nbodyparts,nose,nose\ncoords,x,y\nimg.png,1,2\n"
    (tmp_path / "labels.csv").write_text(head)
    with pytest.raises(DataError, match="dataset=deeplabcut"):
        LightningPoseFrames(tmp_path, labels="labels.csv")
