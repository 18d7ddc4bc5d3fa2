"""`dlcpose inspect`: what it prints and draws."""

from pathlib import Path

import pytest

from dlcpose.datasets.base import read_image_file
from tests.cli.test_app import dlcpose
from tests.datasets.dlc_projects import faulty_project
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
