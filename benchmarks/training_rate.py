"""How much of the bare model's rate a whole training run keeps: loading, augmenting, targets, loss, optimizer, logging.

Both are measured in turn in one process, several rounds of each: the bare model does forward and backward on what the network
was given in a step of training, such as the crops of a batch of frames; the run is Lightning's, with the loader, the
augmentation and everything else that `train.py` would have.

    python benchmarks/training_rate.py                       # resnet_50, 256x256, batches of 8
    python benchmarks/training_rate.py model=hrnet_w32 datamodule.batch_size=16
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from report import Report
from torch.utils._pytree import tree_leaves

from dlcpose.build import build_input, build_pipeline, build_trunk
from dlcpose.codecs.pose_variation import animal_shares
from dlcpose.config.compose import compose
from dlcpose.datasets.splits import train_frames
from dlcpose.instantiate import Instantiator
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.pipelines.components import TrainingContext
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.data_description import DataDescription
from dlcpose.training.libraries import quiet_libraries
from dlcpose.training.trainer import fastest_precision

DEFAULTS = ["model=resnet_50", "dataset.height=256", "dataset.width=256", "dataset.frames=160", "logger=[none]"]


class Clock(Callback):
    """Seconds from the end of the first batch to the end of the last, and the images in between."""

    def __init__(self) -> None:
        self.began, self.ended, self.images = 0.0, 0.0, 0

    def on_train_batch_end(
        self, trainer: Trainer, module: PoseEstimator, outputs: Any, batch: PoseBatch, index: int
    ) -> None:
        self.ended = time.perf_counter()
        if index == 0:
            self.began, self.images = self.ended, 0
        else:
            self.images += len(batch)


class SeenByNetwork(Callback):
    """What the network was given in the last training step, and how many images of the data set that was made of."""

    def __init__(self) -> None:
        self.given, self.images = torch.empty(0), 0

    def on_train_start(self, trainer: Trainer, module: PoseEstimator) -> None:
        self.hook = module.register_forward_pre_hook(self._keep)

    def on_train_batch_end(
        self, trainer: Trainer, module: PoseEstimator, outputs: Any, batch: PoseBatch, index: int
    ) -> None:
        self.images = len(batch)

    def on_train_end(self, trainer: Trainer, module: PoseEstimator) -> None:
        self.hook.remove()

    def _keep(self, module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        self.given = given[0]


def rate_of_bare_model(pipeline: PoseEstimator, seen: SeenByNetwork, autocast: torch.autocast, steps: int) -> float:
    """Images per second of forward and backward on what the network was given once, the first step left out."""
    given = seen.given
    pipeline.train()
    for step in range(steps + 1):
        if step == 1:
            began = time.perf_counter()
        pipeline.zero_grad()
        with autocast:
            maps = tree_leaves(pipeline(given).animals)  # part affinity heads give one pair for each stage
            total = torch.stack([found.float().mean() for found in maps if found is not None]).sum()
        total.backward()
        if given.is_cuda:
            torch.cuda.synchronize()
    return steps * seen.images / (time.perf_counter() - began)


def rate_of_run(
    config: dict[str, Any],
    instantiate: Instantiator,
    pipeline: PoseEstimator,
    datamodule: Any,
    precision: str,
    steps: int,
    seen: SeenByNetwork | None = None,
) -> float:
    """Images per second of a Lightning run of `steps` batches after the first."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = instantiate({**config["trainer"], "precision": precision}, "trainer")(
            callbacks=[clock, seen] if seen else [clock],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            default_root_dir=folder,
            max_epochs=1,
            limit_train_batches=steps + 1,
            limit_val_batches=0,
        )
        trainer.fit(pipeline, datamodule=datamodule)
    return clock.images / (clock.ended - clock.began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="as for train.py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12, help="batches in a round")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    quiet_libraries()
    config, instantiate = compose([*DEFAULTS, *arguments.overrides]), Instantiator()
    trunk = build_trunk(config, instantiate)
    data = instantiate(config["dataset"], "dataset")
    split = instantiate(config["split"], "split")(data)
    training = train_frames(data, split)
    sizes = [(frame.height, frame.width) for frame in data.frames]
    model_input = build_input(config, instantiate, trunk, sizes, animal_shares(training))
    described = DataDescription(data.skeleton, model_input, data.max_animals)
    pipeline = build_pipeline(config, instantiate, described, trunk=trunk, to_train=TrainingContext())
    schedule = instantiate(config["augmentation"], "augmentation").schedule(
        training, data.skeleton, pipeline.frame_input, may_crop=pipeline.may_crop_frames
    )
    datamodule = instantiate(config["datamodule"], "datamodule")(data, split, pipeline.frame_input, schedule)
    precision = fastest_precision(config["trainer"]["accelerator"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = pipeline.to(device, memory_format=torch.channels_last)
    seen = SeenByNetwork()
    rate_of_run(config, instantiate, pipeline, datamodule, precision, 1, seen)
    pipeline = pipeline.to(device)
    autocast = torch.autocast(device, torch.bfloat16, enabled="bf16" in precision)
    report = Report(
        f"Training rate of a whole run beside the bare model's: {config['name']}, {seen.images} images a step, "
        f"to the network {tuple(seen.given.shape)}, "
        f"{precision}, {datamodule.workers} workers",
        device,
    )
    shares = []
    for round_number in range(arguments.rounds):
        bare = rate_of_bare_model(pipeline, seen, autocast, arguments.steps)
        whole = rate_of_run(config, instantiate, pipeline, datamodule, precision, arguments.steps)
        pipeline = pipeline.to(device)
        shares.append(whole / bare)
        report.add(
            {"round": str(round_number + 1), "bare model, images/s": bare, "run, images/s": whole, "share": shares[-1]}
        )
    report.add({"round": "median", "share": statistics.median(shares)})
    report.finish(arguments.json)


if __name__ == "__main__":
    main()
