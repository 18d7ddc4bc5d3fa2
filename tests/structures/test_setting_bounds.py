import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning import Trainer

from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.instantiate import Instantiator
from dlcpose.settings import check_types
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.setting_bounds import outside_bounds

CONF = Path(__file__).parents[2] / "conf"


def settings_of(node: Any, target: str = "") -> list[tuple[str, Any]]:
    """Names and values of all settings of our own parts in a config."""
    if isinstance(node, list):
        return [found for each in node for found in settings_of(each, target)]
    if not isinstance(node, dict):
        return []
    target = str(node.get("_target_", target))
    own = [(name, value) for name, value in node.items() if target.startswith("dlcpose.")]
    return own + [found for value in node.values() for found in settings_of(value, target)]


def test_every_option_is_within_the_bounds() -> None:
    for path in CONF.rglob("*.yaml"):
        for name, value in settings_of(yaml.safe_load(path.read_text())):
            assert outside_bounds(name, value) is None, f"{path.stem}: {name}={value}"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sigma", [0, -1.0, math.nan, math.inf, 1e300, 2**40, 10**400]),
        ("threshold", [-0.1, 1.1, math.nan]),
        ("workers", [-1, 100_000]),
        ("pixel_shift", [math.nan, -1e300]),
        ("every_n_epochs", [0, -1]),
        ("anything_else", [-1, math.inf]),
    ],
)
def test_what_no_setting_should_be_is_refused(name: str, values: list[Any]) -> None:
    assert [outside_bounds(name, value) for value in values].count(None) == 0


def test_a_number_out_of_bounds_is_told_with_its_setting() -> None:
    node = {"_target_": "dlcpose.side_heads.identity.identity_head", "_partial_": True, "radius": -3.0}
    with pytest.raises(ConfigError, match=r"^side_head.identity.radius: expected a number above 0, got -3"):
        Instantiator()({"identity": node}, "side_head")


@pytest.mark.parametrize(
    ("name", "value"), [("accumulate_grad_batches", 0), ("check_val_every_n_epoch", 0), ("log_every_n_steps", -1)]
)
def test_what_the_trainer_would_divide_by_is_no_zero(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"^trainer.{name}: expected at least"):
        check_types(Trainer, {name: value}, "trainer")


def test_a_name_may_be_a_number() -> None:
    check_types(DeepLabCutFrames, {"root": 20240101, "scorer": -20240101}, "dataset")
