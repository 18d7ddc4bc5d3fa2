"""docs/conversion.md word for word, with a tiny model; and predictions of that model back in SLEAP's format."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import sleap_io

from dlcpose.visualization.video_file import write_video
from tests.cli.test_app import dlcpose
from tests.shells import REPOSITORY, SHORT, TINY, shell

pytestmark = pytest.mark.slow  # trains twice

PAGE = (REPOSITORY / "docs" / "conversion.md").read_text()
COMMANDS = [
    shlex.split(line) for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]


def test_the_page_can_be_followed(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for program, *arguments in COMMANDS:
        if program == "dlcpose":
            answer = dlcpose(capsys, monkeypatch, *arguments)
        else:
            answer = shell(arguments[0], *arguments[1:], *SHORT, *TINY, "name=page")
        assert answer.code == 0, answer.err
    (run, *_) = sorted((here / "outputs/page").glob("*/*"))
    assert shell("evaluate.py", f"checkpoint={run / 'checkpoints/best.ckpt'}").code == 0
    rng = np.random.default_rng(0)
    write_video(here / "cage.mp4", iter(rng.integers(0, 255, (5, 64, 64, 3), np.uint8)), fps=10)
    for arguments in (
        ("predict", "--checkpoint", str(run / "checkpoints/best.ckpt"), "cage.mp4"),
        ("tables", "cage.poses.h5", "--format", "sleap"),
    ):
        answer = dlcpose(capsys, monkeypatch, *arguments)
        assert answer.code == 0, answer.err
    labels = sleap_io.load_slp("cage.predictions.slp")
    trained_on = sleap_io.load_slp("again.pkg.slp", open_videos=False)
    assert labels.skeletons[0].node_names == trained_on.skeletons[0].node_names
    assert labels.skeletons[0].edge_inds == trained_on.skeletons[0].edge_inds
