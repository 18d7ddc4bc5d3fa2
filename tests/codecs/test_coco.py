"""COCO files: labels are read back, scores and missing keypoints are written as COCO has them."""

import json

import numpy as np
import pytest

from dlcpose.codecs.coco import ground_truth, results, triplets
from dlcpose.structures.sample import labels_of
from dlcpose.structures.skeleton import Skeleton
from tests.metrics.made_up import SKELETON, herd, prediction_of


def test_labels_can_be_read_back() -> None:
    labels, _ = herd(3)
    gt = json.loads(json.dumps(ground_truth(labels, SKELETON)))
    for frame, image in zip(labels, gt["images"], strict=True):
        animals = [each for each in gt["annotations"] if each["image_id"] == image["id"]]
        points = np.array([each["keypoints"] for each in animals]).reshape(-1, 5, 3)
        kept = ~np.isnan(frame.keypoints_in_image).all(axis=(1, 2))
        assert (image["file_name"], image["height"], image["width"]) == (frame.key, 480, 640)
        np.testing.assert_array_equal(points[..., 2], frame.visibility[kept])
        back = np.where(points[..., 2:] > 0, points[..., :2], np.nan).astype(np.float32)
        np.testing.assert_array_equal(back, frame.keypoints_in_image[kept])  # to the last bit
        assert [each["num_keypoints"] for each in animals] == (frame.visibility[kept] > 0).sum(axis=1).tolist()


def test_the_skeleton_is_kept() -> None:
    skeleton = Skeleton(
        names=("a", "b", "c"),
        edges=((0, 2),),
        pairs=((0, 1),),
        sigmas=(0.1, 0.2, 0.3),
        unique=("d", "e"),
        unique_pairs=((0, 1),),
    )
    (category,) = json.loads(json.dumps(ground_truth([], skeleton)["categories"]))
    assert category["skeleton"] == [[1, 3]]
    content = {name: category[name] for name in ("pairs", "sigmas", "unique", "unique_pairs")}
    assert Skeleton.from_dict({**content, "names": category["keypoints"], "edges": [[0, 2]]}) == skeleton


def test_areas_boxes_names_crowds_and_hidden_points_are_kept() -> None:
    points = np.array([[[1, 2], [11, 22]], [[5, 5], [6, 9]], [[np.nan] * 2] * 2], float)
    boxes = np.array([[np.nan] * 4, [0, 0, 10, 20], [30, 30, 40, 50]], np.float32)
    frame = labels_of(
        "a.png",
        (60, 60),
        points,
        visibility=np.array([[1, 2], [2, 0], [0, 0]]),
        boxes_in_image=boxes,
        areas=np.array([np.nan, 77, np.nan], np.float32),
        identities=np.array([1, -1, 0]),
        ignored_in_image=np.array([[3, 4, 13, 24]], np.float32),
    )
    annotations = ground_truth([frame], Skeleton(names=("x", "y")), ["Anna", "Bo"])["annotations"]
    assert [each["keypoints"] for each in annotations] == [[1, 2, 1, 11, 22, 2], [5, 5, 2, 0, 0, 0], [0] * 6, [0] * 6]
    assert [each["bbox"] for each in annotations] == [[1, 2, 10, 20], [0, 0, 10, 20], [30, 30, 10, 20], [3, 4, 10, 20]]
    assert [each["area"] for each in annotations] == [200, 77, 200, 200]
    assert [each["iscrowd"] for each in annotations] == [0, 0, 0, 1]
    assert [each["individual"] for each in annotations] == ["Bo", None, "Anna", None]


def test_results_keep_scores_apart_and_missing_points_at_zero() -> None:
    points = np.array([[[1.5, 2], [np.nan, np.nan]], [[np.nan] * 2] * 2])
    prediction = prediction_of("a.png", points, np.array([[0.25, 0.125], [0.5, 0.5]]), scores=np.array([0.75, 0.5]))
    (entry,) = results([prediction], {"a.png": 7})
    assert entry == {
        "image_id": 7,
        "category_id": 1,
        "keypoints": [1.5, 2, 2, 0, 0, 0],
        "score": 0.75,
        "keypoint_scores": [0.25, 0.125],
    }
    with pytest.raises(KeyError):
        results([prediction], {"b.png": 7})


def test_numbers_are_short_and_exact() -> None:
    point = np.array([[123.456, 0.1]], np.float32)
    assert triplets(point, np.array([2])) == [123.456, 0.1, 2]
