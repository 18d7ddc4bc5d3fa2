"""An imported model is evaluated and trained on like any other."""

import json
from pathlib import Path

import pytest

import dlcpose
from dlcpose.importers.deeplabcut import read_model
from dlcpose.importers.imported import write_checkpoint
from tests.importers import layouts

pytestmark = pytest.mark.slow
DATA = ("dataset=synthetic", "dataset.frames=20", "dataset.height=64", "dataset.width=64")
SHORT = (
    "trainer.max_epochs=1",
    "datamodule.min_steps=1",
    "datamodule.batch_size=4",
    "augmentation=none",
    "logger=[csv]",
)


def test_it_is_evaluated_and_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlcpose.datasets.synthetic.frames import SyntheticFrames

    monkeypatch.chdir(tmp_path)
    names = list(SyntheticFrames(frames=1, height=64, width=64).skeleton.names)
    monkeypatch.setattr(layouts, "BODYPARTS", names)
    model = read_model(layouts.write(tmp_path / "model"))
    write_checkpoint(model, tmp_path / "model.ckpt")
    figures = dlcpose.evaluate(tmp_path / "model.ckpt", *DATA, run_dir=tmp_path / "evaluated")
    assert figures["images"] == 20
    # As the command that the import prints, on other data.
    overrides = [each for each in model.overrides if not each.startswith("dataset")]
    start = f"init_from.checkpoint={tmp_path / 'model.ckpt'}"
    run = dlcpose.train(*overrides, *DATA, *SHORT, start, run_dir=tmp_path / "run")
    taken = json.loads((run / "init_from.json").read_text())
    assert not taken["missing"]
    assert not taken["unexpected"]
    assert (run / "checkpoints" / "best.ckpt").is_file()
