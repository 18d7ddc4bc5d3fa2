"""What composing costs: from the command to the first training step, beside importing the libraries alone.

Both are measured in turn, in fresh processes, in one run of this script; and what each further job of a sweep costs.
Seconds computed are those of the process itself, which other work on the machine leaves alone.
`python benchmarks/composition.py [--rounds 3]`
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
# What every run imports, and nothing it could do without.
LIBRARIES = "import hydra, torch, torchvision, timm, pytorch_lightning, albumentations, spying; spying.note()"
SPY = """
import os, time
from pytorch_lightning import Callback

def note():
    with open(os.environ["NOTED"], "a") as file:
        file.write(f"{time.time()} {time.process_time()}\\n")

class FirstStep(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 0:
            note()
"""
SMALL = (
    *("dataset.frames=24", "dataset.videos=2", "dataset.height=64", "dataset.width=64", "debug=fast"),
    *("backbone=timm", "backbone.name=test_resnet", "datamodule.workers=0", "evaluation.pictures=0"),
    *("+callbacks.spy._target_=spying.FirstStep", "trust=[spying]"),
)


def noted(command: list[str], folder: Path) -> list[tuple[float, float]]:
    """Seconds from the command until each note of the process, and those it has computed till then."""
    notes = folder / "notes.txt"
    notes.unlink(missing_ok=True)
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    environment = {**os.environ, "NOTED": str(notes), "PYTHONPATH": path, "NO_ALBUMENTATIONS_UPDATE": "1"}
    began = time.time()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    lines = [line.split() for line in notes.read_text().splitlines()]
    return [(float(passed) - began, float(computed)) for passed, computed in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    train = [sys.executable, str(REPOSITORY / "train.py"), *SMALL]
    imports, firsts = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "spying.py").write_text(SPY)
        for _ in range(rounds):
            imports += noted([sys.executable, "-c", LIBRARIES], folder)
            firsts += noted(train, folder)
        jobs = noted([*train, "-m", "seed=0,1,2"], folder)
    print(f"{f'seconds, medians of {rounds}':46}{'passed':>8}{'computed':>10}")
    libraries = row("importing the libraries alone", imports)
    first = row("command to first training step", firsts)
    print(f"{'  more than the libraries':46}{first[0] - libraries[0]:+8.2f}{first[1] - libraries[1]:+10.2f}")
    between = [(later[0] - one[0], later[1] - one[1]) for one, later in itertools.pairwise(jobs)]
    row("a further job of a sweep, evaluation and all", between)


def row(name: str, measured: list[tuple[float, float]]) -> tuple[float, float]:
    """Print the medians, and return them."""
    passed, computed = (statistics.median(each) for each in zip(*measured, strict=True))
    print(f"{name:46}{passed:8.2f}{computed:10.2f}")
    return passed, computed


if __name__ == "__main__":
    main()
