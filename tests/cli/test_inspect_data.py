"""`dlcpose inspect`: what it prints and draws."""

import re
from pathlib import Path

import pytest
import sleap_io

from dlcpose.datasets.base import read_image_file
from tests.cli.test_app import dlcpose
from tests.datasets.dlc_projects import faulty_project
from tests.datasets.sleap_files import animal, saved, skeleton
from tests.shells import reason

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def test_command_prints_findings(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    out = tmp_path / "pictures" / "sheet.png"
    answer = dlcpose(capsys, monkeypatch, "inspect", str(faulty_project(tmp_path)), "--output", str(out))
    assert answer.code == 0, answer.err
    for line in (
        "3 findings",
        "img0005.png, labeled-data/cage/img0006.png: the images are the same",
        "40x30 (10)",
        str(out),
    ):
        assert line in answer.out
    assert [path.name for path in out.parent.iterdir()] == ["sheet.png"]
    height, width, _ = read_image_file(out).shape
    assert width >= 4 * 320
    assert height >= 3 * 240  # nine readable frames of 4:3 in rows of four


def test_a_mistake_in_the_path_is_one_line(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    assert str(tmp_path / "nowhere") in reason(dlcpose(capsys, monkeypatch, "inspect", str(tmp_path / "nowhere")))


@pytest.mark.parametrize("output", [".", "sheet.gif"])
def test_an_output_that_is_no_picture_is_one_line(
    output: str, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    assert "--output" in reason(dlcpose(capsys, monkeypatch, "inspect", str(tmp_path), "--output", output))


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(
    tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    (tmp_path / "file").touch()
    arguments = ("inspect", str(tmp_path / "nowhere"), "--output", str(tmp_path / "file" / "sheet.png"))
    assert "--output" in reason(dlcpose(capsys, monkeypatch, *arguments))


def test_sleap_labels_whose_video_is_gone_are_counted(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    video = sleap_io.Video(filename="/lab/cage.mp4", open_backend=False)
    frames = [
        sleap_io.LabeledFrame(video=video, frame_idx=index, instances=[animal(skeleton(), 3)]) for index in (3, 17)
    ]
    path = saved(tmp_path / "labels.slp", frames, [video])
    answer = dlcpose(capsys, monkeypatch, "inspect", str(path))
    assert answer.code == 0, answer.err
    assert re.search(r"nose +│ 2 +│ 0", answer.out)
    (said,) = [line for line in answer.out.splitlines() if line.startswith("- ")]
    assert said.startswith(f"- {path}: the video /lab/cage.mp4 is not there")
    assert "set videos" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "frames", "animals"),
    [
        ("sleap/flypair13/clip.slp", 1500, 3000),
        ("sleap/rodentpair15/min_session_user_labeled.slp", 24, 42),
        ("format-samples/sleap-pkg/minimal_instance.pkg.slp", 1, 2),
    ],
)
def test_real_sleap_labels(
    name: str, frames: int, animals: int, shared_data: Path, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    out = tmp_path / "sheet.png"
    answer = dlcpose(capsys, monkeypatch, "inspect", str(shared_data / name), "--output", str(out))
    assert answer.code == 0, answer.err
    assert re.search(rf"^ frames +{frames},", answer.out, re.MULTILINE)
    assert re.search(rf"^ animals +{animals}\b", answer.out, re.MULTILINE)
    assert "is not there" not in answer.out
    assert out.is_file()
