"""The commands of docs/few_labels.md, with a tiny model and rendered animals."""

import re
import shlex
from pathlib import Path

import pytest

from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.exporters.deeplabcut import write_deeplabcut_project
from dlcpose.visualization.video_file import write_video
from tests.shells import REPOSITORY, SHORT, TINY, shell

PAGE = (REPOSITORY / "docs" / "few_labels.md").read_text()
COMMANDS = [
    shlex.split(line) for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
QUICK = ("unlabeled.clips=2", "logger=[]", "callbacks=[checkpoint]")
# After a step they are sure of nothing.
UNSURE = ("pseudo_labels.min_score=0.0", "pseudo_labels.frames=3")


@pytest.mark.slow  # trains ten times
def test_the_page_can_be_followed(here: Path) -> None:
    write_deeplabcut_project(SyntheticFrames(frames=30, videos=2, height=64, width=64), here / "my-project")
    for name in ("cage1", "cage2"):
        frames = SyntheticFrames(frames=8, videos=1, height=64, width=64, seed=ord(name[-1]))
        write_video(here / f"{name}.mp4", (frames.read_image(index) for index in range(8)), fps=25)
    assert len(COMMANDS) == 4
    for number, (_, script, *arguments) in enumerate(COMMANDS):
        is_student = "experiment=few_labels" in arguments
        answer = shell(
            script, *arguments, *SHORT, *TINY, *QUICK, *(UNSURE if is_student else ()), f"hydra.run.dir=run{number}"
        )
        assert answer.code == 0, answer.err
        assert (here / f"run{number}" / "pseudo_labels" / "dataset").exists() == is_student
