"""`dlcpose convert`: what it writes, what it tells, what it leaves alone."""

import sys
from pathlib import Path

import numpy as np
import pytest

from dlcpose.datasets.coco import CocoFrames
from dlcpose.datasets.readers import open_data
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.exporters.coco import write_coco_dataset
from dlcpose.structures.sample import labels_of
from dlcpose.structures.skeleton import Skeleton
from tests.cli.test_app import dlcpose
from tests.exporters.label_sets import DrawnFrames
from tests.shells import reason

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def fails(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_coco_dataset(
        SyntheticFrames(frames=4, height=32, width=40, videos=2, occlusion=0.3, unique_points=1, seed=1),
        tmp_path / "photos",
    )
    return tmp_path / "photos"


def test_losses_are_listed_and_labels_written(photos: Path, capsys: Capture, monkeypatch: Patch) -> None:
    target = photos.parent / "x.pkg.slp"
    answer = dlcpose(capsys, monkeypatch, "convert", str(photos), str(target))
    assert answer.code == 0, answer.err
    data = CocoFrames(photos)
    hidden = sum(int((frame.visibility == 1).sum()) for frame in data.frames)
    assert hidden
    assert f"{hidden} keypoints that are hidden" in answer.out
    assert "unique keypoints" in answer.out
    assert "edges" not in answer.out
    back = open_data(target)
    for frame, other in zip(data.frames, back.frames, strict=True):
        np.testing.assert_array_equal(other.exact_keypoints, frame.exact_keypoints)
    answer = dlcpose(capsys, monkeypatch, "convert", str(photos), str(photos.parent / "again"), "--to", "coco")
    assert "Nothing is lost." in answer.out


def test_animals_of_no_track_are_told_where_they_get_one(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    frames = [labels_of(f"cage/{number}.png", (6, 8), np.ones((2, 1, 2)), video="cage") for number in (1, 2)]
    write_coco_dataset(DrawnFrames(frames, Skeleton(("nose",))), tmp_path / "photos")
    convert = ("convert", str(tmp_path / "photos"), str(tmp_path / "project"), "--to", "deeplabcut")
    answer = dlcpose(capsys, monkeypatch, *convert)
    assert "- lost: 4 animals of no track, which get that of an individual in each frame (animal 1 in" in answer.out


@pytest.mark.parametrize("name", ["a.slp", "a.pkg.SLP", "a.json", "a.csv"])
def test_a_folder_that_is_named_like_a_file_is_refused(
    name: str, photos: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    target = photos.parent / name
    answer = dlcpose(capsys, monkeypatch, "convert", str(photos), str(target), "--to", "coco")
    assert f"{target}: expected the name of a folder" in reason(answer)
    answer = dlcpose(capsys, monkeypatch, "render", str(target), "--frames", "1")
    assert f"{target}: expected the name of a folder" in reason(answer)
    assert not target.exists()


def test_existing_output_is_replaced_only_with_overwrite(photos: Path, capsys: Capture, monkeypatch: Patch) -> None:
    for name, options in (("x.pkg.slp", ()), ("project", ("--to", "deeplabcut"))):
        target = photos.parent / name
        convert = ("convert", str(photos), str(target), *options)
        assert dlcpose(capsys, monkeypatch, *convert).code == 0
        before = sorted(photos.parent.rglob("*"))
        assert str(target) in reason(dlcpose(capsys, monkeypatch, *convert))
        answer = dlcpose(capsys, monkeypatch, *convert, "--overwrite")
        assert answer.code == 0, answer.err
        assert sorted(photos.parent.rglob("*")) == before
        content = target.read_bytes() if target.is_file() else b""
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", fails)
            patch.setattr(Path, "rename", fails)
            answer = dlcpose(capsys, monkeypatch, *convert, "--overwrite")
        assert "No space left" in reason(answer)
        assert sorted(photos.parent.rglob("*")) == before
        assert content == (target.read_bytes() if target.is_file() else b"")
    home = photos.parent / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("mine")
    answer = dlcpose(capsys, monkeypatch, "convert", str(photos), str(home), "--to", "deeplabcut", "--overwrite")
    assert str(home) in reason(answer)
    assert (home / "thesis.txt").read_text() == "mine"


FOREIGN = {
    "deeplabcut": (
        *(
            "dlc-models-pytorch/iteration-0/snapshot-best.pt",
            "videos/raw.mp4",
            "labeled-data/rendered0/machinelabels.csv",
        ),
        *(
            "labeled-data/rendered0/CollectedData_Ann.h5",
            "labeled-data/rendered0/img9999.png",
            "deep/labeled-data/a/b/config.yaml",
        ),
    ),
    "coco": ("images/rendered0/another.png", "notes.txt", "old/annotations.json"),
    "lightning_pose": ("videos/raw.mp4", "labeled-data/rendered0/another.png", "model.yaml"),
}


@pytest.mark.parametrize(("name", "foreign"), [(name, file) for name, files in FOREIGN.items() for file in files])
def test_a_folder_with_something_else_in_it_is_never_replaced(
    photos: Path, capsys: Capture, monkeypatch: Patch, name: str, foreign: str
) -> None:
    target = photos.parent / "target"
    convert = ("convert", str(photos), str(target), "--to", name)
    assert dlcpose(capsys, monkeypatch, *convert).code == 0
    (target / foreign).parent.mkdir(parents=True, exist_ok=True)
    (target / foreign).write_text("mine")
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    said = reason(dlcpose(capsys, monkeypatch, *convert, "--overwrite"))
    assert str(target / foreign) in said
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in photos.parent.iterdir()) == ["photos", "target"]
    (target / foreign).unlink()
    assert dlcpose(capsys, monkeypatch, *convert, "--overwrite").code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
@pytest.mark.parametrize("is_folder", [True, False])
def test_a_folder_with_a_link_in_it_is_never_replaced(
    photos: Path, capsys: Capture, monkeypatch: Patch, is_folder: bool
) -> None:
    target, elsewhere = photos.parent / "target", photos.parent / "elsewhere"
    convert = ("convert", str(photos), str(target), "--to", "deeplabcut")
    assert dlcpose(capsys, monkeypatch, *convert).code == 0
    elsewhere.mkdir()
    (elsewhere / "raw.mp4").write_text("mine")
    (target / "videos" / "link").symlink_to(elsewhere if is_folder else elsewhere / "raw.mp4")
    assert str(target / "videos" / "link") in reason(dlcpose(capsys, monkeypatch, *convert, "--overwrite"))
    assert (target / "videos" / "link").is_symlink()


@pytest.mark.parametrize(
    ("target", "options", "expected"),
    [
        ("out", (), "--to: expected one of coco, deeplabcut, lightning_pose, sleap"),
        ("out", ("--to", "yolo"), "--to: expected one of coco, deeplabcut, lightning_pose, sleap"),
        ("photos/inside", ("--to", "coco"), "apart from"),
    ],
)
def test_mistakes_are_one_line(
    photos: Path, capsys: Capture, monkeypatch: Patch, target: str, options: tuple[str, ...], expected: str
) -> None:
    before = sorted(photos.parent.rglob("*"))
    answer = dlcpose(capsys, monkeypatch, "convert", str(photos), str(photos.parent / target), *options)
    assert expected in reason(answer)
    assert sorted(photos.parent.rglob("*")) == before


def test_a_video_that_is_gone_leaves_nothing_behind(
    tmp_path: Path, capsys: Capture, monkeypatch: Patch, shared_data: Path
) -> None:
    source = tmp_path / "labels.slp"
    source.write_bytes((shared_data / "sleap/flypair24/centered_pair.slp").read_bytes())
    answer = dlcpose(capsys, monkeypatch, "convert", str(source), str(tmp_path / "out"), "--to", "coco")
    assert "centered_pair_low_quality.mp4" in reason(answer)
    assert [path.name for path in tmp_path.iterdir()] == ["labels.slp"]
    answer = dlcpose(capsys, monkeypatch, "inspect", str(source), "--output", str(tmp_path / "sheet.png"))
    assert answer.code == 0, answer.err
    assert answer.out.count("centered_pair_low_quality.mp4 is not there") == 1
