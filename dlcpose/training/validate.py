"""Check a config before any data is read or any model built."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dlcpose.config.dotted_keys import flatten_config
from dlcpose.instantiate import Instantiator
from dlcpose.model_groups import model_groups
from dlcpose.pipelines.base import PoseModule
from dlcpose.structures.checked_values import is_number
from dlcpose.structures.errors import ConfigError
from dlcpose.training.compilation import check_compile

KEYS = (
    *("name", "seed", "best", "optimized_metric", "trust", "resume", "run_dir", "evaluation", "datamodule"),
    *("init_from", "compile", "sweep", "dataset", "split", "input", "augmentation", "pipeline", "loss"),
    *("detector_stage", "unlabeled", "pseudo_labels"),
    *("optimizer", "scheduler", "metric", "trainer", "callbacks", "logger"),
)
# of mappings that describe no part
PLAIN_KEYS: dict[str, tuple[str, ...]] = {
    "best": ("monitor",),
    "init_from": ("checkpoint", "strict"),
    "evaluation": ("pictures",),
    "sweep": ("name", "trial"),
    "detector_stage": (
        *("name", "pipeline", "input", "metric", "optimizer", "scheduler", "callbacks", "trainer"),
        *("best", "optimized_metric", "compile"),
    ),
}
SEVERAL_PARTS = ("metric", "callbacks", "logger")  # mappings of parts


def validate_config(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for mistakes in the config itself: unknown keys, seed, compile, optimizer."""
    check_keys(config, (*KEYS, *(group.name for group in model_groups())))
    _check_seed(config["seed"])
    check_pictures(config["evaluation"]["pictures"])
    check_compile(config["compile"])
    for prefix, stage in (("", config), ("detector_stage.", config["detector_stage"])):
        if "optimized_metric" in stage:
            _check_optimized(stage["optimized_metric"], f"{prefix}optimized_metric")
        if "optimizer" in stage:
            _check_optimizer(stage["optimizer"], Instantiator(tuple(config["trust"])))


def _check_optimized(named: object, key: str) -> None:
    """Raises ConfigError where no figure is named: a sweep would have nothing to compare its runs by."""
    figures = named if isinstance(named, list) else [named]
    if not figures or not all(isinstance(figure, str) and figure for figure in figures):
        raise ConfigError(
            f"{key}: expected a figure, or a list of figures, got {named!r:.80}. Write {key}=val/mean_error_px."
        )


def check_keys(config: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises ConfigError for an unknown key of the config, a value in place of keys, and a `trust` that is no list."""
    for name in (*PLAIN_KEYS, "datamodule", *SEVERAL_PARTS):
        if not isinstance(config.get(name, {}), Mapping):
            raise ConfigError(f"{name}: expected keys of its own, got {config[name]!r:.80}. Write {name}.KEY=...")
    for name in SEVERAL_PARTS:
        for key, part in config.get(name, {}).items():
            if not isinstance(part, Mapping):
                raise ConfigError(
                    f"{name}.{key}: expected a part with a _target_, got {part!r:.80}. ~{name}.{key} leaves it out."
                )
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


def check_scheduler(model: PoseModule) -> None:
    """Raises ConfigError for settings that the scheduler refuses, which would otherwise fail as the training begins."""
    assert model.optimizer is not None
    assert model.scheduler is not None
    model.scheduler(model.optimizer([("weight", torch.nn.Parameter(torch.zeros(1)))]), 100)
