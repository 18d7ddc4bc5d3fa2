"""What composing costs: from the command to the first training step, beside importing the libraries alone.

Both are measured in turn, in fresh processes, in one run of this script; and what each further job of a sweep costs.
Seconds computed are those of the process itself, which other work on the machine leaves alone.
`python benchmarks/composition.py [--rounds 3]`
"""

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import Report

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
HYDRA = """
import hydra

@hydra.main(version_base="1.3", config_path=None)
def main(config):
    pass

main()
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
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    rounds = arguments.rounds
    script = [sys.executable, str(REPOSITORY / "train.py")]
    train = [*script, *SMALL]
    imports, firsts, plain, helps, configs = [], [], [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "spying.py").write_text(SPY)
        for _ in range(rounds):
            imports += noted([sys.executable, "-c", LIBRARIES], folder)
            firsts += noted(train, folder)
            plain.append(ended([sys.executable, "-c", HYDRA, "--help"], folder))
            helps.append(ended([*script, "--help"], folder))
            configs.append(ended([*script, "--cfg", "job"], folder))
        jobs = noted([*train, "-m", "seed=0,1,2"], folder)
    between = [(later[0] - one[0], later[1] - one[1]) for one, later in itertools.pairwise(jobs)]
    report = Report(f"What composing costs, medians of {rounds}")
    for name, measured in (
        ("importing the libraries alone", imports),
        ("command to first training step", firsts),
        ("a further job of a sweep, evaluation and all", between),
        ("--help of an app of Hydra's without a config", plain),
        ("train.py --help", helps),
        ("train.py --cfg job", configs),
    ):
        passed, computed = (statistics.median(each) for each in zip(*measured, strict=True))
        report.add({"what": name, "seconds passed": passed, "seconds computed": computed})
    report.finish(arguments.json)


def ended(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds that a command takes to its end, and those that it computes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    after, passed = resource.getrusage(resource.RUSAGE_CHILDREN), time.time() - began
    return passed, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
