"""A folder of config files of somebody else's: what it sets, runs, writes and asks for. Each attack has a canary file."""

import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from dlcpose.config.compose import compose
from dlcpose.structures.errors import ConfigError
from tests.shells import REPOSITORY, SMALL, TINY, python, reason, shell

EXPERIMENT = "# @package _global_\n"


@pytest.fixture
def lab(here: Path) -> Path:
    (here / "lab" / "experiment").mkdir(parents=True)
    (here / "victim").mkdir()
    (here / "victim" / "thesis.tex").write_text("thesis")
    (here / "canary.py").write_text(f"def run(*a, **k): open({str(here / 'it ran')!r}, 'w')\nrun()\n")
    return here / "lab"


def wrote(lab: Path, text: str, name: str = "experiment/x.yaml", head: str = EXPERIMENT) -> None:
    (lab / name).parent.mkdir(parents=True, exist_ok=True)
    (lab / name).write_text(head + text.replace("HERE", str(lab.parent)))


def unharmed(lab: Path) -> None:
    here = lab.parent
    assert not (here / "it ran").exists()
    assert sorted(path.name for path in here.iterdir()) == ["canary.py", "lab", "victim"]
    assert {path.name: path.read_text() for path in (here / "victim").iterdir()} == {"thesis.tex": "thesis"}


COMMAND = ("--config-dir", "lab", "experiment=x", *SMALL, *TINY)
ACTS = {
    "trust in the file": ("trust: [canary]\ncallbacks: {x: {_target_: canary.run}}\n", "trust"),
    "trust as a text": ("trust: canary\n", "trust"),
    "callbacks of Hydra's": ("hydra: {callbacks: {x: {_target_: canary.run}}}\n", "hydra.callbacks"),
    "a formatter": ("hydra: {job_logging: {formatters: {x: {(): canary.run}}}}\n", "hydra.job_logging"),
    "Hydra's own log": ("hydra: {hydra_logging: {handlers: {x: {class: canary.run}}}}\n", "hydra.hydra_logging"),
    "a log into a file": (
        "hydra: {job_logging: {handlers: {file: {filename: HERE/victim/thesis.tex}}}}\n",
        "hydra.job_",
    ),
    "a sweeper": ("hydra: {sweeper: {_target_: canary.run}}\n", "hydra.sweeper._target_"),
    "a launcher": ("hydra: {launcher: {_target_: canary.run}}\n", "hydra.launcher._target_"),
    "the environment": ("hydra: {job: {env_set: {PYTHONPATH: HERE}}}\n", "hydra.job.env_set"),
    "a folder above": ("hydra: {run: {dir: ../up}}\n", "hydra.run.dir"),
    "a folder elsewhere": ("hydra: {run: {dir: HERE/victim}}\n", "hydra.run.dir"),
    "a folder by another value": (
        "seed: 0\nname: x\nbest: {monitor: HERE/victim}\nhydra: {run: {dir: '${best.monitor}'}}\n",
        "hydra.run.dir",
    ),
    "a log elsewhere": ("hydra: {job: {name: ../../../../victim/thesis}}\n", "hydra.job.name"),
    "the working folder": ("hydra: {job: {chdir: true}}\n", "hydra.job.chdir"),
    "the run folder": ("run_dir: HERE/victim\n", "run_dir"),
    "another run": ("resume: HERE/victim/checkpoints/last.ckpt\n", "resume"),
    "a name with folders": ("name: ../../victim\n", "name"),
    "a name above": ("name: '..'\n", "name"),
    "a name with a line": ('name: "a\\nb"\n', "name"),
    "where checkpoints go": ("callbacks: {last: {path: HERE/victim/thesis.tex}}\n", "callbacks.last.path"),
    "where the best goes": ("callbacks: {best: {dirpath: HERE/victim}}\n", "callbacks.best.dirpath"),
    "a folder of the run's": ("callbacks: {last: {run_dir: HERE/victim}}\n", "callbacks.last.run_dir"),
    "where figures go": ("logger: {csv: {save_dir: HERE/victim}}\n", "logger.csv.save_dir"),
    "where Lightning writes": (
        "callbacks: {x: {_target_: pytorch_lightning.callbacks.ModelCheckpoint, dirpath: HERE/victim}}\n",
        "callbacks.x",
    ),
    "a server": (
        "logger: {x: {_target_: dlcpose.loggers.mlflow_logger.MlflowTracker, _partial_: true, experiment_name: a, "
        "tracking_uri: 'sqlite:///HERE/victim/a.db'}}\n",
        "logger.x.tracking_uri",
    ),
    "a database": (
        "callbacks: {x: {_target_: dlcpose.callbacks.trial_pruning.TrialPruning, monitor: val/loss, "
        "storage: 'sqlite:///HERE/victim/a.db', study: a, trial: 0}}\n",
        "callbacks.x.storage",
    ),
    "a database of the detector's": (
        "detector_stage: {callbacks: {x: {_target_: dlcpose.callbacks.trial_pruning.TrialPruning, monitor: val/loss, "
        "storage: 'sqlite:///HERE/victim/a.db', study: a, trial: 0}}}\n",
        "detector_stage.callbacks.x.storage",
    ),
    "an environment variable": ("name: '${oc.env:MY_TOKEN}'\n", "name"),
    "one by a resolver that is told its name": ("a: oc.env\nname: '${${a}:MY_TOKEN}'\n", "name"),
    "one within another": ("best: {monitor: \"${oc.select:x,${oc.decode:'${oc.env:MY_TOKEN}'}}\"}\n", "best.monitor"),
    "one in a folder's name": ("hydra: {run: {dir: 'outputs/${oc.env:MY_TOKEN}'}}\n", "hydra.run.dir"),
}


# From Python those that are refused as the config is composed are tried below, in a third of the time.
FROM_THE_SHELL = ("trust in the file", "a formatter", "a sweeper", "another run", "where checkpoints go", "a server")


@pytest.mark.parametrize(
    "act", [act if act in FROM_THE_SHELL else pytest.param(act, marks=pytest.mark.slow) for act in sorted(ACTS)]
)
def test_an_experiment_of_somebody_elses_does_no_harm(lab: Path, act: str) -> None:
    text, where = ACTS[act]
    wrote(lab, text)
    answer = shell("train.py", *COMMAND, MY_TOKEN="secret", PYTHONPATH=str(lab.parent))
    said = reason(answer)
    assert said.startswith(where)
    assert "secret" not in answer.out + answer.err
    # Where a part refuses its settings, Hydra has made the run folder already, as for any mistake in a config.
    shutil.rmtree(lab.parent / "outputs", ignore_errors=True)
    unharmed(lab)


@pytest.mark.parametrize(
    ("name", "text", "chosen"),
    [
        ("hydra/job_logging/x.yaml", "formatters: {x: {(): canary.run}}\n", "hydra/job_logging=x"),
        ("hydra/launcher/x.yaml", "_target_: canary.run\n", "hydra/launcher=x"),
        ("optimizer/x.yaml", "# @package hydra.callbacks.x\n_target_: canary.run\n", "optimizer=x"),
        ("optimizer/x.yaml", "# @package _global_\nhydra: {callbacks: {x: {_target_: canary.run}}}\n", "optimizer=x"),
        ("other/x.yaml", "callbacks: {x: {_target_: canary.run}}\n", "+other@hydra=x"),
    ],
)
def test_a_package_or_a_folder_is_no_way_around_it(lab: Path, name: str, text: str, chosen: str) -> None:
    wrote(lab, text, name, head="")
    said = reason(shell("train.py", "--config-dir", "lab", chosen, *SMALL, *TINY))
    assert said.startswith("hydra.")
    unharmed(lab)


def test_merges_that_hydra_takes_otherwise_are_refused(lab: Path) -> None:
    wrote(lab, "x: &x {lr: 1}\ny: &y {lr: 2, <<: *x}\noptimizer: {<<: *y}\n")
    assert re.search(r"x\.yaml: .*it merges .*: write its values out", reason(shell("train.py", *COMMAND)))


def test_an_option_that_chooses_another_is_looked_at_with_it(lab: Path) -> None:
    wrote(lab, "callbacks: {x: {_target_: canary.run}}\n", "other/evil.yaml", head="")
    wrote(lab, "defaults: [/other@hydra: evil]\nseed: 1\n")
    assert reason(shell("train.py", *COMMAND)).startswith("hydra.callbacks")
    unharmed(lab)


PARAMS = {
    "trust": "trust: '[canary]'\n      +callbacks.x._target_: canary.run",
    "Hydra's own": "hydra.job_logging.formatters.x: canary.run",
    "a search path": "hydra.searchpath: '[pkg://canary]'",
    "where it writes": "run_dir: HERE/victim",
    "what it goes on with": "resume: HERE/victim/checkpoints/last.ckpt",
}


@pytest.mark.parametrize(
    "kind", [kind if kind == "trust" else pytest.param(kind, marks=pytest.mark.slow) for kind in sorted(PARAMS)]
)
def test_a_sweep_of_somebody_elses_does_no_harm(lab: Path, kind: str) -> None:
    wrote(lab, f"hydra:\n  sweeper:\n    params:\n      {PARAMS[kind]}\n")
    said = reason(shell("train.py", "-m", *COMMAND, PYTHONPATH=str(lab.parent)))
    assert "hydra.sweeper.params" in said
    unharmed(lab)


@pytest.mark.slow
def test_each_job_of_a_sweep_is_looked_at(lab: Path) -> None:
    wrote(lab, "seed: 1\n", "experiment/good.yaml")
    wrote(lab, "hydra: {job_logging: {formatters: {x: {(): canary.run}}}}\n", "experiment/evil.yaml")
    answer = shell("train.py", "-m", "--config-dir", "lab", "experiment=good,evil", *SMALL, *TINY)
    assert "hydra.job_logging" in answer.err
    assert answer.code != 0
    assert not (lab.parent / "it ran").exists()


def test_a_first_config_of_somebody_elses_is_refused_before_it_is_read(lab: Path) -> None:
    wrote(lab, "hydra: {searchpath: ['pkg://canary']}\n", "evil.yaml", head="")
    for more in (
        ("--config-dir", "lab", "--config-name", "evil"),
        ("--config-path", str(lab), "--config-name", "evil"),
    ):
        answer = python(REPOSITORY / "train.py", *more, cwd=lab.parent, PYTHONPATH=f"{REPOSITORY}:{lab.parent}")
        assert reason(answer).startswith("--config-path, --config-name")
    assert reason(shell("train.py", "--experimental-rerun", "x.pickle")).startswith("--experimental-rerun")
    unharmed(lab)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 9)),
        "seed: 1" + ":00" * 100_000 + "\n",
        "a: " + "[" * 5_000 + "]" * 5_000 + "\n",
    ],
    ids=["laughs", "digits", "nested"],
)
def test_an_experiment_that_unfolds_is_refused_in_one_line(lab: Path, text: str) -> None:
    wrote(lab, text.replace("*a0", "*a"))
    assert "expected yaml" in reason(shell("train.py", *COMMAND))


def _doubled(form: str, leaf: str = "x") -> str:
    """Thirty values of which each refers twice to the next."""
    keys = [f"k{number}" for number in range(31)]
    return "".join(f"{key}: {form.replace('NEXT', after)}\n" for key, after in pairwise(keys)) + f"k30: {leaf}\n"


UNFOLDING = {
    "text": _doubled('"${NEXT}${NEXT}"'),
    "a text without characters": _doubled('"${NEXT}${NEXT}"', "''"),
    "mapping": _doubled('{x: "${NEXT}", y: "${NEXT}"}'),
    "list": _doubled('["${NEXT}", "${NEXT}"]'),
    "resolver": _doubled('"${oc.select:NEXT}${oc.select:NEXT}"'),
    "the name of a key": _doubled('"${oc.select:${NEXT}${NEXT}}"'),
    "what is not there": _doubled('{x: "${NEXT}", y: "${NEXT}"}', "${nowhere}"),
    "the run's name": _doubled('"${NEXT}${NEXT}"') + "name: ${k0}\n",
    "Hydra's": _doubled('"${NEXT}${NEXT}"') + "hydra: {job: {name: '${k0}'}}\n",
    "long": f"z: {'x' * 1_000_000}\ny: '{'${z}' * 3000}'\n",
    "wide": "z: [" + "x," * 3000 + "]\ny: [" + "'${z}'," * 900 + "]\nw: [" + "'${y}'," * 900 + "]\n",
    "many in one text": f"y: '{'${seed}' * 100_000}'\n",
    "a list within one": f"y: '${{oc.select:x,[{'1,' * 100_000}1]}}'\n",
    "deep": f"y: '{'${' * 9000}seed{'}' * 9000}'\n",
}


QUICK = ("text", "mapping", "long", "many in one text")


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in UNFOLDING]
)
def test_interpolations_that_stand_for_more_than_a_config_has_are_not_resolved(lab: Path, kind: str) -> None:
    wrote(lab, UNFOLDING[kind])
    with pytest.raises(
        ConfigError, match=r"expected at most \d+ characters|stand for more than \d+ characters"
    ) as refused:
        compose([f"hydra.searchpath=[file://{lab}]", "experiment=x"])
    assert "\n" not in str(refused.value)


def test_an_interpolation_that_does_not_parse_is_told(lab: Path) -> None:
    wrote(lab, "name: '${a'\n")
    with pytest.raises(ConfigError, match=r"full_key: name"):
        compose([f"hydra.searchpath=[file://{lab}]", "experiment=x"])


def test_a_node_in_place_of_an_option_is_not_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match=r"^optimizer.beta: no such key"):
        compose(["~backbone", "+backbone={_target_: canary.run}", "optimizer.beta=0.9"])


@pytest.mark.slow
def test_from_python_it_is_the_same(lab: Path) -> None:
    path = f"hydra.searchpath=[file://{lab}]"
    for text, where in ACTS.values():
        if where.startswith(("hydra", "trust", "run_dir", "resume", "name")):
            wrote(lab, text)
            with pytest.raises(ConfigError, match=rf"^{where}"):
                compose([path, "experiment=x"])
    wrote(lab, "seed: 7\n")
    assert compose([path, "experiment=x", "trust=[canary]"])["trust"] == ["canary"]


def test_what_is_harmless_is_taken(lab: Path) -> None:
    wrote(
        lab,
        "name: mine\nseed: 3\nbest: {monitor: val/loss}\nhydra:\n  run: {dir: 'results/${name}'}\n"
        "  sweeper: {params: {seed: '1,2'}}\n",
    )
    answer = shell("train.py", *COMMAND, "--cfg", "all")
    assert answer.code == 0, answer.err
    assert "dir: results/${name}" in answer.out


@pytest.mark.slow
def test_a_sweep_with_a_folder_of_options_runs(lab: Path) -> None:
    wrote(lab, "name: mine\noptimizer: {lr: 2.0e-3}\n")
    answer = shell("train.py", "-m", *COMMAND, "sweep.name=two", "seed=1,2", "trainer.limit_train_batches=1")
    assert answer.code == 0, answer.err
    assert len(list((lab.parent / "multirun" / "two").glob("*/checkpoints/best.ckpt"))) == 2


def test_overrides_of_the_command_are_trusted(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrote(lab, "seed: 3\n")
    monkeypatch.setenv("MY_DATA", "mice")
    said = compose(
        [f"hydra.searchpath=[file://{lab}]", "experiment=x", "name=${oc.env:MY_DATA}", "run_dir=somewhere"],
    )
    assert (said["name"], said["run_dir"], said["seed"]) == ("mice", str(lab.parent / "somewhere"), 3)


NAMES = ("..", ".", "a/b", "a\\\\b", "''", "a" * 300, "null", "[a]")


@pytest.mark.parametrize("name", ["../../..", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES)])
def test_a_name_is_that_of_one_folder(here: Path, name: str) -> None:
    assert reason(shell("train.py", f"name={name}", *SMALL, *TINY)).startswith("name: expected the name of a folder")
    assert not list(here.iterdir())
