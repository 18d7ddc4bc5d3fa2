"""Check the figures that a run monitors: that they are logged, better in one direction, and there when they are needed."""

import difflib
import functools
import inspect
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.callbacks import EarlyStopping

from dlcpose.build import with_direction
from dlcpose.callbacks.monitored_losses import is_loss_term
from dlcpose.callbacks.trial_pruning import TrialPruning
from dlcpose.instantiate import Instantiator, parameters_of
from dlcpose.metrics.base import EvaluatedFrames, Metric, figures_of, infos_of
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton
from dlcpose.structures.split import Split

STOPPERS = (EarlyStopping, TrialPruning)


def validate_monitors(
    config: Mapping[str, Any],
    instantiate: Instantiator,
    metrics: Mapping[str, Metric],
    skeleton: Skeleton,
    *,
    has_validation: bool,
    prefix: str = "",
) -> None:
    """Raises ConfigError for a monitored figure that would fail, or choose the wrong epoch, once the run has begun.

    That is one that no epoch logs, one of no direction or with a `mode` that contradicts it, and for what ends a run or
    lowers its rate one of validation frames where there are none. prefix: of its keys, where the config is a part of
    another.
    """
    monitors = monitors_of(config)
    _check_logged(monitors, metrics, skeleton, prefix)
    parts = {f"callbacks.{name}": part for name, part in instantiate(config["callbacks"], "callbacks").items()}
    parts["scheduler"] = instantiate(config["scheduler"], "scheduler")
    infos = infos_of(metrics)
    for where, part in parts.items():
        directed = with_direction(part, f"{prefix}{where}", infos)
        monitor = monitors.get(f"{where}.monitor")
        if monitor is None:
            continue
        if "mode" in parameters_of(directed) and "mode" not in directed.keywords:
            raise ConfigError(
                f"{prefix}{where}.monitor: {monitor} is better neither when higher nor when lower, by what its metric says. "
                "Take another figure, or state higher_is_better in its FigureInfo where the metric is yours."
            )
        if not has_validation and str(monitor).startswith("val/") and _acts_on_its_figure(part, where):
            raise ConfigError(
                f"{prefix}{where}.monitor: {monitor} is a figure of validation frames, of which there are none. Give the run "
                "some (split.val=0.1), monitor train/loss, or leave this out."
            )


def has_validation(config: Mapping[str, Any], split: Split) -> bool:
    """Whether epochs of a run are validated; one that is to overfit its frames validates on the same."""
    return config["trainer"].get("limit_val_batches") != 0 and bool(
        split.val or config["datamodule"].get("overfit") is not None
    )


def monitors_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that a run monitors, by the keys that name them."""
    named = config["optimized_metric"]
    several = (
        {f"optimized_metric[{place}]": name for place, name in enumerate(named)} if isinstance(named, list) else {}
    )
    monitors = {"best.monitor": config["best"]["monitor"], **(several or {"optimized_metric": named})}
    monitors["scheduler.monitor"] = config["scheduler"].get("monitor")
    monitors |= {f"callbacks.{name}.monitor": node.get("monitor") for name, node in config["callbacks"].items()}
    return {where: monitor for where, monitor in monitors.items() if monitor is not None}


def _check_logged(monitors: Mapping[str, Any], metrics: Mapping[str, Metric], skeleton: Skeleton, prefix: str) -> None:
    """Raises ConfigError for a figure that no epoch logs; the terms of a loss are known when it is first computed."""
    given = [
        "train/loss",
        "val/loss",
        *(f"val/{name}" for name in figures_of(metrics, EvaluatedFrames([], [], skeleton))),
    ]
    for where, monitor in monitors.items():
        if not is_loss_term(monitor) and monitor not in given:
            near = difflib.get_close_matches(str(monitor), given, n=3) or given
            raise ConfigError(f"{prefix}{where}: no epoch logs {monitor!r}. Nearest: {', '.join(near)}.")


def _acts_on_its_figure(part: Any, where: str) -> bool:
    """Whether a part ends the run or lowers its rate by its figure: then it has no effect, or fails, without one."""
    kind = part.func if isinstance(part, functools.partial) else type(part)
    return where == "scheduler" or (inspect.isclass(kind) and issubclass(kind, STOPPERS))
