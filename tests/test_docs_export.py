"""docs/export.md word for word: each command, in order, with models small enough for a test."""

import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from dlcpose.exporters.pose_file import read_pose_tracks
from tests.cli.test_app import dlcpose
from tests.datasets.numbered_videos import write_numbered
from tests.model_formats.made_up_checkpoints import CONFIGS, data_of, write_checkpoint
from tests.shells import REPOSITORY

pytest.importorskip("onnxruntime", reason="an extra: pip install 'dlcpose[onnx]'")

pytestmark = pytest.mark.slow  # seven commands, four of which export and check

PAGE = (REPOSITORY / "docs" / "export.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def test_the_page_can_be_followed(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_of("top_down")
    images = [data.read_image(number) for number in range(4)]
    (here / "frames").mkdir()
    for number, image in enumerate(images):
        cv2.imwrite(f"frames/{number}.png", image[..., ::-1])
    write_numbered(here / "mouse.mp4", 4, size=(64, 64), image_of=lambda number: images[number])
    for name, kind in (("best", "letterbox"), ("top_down", "top_down")):
        write_checkpoint(here / f"{name}.ckpt", CONFIGS[kind](), data_of(kind))
    assert len(COMMANDS) == 7
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        assert program == "dlcpose"
        try:
            answer = dlcpose(capsys, monkeypatch, *arguments)
        except pytest.fail.Exception:  # it ended without an exit code of its own
            answer = None
        assert answer is None or answer.code == 0, (command, answer.err)
        if "--format" in arguments:
            assert "checked against torch" in (capsys.readouterr().out if answer is None else answer.out)
    one, other = (read_pose_tracks(here / folder / "mouse.poses.h5") for folder in (".", "on_the_cpu"))
    np.testing.assert_array_equal(one.keypoints_in_image, other.keypoints_in_image)
    assert (here / "of_two_graphs" / "mouse.poses.h5").is_file()
