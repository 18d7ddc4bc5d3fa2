import json
from pathlib import Path

import numpy as np
import pytest
import typer
from pycocotools.coco import COCO
from typer.testing import CliRunner

from dlcpose.cli.render import render_command
from dlcpose.datasets.base import LabeledFrames, read_image_file
from dlcpose.datasets.coco import CocoFrames
from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.structures.errors import ConfigError, DataError

SMALL = {"height": 48, "width": 64}


def app() -> typer.Typer:
    program = typer.Typer()
    program.command()(render_command)
    return program


def rendered(frames: int, fps: float = 10.0, **options: int | float | str) -> LabeledFrames:
    return SyntheticFrames(frames=frames, videos=4, seconds_between_frames=1 / fps, **SMALL, **options)


def test_a_project_comes_out_of_the_shell(tmp_path: Path) -> None:
    out = tmp_path / "project"
    options = {"frames": 8, "animals": 2, "skeleton": "mouse", "seed": 5, "fps": 4, **SMALL}
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    result = CliRunner().invoke(app(), [str(out), *arguments])
    assert result.exit_code == 0, result.output
    assert "8 frames" in result.output
    data = rendered(8, fps=4, animals=2, skeleton="mouse", seed=5)
    back = DeepLabCutFrames(out)
    keys = [frame.key for frame in back.frames]
    for index, frame in enumerate(data.frames):
        read = keys.index(frame.key)
        np.testing.assert_array_equal(back.frames[read].keypoints_in_image, frame.keypoints_in_image)
        np.testing.assert_array_equal(back.read_image(read), data.read_image(index))
    assert len(list((out / "videos").iterdir())) == 4


def test_coco_is_read_by_pycocotools_and_by_ourselves(tmp_path: Path) -> None:
    out = tmp_path / "coco"
    render_command(out, frames=6, format="coco", animals=2, occlusion=0.2, **SMALL)
    data = rendered(6, animals=2, occlusion=0.2)
    index_by_name = {frame.key.removeprefix("labeled-data/"): index for index, frame in enumerate(data.frames)}
    theirs = COCO(str(out / "annotations.json"))
    assert theirs.cats[1]["keypoints"] == list(data.skeleton.names)
    for image in theirs.loadImgs(theirs.getImgIds()):
        index = index_by_name[image["file_name"].removeprefix("images/")]
        frame = data.frames[index]
        np.testing.assert_array_equal(read_image_file(out / image["file_name"]), data.read_image(index))
        annotations = theirs.loadAnns(theirs.getAnnIds(image["id"]))
        triples = np.array([one["keypoints"] for one in annotations]).reshape(len(frame), -1, 3)
        np.testing.assert_array_equal(triples[..., 2], frame.visibility)
        known = frame.visibility > 0
        np.testing.assert_allclose(triples[known][:, :2], frame.keypoints_in_image[known], atol=1e-3)
        np.testing.assert_allclose([one["area"] for one in annotations], frame.areas, atol=1e-2)
    ours = CocoFrames(out)
    assert sorted(frame.key.removeprefix("images/") for frame in ours.frames) == sorted(index_by_name)
    for place, read in enumerate(ours.frames):
        index = index_by_name[read.key.removeprefix("images/")]
        frame = data.frames[index]
        np.testing.assert_array_equal(read.visibility, frame.visibility)
        np.testing.assert_allclose(read.keypoints_in_image, frame.keypoints_in_image, atol=1e-3)
        np.testing.assert_allclose(read.boxes_in_image, frame.boxes_in_image, atol=1e-3)
        assert (read.video, read.frame_index) == (frame.video, frame.frame_index)
        np.testing.assert_array_equal(ours[place].image, data.read_image(index))
    assert {path.suffix for path in out.rglob("*.*")} == {".png", ".json"}
    assert json.loads((out / "annotations.json").read_text())["images"]


def test_fewer_frames_than_videos_make_fewer_videos(tmp_path: Path) -> None:
    render_command(tmp_path / "project", frames=2, **SMALL)
    assert {path.name for path in (tmp_path / "project" / "labeled-data").iterdir()} == {"rendered0", "rendered1"}


def test_mistakes_are_reported_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(ConfigError, match="--format"):
        render_command(tmp_path / "out", format="sleep")
    with pytest.raises(ConfigError, match="fps"):
        render_command(tmp_path / "out", fps=0)
    huge = (
        {"frames": 10**12},
        {"animals": 100_000},
        {"height": 100_000},
        {"fps": 1e300},
        {"fps": 1e-300},
    )
    for setting in huge:
        with pytest.raises(ConfigError, match=next(iter(setting))):
            render_command(tmp_path / "out", **setting)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="skeleton"):
        render_command(tmp_path / "out", skeleton="unicorn")
    for kind in ("deeplabcut", "coco"):
        with pytest.raises(DataError, match="new or empty"):
            render_command(tmp_path / "mine", frames=2, format=kind, **SMALL)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "thesis.txt"]
