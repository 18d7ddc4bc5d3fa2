"""The batch that a device is given: what is chosen from the rates, how they are measured, and what follows."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.config.compose import compose
from dlcpose.structures.checkpoint_file import read_checkpoint_file
from dlcpose.training import batch_size as module
from dlcpose.training.batch_size import CANDIDATES, choose_batch, fastest_batch_size, measure_rates
from dlcpose.training.experiment import Stage, build_experiment
from dlcpose.training.trainer import build_trainer
from tests.shells import SMALL, TINY, Answer, shell

STEPS = ("trainer.limit_train_batches=2", "trainer.max_epochs=2", "logger=[csv]", "split.test=0")


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ([0.050, 0.050, 0.051], 32),  # a step takes as long however many frames it has
        ([0.050, 0.060, 0.110], 16),
        ([0.050, 0.099, 0.190], 8),  # busy with 8 already
        ([0.050, 0.099, 0.100], 8),
        ([0.050, 0.052], 16),  # no more fit into its memory
        ([0.050], 8),
        ([], 8),
    ],
)
def test_a_batch_grows_while_that_makes_a_gpu_faster(seconds: list[float], chosen: int) -> None:
    rates = {size: size / each for size, each in zip(CANDIDATES, seconds, strict=False)}
    assert fastest_batch_size(rates) == chosen


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=len(CANDIDATES)))
def test_no_smaller_batch_is_faster_than_the_chosen(rates: list[float]) -> None:
    by_size = dict(zip(CANDIDATES, rates, strict=False))
    chosen = fastest_batch_size(by_size)
    assert all(rate <= by_size[chosen] for size, rate in by_size.items() if size < chosen)


def stages_of(folder: Path, *overrides: str) -> tuple[Stage, ...]:
    config = compose([*SMALL, *TINY, *overrides, f"hydra.run.dir={folder}", "logger=[none]"])
    return build_experiment({**config, "run_dir": str(folder)}).stages


def stage_of(folder: Path, *overrides: str) -> Stage:
    (stage,) = stages_of(folder, *overrides)
    return stage


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        pytest.param(["model=top_down_resnet_18", *TINY], marks=pytest.mark.slow),
        ["model=bottom_up_resnet_18", *TINY],
    ],
)
def test_measuring_changes_nothing(overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_SPEEDUP", 0.0)  # all sizes are measured
    for stage in stages_of(tmp_path, *overrides):  # a detector is one of its own
        trainer = build_trainer(stage.config, stage.instantiate)
        before, drawn = copy.deepcopy(stage.model.state_dict()), torch.get_rng_state()
        rates = measure_rates(stage, trainer)
        assert list(rates) == list(CANDIDATES)
        assert all(rate > 0 for rate in rates.values())
        after = stage.model.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert torch.equal(drawn, torch.get_rng_state())


def test_what_does_not_fit_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = stage_of(tmp_path)
    trainer = build_trainer(stage.config, stage.instantiate)

    def fails(model: Any, frames: Any, trainer: Any) -> float:
        if frames.batch_size > 16:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return float(frames.batch_size)

    monkeypatch.setattr(module, "images_per_second", fails)
    assert measure_rates(stage, trainer) == {8: 8.0, 16: 16.0}

    def breaks(model: Any, frames: Any, trainer: Any) -> float:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(module, "images_per_second", breaks)
    with pytest.raises(RuntimeError, match="shapes"):
        measure_rates(stage, trainer)


def test_a_cpu_takes_eight_and_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "measure_rates", lambda *_: pytest.fail("measured"))
    stage = stage_of(tmp_path, "trainer=cpu")
    chosen = choose_batch(stage, build_trainer(stage.config, stage.instantiate))
    assert (chosen.size, chosen.rate_factor, chosen.reason) == (8, 1.0, None)
    stage = stage_of(tmp_path, "trainer=cpu", "datamodule.batch_size=16")
    chosen = choose_batch(stage, build_trainer(stage.config, stage.instantiate))
    assert (chosen.size, chosen.rate_factor) == (16, 1.0)  # what is stated is taken, with its rate


class _Gpu:
    type = "cuda"


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As if the CPU were a GPU that makes more images per second up to batches of 16; how often it was measured."""
    measured: list[int] = []

    def rates(stage: Stage, trainer: Any) -> dict[int, float]:
        measured.append(1)
        return {8: 100.0, 16: 180.0, 32: 190.0}

    monkeypatch.setattr(module, "measure_rates", rates)
    monkeypatch.setattr(module, "_device_of", lambda trainer: _Gpu())
    return measured


def weights(folder: Path) -> dict[str, Any]:
    state = read_checkpoint_file(folder / "checkpoints" / "last.ckpt")["state_dict"]
    assert isinstance(state, dict)
    return state


def trained(folder: str, *overrides: str) -> Answer:
    answer = shell("train.py", *SMALL, *TINY, *STEPS, f"hydra.run.dir={folder}", *overrides)
    assert answer.code == 0, answer.err
    return answer


def test_the_chosen_batch_is_that_batch_at_its_rate(here: Path, on_a_gpu: list[int]) -> None:
    chosen = trained("chosen")
    assert "batch: 16 frames, with which this GPU is busy: 100 images/s in batches of 8, 180 " in chosen.out
    assert "effective batch 16 (16 x 1 device x 1 accumulated), learning rate 0.00141421" in chosen.out
    assert "batch: 16 frames on each device" in (here / "chosen" / "environment.txt").read_text()
    assert len(on_a_gpu) == 1
    trained("stated", "datamodule.batch_size=16", f"optimizer.lr={1e-3 * 2**0.5}")
    one, other = weights(here / "chosen"), weights(here / "stated")
    assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.slow
def test_a_resumed_run_keeps_its_batch(here: Path, on_a_gpu: list[int]) -> None:
    unending = ("scheduler=constant", "augmentation=none")  # neither looks at how long the run is
    trained("begun", *unending, "trainer.max_epochs=1")
    assert "effective batch 16" in trained("begun", *unending, "resume=last").out
    assert len(on_a_gpu) == 1  # not for what is resumed
    trained("whole", *unending)
    one, other = weights(here / "begun"), weights(here / "whole")
    assert all(torch.equal(one[name], other[name]) for name in other)
