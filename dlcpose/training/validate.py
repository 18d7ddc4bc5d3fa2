"""Check a config before any data is read or any model built."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dlcpose.config.dotted_keys import flatten_config
from dlcpose.instantiate import Instantiator
from dlcpose.metrics.base import EvaluatedFrames, Metric, figures_of
from dlcpose.model_groups import model_groups
from dlcpose.structures.checked_values import is_number
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton
from dlcpose.training.compilation import check_compile

KEYS = (
    *("name", "seed", "best", "optimized_metric", "trust", "resume", "run_dir", "evaluation", "datamodule"),
    *("init_from", "compile", "sweep", "dataset", "split", "input", "augmentation", "pipeline", "loss"),
    *("detector_stage", "unlabeled", "pseudo_labels"),
    *("optimizer", "scheduler", "metric", "trainer", "callbacks", "logger"),
)
# of mappings that describe no part
PLAIN_KEYS = {
    "best": ("monitor", "mode"),
    "init_from": ("checkpoint", "strict"),
    "evaluation": ("pictures",),
    "sweep": ("name", "trial"),
    "detector_stage": (
        *("name", "pipeline", "input", "metric", "optimizer", "scheduler", "callbacks", "trainer"),
        *("best", "optimized_metric", "compile"),
    ),
}


def validate_config(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for mistakes in the config itself: unknown keys, seed, compile, optimizer."""
    check_keys(config, (*KEYS, *(group.name for group in model_groups())))
    _check_seed(config["seed"])
    check_pictures(config["evaluation"]["pictures"])
    check_compile(config["compile"])
    for stage in (config, config["detector_stage"]):
        if "optimizer" in stage:
            _check_optimizer(stage["optimizer"], Instantiator(tuple(config["trust"])))


def check_keys(config: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises ConfigError for an unknown key of the config, and for a `trust` that is no list."""

    inner = {f"{name}.{key}": keys for name, keys in PLAIN_KEYS.items() for key in config.get(name, ())}
    for key, keys in {**dict.fromkeys(config, known), **inner}.items():
        last = key.rpartition(".")[2]
        if last not in keys:
            near = difflib.get_close_matches(last, keys, n=3)
            what = f"Nearest: {', '.join(near)}" if near else f"There are: {', '.join(keys)}"
            raise ConfigError(f"{key}: nothing reads this key. {what}.")
    if not isinstance(config["trust"], list):
        raise ConfigError(
            f"trust: expected a list of packages, got {config['trust']!r}. Write trust=[{config['trust']}]."
        )


def _check_seed(seed: Any) -> None:
    """Raises ConfigError for a seed that is no number."""

    if type(seed) is not int or not 0 <= seed < 2**32:
        raise ConfigError(f"seed: expected a whole number from 0 to below 2³², got {seed!r}.")


def check_pictures(count: Any) -> None:
    """Raises ConfigError for a bad number of pictures, which would otherwise fail after the training."""
    if type(count) is not int or count < 0:
        raise ConfigError(f"evaluation.pictures: expected a whole number from 0, got {count!r:.80}.")


def _check_optimizer(node: Any, instantiate: Instantiator) -> None:
    """Raises ConfigError for settings that the optimizer refuses, which would otherwise fail after everything is built."""

    rate = node.get("lr", 1e-3) if isinstance(node, Mapping) else None
    if not is_number(rate) or not rate > 0:  # type: ignore[operator]
        raise ConfigError(f"optimizer.lr: expected a finite number above 0, got {rate!r:.80}.")
    for name, value in flatten_config(node, "optimizer").items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and not is_number(number):
                raise ConfigError(f"{name}: expected a finite number, got {number}.")
    try:
        instantiate(node, "optimizer")([("weight", torch.nn.Parameter(torch.zeros(1)))])
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer: {error}.") from error


def validate_monitors(
    config: Mapping[str, Any], metrics: Mapping[str, Metric], skeleton: Skeleton, *, prefix: str = ""
) -> None:
    """Raises ConfigError for a monitored figure that no epoch logs, which would otherwise fail after the first epoch.

    prefix: of its keys, where the config is a part of another.
    """
    given = [
        "train/loss",
        "val/loss",
        *(f"val/{name}" for name in figures_of(metrics, EvaluatedFrames([], [], skeleton))),
    ]
    watching = {"best.monitor": config["best"]["monitor"]}
    named = config["optimized_metric"]
    several = (
        {f"optimized_metric[{place}]": name for place, name in enumerate(named)} if isinstance(named, list) else {}
    )
    watching |= several or {"optimized_metric": named}
    watching["scheduler.monitor"] = config["scheduler"].get("monitor")
    watching |= {f"callbacks.{name}.monitor": node.get("monitor") for name, node in config["callbacks"].items()}
    for where, monitor in watching.items():
        is_a_loss = str(monitor).startswith(("train/loss_", "val/loss_"))  # the terms depend on the head
        if monitor is not None and monitor not in given and not is_a_loss:
            near = difflib.get_close_matches(str(monitor), given, n=3) or given
            raise ConfigError(f"{prefix}{where}: no epoch logs {monitor!r}. Nearest: {', '.join(near)}.")
