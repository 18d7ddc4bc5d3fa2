"""An imported model is evaluated and trained on like any other."""

import json
from pathlib import Path

import pytest

import dlcpose
from dlcpose.importers.deeplabcut import read_model
from dlcpose.importers.imported import write_checkpoint
from tests.importers import layouts
from tests.shells import SHORT

pytestmark = pytest.mark.slow
DATA = ("dataset=synthetic", "dataset.frames=24", "dataset.videos=2", "dataset.height=64", "dataset.width=64")


def test_it_is_evaluated_and_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlcpose.datasets.synthetic.frames import SyntheticFrames

    monkeypatch.chdir(tmp_path)
    names = list(SyntheticFrames(frames=1, height=64, width=64).skeleton.names)
    monkeypatch.setattr(layouts, "BODYPARTS", names)
    model = read_model(layouts.write(tmp_path / "model"))
    write_checkpoint(model, tmp_path / "model.ckpt")
    figures = dlcpose.evaluate(tmp_path / "model.ckpt", *DATA, run_dir=tmp_path / "evaluated")
    assert figures["images"] == 24
    # As the command that the import prints, on other data.
    overrides = [each for each in model.overrides if not each.startswith("dataset")]
    start = f"init_from.checkpoint={tmp_path / 'model.ckpt'}"
    run = dlcpose.train(*overrides, *DATA, *SHORT, start, run_dir=tmp_path / "run")
    taken = json.loads((run / "init_from.json").read_text())
    assert not taken["missing"]
    assert not taken["unexpected"]
    assert (run / "checkpoints" / "best.ckpt").is_file()
