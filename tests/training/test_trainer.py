"""The trainer of a config: what Lightning would take and then do nothing with is refused."""

from pathlib import Path

import pytest

from dlcpose.instantiate import Instantiator
from dlcpose.structures.errors import ConfigError
from dlcpose.training.trainer import build_trainer
from tests.made_up_runs import option


@pytest.mark.parametrize("name", ["max_epochs", "max_steps"])
def test_a_run_that_would_train_nothing_is_refused(name: str, tmp_path: Path) -> None:
    settings = {**option("trainer", "cpu"), name: 0}
    config = {"run_dir": str(tmp_path), "name": "none", "seed": 0, "logger": {}, "callbacks": {}, "trainer": settings}
    with pytest.raises(ConfigError, match=rf"^trainer\.{name}=0"):
        build_trainer(config, Instantiator())
