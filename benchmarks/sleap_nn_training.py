"""sleap-nn's own training on an experiment's frames, with the settings that it generates for them, for time_to_accuracy.py.

    python benchmarks/sleap_nn_training.py --sleap-nn ~/sleap-nn/bin/python --minutes 20 dataset=deeplabcut dataset.root=...

sleap-nn is run by the interpreter of an environment of its own. It sees the same training and validation frames, as
.pkg.slp; each of its checkpoints predicts the test frames, and dlcpose's metrics score them. A top-down model's centroids
are trained first, for at most a third of the minutes.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sleap_io
from report import Report

from dlcpose.config.compose import compose
from dlcpose.datasets.base import LabeledFrames
from dlcpose.exporters.sleap import write_sleap_labels
from dlcpose.metrics.base import EvaluatedFrames, figures_of
from dlcpose.metrics.oks import ObjectKeypointSimilarity
from dlcpose.metrics.pixel_error import PixelError
from dlcpose.structures.instances import PosePrediction
from dlcpose.training.experiment import Stage, build_experiment
from dlcpose.training.validate import validate_config

STAGES = {"bottomup": ("",), "topdown": ("_centroid", "_centered_instance")}  # the configs that it writes for a method
SHARE_OF_CENTROIDS = 1 / 3
# As they are generated, but for a checkpoint of each epoch, and without pictures and bars, which cost time.
SETTINGS = (
    *("trainer_config.model_ckpt.save_top_k=-1", "trainer_config.max_epochs=100000"),
    *("trainer_config.visualize_preds_during_training=false", "trainer_config.enable_progress_bar=false"),
)
# Of the checkpoints given: how many steps each had seen.
READ_STEPS = """
import json, sys, torch
print(json.dumps([torch.load(path, map_location="cpu", weights_only=False)["global_step"] for path in sys.argv[1:]]))
"""


class Snapshot(NamedTuple):
    """A checkpoint of a training: seconds and images that it took."""

    path: Path
    seconds: float
    images: int


class Part(LabeledFrames):
    """Some frames of a data set."""

    def __init__(self, data: LabeledFrames, keys: Sequence[str]) -> None:
        places = {frame.key: index for index, frame in enumerate(data.frames)}
        self.data, self.indices = data, [places[key] for key in keys]
        self.frames = [data.frames[index] for index in self.indices]
        self.skeleton, self.individuals, self.empty_is_label = data.skeleton, data.individuals, data.empty_is_label

    def read_image(self, index: int) -> np.ndarray:
        """The image of a frame."""
        return self.data.read_image(self.indices[index])

    def image_file(self, index: int) -> Path | None:
        """The file of a frame's image, where it has one."""
        return self.data.image_file(self.indices[index])


def train_sleap_nn(
    python: Path, experiment: Stage, method: str, minutes: float, folder: Path, settings: Sequence[str] = ()
) -> list[dict[str, float]]:
    """Train for some minutes; seconds, images and figures on the test frames of each checkpoint.

    settings: further ones of sleap-nn's config, KEY=VALUE.
    """
    program = python.with_name("sleap-nn")
    parts = {"train": experiment.split.train, "val": experiment.split.val, "test": experiment.split.test}
    for name, keys in parts.items():
        write_sleap_labels(Part(experiment.data, keys), folder / f"{name}.pkg.slp")
    _run(program, "config", folder / "train.pkg.slp", "--auto", "--pipeline", method, "-o", folder / "config.yaml")
    seconds, images, before = 0.0, 0, []
    snapshots: list[Snapshot] = []
    for place, suffix in enumerate(STAGES[method]):
        is_last = place == len(STAGES[method]) - 1
        limit = 60 * minutes - seconds if is_last else 60 * minutes * SHARE_OF_CENTROIDS
        snapshots = _trained(python, folder, suffix, limit, settings)
        if not is_last:
            before.append(_model(snapshots[-1], folder / f"last{suffix}"))
            seconds, images = seconds + snapshots[-1].seconds, images + snapshots[-1].images
    points = []
    for number, snapshot in enumerate(snapshots):
        models = [*before, _model(snapshot, folder / f"at_{number}")]
        predicted = folder / f"predicted_{number}.slp"
        named = [argument for model in models for argument in ("-m", model)]
        _run(program, "predict", "-i", folder / "test.pkg.slp", *named, "-o", predicted, "--device", "cpu")
        cost = {"seconds": seconds + snapshot.seconds, "images": images + snapshot.images}
        points.append({**cost, **_figures(predicted, Part(experiment.data, experiment.split.test))})
        print(f"sleap-nn: {points[-1]}", flush=True)
    return points


def _trained(python: Path, folder: Path, suffix: str, limit: float, settings: Sequence[str]) -> list[Snapshot]:
    """Train a model until its own criterion ends it, or for `limit` seconds; its checkpoints in their order."""
    name = f"trained{suffix}"
    command = [
        *(python.with_name("sleap-nn"), "train", folder / f"config{suffix}.yaml", *SETTINGS),
        *(f"data_config.val_labels_path=[{folder / 'val.pkg.slp'}]", "data_config.validation_fraction=0"),
        *(f"trainer_config.ckpt_dir={folder}", f"trainer_config.run_name={name}", *settings),
    ]
    began = time.time()
    try:
        _run(*command, timeout=limit)
    except subprocess.TimeoutExpired:
        print(f"sleap-nn: stopped after {limit:.0f} s", flush=True)
    files = sorted((folder / name).glob("best*.ckpt"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise SystemExit(f"sleap-nn has no checkpoint after {limit:.0f} s. Give it more --minutes.")
    steps = json.loads(_run(python, "-c", READ_STEPS, *files))
    config = (folder / name / "training_config.yaml").read_text()
    batch = int(config.partition("train_data_loader:")[2].partition("batch_size:")[2].split()[0])
    return [
        Snapshot(path, path.stat().st_mtime - began, batch * count)
        for path, count in zip(files, steps, strict=True)
        if path.stat().st_mtime - began <= limit
    ]


def _model(snapshot: Snapshot, folder: Path) -> Path:
    """A folder as sleap-nn takes it for a model, with this checkpoint as its best."""
    folder.mkdir()
    shutil.copy(snapshot.path, folder / "best.ckpt")
    for name in ("training_config.yaml", "initial_config.yaml"):
        shutil.copy(snapshot.path.with_name(name), folder / name)
    return folder


def _figures(predicted: Path, test: Part) -> Mapping[str, float]:
    """Mean error and OKS AP of predictions of the test frames."""
    labels = sleap_io.load_slp(str(predicted))
    by_number = {frame.frame_idx: frame.instances for frame in labels}
    predictions = []
    for frame in test.frames:
        animals = by_number.get(frame.frame_index, [])
        names = [[node.name for node in each.skeleton.nodes] for each in animals]
        order = [[own.index(name) for name in test.skeleton.names] for own in names]
        keypoints = [each.numpy()[places] for each, places in zip(animals, order, strict=True)]
        shape = (len(animals), len(test.skeleton), 2)
        stacked = np.array(keypoints, np.float32).reshape(shape)
        scores = np.array([float(each.score) for each in animals], np.float32)
        predictions.append(
            PosePrediction(
                key=frame.key,
                keypoints_in_image=stacked,
                keypoint_scores=np.repeat(scores[:, None], shape[1], axis=1),
                scores=scores,
                identities=np.full(len(animals), -1, np.int64),
                unique_in_image=np.zeros((0, 2), np.float32),
                unique_scores=np.zeros(0, np.float32),
                boxes_in_image=np.full((len(animals), 4), np.nan, np.float32),
            )
        )
    metrics = {"error": PixelError(), "oks": ObjectKeypointSimilarity()}
    figures = figures_of(metrics, EvaluatedFrames(predictions, list(test.frames), test.skeleton))
    return {name: figures[name] for name in ("mean_error_px", "oks_ap")}


def _run(*command: Any, timeout: float | None = None) -> str:
    """What a program prints; its errors are shown."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    texts = [str(each) for each in command]
    return subprocess.run(texts, check=True, text=True, stdout=subprocess.PIPE, timeout=timeout, env=environment).stdout


def main() -> None:
    """Train and score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="as for train.py: the data and their split")
    parser.add_argument("--sleap-nn", type=Path, required=True, help="a Python that has sleap-nn")
    parser.add_argument("--method", choices=STAGES, default="bottomup")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--setting", action="append", default=[], metavar="KEY=VALUE", help="of sleap-nn's config")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as folder:
        config = compose(["model=top_down_resnet_18", *arguments.overrides], run_dir=str(Path(folder) / "ours"))
        validate_config(config)
        experiment = build_experiment(config).stages[-1]
        python, minutes = arguments.sleap_nn.absolute(), arguments.minutes
        points = train_sleap_nn(python, experiment, arguments.method, minutes, Path(folder), arguments.setting)
    report = Report(f"sleap-nn's {arguments.method} on {len(experiment.split.test)} test frames")
    for point in points:
        report.add(point)
    report.finish(arguments.json)


if __name__ == "__main__":
    main()
