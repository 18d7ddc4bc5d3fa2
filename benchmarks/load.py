"""Whether long work grows: `python benchmarks/load.py [--steps 200000] [--frames 1000000] [--every SECONDS] [--json FILE]`.

A tiny model is trained for `steps` steps (epochs, validations and checkpoints included) and then predicts `frames` tiny
frames, as a stream in batches. Every `every` seconds the process's memory, open files and threads are measured; what is
printed is their slope over the second half, per 100 000 steps or frames, beside the value at the half and at the end.
Growth is a slope of memory above MEMORY_MB, or any of files or threads. docs/trust.md has what came of it.
"""

import argparse
import gc
import logging
import sys
import tempfile
import threading
import time
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from report import Report

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
# Some packages install a `tests` of their own, which would be found in place of a folder without __init__.
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["tests"].__path__ = [str(ROOT / "tests")]

MEMORY_MB = 20.0  # per 100 000 steps or frames: what an allocator may keep
LIMITS = {"memory MB": MEMORY_MB, "files": 0.5, "threads": 0.5}
PER = 100_000


def measured() -> dict[str, float]:
    """Resident memory in MB, open files and threads of this process."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {
        "memory MB": int(fields["VmRSS"].split()[0]) / 1024,
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": int(fields["Threads"]),
    }


class Watch:
    """Measures the process while work counts up, and what it grows by."""

    def __init__(self, every: float) -> None:
        self.every, self.done = every, 0
        self.rows: list[tuple[int, dict[str, float]]] = []
        self._ended = threading.Event()

    def run(self, work: Callable[["Watch"], None]) -> dict[str, str | int | float]:
        """A row of what came of a piece of work, which counts in `done`."""
        thread = threading.Thread(target=self._measure, daemon=True)
        began = time.monotonic()
        thread.start()
        try:
            work(self)
        finally:
            self._ended.set()
            thread.join()
        seconds = time.monotonic() - began
        return {"count": self.done, "s": round(seconds), "per second": round(self.done / seconds), **self.slopes()}

    def _measure(self) -> None:
        while not self._ended.wait(self.every):
            gc.collect()  # what only waits to be collected is no growth
            self.rows.append((self.done, measured()))

    def slopes(self) -> dict[str, str | float]:
        """Of each figure its value in the middle and at the end, its slope over the second half, and which of them grow."""
        half = [row for row in self.rows if row[0] >= self.done / 2]
        if len(half) < 3:
            return {"grows": "too short to say"}
        done = np.array([count for count, _ in half], float)
        found: dict[str, str | float] = {}
        growing = []
        for name, most in LIMITS.items():
            values = np.array([row[name] for _, row in half])
            slope = float(np.polyfit(done, values, 1)[0]) * PER
            found |= {f"{name} at half": round(values[0], 1), f"{name} at end": round(values[-1], 1)}
            found[f"{name} per {PER}"] = round(slope, 3)
            if slope > most and values[-1] > values[0]:
                growing.append(name)
        return {**found, "grows": ", ".join(growing) or "nothing"}


def train(steps: int, folder: Path) -> Callable[[Watch], None]:
    """Training of a tiny network on eight frames, as a run does it: validated, logged and saved after every epoch."""
    from pytorch_lightning import Callback
    from pytorch_lightning.callbacks import LearningRateMonitor

    from dlcpose.callbacks.best import BestCheckpoint
    from dlcpose.callbacks.preemption import LastCheckpoint
    from dlcpose.loggers.csv_logger import ContinuedCSVLogger
    from dlcpose.runs.checkpoint_io import WholeFiles
    from tests.made_up_runs import frames_of, run_of, tiny_config, trainer_of

    class Counts(Callback):
        def __init__(self, watch: Watch) -> None:
            self.watch = watch

        def on_train_batch_end(self, *_: object, **__: object) -> None:
            self.watch.done += 1

    def work(watch: Watch) -> None:
        pipeline, module = run_of(tiny_config(), frames_of(8, height=32, width=32), batch_size=2, min_steps=1_000)
        trainer = trainer_of(
            folder,
            max_epochs=-1,
            max_steps=steps,
            logger=ContinuedCSVLogger(folder),
            enable_checkpointing=True,
            callbacks=[
                *(Counts(watch), LearningRateMonitor("epoch"), LastCheckpoint(folder)),
                BestCheckpoint(folder, monitor="val/loss", mode="min"),
            ],
            plugins=[WholeFiles(folder / "checkpoints")],
        )
        trainer.fit(pipeline, datamodule=module)

    return work


def predict(frames: int, folder: Path) -> Callable[[Watch], None]:
    """Prediction of a stream of tiny frames with a tiny network."""
    from dlcpose.predict import load
    from tests.made_up_runs import checkpoint_of, frames_of, tiny_config

    data = frames_of(4, height=32, width=32)
    predictor = load(checkpoint_of(folder, tiny_config(), data), device="cpu")
    shown = [data.read_image(index) for index in range(4)]

    def stream() -> Iterator[np.ndarray]:
        for number in range(frames):
            yield shown[number % 4]

    def work(watch: Watch) -> None:
        for _ in predictor.predict_stream(stream(), batch_size=64):
            watch.done += 1

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args()
    report = Report("A tiny model trained, and predicting, for long: what the process grows by in the second half")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    kinds = (("training steps", train, given.steps), ("predicted frames", predict, given.frames))
    for name, make, count in kinds:
        if count:
            with tempfile.TemporaryDirectory() as folder:
                report.add({"work": name, **Watch(given.every).run(make(count, Path(folder)))})
    report.finish(given.json)


if __name__ == "__main__":
    main()
