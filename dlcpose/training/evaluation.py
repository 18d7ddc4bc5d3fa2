"""Figures of a checkpoint, on the frames it was not trained on or on other data."""

import functools
import math
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcpose.cli.hydra_main import run_hydra

if TYPE_CHECKING:
    from dlcpose.checkpoint import Description
    from dlcpose.datasets.base import LabelledFrames
    from dlcpose.metrics.base import Metric
    from dlcpose.predict import Predictor


def main() -> None:
    """`evaluate.py` and `dlcpose-evaluate`."""
    run_hydra("evaluate", evaluate)


KEYS = ("checkpoint", "frames", "batch_size", "trust", "run_dir", "evaluation", "dataset", "metric", "detector")


def evaluate(config: dict[str, Any]) -> dict[str, float]:
    """Evaluate config["checkpoint"] and leave everything in config["run_dir"]/evaluation."""
    from dlcpose.build import Instantiator
    from dlcpose.checkpoint import read_checkpoint
    from dlcpose.predict import load
    from dlcpose.structures.errors import ConfigError
    from dlcpose.training.experiment import quiet_libraries
    from dlcpose.training.validate import check_keys

    quiet_libraries()
    check_keys(config, KEYS)
    if type(config["batch_size"]) is not int or config["batch_size"] < 1:
        raise ConfigError(f"batch_size: expected a whole number from 1, got {config['batch_size']!r}.")
    instantiate = Instantiator(tuple(config["trust"]))
    description = read_checkpoint(config["checkpoint"]).description
    has_other_data = config.get("dataset") is not None
    data: LabelledFrames = instantiate(
        config["dataset"] if has_other_data else description.config["dataset"], "dataset"
    )
    check_skeleton(data, description)
    indices = chosen_frames(data, description, config["frames"] or ("all" if has_other_data else "test"))
    run_dir = Path(config["run_dir"])
    figures = evaluate_frames(
        load(config["checkpoint"], trust=config["trust"], detector=config.get("detector") or None),
        data,
        indices,
        instantiate(config["metric"] or description.config["metric"], "metric"),
        folder=run_dir / "evaluation",
        pictures=config["evaluation"]["pictures"],
        batch_size=config["batch_size"],
        title=f"{Path(config['checkpoint']).name}: {len(indices)} frames",
    )
    print_result(figures, run_dir)
    return figures


def check_skeleton(data: "LabelledFrames", description: "Description") -> None:
    """Raises DataError when the data's keypoints are not those the model was trained on, in their order."""
    from dlcpose.structures.errors import DataError

    expected, got = description.skeleton.names, data.skeleton.names
    if expected != got:
        raise DataError(
            f"dataset: the model finds the keypoints {', '.join(expected)}, the data has {', '.join(got)}. "
            "Evaluate on data with the same keypoints in the same order."
        )


def chosen_frames(data: "LabelledFrames", description: "Description", frames: str) -> list[int]:
    """Indices of the frames of a set of the checkpoint's split, or of all. Raises when there are none or no such set."""
    from dlcpose.structures.errors import ConfigError, DataError

    sets = {**description.split.as_dict(), "all": [frame.key for frame in data.frames]}
    if frames not in sets:
        raise ConfigError(f"frames={frames}: expected one of {', '.join(sets)}.")
    places = {frame.key: index for index, frame in enumerate(data.frames)}
    indices = [places[key] for key in sets[frames] if key in places]
    if not indices:
        raise DataError(f"frames={frames}: none of the {len(sets[frames])} frames of that set is in the data.")
    return indices


def evaluate_frames(
    predictor: "Predictor",
    data: "LabelledFrames",
    indices: Sequence[int],
    metrics: "Mapping[str, Metric]",
    *,
    folder: Path,
    pictures: int,
    title: str,
    batch_size: int = 8,
) -> dict[str, float]:
    """Predict frames, compute their figures and write the evaluation folder."""
    from dlcpose.metrics.base import figures_of
    from dlcpose.reports.evaluation import write_evaluation
    from dlcpose.tracking.evaluation import TrackingFigures

    samples = functools.partial(map, data.__getitem__, indices)
    predictions = [each for batch in predictor.stream_labelled(samples(), batch_size) for each in batch]
    labels = [data.frames[index] for index in indices]
    figures = figures_of(metrics, predictions, labels, data.skeleton)
    if "hota" not in figures:
        of_tracks = TrackingFigures()(predictions, labels, data.skeleton)
        figures |= {name: value for name, value in of_tracks.items() if not math.isnan(value)}
    figures["images_per_s"] = predictor.images / predictor.seconds
    figures["peak_memory_mb"] = peak_memory_mb(predictor)
    for name, oracle in predictor.pipeline.oracles().items():
        told = [each for batch in predictor.stream_labelled(samples(), batch_size, oracle) for each in batch]
        told_more = figures_of(metrics, told, labels, data.skeleton)
        figures |= {f"{name}/{key}": value for key, value in told_more.items() if not math.isnan(value)}
    write_evaluation(
        folder, data=data, indices=indices, predictions=predictions, figures=figures, title=title, pictures=pictures
    )
    return figures


def peak_memory_mb(predictor: "Predictor") -> float:
    """The most memory this process has held, on the GPU where the model is there."""
    import torch

    if predictor.device.type == "cuda":
        return torch.cuda.max_memory_allocated(predictor.device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def print_result(figures: Mapping[str, float], run_dir: Path) -> None:
    """The table of figures, then one last line: where everything is, and the headline."""
    from rich.console import Console

    from dlcpose.reports.evaluation import headline

    Console().print(headline(figures))
    short = [("mean_error_px", "mean error {:.2f} px"), ("pck@0.1", "PCK@0.1 {:.3f}"), ("oks_ap", "OKS AP {:.3f}")]
    short = [*short, ("box_ap", "box AP {:.3f}")]
    print(f"{run_dir}: {', '.join(text.format(figures[name]) for name, text in short if name in figures)}")
