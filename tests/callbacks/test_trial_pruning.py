"""A study whose trials' figures are dictated: the hopeless one ends early, the others do not."""

import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as lightning
import torch
from torch.utils.data import DataLoader

from dlcpose.callbacks.trial_pruning import TrialPruning
from dlcpose.structures.errors import ConfigError
from tests.callbacks.test_collapse import Dictated
from tests.made_up_runs import trainer_of


@pytest.fixture(autouse=True, scope="module")
def optuna() -> Any:
    """Imported where these tests are run, not wherever tests are collected: it takes seconds."""
    return pytest.importorskip("optuna", reason="Optuna is an extra: pip install 'dlcpose[sweep]'")


@pytest.fixture
def study(optuna: Any, tmp_path: Path) -> Any:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(study_name="s", storage=f"sqlite:///{tmp_path / 'study.db'}")


def stored(folder: Path) -> Any:
    """The trials as another process sees them: the study that asked for them keeps its own copies."""
    import optuna

    return optuna.load_study(study_name="s", storage=f"sqlite:///{folder / 'study.db'}").trials


def trial_of(study: Any, folder: Path, figures: list[float], **settings: Any) -> tuple[TrialPruning, lightning.Trainer]:
    """Train a trial as a job of its own does, and tell the study what it reached."""
    trial = study.ask()
    callback = TrialPruning(
        **{
            **{"monitor": "val/error", "storage": f"sqlite:///{folder / 'study.db'}", "study": "s"},
            **{"trial": trial.number, "trials": 2, "epochs": 1},
            **settings,
        }
    )
    data = DataLoader(torch.zeros(2, 1))
    trainer = trainer_of(folder, max_epochs=len(figures), callbacks=[callback])
    trainer.fit(Dictated(figures), data, data)
    study.tell(trial, min(value for value in figures if math.isfinite(value)))
    return callback, trainer


def test_the_hopeless_trial_ends_and_the_others_do_not(study: Any, tmp_path: Path) -> None:
    for figures in ([9.0, 5.0, 3.0, 2.0], [9.5, 6.0, 3.5, 2.5]):
        callback, trainer = trial_of(study, tmp_path, figures)
        assert (callback.stopped, trainer.current_epoch) == (None, 4)
    callback, trainer = trial_of(study, tmp_path, [30.0, 29.0, 28.0, 27.0])
    # Not in its first epoch, whatever it looks like.
    assert (callback.stopped, trainer.current_epoch) == (2, 2)
    assert stored(tmp_path)[2].user_attrs == {"pruned": 2}
    assert stored(tmp_path)[2].intermediate_values == {0: 30.0, 1: 29.0}
    callback, _ = trial_of(study, tmp_path, [8.0, 4.0, 2.0, 1.0])
    assert callback.stopped is None


def test_nothing_is_ended_before_enough_trials_or_for_want_of_a_figure(study: Any, tmp_path: Path) -> None:
    for figures in ([1.0, 1.0], [50.0, 50.0], [math.nan, 60.0]):
        callback, _ = trial_of(study, tmp_path, figures, trials=3)
        assert callback.stopped is None
    assert stored(tmp_path)[2].intermediate_values == {1: 60.0}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"trial": None}, "callbacks=pruning: this run is no trial of a study. Sweep with `-m hydra/sweeper=optuna`"),
        ({"storage": None}, "this run is no trial of a study"),
        ({"monitor": ["a", "b"]}, "Optuna prunes by one objective, the study has 2. Leave it out."),
    ],
)
def test_run_without_a_trial_is_refused(settings: dict[str, Any], expected: str, study: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        trial_of(study, tmp_path, [1.0], **settings)
    assert expected in str(raised.value)
