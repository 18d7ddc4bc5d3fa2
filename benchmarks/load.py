"""Whether long work grows: memory, open files and threads while a tiny model trains, and predicts, for long.

A run as `dlcpose.train` makes it (its trainer, module, data, callbacks and logger; epochs of 1000 steps, validated, saved and
logged) of a network of one convolution, and the prediction of one video of 32x32 px into its file as `dlcpose predict` does
it. The process is measured 200 times on the way; what is shown is the slope by least squares over all but the first quarter,
in bytes a step or frame. docs/trust.md has what came of it. Ctrl-C shows what was measured so far. Linux only.

    python benchmarks/load.py                                     # 200 000 training steps, 1 000 000 predicted frames
    python benchmarks/load.py --steps 5000 --frames 50000
"""

import argparse
import contextlib
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import av
import numpy as np
import torch
from report import Report
from torch import nn

import dlcpose
from dlcpose.backbones.base import Backbone
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.prediction.settings import PredictionSettings
from dlcpose.prediction.video import write_video_poses
from dlcpose.visualization.video_file import write_video

SAMPLES = 200  # measurements of each kind of work
WARM_UP = 0.25  # this share of them comes before memory is what it stays at
EPOCH = 1_000  # steps
SIDE = 32  # px
PART = 10_000  # frames that are encoded; a longer video is these again and again
SETTINGS = (
    *("dataset.frames=16", "dataset.videos=2", f"dataset.height={SIDE}", f"dataset.width={SIDE}"),
    *("head=heatmap_direct", "trust=[load]", "~backbone", "+backbone={_target_: load.OneLayer}"),
    *("augmentation=none", "datamodule.workers=0", "datamodule.batch_size=1", f"datamodule.min_steps={EPOCH}"),
    *("trainer.accelerator=cpu", "trainer.precision=32-true"),
)


class OneLayer(Backbone):
    """The smallest network that trains: what is measured is all that is around it."""

    def __init__(self) -> None:
        network = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.ReLU())
        settings = {"checkpoint_path": None, "finest_stride": 4, "frozen": False, "frozen_statistics": False}
        super().__init__(network, [8], [8], name="one_layer", size_divisor=8, **settings)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [self.network(images)]


def measured() -> tuple[int, int, int]:
    """Resident memory in bytes, open files and threads of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    files, threads = (len(os.listdir(f"/proc/self/{name}")) for name in ("fd", "task"))  # noqa: PTH208
    return pages * os.sysconf("SC_PAGE_SIZE"), files, threads


class Watch:
    """Measures the process as work counts up to `expected`, and what it grows by."""

    def __init__(self, expected: int) -> None:
        self.every = max(1, expected // SAMPLES)
        self.done, self.seconds = 0, 0.0
        self.rows: list[tuple[int, int, int, int]] = []

    def count(self, done: int) -> None:
        """So many steps or frames are done."""
        if done // self.every > self.done // self.every:
            self.rows.append((done, *measured()))
        self.done = done

    def run(self, work: Callable[["Watch"], object]) -> dict[str, str | int | float]:
        """The row of a piece of work, which counts here; of what was done of it, where Ctrl-C ends it."""
        began, before = time.process_time(), time.monotonic()
        with contextlib.suppress(KeyboardInterrupt, SystemExit):  # a training saves itself at the first
            work(self)
        return {
            "done": self.done,
            "s": round(time.monotonic() - before),
            "CPU ms each": 1000 * (time.process_time() - began) / max(1, self.done),
            **self.growth(),
        }

    def growth(self) -> dict[str, float]:
        """Memory after the warm-up and at the end, in MB, its slope in bytes, and what is added to files and threads."""
        rows = np.array(self.rows[int(WARM_UP * len(self.rows)) :], float)
        done, memory, files, threads = rows.T
        return {
            "MB after warm-up": memory[0] / 1e6,
            "MB at end": memory[-1] / 1e6,
            "bytes each": float(np.polyfit(done, memory, 1)[0]),
            "files after warm-up": int(files[0]),
            "at most": int(files.max()),
            "files each": float(np.polyfit(done, files, 1)[0]),
            "threads after warm-up": int(threads[0]),
            "at most ": int(threads.max()),
            "threads each": float(np.polyfit(done, threads, 1)[0]),
        }


def train(steps: int, run_dir: Path) -> Callable[[Watch], object]:
    """A run of so many steps, as the command makes it."""
    step_now = PoseEstimator.training_step

    def work(watch: Watch) -> None:
        def counted(model: PoseEstimator, *arguments: object) -> object:
            watch.count(watch.done + 1)
            return step_now(model, *arguments)

        epochs, steps_each = max(1, steps // EPOCH), min(steps, EPOCH)
        settings = (*SETTINGS, f"trainer.max_epochs={epochs}", f"datamodule.min_steps={steps_each}")
        with mock.patch.object(PoseEstimator, "training_step", counted):
            dlcpose.train(*settings, run_dir=run_dir)

    return work


def predict(frames: int, folder: Path) -> Callable[[Watch], object]:
    """The prediction of a video of so many frames into its file."""
    dlcpose.train(*SETTINGS, "debug=fast", run_dir=folder / "run")
    predictor = dlcpose.load(folder / "run" / "checkpoints" / "last.ckpt", device="cpu", trust=["load"])
    data = SyntheticFrames(frames=4, height=SIDE, width=SIDE)
    images = [data.read_image(index) for index in range(4)]
    part, video = folder / "part.mp4", folder / "long.mp4"
    write_video(part, (images[number % 4] for number in range(min(frames, PART))), fps=25)
    repeat(part, video, max(1, frames // PART), min(frames, PART))
    settings = PredictionSettings(batch_size=64)

    def work(watch: Watch) -> None:
        def progress(done: int, _: int | None) -> None:
            watch.count(done)

        write_video_poses(predictor.model, video, folder / "long.poses.h5", settings, progress=progress)

    return work


def repeat(part: Path, video: Path, times: int, frames: int) -> None:
    """Write the encoded frames of a video as many times, one after the other."""
    with av.open(str(video), "w") as written:
        stream = None
        for number in range(times):
            with av.open(str(part)) as source:
                stream = stream or written.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.dts is None or packet.pts is None:
                        continue
                    shift = round(number * frames / (25 * packet.time_base))
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    written.mux(packet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200_000, help="of training; 0: none")
    parser.add_argument("--frames", type=int, default=1_000_000, help="to predict; 0: none")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args()
    report = Report("What a process grows by while a tiny model trains and predicts for long", "cpu")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name, make, count in (("training steps", train, given.steps), ("predicted frames", predict, given.frames)):
        if count:
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
                row = Watch(count).run(make(count, Path(folder)))
            report.add({"work": name, **row})
    report.finish(given.json)


if __name__ == "__main__":
    main()
