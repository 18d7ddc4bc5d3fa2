"""The error on the test frames against seconds and images of training: dlcpose's default beside DeepLabCut's and sleap-nn's.

All see the same frames of the same project, from random weights; the clock stands still while test frames are predicted.
The others are run by the interpreters of environments of their own, after dlcpose: DeepLabCut on as many images, sleap-nn
for as many seconds. DeepLabCut's figures are those of its own evaluation.

    python benchmarks/time_to_accuracy.py --root .../openfield-Pranav-2018-10-30
    python benchmarks/time_to_accuracy.py --root ... --deeplabcut ~/deeplabcut/bin/python --net resnet_50
    python benchmarks/time_to_accuracy.py --root .../flypair24-SLEAP-2024-12-20 model=top_down_resnet_18 \\
        --sleap-nn ~/sleap-nn/bin/python --method topdown
    python benchmarks/time_to_accuracy.py --root ... model=resnet_18 trainer.max_epochs=9 --json out.json
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from report import Report
from sleap_nn_training import STAGES, train_sleap_nn

from dlcpose.config.compose import compose
from dlcpose.metrics.base import EvaluatedFrames, figures_of
from dlcpose.metrics.oks import ObjectKeypointSimilarity
from dlcpose.metrics.pixel_error import PixelError
from dlcpose.predict import load
from dlcpose.training.batch_size import prepare_batches
from dlcpose.training.experiment import Stage, build_experiment
from dlcpose.training.libraries import quiet_libraries
from dlcpose.training.trainer import build_trainer
from dlcpose.training.validate import validate_config

Point = dict[str, float]  # seconds, images, mean_error_px, oks_ap
METRICS = {"error": PixelError(), "oks": ObjectKeypointSimilarity()}
FIGURES = ("mean_error_px", "oks_ap")
DEFAULTS = ("model=resnet_50", "dataset=deeplabcut", "logger=[]", "callbacks=[checkpoint]")


class Images(lightning.Callback):
    """How many images a training has seen."""

    count = 0

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        self.count += len(batch)


class TestErrors(lightning.Callback):
    """The figures on an experiment's test frames after each epoch; its own time does not count.

    images: counts those of this stage. seconds: of the stages before, which saw images_before.
    """

    def __init__(self, experiment: Stage, images: Images, seconds: float, images_before: int) -> None:
        self.experiment = experiment
        self.points: list[Point] = []
        self.images, self.images_before = images, images_before
        self.began, self.stood_still = time.perf_counter() - seconds, 0.0
        places = {frame.key: index for index, frame in enumerate(experiment.data.frames)}
        self.indices = [places[key] for key in experiment.split.test]

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        stopped = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "now.ckpt"
            trainer.save_checkpoint(checkpoint)
            predictor = load(checkpoint, device=pl_module.device.type)
        samples = (self.experiment.data[index] for index in self.indices)
        predictions = [each for batch in predictor.stream_labeled(samples, 8) for each in batch]
        labels = [self.experiment.data.frames[index] for index in self.indices]
        figures = figures_of(METRICS, EvaluatedFrames(predictions, labels, self.experiment.data.skeleton))
        seconds = stopped - self.began - self.stood_still
        cost = {"seconds": seconds, "images": self.images_before + self.images.count}
        self.points.append({**cost, **{name: figures[name] for name in FIGURES}})
        print(f"dlcpose: {self.points[-1]}", flush=True)
        self.stood_still += time.perf_counter() - stopped


def train_ours(overrides: list[str], run_dir: Path) -> tuple[list[Point], Stage]:
    """Train what the overrides compose; the error on the test frames after each epoch, and what was trained."""
    config = compose([*DEFAULTS, *overrides], run_dir=str(run_dir))
    validate_config(config)
    experiment = build_experiment(config)
    seconds, images = 0.0, 0
    for stage in experiment.stages:
        began = time.perf_counter()
        stage.begin()
        trainer, counted = build_trainer(stage.config, stage.instantiate), Images()
        datamodule, batch = prepare_batches(stage, trainer)
        for choice in (*datamodule.schedule.choices, *filter(None, [batch.reason])):
            print(f"dlcpose: {choice}")
        errors = TestErrors(stage, counted, seconds, images)
        of_poses = [errors] if stage is experiment.stages[-1] else []
        trainer.callbacks += [counted, *of_poses]  # type: ignore[attr-defined]
        stage.model.to(memory_format=torch.channels_last)
        trainer.fit(stage.model, datamodule=datamodule)
        seconds, images = seconds + time.perf_counter() - began, images + counted.count
    return errors.points, experiment.stages[-1]


def train_deeplabcut(python: Path, root: Path, net: str, experiment: Stage, images: int, folder: Path) -> list[Point]:
    """The same of DeepLabCut's own training on the frames of an experiment's train and val parts."""
    keys = {"train": [*experiment.split.train, *experiment.split.val], "test": list(experiment.split.test)}
    (folder / "split.json").write_text(json.dumps(keys))
    epochs = -(-images // len(keys["train"]))
    script = Path(__file__).with_name("deeplabcut_training.py")
    subprocess.run([python, script, root, folder, net, str(epochs)], check=True)
    points: list[Point] = json.loads((folder / "points.json").read_text())
    return points


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="as for train.py")
    parser.add_argument("--root", type=Path, required=True, help="a DeepLabCut project")
    parser.add_argument(
        "--deeplabcut", type=Path, help="a Python that has deeplabcut 3; without it only dlcpose trains"
    )
    parser.add_argument("--net", default="resnet_50", help="DeepLabCut's net_type")
    parser.add_argument("--sleap-nn", type=Path, help="a Python that has sleap-nn")
    parser.add_argument("--method", choices=STAGES, default="bottomup", help="sleap-nn's")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_intermixed_args()
    quiet_libraries()
    curves: dict[str, list[Point]] = {}
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"dataset.root={arguments.root}", *arguments.overrides]
        curves["dlcpose"], experiment = train_ours(overrides, Path(folder) / "ours")
        if arguments.deeplabcut:
            images = int(curves["dlcpose"][-1]["images"])
            curves["DeepLabCut"] = train_deeplabcut(
                arguments.deeplabcut, arguments.root.absolute(), arguments.net, experiment, images, Path(folder)
            )
        if arguments.sleap_nn:
            python, minutes = arguments.sleap_nn.absolute(), curves["dlcpose"][-1]["seconds"] / 60
            (Path(folder) / "sleap_nn").mkdir()
            curves["sleap-nn"] = train_sleap_nn(
                python, experiment, arguments.method, minutes, Path(folder) / "sleap_nn"
            )
    accelerator = experiment.config["trainer"]["accelerator"]
    device = "cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    report = Report(f"Error on test frames by training of {experiment.config['name']}", device)
    for name, points in curves.items():
        for point in points:
            columns = {"seconds": round(point["seconds"]), "images": round(point["images"])}
            figures = {"test error, px": point["mean_error_px"], "OKS AP": point["oks_ap"]}
            report.add({"training": name, **columns, **figures})
    report.finish(arguments.json)


if __name__ == "__main__":
    main()
