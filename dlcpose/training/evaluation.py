"""Figures of a checkpoint, on the frames it was not trained on or on other data."""

import functools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from dlcpose.checkpoint import Description, read_checkpoint
from dlcpose.config.compose import compose
from dlcpose.config.folders import DETECTOR_FOLDER
from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.splits import labeled_frames
from dlcpose.instantiate import Instantiator, check_base
from dlcpose.metrics.base import EvaluatedFrames, Metric, figures_of, infos_of
from dlcpose.metrics.figure_info import RUN_FIGURES, find_info, headline_names
from dlcpose.predict import Predictor, load
from dlcpose.reports.evaluation import figure_table, write_evaluation
from dlcpose.reports.figure_table import format_figure
from dlcpose.runs.run_json import FILE, find_run
from dlcpose.structures.atomic_files import check_writable
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import shown
from dlcpose.structures.environment import peak_memory_mb
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.home_folder import expand_home
from dlcpose.targets import PLACES
from dlcpose.tracking.evaluation import TrackingFigures
from dlcpose.training.libraries import quiet_libraries
from dlcpose.training.validate import check_keys, check_pictures

logger = logging.getLogger(__name__)
KEYS = ("checkpoint", "frames", "batch_size", "trust", "run_dir", "evaluation", "dataset", "metric", "detector")


def evaluate_checkpoint(config: dict[str, Any]) -> dict[str, float]:
    """Evaluate config["checkpoint"] and leave everything in config["run_dir"]/evaluation."""
    quiet_libraries()
    check_keys(config, KEYS)
    check_pictures(config["evaluation"]["pictures"])
    if type(config["batch_size"]) is not int or config["batch_size"] < 1:
        raise ConfigError(f"batch_size: expected a whole number from 1, got {config['batch_size']!r}.")
    instantiate = Instantiator(tuple(config["trust"]))
    description = read_checkpoint(config["checkpoint"]).description
    own_run = _own_run(config["checkpoint"])
    has_other_data = config.get("dataset") is not None
    data: LabeledFrames = (
        instantiate(config["dataset"], "dataset")
        if has_other_data
        else _own_data(own_run, instantiate, config["checkpoint"], description)
    )
    check_skeleton(data, description)
    frames = config["frames"] or ("all" if has_other_data else "test")
    indices = chosen_frames(data, description, frames)
    if config["frames"] is None:
        warn_of_learned(data, indices, description)
    if has_other_data:
        refuse_split_settings(data, description, frames)
    run_dir = Path(config["run_dir"])
    metrics = _metrics(config["metric"], own_run, instantiate)
    check_writable(run_dir, "run_dir")
    figures = evaluate_frames(
        load(config["checkpoint"], trust=config["trust"], detector=config.get("detector") or None),
        data,
        indices,
        metrics,
        folder=run_dir / "evaluation",
        pictures=config["evaluation"]["pictures"],
        batch_size=config["batch_size"],
        title=f"{Path(config['checkpoint']).name}: {counted(len(indices), 'frame')}",
    )
    print_result(figures, metrics, run_dir)
    return figures


@dataclass(frozen=True)
class _OwnRun:
    """The run whose folder a checkpoint lies in. file: what says so. config: that of the stage that the checkpoint is of."""

    file: Path
    config: Mapping[str, Any]

    def build(self, group: str, instantiate: Instantiator) -> Any:
        """What the run had of a group: dlcpose's own, of plain and bounded settings, since the folder may be another's."""
        built = instantiate.of_file(self.file, group)(self.config.get(group) or {}, group)
        place = PLACES[group]
        for part in built.values() if place.several and isinstance(built, Mapping) else [built]:
            check_base(part, place, f"{self.file}: {group}")
        return built


def _own_run(checkpoint: str) -> _OwnRun | None:
    """The run that a checkpoint lies in the folder of; None where it was moved out of it, or came without one."""
    run = find_run(Path(checkpoint))
    if run is None:
        return None
    of_stage = run.config.get("detector_stage") if run.stage == DETECTOR_FOLDER else None
    config = {**run.config, **of_stage} if isinstance(of_stage, dict) else run.config
    dataset = config.get("dataset")
    root = dataset.get("root") if isinstance(dataset, dict) else None
    if isinstance(root, str | int) and run.working_folder is not None:  # a folder may be named by a number
        path = expand_home(str(root))
        if not path.exists():
            config = {**config, "dataset": {**config["dataset"], "root": str(run.working_folder / path)}}
    return _OwnRun(run.run_dir / FILE, config)


def _own_data(
    own_run: _OwnRun | None, instantiate: Instantiator, checkpoint: str, description: Description
) -> LabeledFrames:
    """The data set that a checkpoint's run was trained on, if it is still in its place.

    It is never taken from the checkpoint itself, which may name parts of a model and nothing else.
    """
    elsewhere = "dataset=... dataset.root=PATH"
    if own_run is None:
        trained_on = description.config.get("dataset")
        root = trained_on.get("root") if isinstance(trained_on, Mapping) else None
        known = f" It was trained on {shown(root)}." if isinstance(root, str) else ""
        raise ConfigError(
            f"dataset: {checkpoint} lies in no folder of a run, which would say what it was trained on.{known} Choose what "
            f"to evaluate it on: {elsewhere}."
        )
    try:
        data: LabeledFrames = own_run.build("dataset", instantiate)
    except DataError as error:
        raise DataError(
            f"{error} This is the data set that {checkpoint} was trained on. Where it lies elsewhere, or to evaluate on "
            f"another: {elsewhere}."
        ) from error
    return data


def _metrics(chosen: Any, own_run: _OwnRun | None, instantiate: Instantiator) -> dict[str, Metric]:
    """The metrics that were chosen, else those of the checkpoint's run, else those of metric=default."""
    if chosen or own_run is None:
        metrics: dict[str, Metric] = instantiate(chosen or _default_metrics(), "metric")
        return metrics
    metrics = own_run.build("metric", instantiate)
    return metrics


def _default_metrics() -> dict[str, Any]:
    """The config of metric=default."""
    metrics: dict[str, Any] = compose(["checkpoint=given", "metric=default"], config_name="evaluate")["metric"]
    return metrics


def check_skeleton(data: LabeledFrames, description: Description) -> None:
    """Raises DataError when the data's keypoints are not those the model was trained on, in their order."""
    expected, got = description.skeleton.names, data.skeleton.names
    if expected != got:
        raise DataError(
            f"dataset: the model predicts the keypoints {', '.join(expected)}, the data has {', '.join(got)}. "
            "Evaluate on data with the same keypoints in the same order."
        )


def warn_of_learned(data: LabeledFrames, indices: Sequence[int], description: Description) -> None:
    """Warn where frames of a data set, taken as one of others, are those that the model was trained on."""
    learned = sorted({data.frames[index].key for index in indices} & set(description.split.train))
    if learned:
        logger.warning(
            "%s trained on by their names, such as %s: figures of them are too good. frames=test takes the held-out ones.",
            f"{len(learned)} of {counted(len(indices), 'frame')}",
            learned[0],
        )


def chosen_frames(data: LabeledFrames, description: Description, frames: str) -> list[int]:
    """Indices of the frames of a set of the checkpoint's split, or of all. Raises when there are none or no such set.

    An imported model has no split: the sets are then those that the data stores, such as a DeepLabCut project's.
    """
    split: Mapping[str, Sequence[str]] = description.split.as_dict()
    if not any(split.values()):
        split = {**split, **(data.stored_split or {})}
    # In unlabeled frames predictions are no false positives.
    sets = {**split, "all": [frame.key for frame in labeled_frames(data)]}
    if not isinstance(frames, str) or frames not in sets:
        raise ConfigError(f"frames={frames!s:.80}: expected one of {', '.join(sets)}.")
    places = {frame.key: index for index, frame in enumerate(data.frames)}
    indices = [places[key] for key in sets[frames] if key in places]
    if not sets[frames]:
        others = " or ".join(f"frames={name}" for name, keys in sets.items() if keys)
        raise DataError(f"frames={frames}: the split has no {frames} frames. Choose {others}.")
    if not indices:
        raise DataError(
            f"frames={frames}: none of the {counted(len(sets[frames]), 'frame')} of that set is in the data. "
            "Give the data of the run "
            "(dataset.root=...), or choose frames=all."
        )
    return indices


def refuse_split_settings(data: LabeledFrames, description: Description, frames: str) -> None:
    """Raises ConfigError where settings of the data choose its own split, and the frames are not taken from that."""
    has_split = any(description.split.as_dict().values())
    if data.split_settings and (frames == "all" or has_split):
        taken = "all labeled frames are taken" if frames == "all" else "they are those of the checkpoint's own split"
        instead = "Leave" if has_split else "Choose frames=test, or leave"
        raise ConfigError(
            f"frames={frames}: {' and '.join(data.split_settings)} would have no effect, as {taken}. {instead} that "
            "out of the dataset's settings."
        )


def evaluate_frames(
    predictor: Predictor,
    data: LabeledFrames,
    indices: Sequence[int],
    metrics: Mapping[str, Metric],
    *,
    folder: Path,
    pictures: int,
    title: str,
    batch_size: int = 8,
) -> dict[str, float]:
    """Predict frames, compute their figures and write the evaluation folder."""
    samples = functools.partial(map, data.__getitem__, indices)
    predictions = [each for batch in predictor.stream_labeled(samples(), batch_size) for each in batch]
    labels = [data.frames[index] for index in indices]
    frames = EvaluatedFrames(predictions, labels, data.skeleton, data.pcutoff)
    metrics = _with_tracks(metrics)
    figures = figures_of(metrics, frames)
    if math.isnan(figures["clip_frames"]):  # the frames have no tracks
        figures = {name: value for name, value in figures.items() if name not in TrackingFigures.figures}
    figures["images_per_s"] = predictor.images / predictor.seconds
    figures["peak_memory_mb"] = _peak_memory_mb(predictor)
    for name, oracle in predictor.pipeline.oracles().items():
        oracle_predictions = [
            each for batch in predictor.stream_labeled(samples(), batch_size, oracle) for each in batch
        ]
        oracle_frames = EvaluatedFrames(oracle_predictions, labels, data.skeleton, data.pcutoff)
        oracle_figures = figures_of(metrics, oracle_frames)
        figures |= {f"{name}/{key}": value for key, value in oracle_figures.items() if not math.isnan(value)}
    write_evaluation(
        folder,
        data=data,
        indices=indices,
        frames=frames,
        figures=figures,
        infos=infos_of(metrics),
        title=title,
        pictures=pictures,
    )
    return figures


def _peak_memory_mb(predictor: Predictor) -> float:
    """Peak memory of this process, on the GPU if the model is there."""
    if predictor.device.type == "cuda":
        return torch.cuda.max_memory_allocated(predictor.device) / 2**20
    return peak_memory_mb()


def _with_tracks(metrics: Mapping[str, Metric]) -> Mapping[str, Metric]:
    """The metrics of an evaluation: those chosen, and the figures of tracks, which no batch of validation can have."""
    return {**metrics, "tracking": metrics.get("tracking", TrackingFigures())}


def print_result(figures: Mapping[str, float], metrics: Mapping[str, Metric], run_dir: Path) -> None:
    """Print the table of figures, then one last line: the run folder and the headline figures."""
    infos = infos_of(_with_tracks(metrics))
    console = Console()
    console.print(figure_table(figures, infos, width=console.width))
    shown = {name: find_info(name, infos) for name in headline_names(figures, infos) if name not in RUN_FIGURES}
    texts = [f"{info.title} {format_figure(figures[name], info)}" for name, info in shown.items() if not info.is_count]
    print(f"{run_dir}: {', '.join(texts)}")
