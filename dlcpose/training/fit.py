"""Fit an experiment, stage by stage, and evaluate its best epoch on the test frames."""

import math

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from pytorch_lightning.utilities import rank_zero_only

from dlcpose.callbacks.preemption import PreemptionCheckpoint, restored_signals
from dlcpose.datasets.datamodule import PoseDataModule
from dlcpose.metrics.base import infos_of
from dlcpose.predict import load
from dlcpose.reports.comparison import command_again
from dlcpose.reports.evaluation import learning_curve
from dlcpose.runs.provenance import begin_tracking, close_trackers, end_tracking, record_run
from dlcpose.runs.resume import how_to_resume
from dlcpose.runs.run_json import MetricValue, optimized_metrics, read_run_json, record_training
from dlcpose.structures.atomic_files import write_atomic
from dlcpose.structures.counted import counted
from dlcpose.structures.heap import keep_freed_memory
from dlcpose.training.batch_size import ChosenBatch, prepare_batches
from dlcpose.training.compilation import compile_networks
from dlcpose.training.evaluation import evaluate_frames, print_result
from dlcpose.training.experiment import Experiment, Stage
from dlcpose.training.hints import explain_batch_norm, explain_memory, interruptible
from dlcpose.training.trainer import build_trainer


def fit_and_evaluate(experiment: Experiment) -> MetricValue:
    """Train an experiment and evaluate it; returns the value of `optimized_metric` of its last stage.

    A top-down model's detector is a stage of its own, before the poses, and so is each teacher, before its student.
    """
    value: MetricValue = float("nan")
    for number, stage in enumerate(experiment.stages, start=1):
        if len(experiment.stages) > 1:
            rank_zero_only(print)(f"stage {number} of {len(experiment.stages)}: {stage.name}", flush=True)
        stage.begin()
        value = _fit_stage(stage)
    return value


def _fit_stage(stage: Stage) -> MetricValue:
    config, model = stage.config, stage.model
    trainer = build_trainer(config, stage.instantiate)
    resumed_by = how_to_resume(config)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, PreemptionCheckpoint):
            callback.resumed_by = resumed_by
    datamodule, batch = prepare_batches(stage, trainer)
    facts = record_run(stage.run_dir, stage.description, batch.size)
    _print_plan(trainer, stage, datamodule, batch)
    _keep_choices(trainer, stage, datamodule)
    model.to(memory_format=torch.channels_last)
    model.freeze_unused_parameters()
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    compile_networks(config["compile"], model, trainer.strategy.root_device)
    succeeded = False
    try:
        begin_tracking(trainer, facts, stage.resumed)
        with interruptible(stage.run_dir, resumed_by):
            with explain_memory(config, batch.size), explain_batch_norm(batch.size), restored_signals():
                trainer.fit(model, datamodule=datamodule, ckpt_path=stage.resumed, weights_only=True)
            _print_early_end(trainer)
            record_training(stage.run_dir, trainer, model)
            figures = _evaluate(trainer, stage)
        values = {name: _best_value(name, trainer) for name in optimized_metrics(config)}
        end_tracking(trainer, facts, figures, values)
        succeeded = True
    finally:
        close_trackers(trainer, succeeded)
    return list(values.values()) if isinstance(config["optimized_metric"], list) else next(iter(values.values()))


def _print_plan(trainer: Trainer, stage: Stage, datamodule: PoseDataModule, batch: ChosenBatch) -> None:
    """Print the plan of a stage before its first step."""
    if not trainer.is_global_zero:
        return
    split, config, canvas = stage.split, stage.config, stage.description.model_input.canvas
    weights = sum(weight.numel() for weight in stage.model.parameters())
    per_step = datamodule.batch_size * trainer.world_size * trainer.accumulate_grad_batches
    print(f"run folder: {stage.run_dir}")
    if (entry := read_run_json(stage.run_dir)) is not None:  # the detector's stage has none
        print(f"the same again: {command_again(entry['overrides'], entry['config_dir'])}")
    print(f"frames: {len(split.train)} train, {len(split.val)} val, {len(split.test)} test")
    if not stage.has_validation and (monitor := config["best"]["monitor"]).startswith("val/"):
        print(f"validation: none, so no epoch is the best by {monitor}: the last one is kept and evaluated (last.ckpt)")
    if pseudo := datamodule.pseudo_indices:
        print(f"pseudo-labels: {counted(len(pseudo), 'frame')}, {datamodule.pseudo_share:.0%} of those in an epoch")
    if (clips := datamodule.clips) is not None:
        names = ", ".join(stage.config["unlabeled"]["losses"])
        print(
            f"unlabeled: {counted(len(clips.places), 'clip')} of {counted(len(clips.videos), 'video')}, "
            f"{clips.per_batch} a batch: {names}"
        )
    print(f"model: {weights / 1e6:.2f} M parameters, {stage.model.summary}")
    print(f"input: {'native size' if canvas is None else f'{canvas[1]}x{canvas[0]}'}")
    for choice in datamodule.schedule.choices:
        print(f"augmentation: {choice}")
    if batch.reason is not None:
        print(f"batch: {batch.reason}")
    rate = config["optimizer"]["lr"] * batch.rate_factor
    print(
        f"training: {_end_of(trainer)}, effective batch {per_step} ({datamodule.batch_size} x "
        f"{counted(trainer.world_size, 'device')} x {trainer.accumulate_grad_batches} accumulated), learning rate {rate:g}, "
        f"{trainer.precision} on {trainer.accelerator.__class__.__name__.removesuffix('Accelerator')}, "
        f"{counted(datamodule.workers, 'worker')}",
        flush=True,
    )


def _end_of(trainer: Trainer) -> str:
    """What ends a run, of epochs and steps the first."""
    ends = [(trainer.max_epochs, "epoch"), (trainer.max_steps, "step")]
    return " or ".join(counted(number, unit) for number, unit in ends if number is not None and number >= 0) or "no end"


def _print_early_end(trainer: Trainer) -> None:
    """Print why early stopping has ended a training, which Lightning only logs."""
    for callback in trainer.early_stopping_callbacks:
        if not trainer.should_stop or callback.stopping_reason_message is None:
            continue
        reason = callback.stopping_reason_message.removesuffix(" Signaling Trainer to stop.")
        if callback.stopping_reason == EarlyStoppingReason.PATIENCE_EXHAUSTED:
            best, count = float(callback.best_score), callback.wait_count
            was = f"no better than its best of {best:.4g}" if math.isfinite(best) else "NaN"
            reason = f"{callback.monitor} was {was} in the last {counted(count, 'validation')}"
        rank_zero_only(print)(f"early stopping: ended after epoch {trainer.current_epoch}: {reason}", flush=True)


def _keep_choices(trainer: Trainer, stage: Stage, datamodule: PoseDataModule) -> None:
    """Write what the augmentation has chosen from the data to augmentation.txt."""
    choices = datamodule.schedule.choices
    if trainer.is_global_zero and choices:
        write_atomic(stage.run_dir / "augmentation.txt", "\n".join(choices) + "\n")


def _best_value(name: str, trainer: Trainer) -> float:
    """A figure at the best epoch if checkpoints are chosen by it, else after the last one; NaN where it has no value."""
    chosen = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    scores = [callback.best_model_score for callback in chosen if callback.monitor == name]
    best = next((score for score in scores if score is not None), trainer.callback_metrics.get(name))
    # Of a figure that was NaN in every epoch, Lightning keeps an infinity.
    return float("nan") if best is None or not torch.isfinite(best) else float(best)


def _evaluate(trainer: Trainer, stage: Stage) -> dict[str, float]:
    """Figures of the best epoch on the test frames, and the learning curve; none without test frames or a checkpoint."""
    if not trainer.is_global_zero:
        return {}
    config, run_dir, split = stage.config, stage.run_dir, stage.split
    metrics = stage.instantiate(config["metric"], "metric")
    if (run_dir / "metrics.csv").exists():
        learning_curve(run_dir / "metrics.csv", run_dir / "learning_curve.png", infos_of(metrics))
    checkpoints = [run_dir / "checkpoints" / name for name in ("best.ckpt", "last.ckpt")]
    best = next((path for path in checkpoints if path.exists()), None)
    if best is None or not split.test:
        print(f"no test frames or no checkpoint to evaluate\n{run_dir}")
        return {}
    places = {frame.key: index for index, frame in enumerate(stage.data.frames)}
    figures = evaluate_frames(
        load(best, trust=config["trust"], device=trainer.strategy.root_device.type),
        stage.data,
        [places[key] for key in split.test],
        metrics,
        folder=run_dir / "evaluation",
        pictures=config["evaluation"]["pictures"],
        title=f"{config['name']}: {counted(len(split.test), 'test frame')}",
    )
    print_result(figures, metrics, run_dir)
    return figures
