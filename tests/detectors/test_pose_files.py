"""Files of predicted poses, which conditions are taken from: what no prediction is, is refused with its frame."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcpose.detectors.pose_files import read_poses
from dlcpose.structures.errors import DataError
from dlcpose.structures.skeleton import Skeleton

SKELETON = Skeleton(("nose", "tail"))
IMAGES = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]


def of_results(folder: Path, *results: dict[str, Any], images: list[dict[str, Any]] = IMAGES) -> Path:
    (folder / "labels.json").write_text(json.dumps({"images": images, "categories": [{"keypoints": ["nose", "tail"]}]}))
    (folder / "predictions.json").write_text(json.dumps(results))
    return folder / "predictions.json"


def result(image: int = 1, x: float = 3.0) -> dict[str, Any]:
    return {"image_id": image, "category_id": 1, "keypoints": [x, 4.0, 2, 5.0, 6.0, 2], "score": 0.5}


def test_results_belong_to_the_images_that_they_name(tmp_path: Path) -> None:
    stored = read_poses(of_results(tmp_path, result(1), result(2, 7.0)), SKELETON)
    assert {key: stored.poses_of(key)[:, 0, 0].tolist() for key in ("a.png", "b.png")} == {
        "a.png": [3.0],
        "b.png": [7.0],
    }


@pytest.mark.parametrize("second", [{"id": 1, "file_name": "b.png"}, {"id": 2, "file_name": "a.png"}])
def test_images_that_cannot_be_told_apart_are_refused(second: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two images have one id, or one file_name"):
        read_poses(of_results(tmp_path, result(), images=[IMAGES[0], second]), SKELETON)


@pytest.mark.parametrize("x", [2e6, -1e39, 1e300])
def test_a_place_that_no_image_has_is_refused(x: float, tmp_path: Path) -> None:
    path = tmp_path / "poses.json"
    path.write_text(json.dumps({"a.png": [[[x, 1, 0.5], [1, 1, 0.5]]]}))
    for each in (path, of_results(tmp_path, result(x=x))):
        with pytest.raises(DataError, match=r"a\.png: .* is no place in an image"):
            read_poses(each, SKELETON)


@pytest.mark.parametrize("value", ["3", True, False])
def test_texts_and_booleans_are_no_numbers(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "poses.json"
    for point in ([value, 1, 0.5], [1, value, 0.5], [1, 1, value]):
        path.write_text(json.dumps({"a.png": [[point, [1, 1, 0.5]]]}))
        with pytest.raises(DataError, match=r"poses\.json: a\.png: .*numbers"):
            read_poses(path, SKELETON)
    for changed in (
        {"keypoints": [value, 4.0, 2, 5.0, 6.0, 2]},
        {"keypoints": [3.0, 4.0, value, 5.0, 6.0, 2]},
        {"score": value},
        {"keypoint_scores": [0.5, value]},
    ):
        with pytest.raises(DataError, match=r"predictions\.json: .*numbers"):
            read_poses(of_results(tmp_path, {**result(), **changed}), SKELETON)


def test_lists_nested_deep_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "poses.json").write_text(f'{{"a.png": {"[" * 900}{"]" * 900}}}')
    with pytest.raises(DataError, match=r"poses\.json: "):
        read_poses(tmp_path / "poses.json", SKELETON)


def test_a_keypoint_without_a_place_is_missing(tmp_path: Path) -> None:
    (tmp_path / "poses.json").write_text('{"a.png": [[[null, null, 0.5], [1, 2, 0.5]]]}')
    (pose,) = read_poses(tmp_path / "poses.json", SKELETON).poses_of("a.png")
    np.testing.assert_array_equal(pose, [[np.nan, np.nan, 0.0], [1.0, 2.0, 0.5]])
