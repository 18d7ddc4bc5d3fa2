"""What few labels gain from videos: the error on test frames, plain and with losses on videos and pseudo-labels.

For each data set and number of training frames: plain runs of several seeds, which are the teachers as well; students of
their smoothed ensemble from the same seeds; and runs with the losses on videos alone. All have as many steps. Figures are
written after each run, and the same command goes on where it was stopped.

    python benchmarks/few_labels.py --data FOLDER --output runs --json few_labels.json
    python benchmarks/few_labels.py --data FOLDER --output runs --sets openfield --frames 20 --seeds 0 1 2 model=resnet_18
"""

import argparse
import json
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import Report

from dlcpose.config.compose import compose
from dlcpose.training.libraries import quiet_libraries
from dlcpose.training.train import train

FIGURES = ("mean_error_px", "pck@0.1", "oks_ap")
SHORT = ("callbacks=[checkpoint,progress]", "evaluation.pictures=0", "logger=[csv]")
# A network and a run that a CPU trains within a minute.
SMALL = (
    *("backbone=timm", "backbone.name=test_resnet", "neck.channels=32", "datamodule.min_steps=25"),
    *("trainer.max_epochs=12", "optimizer.lr=2e-3", "datamodule.workers=0"),
)


@dataclass(frozen=True)
class Setup:
    """A data set: its project, its video, what its runs are, whether the losses on videos take it, and its students."""

    project: str
    video: str
    overrides: tuple[str, ...]
    videos: tuple[str, ...]
    takes_losses: bool


SETS = {
    "openfield": Setup(
        "openfield-Pranav-2018-10-30",
        "videos/m3v1mp4.mp4",
        ("model=resnet_18", *SMALL, "input.longest_side=192", "augmentation.crop=96"),
        ("unlabeled.stop=800",),
        takes_losses=True,
    ),
    "flypair24": Setup(
        "flypair24-SLEAP-2024-12-20",
        "videos/centered_pair.mp4",
        (
            *("model=top_down_resnet_18", *SMALL, "input.height=96", "input.width=96", "split.val=0.08"),
            *("backbone@detector.backbone=timm", "detector.backbone.name=test_resnet", "detector.longest_side=192"),
            *("detector.training.epochs=6", "trainer.max_epochs=8", "datamodule.batch_size=4"),
        ),
        # The frames of validation and test come later in this video. Of 24 keypoints some are hardly learned.
        ("unlabeled.stop=750", "pseudo_labels.min_score=0.2"),
        takes_losses=False,
    ),
}


def overrides_of(setup: Setup, data: Path, frames: int, seed: int, changes: list[str]) -> list[str]:
    """What all runs of a data set have in common."""
    return [
        "dataset=deeplabcut",
        f"dataset.root={data / setup.project}",
        *SHORT,
        *setup.overrides,
        *changes,
        f"split.train_frames={frames}",
        f"seed={seed}",
    ]


def run(overrides: list[str], folder: Path) -> dict[str, Any]:
    """Train in a folder, unless that was done; figures on the test frames and the CPU seconds it took."""
    done = folder / "figures.json"
    if not done.exists():
        resume = ["resume=last"] if (folder / "run.json").exists() else []
        began = time.process_time()
        train(compose([*overrides, *resume], run_dir=str(folder)))
        metrics = json.loads((folder / "evaluation" / "metrics.json").read_text())
        figures = {name: metrics[name] for name in FIGURES}
        done.write_text(json.dumps({**figures, "cpu_seconds": time.process_time() - began}))
    content: dict[str, Any] = json.loads(done.read_text())
    return content


def best_of(folder: Path) -> Path:
    return folder / "checkpoints" / "best.ckpt"


def measure(name: str, setup: Setup, frames: int, options: argparse.Namespace, note: Any) -> None:
    """All runs of a data set and a number of training frames; `note` takes the figures of each."""
    base: Path = options.output / f"{name}_{frames}"
    plain = {seed: base / f"plain_{seed}" for seed in options.seeds}
    videos = [f"unlabeled.videos=[{options.data / setup.project / setup.video}]", *setup.videos]
    shared: list[str] = []  # the detector of a top-down model is trained once
    for seed, folder in plain.items():
        note("plain", seed, run([*overrides_of(setup, options.data, frames, seed, options.changes), *shared], folder))
        if (detector := best_of(folder / "detector")).exists():
            shared = [f"detector.checkpoint={detector}"]
    first: Path | None = None
    losses = [] if setup.takes_losses else ["unlabeled/losses=none"]
    teachers = ",".join(str(best_of(folder)) for folder in plain.values())
    for seed in options.seeds:
        folder = base / f"few_labels_{seed}"
        if first is not None and not folder.exists():  # of the same teachers in the same video
            shutil.copytree(first / "pseudo_labels" / "predictions", folder / "pseudo_labels" / "predictions")
        chosen = ["experiment=few_labels", *overrides_of(setup, options.data, frames, seed, options.changes), *shared]
        chosen += [*videos, *losses, "pseudo_labels.teachers=0", f"pseudo_labels.checkpoints=[{teachers}]"]
        note("few_labels", seed, run(chosen, folder))
        first = first or folder
    for seed in options.seeds if setup.takes_losses and options.losses_alone else ():
        chosen = [*overrides_of(setup, options.data, frames, seed, options.changes), "unlabeled=video", *videos]
        note("losses", seed, run(chosen, base / f"losses_{seed}"))


def summarize(report: Report, cells: list[dict[str, Any]]) -> None:
    """A row for each kind of run: mean, and the lowest and highest of its seeds."""
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["data"], cell["frames"], cell["run"]), []).append(cell)
    for (data, frames, kind), members in groups.items():
        figures = {name: _mean(members, name) for name in FIGURES}
        seconds = statistics.mean(cell["cpu_seconds"] for cell in members)
        report.add(
            {"data": data, "frames": frames, "run": kind, "seeds": len(members), **figures, "CPU, s a run": seconds}
        )


def _mean(cells: list[dict[str, Any]], name: str) -> str:
    values = [cell[name] for cell in cells if cell[name] is not None]
    if not values:
        return "–"
    return f"{statistics.mean(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", help="overrides for all runs")
    parser.add_argument("--data", type=Path, required=True, help="the folder that the data sets lie in")
    parser.add_argument("--output", type=Path, required=True, help="folder of all runs")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--frames", type=int, nargs="*", default=[20, 50], help="to train on")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="two or more")
    parser.add_argument("--losses-alone", action="store_true", help="also runs with the losses on videos alone")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_intermixed_args()
    options.data, options.output = options.data.absolute(), options.output.absolute()
    quiet_libraries()
    cells: list[dict[str, Any]] = []

    def note(data: str, frames: int, kind: str, seed: int, figures: dict[str, Any]) -> None:
        cells.append({"data": data, "frames": frames, "run": kind, "seed": seed, **figures})
        print(cells[-1], flush=True)

    for frames in options.frames:
        for name in options.sets:
            measure(name, SETS[name], frames, options, lambda *cell, at=(name, frames): note(*at, *cell))
    report = Report("What few labels gain from videos: figures on the test frames, mean (lowest to highest) over seeds")
    summarize(report, cells)
    report.finish(options.json)


if __name__ == "__main__":
    main()
