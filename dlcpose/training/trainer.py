"""Lightning's Trainer for a config: its callbacks, its loggers, and the fastest precision of the hardware."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.utilities import rank_zero_only

from dlcpose.build import with_direction
from dlcpose.callbacks.best import FOLDER
from dlcpose.callbacks.monitored_losses import MonitoredLosses
from dlcpose.callbacks.reseed import ReseedEachBatch
from dlcpose.callbacks.resumed_state import ResumedState
from dlcpose.instantiate import Instantiator, complete_with_run
from dlcpose.loggers.guarded import beginning
from dlcpose.metrics.base import infos_of
from dlcpose.prediction.precision import NO_MPS, is_bf16_faster
from dlcpose.runs.checkpoint_io import WholeFiles
from dlcpose.runs.provenance import guarded, tracked_as
from dlcpose.structures.errors import ConfigError
from dlcpose.training.monitors import monitors_of

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def build_trainer(config: Mapping[str, Any], instantiate: Instantiator) -> Trainer:
    """The trainer of a config.

    Raises ConfigError for settings that Lightning or the data refuse, a GPU that is not there, and a run of no steps.
    """
    run_dir = Path(config["run_dir"])
    settings = dict(config["trainer"])
    plugins = settings.pop("plugins", None) or []
    settings["accelerator"] = _accelerator(settings["accelerator"])
    _check_length(settings)
    if settings["precision"] is None:
        settings["precision"] = fastest_precision(settings["accelerator"])
    loggers = guarded(_loggers(config, instantiate))
    callbacks = _callbacks(config, instantiate, has_logger=bool(loggers))
    try:
        trainer: Trainer = instantiate(settings, "trainer")(
            callbacks=[
                ResumedState(),
                ReseedEachBatch(config["seed"]),
                MonitoredLosses(monitors_of(config)),
                *callbacks,
            ],
            logger=loggers,
            default_root_dir=config["run_dir"],
            plugins=[WholeFiles(run_dir / FOLDER), *(plugins if isinstance(plugins, list) else [plugins])],
        )
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error
    _check_precision(trainer)
    return trainer


def _loggers(config: Mapping[str, Any], instantiate: Instantiator) -> Mapping[str, Logger]:
    """The loggers of a config. Of several processes only the first has them: some open files and stores as they are built.

    MLflow creates the tables of a new database then, which fails where two processes do so at once.
    """
    if getattr(rank_zero_only, "rank", 0) != 0:  # set by Lightning
        return {name: DummyLogger() for name in config["logger"]}
    run_name, sweep_name = tracked_as(config)
    loggers: dict[str, Logger] = {}
    for name, built in instantiate(config["logger"], "logger").items():
        with beginning(name):
            loggers[name] = complete_with_run(built, f"logger.{name}", Path(config["run_dir"]), run_name, sweep_name)
    return loggers


def _callbacks(config: Mapping[str, Any], instantiate: Instantiator, *, has_logger: bool) -> list[Callback]:
    """The callbacks of a config, with the run that they are of, and the direction of the figure that they monitor."""
    run_dir, infos = Path(config["run_dir"]), infos_of(instantiate(config["metric"], "metric"))
    callbacks = [
        complete_with_run(
            with_direction(callback, f"callbacks.{name}", infos), f"callbacks.{name}", run_dir, config["name"]
        )
        for name, callback in instantiate(config["callbacks"], "callbacks").items()
        if has_logger or name != "learning_rate"  # without a logger Lightning refuses the monitor
    ]
    # Pictures before weights are swapped back.
    return sorted(callbacks, key=lambda callback: isinstance(callback, WeightAveraging))


def fastest_precision(accelerator: str) -> str:
    """bf16 where the device is faster in it, else full precision."""
    is_cuda = accelerator in ("gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if is_bf16_faster(torch.device("cuda" if is_cuda else "cpu")) else "32-true"


def _accelerator(named: str) -> str:
    """Lightning's name of the device to train on. Raises ConfigError for a GPU that is not there, or cannot be used.

    Lightning's own "auto" would take the GPU of an Apple computer.
    """
    has_cuda = torch.cuda.is_available()
    if named == "mps" or (named == "gpu" and not has_cuda and torch.backends.mps.is_available()):
        raise ConfigError(f"trainer.accelerator={named}: {NO_MPS} Take trainer=cpu.")
    if named in ("gpu", "cuda") and not has_cuda:
        raise ConfigError(
            f"trainer.accelerator={named}: this machine has no GPU that torch can use. Take trainer=cpu, or "
            "trainer=default for what there is."
        )
    return ("cuda" if has_cuda else "cpu") if named == "auto" else named


def _check_length(settings: Mapping[str, Any]) -> None:
    """Raises ConfigError for a run that would end before its first step."""
    for name in ("max_epochs", "max_steps"):
        if settings.get(name) == 0:
            raise ConfigError(f"trainer.{name}=0: such a run trains nothing. Take at least 1, or -1 for no limit.")
    if settings.get("limit_train_batches") == 0:
        raise ConfigError("trainer.limit_train_batches=0: such a run trains nothing. Take at least 1, or null for all.")
    if settings.get("overfit_batches"):  # Lightning would number the samples of a data set that has no end
        raise ConfigError("trainer.overfit_batches: expected 0. Take debug=overfit, or datamodule.overfit=8 (frames).")


def _check_precision(trainer: Trainer) -> None:
    """Raises ConfigError for a precision to which Lightning would convert whole batches: labels keep 32 bits."""
    if trainer.precision not in PRECISIONS:
        raise ConfigError(f"trainer.precision={trainer.precision}: expected one of {', '.join(PRECISIONS)}.")
