"""Starting up, and what the shell is told when a config does not compose."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode
from omegaconf import DictConfig

from dlcpose.cli.hydra_main import overrides_last
from dlcpose.config import unknown_names
from dlcpose.config.compose import compose
from dlcpose.config.messages import explain
from dlcpose.structures.errors import ConfigError, DataError
from tests.shells import REPOSITORY, SMALL, Answer, python, reason, shell

HEAVY = ("torch", "torchvision", "timm", "pytorch_lightning", "albumentations", "pandas", "matplotlib")


def modules_after(statement: str, cwd: Path) -> tuple[set[str], Answer]:
    """Which of the heavy packages a statement imports, in a fresh process, and what it printed."""
    program = f"""
import atexit, json, sys
atexit.register(lambda: print(json.dumps([name for name in {HEAVY} if name in sys.modules]), file=sys.stderr))
{statement}
"""
    answer = python("-c", program, cwd=cwd)
    return set(json.loads(answer.err.splitlines()[-1])), answer


def script(name: str, *arguments: str) -> str:
    return (
        f"import runpy; sys.argv = {[name, *arguments]}; "
        f"runpy.run_path({str(REPOSITORY / name)!r}, run_name='__main__')"
    )


@pytest.mark.parametrize("name", ["train.py", "evaluate.py"])
def test_help_lists_groups_and_options_and_imports_nothing_heavy(name: str, tmp_path: Path) -> None:
    imported, answer = modules_after(script(name, "--help"), tmp_path)
    assert (answer.code, imported) == (0, set())
    groups = [folder for folder in (REPOSITORY / "conf").iterdir() if folder.is_dir() and folder.name != "hydra"]
    for folder in groups:
        assert f"{folder.name}: {', '.join(sorted(file.stem for file in folder.glob('[!_]*.yaml')))}" in answer.out
    if name == "train.py":
        assert re.search(r"^hydra/launcher: .*parallel", answer.out, re.MULTILINE)
        assert re.search(r"^hydra/sweeper: .*optuna", answer.out, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("train.py", ("--cfg", "job"), "_target_: dlcpose.heads.heatmap.HeatmapHead"),
        ("train.py", ("--cfg", "job", "model=dekr_w32"), "_target_: dlcpose.heads.dekr.DekrHead"),
        ("evaluate.py", ("--cfg", "job", "checkpoint=best.ckpt"), "checkpoint: best.ckpt"),
    ],
)
def test_the_config_is_shown_and_nothing_heavy_imported(
    name: str, arguments: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    imported, answer = modules_after(script(name, *arguments), tmp_path)
    assert (answer.code, imported) == (0, set())
    assert expected in answer.out
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    imported, answer = modules_after("import dlcpose; dir(dlcpose)", tmp_path)
    assert (answer.code, imported) == (0, set())


def slow(arguments: list[str], expected: str) -> Any:
    return pytest.param(arguments, expected, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["model=resnet_19"], "model=resnet_19: no such option. Nearest: resnet_18"),
        (["modle=resnet_18"], "modle: no such group or key. Nearest: model"),
        (["trainer.max_epoch=3"], "trainer.max_epoch: no such key in this config. Nearest: trainer.max_epochs"),
        (["hydra.searchpath=[file:///nowhere]"], "/nowhere: expected a folder of options"),
        (
            ["dataset.root=."],
            "dataset.root: no such key in this config. It is one with dataset=coco or ",
        ),
        (["detector=null"], "detector: expected the name of an option. There are: centernet, "),
        (["optimizer.lr=1", "debug=null"], "debug: expected the name of an option. There are: anomaly, "),
        slow(["optimizer.lr=1", "hydra/launcher=null"], "hydra/launcher: expected the name of an option."),
        (["backbone=timm"], "backbone.name must be given: add backbone.name=... to the command."),
        (
            ["model=top_down_resnet_18", "detector.backbone=timm", "detector.backbone.name=resnet18"],
            "detector.backbone: expected a part, got the name of an option. Choose it with backbone@detector.backbone=timm.",
        ),
        slow(
            ["model=bottom_up_resnet_18", "head.edges=all", "head.edges.neighbors=3"],
            "head.edges: expected a part, got the name of an option. Choose it with head/edges=all.",
        ),
        # The same of other groups; what is near to a key takes a composition for each option of its group.
        slow(["optimizer=adamm"], "optimizer=adamm: no such option. Nearest: adam, adamw."),
        slow(["experiment=openfeild"], "experiment=openfeild: no such option. Nearest: openfield"),
        slow(["callbacks=[checkpiont]"], "callbacks=checkpiont: no such option. Nearest: checkpoint."),
        slow(["optimiser=adam"], "optimiser: no such group or key. Nearest: optimizer"),
        slow(["optimizer.lrr=1"], "optimizer.lrr: no such key in this config. Nearest: optimizer.lr"),
        (
            ["trainer.limit_train_batches=6"],
            "trainer.limit_train_batches: an argument of Lightning's Trainer that this config does not set. "
            "Add it with a plus: +trainer.limit_train_batches=6.",
        ),
        slow(["neck=identity", "neck.levle=0"], "neck.levle: no such key in this config. Nearest: neck.level"),
        slow(
            ["callbacks.swa.start=0.9"],
            "callbacks.swa.start: no such key in this config. It is one with weight_averaging=swa.",
        ),
        slow(
            ["callbacks.ema.decai=0.9"],
            "callbacks.ema.decai: no such key in this config. Nearest: callbacks.ema.decay",
        ),
        slow(["unlabeled/losses=nne"], "unlabeled/losses=nne: no such option. Nearest: none."),
        slow(
            ["unlabeled/losses=none"], "unlabeled/losses: no such group in this config. It is one with unlabeled=video."
        ),
        slow(
            ["hydra.sweeper.n_trails=3"],
            "hydra.sweeper.n_trails: no such key in this config. There are: hydra.sweeper.",
        ),
        slow(["hydra/launcher=ray_nowhere"], "hydra/launcher=ray_nowhere: no such option. Nearest: ray_"),
        (["resnet_50"], "resnet_50: expected KEY=VALUE, got no `=`. Write backbone=resnet_50 or model=resnet_50."),
        (["best.ckpt"], "best.ckpt: expected KEY=VALUE, got no `=`. Write init_from.checkpoint=best.ckpt."),
        (["/"], "/: expected KEY=VALUE, got no `=`. A data set is dataset=deeplabcut dataset.root=/, or another"),
        (
            ["~callbacks"],
            "~callbacks: callbacks cannot be taken out. Name the options to keep (by default callbacks=[default]), or none: "
            "callbacks=[].",
        ),
        slow(["hed=heatmap"], "hed: no such group or key. Nearest: head, seed"),
        slow(["model="], "model=: no such option. `--help` and `--cfg job` show what there is."),
        slow(["~pictures"], "pictures: no such group or key. Nearest: callbacks.pictures"),
        slow(["+seed=3"], "seed: it is there already"),
        slow(["+experiment=lab/openfeild"], "experiment=lab/openfeild: no such option."),
        slow(["dataset=deeplabcut"], "dataset.root must be given: add dataset.root=... to the command."),
    ],
)
def test_misspelled_names_suggest_the_nearest(arguments: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(expected)}"):
        compose(arguments)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("head.sharpnes", "There are: head.channels, head.offsets, head.offset_radius."),
        ("head.offset_radus", "Nearest: head.offset_radius, head.offsets."),
        ("head.targets", "There are: head.channels, head.offsets, head.offset_radius."),
        ("haed.channels", "Nearest: head.channels"),
    ],
)
def test_keys_that_are_suggested_are_settings_beside(name: str, expected: str) -> None:
    keys = ["head", "head._target_", "head._partial_", "head.channels", "head.offsets", "head.offset_radius", "seed"]
    assert unknown_names._nearest_key(name, keys).startswith(expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["optimizer.lrr=1"], "optimizer.lrr: no such key in this config. Nearest: optimizer.lr"),
        (["-m", "model=resnet_18,resnet_19"], "model=resnet_19: no such option. Nearest: resnet_18"),
        (["seed==3"], "seed==3: seed has a value"),
        (["--config-dir", "nowhere", "experiment=mine"], "{here}/nowhere: expected a folder of options (--config-dir"),
    ],
)
def test_the_shell_prints_them_in_one_line(arguments: list[str], expected: str, here: Path) -> None:
    assert reason(shell("train.py", *arguments)).startswith(expected.format(here=here))
    assert not list(here.rglob("checkpoints"))


@pytest.mark.slow
def test_options_of_the_users_own_folder_are_named_too(here: Path) -> None:
    (here / "mylab" / "experiment").mkdir(parents=True)
    (here / "mylab" / "experiment" / "mine.yaml").write_text("# @package _global_\nname: mine\n")
    answer = shell("train.py", "--config-dir", "mylab", "experiment=mien")
    assert reason(answer) == "experiment=mien: no such option. Nearest: mine."
    answer = shell("train.py", "--config-dir", "mylab", "experiment=mine", "optimizer.lrr=1")
    assert reason(answer).startswith("optimizer.lrr: no such key in this config. Nearest: optimizer.lr")


def test_evaluate_names_its_own_keys(here: Path) -> None:
    answer = shell("evaluate.py", "checkpoint=any.ckpt", "dataset.root=.")
    assert re.search(r"It is one with dataset=coco.*dataset=deeplabcut", reason(answer))
    assert reason(shell("evaluate.py")) == "checkpoint must be given: add checkpoint=... to the command."
    assert reason(shell("evaluate.py", "checkpont=a")).startswith(
        "checkpont: no such group or key. Nearest: checkpoint"
    )
    assert reason(shell("evaluate.py", "checkpoint=a", "+frame=val")).startswith(
        "frame: nothing reads this key. Nearest: frames"
    )


def compositions(monkeypatch: pytest.MonkeyPatch) -> list[RunMode]:
    """What for Hydra composes a whole config, as it does."""
    seen, compose_all = [], ConfigLoaderImpl._load_configuration_impl

    def composed(loader: ConfigLoaderImpl, *arguments: Any, run_mode: RunMode, **settings: Any) -> DictConfig:
        seen.append(run_mode)
        return compose_all(loader, *arguments, run_mode=run_mode, **settings)

    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", composed)
    return seen


def test_a_command_composes_its_config_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = compositions(monkeypatch)
    arguments = ("checkpoint=gone.ckpt", "run_dir=val")
    assert "gone.ckpt: no such checkpoint" in reason(shell("evaluate.py", *arguments))
    assert seen == [RunMode.MULTIRUN]
    assert "seed=1,2" in reason(shell("train.py", "seed=1,2"))  # several values of a key, but no sweep


def test_a_choice_that_a_folder_leaves_open_is_asked_for(here: Path) -> None:
    (here / "lab" / "diet").mkdir(parents=True)
    (here / "lab" / "diet" / "hay.yaml").write_text("name: hay")
    (here / "lab" / "experiment").mkdir()
    (here / "lab" / "experiment" / "fed.yaml").write_text("# @package _global_\ndefaults:\n- /diet: ???")
    assert "diet" in reason(shell("train.py", "--config-dir", "lab", "experiment=fed"))


@pytest.mark.parametrize(("arguments", "environment"), [(["--debug"], {}), ([], {"HYDRA_FULL_ERROR": "1"})])
def test_debug_shows_the_traceback(arguments: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    answer = python(REPOSITORY / "train.py", "model=resnet_19", *arguments, cwd=tmp_path, **environment)
    assert answer.code != 0
    assert "Traceback (most recent call last)" in answer.err
    assert "MissingConfigException" in answer.err


def test_without_it_there_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    answer = python(REPOSITORY / "train.py", "model=resnet_19", cwd=tmp_path)
    assert answer.code == 1
    assert answer.out == ""
    assert answer.err.splitlines() == [
        "dlcpose: model=resnet_19: no such option. Nearest: resnet_18, resnet_101, resnet_50."
    ]


def test_a_reader_that_closes_the_pipe_is_no_error(tmp_path: Path) -> None:
    program = [sys.executable, str(REPOSITORY / "train.py"), "--help"]
    with subprocess.Popen(program, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_overrides_may_stand_on_both_sides_of_an_option() -> None:
    arguments = ["model=dekr_w32", "~callbacks.pictures", "-m", "--config-dir", "mylab", "optimizer.lr=1e-3,3e-4"]
    expected = ["-m", "--config-dir", "mylab", "model=dekr_w32", "~callbacks.pictures", "optimizer.lr=1e-3,3e-4"]
    assert overrides_last(arguments) == expected
    assert overrides_last(["--config-dir=mylab", "+a=1"]) == ["--config-dir=mylab", "+a=1"]


def test_a_folder_of_options_may_have_an_equals_sign_in_its_name() -> None:
    given = ["experiment=mine", "--config-dir", "lab/lr=0.1", "-m", "seed=0,1"]
    assert overrides_last(given) == ["--config-dir", "lab/lr=0.1", "-m", "experiment=mine", "seed=0,1"]


def test_worker_errors_lose_their_traceback() -> None:
    wrapped = DataError(
        "Caught DataError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "datasets/base.py", line 1, in f\n    raise DataError(\n'
        "dlcpose.structures.errors.DataError: a.png: expected an image. Replace the file.\n"
    )
    assert explain(wrapped, "train") == "a.png: expected an image. Replace the file."
    assert explain(ZeroDivisionError("ours"), "train") is None


@pytest.mark.slow  # as tests/runs/test_sweep.py
def test_failed_sweep_job_is_reported_with_its_reason(here: Path) -> None:
    answer = shell("train.py", *SMALL, "-m", "seed=x,y")
    (sweep,) = (here / "multirun").glob("*/*")
    said = "seed: expected a whole number from 0 to below 2³², got '{}'."
    assert (
        reason(answer)
        == f"2 of 2 jobs failed: {sweep.relative_to(here)}/0: {said.format('x')} (the others are listed above)"
    )
    assert f"failed: 1: {said.format('y')}" in answer.out
    assert "Error executing job with overrides: [" in answer.err
    assert "'seed=x'" in answer.err


def test_a_run_whose_output_is_closed_ends_without_a_word(tmp_path: Path) -> None:
    arguments = [sys.executable, str(REPOSITORY / "train.py"), *SMALL, "hydra.run.dir=run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    reading, writing = os.pipe()
    os.close(reading)  # `| head` that has read enough
    with os.fdopen(writing, "w") as closed:
        done = subprocess.run(
            arguments, cwd=tmp_path, env=environment, stdout=closed, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (141, b"")
