"""`dlcpose import`: what it writes and says."""

import shlex
from pathlib import Path

import typer
from typer.testing import CliRunner

from dlcpose.cli.import_model import import_command
from dlcpose.predict import load
from dlcpose.structures.errors import DataError
from tests.importers import layouts


def test_import_writes_a_checkpoint_and_prints_next_steps(tmp_path: Path) -> None:
    app, output = typer.Typer(), tmp_path / "model.ckpt"
    app.command()(import_command)
    command = [str(layouts.write(tmp_path / "model")), "--output", str(output)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert load(output, device="cpu").skeleton.names == tuple(layouts.BODYPARTS)
    assert f"init_from.checkpoint={output}" in result.output
    assert f"predict --checkpoint {output}" in result.output
    # Its config names a project of another machine.
    assert result.output.count("dataset.root=PROJECT") == 2
    assert "dataset.shuffle" not in result.output
    assert isinstance(CliRunner().invoke(app, command).exception, DataError)  # what is there is not replaced unasked
    assert CliRunner().invoke(app, [*command, "--overwrite"]).exit_code == 0


def test_a_model_of_a_shuffle_is_evaluated_and_trained_on_with_the_frames_of_that_shuffle(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(import_command)
    model = layouts.write(tmp_path / "iteration-0" / "cageOct30-trainset80shuffle12")
    result = CliRunner().invoke(app, [str(model), "--output", str(tmp_path / "model.ckpt")])
    evaluation, training = (
        line for line in result.output.splitlines() if line.startswith(("  evaluate:", "  train on:"))
    )
    assert evaluation.endswith("dataset.root=PROJECT dataset.shuffle=12 dataset.fraction=0.8 frames=test")
    assert training.endswith(" split=stored dataset.shuffle=12 dataset.fraction=0.8")


def test_the_project_that_a_model_lies_in_is_the_one_to_evaluate_it_on(tmp_path: Path) -> None:
    app, project = typer.Typer(), tmp_path / "mice"
    app.command()(import_command)
    model = layouts.write(project / "dlc-models-pytorch" / "iteration-0" / "miceOct30-trainset80shuffle1")
    (project / "config.yaml").touch()
    result = CliRunner().invoke(app, [str(model), "--output", str(tmp_path / "model.ckpt")])
    assert result.output.count(f" dataset.root={project} ") == 2, result.output


def test_the_commands_that_it_prints_mean_what_they_say_in_a_shell(tmp_path: Path) -> None:
    app, output = typer.Typer(), tmp_path / "$(touch acted).ckpt"
    app.command()(import_command)
    result = CliRunner().invoke(app, [str(layouts.write(tmp_path / "model")), "--output", str(output)])
    commands = dict(line.strip().split(":", 1) for line in result.output.splitlines() if line.startswith("  "))
    assert shlex.split(commands["predict"])[3] == str(output)
    assert f"checkpoint={output}" in shlex.split(commands["evaluate"])
    assert f"init_from.checkpoint={output}" in shlex.split(commands["train on"])
