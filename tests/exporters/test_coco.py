import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from dlcpose.exporters.coco import coco_labels, coco_results, image_ids, unique_results
from dlcpose.exporters.label_formats import find_format
from tests.exporters.made_up_frames import MadeUpFrames
from tests.metrics.made_up import SHAPE, herd, prediction_of


def test_pycocotools_reads_labels_and_results() -> None:
    labels, predictions = herd(2)
    data = MadeUpFrames(labels)
    chosen = [7, 2, 5]
    gt = json.loads(json.dumps(coco_labels(data, chosen)))
    results = json.loads(json.dumps(coco_results([predictions[i] for i in chosen], image_ids(gt))))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = gt
        coco.createIndex()
        scored = coco.loadRes(results)
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == [labels[i].key for i in sorted(chosen)]
    for i in chosen:
        image_id = image_ids(gt)[labels[i].key]
        animals = coco.loadAnns(coco.getAnnIds(imgIds=[image_id]))
        assert len(animals) == (~np.isnan(labels[i].keypoints_in_image).all(axis=(1, 2))).sum()
        found = scored.loadAnns(scored.getAnnIds(imgIds=[image_id]))
        assert sorted(each["score"] for each in found) == pytest.approx(sorted(predictions[i].scores.tolist()))


@pytest.mark.parametrize("key", ["../outside.png", "/outside.png", "C:\\outside.png", "a/../../outside.png"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    labels, _ = herd(2, frames=1, most=1)
    data = MadeUpFrames([replace(labels[0], key=key, video="..")])
    for name in ("coco", "deeplabcut"):
        find_format(name).write(data, tmp_path / "here" / name)
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"coco", "deeplabcut"}
    assert len(list(tmp_path.rglob("*.png"))) == 2


def test_individuals_have_their_names() -> None:
    labels, _ = herd(2, frames=1, most=1)
    data = MadeUpFrames(labels)
    labels[0].identities[:] = 1
    assert coco_labels(data, [0])["annotations"][0]["individual"] == "Bo"


def test_points_of_the_arena_are_kept_by_image() -> None:
    found = prediction_of("a", SHAPE[None], unique=[[1.5, 2], [np.nan, 0]], unique_scores=[0.5, np.nan])
    assert unique_results([found, prediction_of("b", SHAPE[None])], {"a": 4, "b": 5}) == [
        {"image_id": 4, "unique_keypoints": [1.5, 2, 2, 0, 0, 0], "unique_keypoint_scores": [0.5, None]}
    ]
