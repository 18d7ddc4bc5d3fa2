"""docs/experiments.md word for word, from a sweep to its comparison, and the command that makes a run again."""

import contextlib
import io
import json
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

import hydra
import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from dlcpose.cli.app import main
from dlcpose.config.folders import CONF
from dlcpose.reports.comparison_page import command_of
from dlcpose.runs.comparison import read_run
from dlcpose.runs.sweep import sweep_of
from tests.shells import REPOSITORY, SMALL, TINY, Answer, shell

pytestmark = pytest.mark.slow  # whole runs, each in processes of its own

PAGE = (REPOSITORY / "docs" / "experiments.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
# Launchers, and what has to be installed for their config; tests/runs/test_launchers.py runs jobs by them.
PLUGINS = {"parallel": "joblib", "slurm": "submitit", "ray_local": "ray", "ray_cluster": "ray"}
LAUNCHED = [command for command in COMMANDS if "hydra/launcher=" in command]
WALKED = [command for command in COMMANDS if command not in LAUNCHED]
# The backbone alone is replaced: the models of the page differ in their necks and heads too.
QUICK = (*SMALL[:-1], "evaluation.pictures=0", *TINY[:2])
FEWER = {
    "hydra/sweeper=": "hydra.sweeper.n_trials=2",
    "hparams_search=rates ": "hydra.sweeper.n_trials=2",
    "hparams_search=rates_grid": "hydra.sweeper.params.seed=0",
}
OF_THE_SITTING = {"images_per_s", "peak_memory_mb"}


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Answer]]:
    """The folder in which the page was followed from top to bottom, and what each command gave."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="an extra: pip install 'dlcpose[sweep]'")
    folder = tmp_path_factory.mktemp("walked")
    for name, content in re.findall(r"```yaml\n# (mylab/\S+)\n(.*?)```", PAGE, re.DOTALL):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        return folder, {command: followed(command) for command in WALKED}


def followed(command: str) -> Answer:
    """What a command gives, one that trains with less to do: an override that comes later wins."""
    program, *arguments = shlex.split(command, comments=True)
    if program == "dlcpose":
        found = [sorted(map(str, Path().glob(one))) if "*" in one else [one] for one in arguments]
        return in_this_process([path for paths in found for path in paths])
    assert program == "python", command
    return shell(*arguments, *QUICK, *(fewer for said, fewer in FEWER.items() if said in command))


def in_this_process(arguments: Sequence[str]) -> Answer:
    """`dlcpose ARGUMENTS...`."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patched.setattr(sys, "argv", ["dlcpose", *arguments])
        patched.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
    return Answer(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.mark.parametrize("command", WALKED)
def test_the_page_can_be_followed(command: str, walked: tuple[Path, dict[str, Answer]]) -> None:
    folder, answers = walked
    answer = answers[command]
    assert answer.code == 0, answer.err
    name = re.search(r"sweep\.name=(\S+)", command)
    if command.startswith("dlcpose"):
        assert (folder / answer.last_line).is_file()
    elif name is not None:
        jobs = 2 if re.search("hydra/sweeper=|hparams_search=", command) else 4
        assert f"sweep multirun/{name[1]}: {jobs} done" in answer.out
        assert len(list((folder / "multirun" / name[1]).glob("*/checkpoints/best.ckpt"))) == jobs


def test_search_writes_its_study_to_the_documented_place(walked: tuple[Path, dict[str, Answer]]) -> None:
    searches = [
        re.findall(r"sweep\.name=(\S+)", command)[0]
        for command in WALKED
        if re.search("hydra/sweeper=|hparams_search=", command) and "grid" not in command
    ]
    assert len(searches) == 3
    assert all((walked[0] / "multirun" / name / "study.db").is_file() for name in searches)


def test_experiments_as_files(walked: tuple[Path, dict[str, Answer]]) -> None:
    folder, _ = walked
    (run,) = (folder / "outputs" / "sharp").glob("*/*")
    assert yaml.safe_load((run / ".hydra" / "config.yaml").read_text())["head"]["sigma"] == 1.5
    assert len(list((folder / "multirun" / "rates_grid").glob("optimizer.lr-*__seed-0/run.json"))) == 3


@pytest.mark.parametrize("command", LAUNCHED)
def test_what_wants_other_machines_is_composed(command: str) -> None:
    launcher = re.findall(r"hydra/launcher=(\w+)", command)[0]
    plugin = f"hydra_plugins.hydra_{PLUGINS[launcher]}_launcher"
    pytest.importorskip(plugin, reason="an extra: pip install 'dlcpose[sweep,cluster]'")
    program, script, *arguments = shlex.split(command)
    assert (program, script) == ("python", "train.py")
    sweep = sweep_of(arguments, "train")
    assert sweep is not None
    assert [str(sweep.folder)] == [f"multirun/{name}" for name in re.findall(r"sweep\.name=(\S+)", command)]

    overrides = OverridesParser.create().parse_overrides([one for one in arguments if one != "-m"])
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        fixed = [str(override.input_line) for override in overrides if not override.is_sweep_override()]
        launcher = hydra.compose("train", fixed, return_hydra_config=True).hydra.launcher
    assert launcher["_target_"].startswith(f"{plugin}.")
    for key, value in re.findall(r"hydra\.launcher\.(\S+)=(\S+)", command):
        assert str(OmegaConf.select(launcher, key)) == value


@pytest.mark.parametrize("which", ["multirun/first/model-hrnet_w18__seed-1", "outputs/sharp/*/*"])
def test_the_printed_command_makes_a_run_again(
    which: str, walked: tuple[Path, dict[str, Answer]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = walked[0].glob(which)
    assert in_this_process(["compare", str(run), "--output", str(tmp_path / "compared")]).code == 0
    (entry,) = json.loads((tmp_path / "compared" / "comparison.json").read_text())["runs"]
    again = str(entry["again"])
    assert escape(again) in (tmp_path / "compared" / "comparison.html").read_text()

    monkeypatch.chdir(tmp_path)
    answer = shell(*shlex.split(again)[1:])
    assert answer.code == 0, answer.err
    (made,) = tmp_path.glob("outputs/*/*/*")
    weights, others = (
        torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for folder in (run, made)
    )
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert figures_of(made) == figures_of(run)


def figures_of(run: Path) -> dict[str, float]:
    content = json.loads((run / "evaluation" / "metrics.json").read_text())
    return {name: value for name, value in content.items() if name not in OF_THE_SITTING}


def test_what_hydra_left_tells_the_command_too(walked: tuple[Path, dict[str, Answer]], tmp_path: Path) -> None:
    run = walked[0] / "multirun" / "first" / "model-hrnet_w18__seed-1"
    shutil.copytree(run / ".hydra", tmp_path / ".hydra")
    assert command_of(read_run(tmp_path, "copy")) == command_of(read_run(run, "run"))
