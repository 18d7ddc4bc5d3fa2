"""An Optuna study that is killed and gone on with, by trainings that take no time."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlcpose.cli.hydra_main import replace_optuna_sweeper
from dlcpose.runs.sweep import Sweep, sweep_of
from dlcpose.structures.errors import ConfigError
from dlcpose.training import train as training
from tests.shells import reason, shell

SPACE = "optimizer.lr=tag(log, interval(1e-4, 1e-2))"
COMMAND = ("-m", "hydra/sweeper=optuna", "sweep.name=s", SPACE)


@pytest.fixture(autouse=True, scope="module")
def _optuna() -> None:
    """Imported where these tests are run, not wherever tests are collected: it takes seconds."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="an extra: pip install 'dlcpose[sweep]'")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, here: Path) -> list[dict[str, Any]]:
    """The configs that were trained: the error is least at a rate of 1e-3; a config that says so is killed or fails."""
    seen: list[dict[str, Any]] = []

    def quick(config: dict[str, Any]) -> float | list[float]:
        seen.append(config)
        if config["sweep"]["trial"] == 2 and (Path.cwd() / "kill").exists():
            raise KeyboardInterrupt
        if config["sweep"]["trial"] == 1:
            raise ValueError("no")
        rate = config["optimizer"]["lr"]
        error = abs(rate - 1e-3)
        return [error, rate] if isinstance(config["optimized_metric"], list) else error

    monkeypatch.setattr(training, "train_in_this_process", quick)
    return seen


def study_of(folder: Path) -> Any:
    import optuna

    return optuna.load_study(study_name="s", storage=f"sqlite:///{folder / 'study.db'}")


@pytest.mark.slow
def test_a_study_survives_a_kill_and_a_failure(trained: list[Any], here: Path) -> None:
    (here / "kill").touch()
    answer = shell("train.py", *COMMAND, "hydra.sweeper.n_trials=4")
    assert answer.code == 130  # KeyboardInterrupt: within a sweep it is what a kill leaves behind
    (here / "kill").unlink()
    assert [config["sweep"]["trial"] for config in trained] == [0, 1, 2]
    killed = trained[2]["optimizer"]["lr"]

    trained.clear()
    answer = shell("train.py", *COMMAND, "hydra.sweeper.n_trials=4")
    assert "2 trials done (1 of them failed), 2 to go" in answer.out
    assert [config["sweep"]["trial"] for config in trained] == [3, 4]
    # The trial that was killed is the first, in its own folder; the next is none that was suggested before.
    assert trained[0]["optimizer"]["lr"] == killed
    assert trained[0]["resume"] is not None
    rates = [trial.params["optimizer.lr"] for trial in study_of(here / "multirun/s").trials]
    assert len(set(rates)) == 4
    assert "3 done, 1 failed" not in answer.out  # it failed in the sweep before
    states = [trial.state.name for trial in study_of(here / "multirun/s").trials]
    assert states == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    best = yaml.safe_load((here / "multirun/s/optimization_results.yaml").read_text())
    assert best["best_value"] == pytest.approx(min(abs(rate - 1e-3) for rate in rates if rate != rates[1]))

    trained.clear()
    assert "4 trials done (1 of them failed), 0 to go" in shell("train.py", *COMMAND, "hydra.sweeper.n_trials=4").out
    assert trained == []

    for change, expected in (
        (
            "optimizer.lr=interval(1e-4, 1e-2)",
            "its search space has optimizer.lr=tag(log, interval(1e-4, 1e-2)), this ",
        ),
        (
            "head.sigma=interval(1, 3)",
            "its search space has no head.sigma, this command's has head.sigma=interval(1, 3)",
        ),
        (
            "optimized_metric=val/loss",
            "its optimized_metric is val/mean_error_px, this command's is val/loss. Give another sweep.name",
        ),
        (
            "hydra.sweeper.direction=maximize",
            "hydra.sweeper.direction: a sweep has to minimize val/mean_error_px, got ",
        ),
        (
            "optimized_metric=[val/loss,train/loss]",
            "its optimized_metric is val/mean_error_px, this command's is val/loss, train/loss.",
        ),
        ("hydra.sweeper.storage=sqlite:////nowhere/s.db", "the study cannot be opened (OperationalError: "),
    ):
        space = [] if change.startswith("optimizer.lr") else [SPACE]
        assert expected in reason(shell("train.py", *COMMAND[:-1], *space, change))
    assert trained == []


@pytest.mark.slow
def test_several_objectives(trained: list[Any], here: Path) -> None:
    two = "optimized_metric=[val/mean_error_px,val/oks_ap]"
    answer = shell("train.py", *COMMAND, two, "hydra.sweeper.n_trials=3")
    assert reason(answer).startswith("1 of 3 jobs failed: multirun/s/optimizer.lr-")
    assert [each.name for each in study_of(here / "multirun/s").directions] == ["MINIMIZE", "MAXIMIZE"]
    front = yaml.safe_load((here / "multirun/s/optimization_results.yaml").read_text())["solutions"]
    assert front
    assert all(len(solution["values"]) == 2 for solution in front)
    entries = [json.loads(path.read_text()) for path in (here / "multirun/s").glob("*/run.json")]
    done = [entry["optimized_metric"].keys() for entry in entries if entry["status"] == "finished"]
    assert done == [{"val/mean_error_px", "val/oks_ap"}] * 2


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("best.monitor=val/oks_ap", "hydra.sweeper.direction=minimize"), "has to maximize val/oks_ap, got minimize"),
        (
            ("optimized_metric=[val/loss,val/oks_ap]", "hydra.sweeper.direction=[minimize,minimize]"),
            "has to maximize val/oks_ap, got minimize",
        ),
        (("optimized_metric=[val/loss,val/oks_ap]", "hydra.sweeper.direction=minimize"), "expected one for each"),
        (("optimized_metric=val/shift_x_px",), "optimized_metric: val/shift_x_px is no figure that states"),
    ],
)
def test_a_direction_in_which_the_figure_is_worse_is_refused(
    trained: list[Any], here: Path, overrides: tuple[str, ...], said: str
) -> None:
    assert said in reason(shell("train.py", *COMMAND, *overrides))
    assert trained == []


def test_a_study_without_a_finished_trial_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(config: dict[str, Any]) -> float:
        raise ValueError("never")

    monkeypatch.setattr(training, "train_in_this_process", failing)
    answer = shell("train.py", *COMMAND, "hydra.sweeper.n_trials=2")
    assert reason(answer) == "2 of 2 jobs failed: ValueError: never"
    said = reason(shell("train.py", *COMMAND, "hydra.sweeper.n_trials=2"))
    assert said.startswith(
        "study s: 2 trials, all of which have failed, and hydra.sweeper.n_trials=2 leaves none to go."
    )


def prepared(*overrides: str) -> Sweep:
    """What a sweep is prepared to do, without doing it."""
    replace_optuna_sweeper()  # as each command does first
    found = sweep_of((*COMMAND, *overrides), "train")
    assert found is not None
    return found


def test_trials_of_one_study_differ_in_nothing_but_what_is_searched(here: Path) -> None:
    searched = ("head.sigma=choice(4, 8)", "loss=choice(mean_squared_error, located_cross_entropy)")
    prepared(*searched, "trainer.max_epochs=1")
    with pytest.raises(ConfigError, match=r"another config \(dataset\.frames: .* there, 30 here and 1 more\), so that"):
        prepared(*searched, "dataset.frames=30", "trainer.max_epochs=2")
    further = prepared(*searched, "trainer.max_epochs=1", "hydra.sweeper.n_trials=50", "hydra.sweeper.n_jobs=2")
    assert "hydra.sweeper.n_trials=50" in further.arguments
    elsewhere = (
        "datamodule.workers=3",
        "datamodule.cache_gb=1",
        "logger=none",
        "callbacks.progress=null",
        "trust=[json]",
    )
    assert "hydra.sweeper.n_trials=20" in prepared(*searched, "trainer.max_epochs=1", *elsewhere).arguments


def test_a_study_without_a_record_of_its_config_goes_on(here: Path) -> None:
    prepared()
    study = study_of(here / "multirun/s")
    study.set_user_attr("dlcpose", {key: value for key, value in study.user_attrs["dlcpose"].items() if key != "fixed"})
    assert "hydra.sweeper.n_trials=20" in prepared("trainer.max_epochs=2").arguments
