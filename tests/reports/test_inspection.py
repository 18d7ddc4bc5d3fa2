"""What an inspection counts and finds, in made-up faults and in real data."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from dlcpose.datasets.base import read_image_file
from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.datasets.readers import open_data
from dlcpose.reports.inspection import inspect_frames, inspection_table, write_contact_sheet
from tests.datasets.dlc_projects import (
    MULTI,
    SINGLE,
    faulty_project,
    labels,
    multi_columns,
    single_columns,
    write_project,
)

NAN = np.nan


def test_counts_of_real_data(shared_data: Path) -> None:
    found = inspect_frames(DeepLabCutFrames(shared_data / "Reaching-Mackenzie-2018-08-30"))
    assert (found.frames, found.empty, found.animals) == (55, 0, 55)
    assert found.videos == {"reachingvideo1": 55}
    assert found.sizes == {(747, 832): 40, (470, 640): 15}
    assert [(count.name, count.labeled, count.missing) for count in found.keypoints] == [
        ("Hand", 54, 1),
        ("Finger1", 54, 1),
        ("Tongue", 15, 40),
        ("Joystick1", 55, 0),
        ("Joystick2", 55, 0),
    ]
    assert found.findings == []
    assert [choice.split(":")[0] for choice in found.augmentation[:2]] == ["rotation up to 10 degrees", "no flip"]


def test_suspected_errors_are_found(tmp_path: Path) -> None:
    found = inspect_frames(open_data(faulty_project(tmp_path)))
    assert (found.frames, found.empty, found.animals) == (10, 1, 9)
    assert found.duplicate_images == (("labeled-data/cage/img0005.png", "labeled-data/cage/img0006.png"),)
    assert found.coinciding == ("labeled-data/cage/img0003.png: nose and tail of animal 0 are at the same place",)
    (unreadable,) = found.unreadable
    assert "img0009.png: expected an image, got 60 bytes that do not decode" in unreadable
    assert [(count.labeled, count.missing, count.out_of_frame) for count in found.keypoints] == [(9, 0, 1), (9, 0, 0)]
    assert len(found.findings) == 3


def test_the_arena_is_counted_apart(tmp_path: Path) -> None:
    values = [[*range(12), 20, 21], [*[NAN] * 12, 22, 23], [*range(12), NAN, NAN]]
    root = write_project(tmp_path, {"cage": labels("cage", values, multi_columns())}, MULTI)
    found = inspect_frames(DeepLabCutFrames(root))
    assert [(count.name, count.labeled, count.missing) for count in found.keypoints] == [
        *[(name, 4, 0) for name in ("nose", "earL", "earR")],
        ("door", 2, 1),
    ]


@pytest.mark.parametrize("name", ["ear[left]", "ear[/right]", "no\x1b[2Jse"])
def test_names_are_printed_as_they_are(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = labels("v[cage]", np.arange(40.0).reshape(10, 4) % 25, single_columns((name, "tail")))
    root = write_project(tmp_path, {"v[cage]": table}, {**SINGLE, "bodyparts": [name, "tail"]})
    Console(width=200).print(inspection_table(inspect_frames(open_data(root))))
    shown = capsys.readouterr().out
    assert name.replace("\x1b", "\\x1b") in shown
    assert "v[cage] (10)" in shown
    assert "\x1b[2J" not in shown


def test_a_contact_sheet_shows_the_arena_s_keypoints(tmp_path: Path) -> None:
    sheets = {}
    for door in (20.0, NAN):
        values = [[*range(12), door, door]] * 4
        root = write_project(tmp_path / str(door), {"cage": labels("cage", values, multi_columns())}, MULTI)
        data = open_data(root)
        assert write_contact_sheet(data, inspect_frames(data), root / "sheet.png")
        sheets[str(door)] = read_image_file(root / "sheet.png")
    assert (sheets["20.0"] != sheets["nan"]).any()


def test_a_contact_sheet_of_real_data(shared_data: Path, tmp_path: Path) -> None:
    data = open_data(shared_data / "rodentpair15-SLEAP-2024-12-17")
    assert write_contact_sheet(data, inspect_frames(data), tmp_path / "sheet.png")
    assert read_image_file(tmp_path / "sheet.png").any()
