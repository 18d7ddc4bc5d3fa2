"""The reader that fits a path."""

import shutil
from pathlib import Path

import pytest

from dlcpose.datasets.coco import CocoFrames
from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.datasets.readers import open_data
from dlcpose.structures.errors import DataError


def test_the_reader_that_can_open_a_path_is_taken(shared_data: Path, tmp_path: Path) -> None:
    project = shared_data / "openfield-Pranav-2018-10-30"
    samples = shared_data / "format-samples/coco-keypoints"
    assert isinstance(open_data(project), DeepLabCutFrames)
    assert isinstance(open_data(project / "config.yaml"), DeepLabCutFrames)
    for path in (shared_data / "coco" / "reaching_val.json", samples / "fly", samples / "zebra" / "test_zebra.json"):
        data = open_data(path)
        assert isinstance(data, CocoFrames)
        assert data[0].image.any()
    with pytest.raises(DataError, match=r"config\.yaml.*COCO"):
        open_data(tmp_path)
    for name in ("a.json", "b.json"):
        shutil.copy(samples / "zebra" / "test_zebra.json", tmp_path / name)
    with pytest.raises(DataError, match=r"a\.json.*b\.json"):
        open_data(tmp_path)
