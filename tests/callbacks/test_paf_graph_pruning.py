"""Limbs chosen from the data: the ones that tell animals apart, saved where they are evaluated and loaded."""

import csv
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from dlcpose.callbacks.paf_graph_pruning import PafGraphPruning
from dlcpose.datasets.base import LabeledFrames
from dlcpose.heads.part_affinity import PartAffinityHead
from dlcpose.pipelines.base import PoseEstimator, PoseMaps
from dlcpose.predict import load
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from tests.made_up_runs import frames_of, option, run_of, tiny_config, trainer_of
from tests.shells import SMALL, TINY, reason, shell

DATA = frames_of(6, animals=3, height=96, width=96, skeleton="mouse")


def config() -> dict[str, Any]:
    head = {**option("head", "part_affinity"), "heatmap_loss": option("loss", "binary_cross_entropy")}
    return tiny_config(head={**head, "deconvolutions": 0, "offsets": False}, metric=option("metric", "default"))


def fitted(
    folder: Path, data: LabeledFrames = DATA, *, misled: float = 0.0, **settings: Any
) -> tuple[PoseEstimator, Path]:
    """A pipeline after an epoch with the callback, and its checkpoint. misled: length of noise in every second field.

    Where it is above 0 the network's maps are the targets but for that noise, whatever the network found.
    """
    pipeline, module = run_of(config(), data)
    if misled:
        mislead(pipeline, misled)
    saving = ModelCheckpoint(folder, filename="best", monitor="val/loss", enable_version_counter=False)
    callbacks = [PafGraphPruning(run_dir=folder, **settings), saving]
    trainer_of(folder, enable_checkpointing=True, callbacks=callbacks).fit(pipeline, datamodule=module)
    return pipeline, folder / "best.ckpt"


def mislead(pipeline: PoseEstimator, length: float) -> None:
    """After training the maps are exact, but for the fields of every second edge."""
    seen: list[PoseBatch] = []
    normalized, forward = pipeline.normalized, pipeline.forward

    def noted(batch: PoseBatch) -> PoseBatch:
        seen[:] = [normalized(batch)]
        return seen[0]

    def exact(images: torch.Tensor) -> PoseMaps:
        if pipeline.training:
            return forward(images)
        maps = pipeline.head.encode(seen[0])
        rng = torch.Generator().manual_seed(len(images))
        maps.fields[:, ::2] = length * torch.randn(maps.fields[:, ::2].shape, generator=rng)
        return PoseMaps(maps, ())

    pipeline.normalized, pipeline.forward = noted, exact  # type: ignore[method-assign]


def kept_in(path: Path) -> torch.Tensor:
    kept: torch.Tensor = torch.load(path, weights_only=True)["state_dict"]["head.kept"]
    return kept


def test_limbs_whose_fields_mislead_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pipeline, path = fitted(tmp_path, misled=2.0)
    kept = kept_in(path)
    assert kept[1::2].sum() > 3 * kept[::2].sum()
    (said,) = [message for message in caplog.messages if "by the number of edges" in message]
    figures = {int(count): float(figure) for count, figure in re.findall(r"(\d+): ([\d.]+\d)", said)}
    assert max(figures) == len(kept)  # all of them are among what is compared
    assert min(figures) == len(pipeline.skeleton) - 1
    assert figures[int(kept.sum())] == max(figures.values()) > figures[len(kept)]
    with (tmp_path / "paf_graph.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [bool(int(row["kept"])) for row in rows] == kept.tolist()
    separable = np.array([float(row["separability"]) for row in rows])
    assert np.median(separable[1::2]) > 0.95 > 0.8 > np.median(separable[::2])
    names = pipeline.skeleton.names
    assert [(row["first"], row["second"]) for row in rows] == [(names[a], names[b]) for a, b in pipeline.head.edges]


def test_nothing_but_the_choice_is_changed_and_it_is_what_is_loaded(tmp_path: Path) -> None:
    plain, module = run_of(config(), DATA)
    saving = ModelCheckpoint(tmp_path / "plain", filename="best", monitor="val/loss")
    trainer_of(tmp_path, enable_checkpointing=True, callbacks=[saving]).fit(plain, datamodule=module)
    pipeline, path = fitted(tmp_path / "chosen", count=12)
    for name, value in plain.state_dict().items():  # what was in memory is there again
        torch.testing.assert_close(pipeline.state_dict()[name], value, rtol=0, atol=0)
    content, before = (torch.load(one, weights_only=True) for one in (path, tmp_path / "plain" / "best.ckpt"))
    assert set(content) == set(before)
    assert kept_in(path).sum() == 12
    for name, value in before["state_dict"].items():
        if name != "head.kept":
            torch.testing.assert_close(content["state_dict"][name], value, rtol=0, atol=0)
    head = load(path, device="cpu").pipeline.head
    assert isinstance(head, PartAffinityHead)
    assert torch.equal(head.kept, kept_in(path))
    assert sorted(file.name for file in (tmp_path / "chosen").iterdir()) == ["best.ckpt", "paf_graph.csv"]


def test_of_animals_that_are_alone_nothing_can_be_learned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, path = fitted(tmp_path, frames_of(4, animals=1, skeleton="mouse"))
    assert kept_in(path).all()
    assert "No training frame shows two animals" in caplog.text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"monitor": "val/loss"},
            "got 'val/loss', which does not depend on the PAF graph",
        ),
        ({"mode": "most"}, "mode min or max"),
        ({"tries": 1}, "tries of 2 or more"),
        ({"count": 0}, "count of 1 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, ValueError), match=said):
        fitted(tmp_path, **settings)


@pytest.mark.slow
def test_from_the_shell_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = (
        "model=bottom_up_resnet_18",
        "head/edges=all",
        "dataset.animals=2",
        "callbacks=[default,paf_graph_pruning]",
    )
    answer = shell("train.py", *model, *SMALL, *TINY, "callbacks.paf_graph_pruning.count=20")
    assert answer.code == 0, answer.err
    assert "20 of 105 edges kept." in answer.out + answer.err
    (run,) = Path("outputs").glob("*/*/*")
    assert kept_in(run / "checkpoints" / "best.ckpt").sum() == 20
    assert shell("evaluate.py", f"checkpoint={run}/checkpoints/best.ckpt", "evaluation.pictures=0").code == 0


def test_model_without_paf_graph_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = reason(shell("train.py", "model=resnet_18", "callbacks=[default,paf_graph_pruning]", *SMALL, *TINY))
    assert said.startswith("callbacks.paf_graph_pruning: HeatmapHead has no PAF graph to prune.")
