"""Whatever the Python API raises for a mistake in input is a DlcposeError, in one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dlcpose
from dlcpose.predict import _named
from dlcpose.structures.errors import ConfigError, DataError, InputError, explain_os_errors
from tests.datasets.dlc_projects import ten_frames, write_project


def test_the_error_class_is_public() -> None:
    assert issubclass(ConfigError, dlcpose.DlcposeError)
    assert issubclass(DataError, dlcpose.DlcposeError)
    assert "DlcposeError" in dir(dlcpose)


@pytest.mark.parametrize(
    "call",
    [
        lambda: dlcpose.load("nowhere.ckpt"),
        lambda: dlcpose.load("nowhere.ckpt", device="gpu"),
        lambda: dlcpose.load("nowhere.ckpt", device="cuda:99"),
        lambda: dlcpose.load(__file__),
        lambda: dlcpose.load("/"),
        lambda: dlcpose.train("optimizer.lrr=1"),
        lambda: dlcpose.train("optimizer=["),
        lambda: dlcpose.train("seed=-1", run_dir="/dev/null/x"),
        lambda: dlcpose.train("resume=nowhere/last.ckpt", run_dir="/dev/null/x"),
        lambda: dlcpose.evaluate("nowhere.ckpt", run_dir="/tmp/nowhere"),
        lambda: dlcpose.evaluate("nowhere.ckpt", "frames=[", run_dir="/tmp/nowhere"),
        lambda: dlcpose.Project("~/nowhere"),
        lambda: dlcpose.Project("/dev/null"),
        lambda: _named(0, None),  # type: ignore[arg-type]
        lambda: _named(0, "nowhere.png"),
        lambda: _named(0, "/"),
    ],
)
def test_a_mistake_is_one_of_them(call: Callable[[], object], here: Path) -> None:
    with pytest.raises(dlcpose.DlcposeError) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_files_that_vanish_or_cannot_be_written(tmp_path: Path) -> None:
    project = dlcpose.Project(write_project(tmp_path / "p", {"cage": ten_frames()}))
    with pytest.raises(DataError, match="labels"):
        project.to_coco(tmp_path / "p" / "config.yaml" / "labels.json")
    frames = dlcpose.PoseDataset(project, mode="train")
    (tmp_path / "p" / project.frames[0].key).unlink()
    with pytest.raises(DataError, match=r"img0000\.png"):
        frames[0]


def test_an_array_of_another_kind_is_a_value_error_too() -> None:
    assert issubclass(InputError, ValueError)
    with pytest.raises(DataError, match=r"x: No space left"), explain_os_errors():
        raise OSError(28, "No space left on device", "x")
    with pytest.raises(BrokenPipeError), explain_os_errors():  # `| head`, at which a command ends quietly
        raise BrokenPipeError


def test_unlabeled_frames_are_left_out_of_coco(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = ten_frames()
    table.iloc[::2] = np.nan
    content = dlcpose.Project(write_project(tmp_path / "p", {"cage": table})).to_coco()
    assert (len(content["images"]), len(content["annotations"])) == (5, 5)
    assert "5 frames without any label" in caplog.text


def test_a_message_is_one_line_whatever_names_are_in_it() -> None:
    assert str(DataError("labels of img\n\x1b[2J.png")) == "labels of img\\n\\x1b[2J.png"
    assert len(str(DataError("x" * 10**6))) <= 3_000


def test_a_name_that_no_file_can_have_is_a_missing_image(tmp_path: Path) -> None:
    root = write_project(tmp_path / "p", {"cage": ten_frames()})
    path = root / "labeled-data/cage/CollectedData_Ada.csv"
    content = path.read_text()
    for name in ("x" * 300, "img\n0001"):
        path.write_text(content.replace("img0001.png", f'"{name}"'))
        with pytest.raises(DataError, match=r"missing|no such file"):
            dlcpose.Project(root)
