"""Averages against a plain loop; what is kept is what was validated; stopped and resumed is the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from dlcpose.callbacks.collapse import CollapseWatch
from dlcpose.callbacks.pictures import PosePictures
from dlcpose.callbacks.weight_averaging import AveragedWeights, ExponentialMovingAverage, StochasticWeightAverage
from dlcpose.checkpoint import read_checkpoint, restore
from dlcpose.instantiate import Instantiator
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.structures.errors import ConfigError
from tests.made_up_runs import frames_of, option, run_of, tiny_config, trainer_of

State = dict[str, Tensor]
EPOCHS, STEPS = 4, 3  # of an epoch


class Weights(lightning.Callback):
    """Keeps the weights after each step."""

    def __init__(self) -> None:
        self.states: list[State] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.state_dict().items()})


class Killed(lightning.Callback):
    """Ends a run as a kill would, before an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise KeyError("killed")


def last_of(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="last", monitor=None, enable_version_counter=False)


def fitted(
    folder: Path, *callbacks: lightning.Callback, resume: Path | None = None, epochs: int = EPOCHS, **changes: Any
) -> tuple[PoseEstimator, lightning.Trainer]:
    pipeline, module = run_of(tiny_config(**changes), frames_of(4), min_steps=STEPS)
    trainer = trainer_of(folder, max_epochs=epochs, callbacks=[*callbacks, last_of(folder)], enable_checkpointing=True)
    trainer.fit(pipeline, datamodule=module, ckpt_path=resume, weights_only=True)
    return pipeline, trainer


def content(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    return loaded


def floats(state: State) -> State:
    return {name: value.double() for name, value in state.items() if value.is_floating_point()}


def test_the_exponential_average_is_that_of_a_plain_loop(tmp_path: Path) -> None:
    weights = Weights()
    fitted(tmp_path, weights, ExponentialMovingAverage(decay=0.5))
    expected = floats(weights.states[0])
    for count, state in enumerate(weights.states[1:], start=1):
        kept = min(0.5, (1 + count) / (10 + count))
        expected = {name: kept * expected[name] + (1 - kept) * value for name, value in floats(state).items()}
    saved = content(tmp_path / "last.ckpt")
    for name, value in floats(saved["state_dict"]).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7)
    for name, value in saved["current_model_state"].items():
        torch.testing.assert_close(value, weights.states[-1][name], rtol=0, atol=0)


def test_the_stochastic_average_is_the_mean_of_the_last_epochs(tmp_path: Path) -> None:
    weights = Weights()
    fitted(tmp_path, weights, StochasticWeightAverage(start=0.5))
    ends = [floats(weights.states[step]) for step in (3 * STEPS - 1, 4 * STEPS - 1)]
    for name, value in floats(content(tmp_path / "last.ckpt")["state_dict"]).items():
        torch.testing.assert_close(value, (ends[0][name] + ends[1][name]) / 2, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("made", [StochasticWeightAverage, ExponentialMovingAverage])
def test_what_has_no_mean_is_as_it_is_in_the_weights(made: type[AveragedWeights], tmp_path: Path) -> None:
    """A PAF graph's kept edges are true or false, batches are counted, distances are those of all training poses."""
    weights = Weights()
    loss = option("loss", "binary_cross_entropy")
    head = {
        **option("head", "part_affinity"),
        "channels": 16,
        "heatmap_loss": loss,
        "edges": option("head/edges", "all"),
    }
    average = StochasticWeightAverage(start=0.0) if made is StochasticWeightAverage else made()
    fitted(tmp_path, weights, average, head=head)
    saved = content(tmp_path / "last.ckpt")["state_dict"]
    whole = {name: value for name, value in saved.items() if not value.is_floating_point()}
    assert {torch.bool, torch.int64} <= {value.dtype for value in whole.values()}
    distances = {name: value for name, value in saved.items() if "distance_" in name}
    assert distances
    for name, value in (whole | distances).items():
        torch.testing.assert_close(value, weights.states[-1][name], rtol=0, atol=0)


def test_before_there_is_an_average_the_weights_themselves_are_kept(tmp_path: Path) -> None:
    weights = Weights()
    pipeline, _ = fitted(tmp_path, weights, StochasticWeightAverage(start=0.99), epochs=2)
    # The last epoch alone is averaged: its weights are the mean.
    for name, value in pipeline.state_dict().items():
        torch.testing.assert_close(value, weights.states[-1][name], rtol=0, atol=0)
    weights = Weights()
    killed = Killed(1)
    with pytest.raises(KeyError):
        fitted(tmp_path, weights, StochasticWeightAverage(start=0.99), killed, epochs=2)
    for name, value in content(tmp_path / "last.ckpt")["state_dict"].items():
        torch.testing.assert_close(value, weights.states[STEPS - 1][name], rtol=0, atol=0)


AVERAGES = [lambda: ExponentialMovingAverage(decay=0.9), lambda: StochasticWeightAverage(start=0.3)]


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("stopped_before", [3])
def test_stopped_and_resumed_it_ends_as_if_never_stopped(
    tmp_path: Path, average: Callable[[], AveragedWeights], stopped_before: int
) -> None:
    fitted(tmp_path / "straight", average())
    with pytest.raises(KeyError):
        fitted(tmp_path / "stopped", average(), Killed(stopped_before))
    fitted(tmp_path / "stopped", average(), resume=tmp_path / "stopped" / "last.ckpt")
    straight, resumed = (content(tmp_path / name / "last.ckpt") for name in ("straight", "stopped"))
    for part in ("state_dict", "current_model_state", "averaging_state"):
        assert straight[part].keys() == resumed[part].keys()
        for name, value in straight[part].items():
            assert torch.equal(resumed[part][name], value), (part, name)
    ours, theirs = (each["optimizer_states"][0]["state"] for each in (straight, resumed))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=0)
    learning = straight["current_model_state"]
    assert any(not torch.equal(value, learning[name]) for name, value in straight["state_dict"].items())


@pytest.mark.parametrize("average", AVERAGES)
def test_what_is_kept_is_what_was_validated_and_predicts(
    tmp_path: Path, average: Callable[[], AveragedWeights]
) -> None:
    _, trainer = fitted(tmp_path, average())
    logged = float(trainer.callback_metrics["val/loss"])
    again, module = run_of(tiny_config(), frames_of(4), min_steps=STEPS)
    again.load_state_dict(restore(read_checkpoint(tmp_path / "last.ckpt"), Instantiator()).state_dict())
    found = trainer_of(tmp_path).validate(again, datamodule=module, verbose=False)[0]["val/loss"]
    assert found == pytest.approx(logged, rel=1e-6)
    again.load_state_dict(content(tmp_path / "last.ckpt")["current_model_state"])
    other = trainer_of(tmp_path).validate(again, datamodule=module, verbose=False)[0]["val/loss"]
    assert other != pytest.approx(logged, rel=1e-4)


def test_pictures_are_of_the_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[State] = []
    monkeypatch.setattr(
        PosePictures,
        "_sheet",
        lambda self, trainer, pl_module: seen.append({k: v.clone() for k, v in pl_module.state_dict().items()}),
    )
    fitted(tmp_path, PosePictures(every_n_epochs=EPOCHS), ExponentialMovingAverage())
    for name, value in content(tmp_path / "last.ckpt")["state_dict"].items():
        assert torch.equal(seen[0][name], value)


def test_what_is_frozen_stays_as_it_is_to_the_bit(tmp_path: Path) -> None:
    backbone = {**tiny_config()["backbone"], "frozen": True}
    pipeline, _ = fitted(tmp_path, ExponentialMovingAverage(decay=0.7), backbone=backbone)
    fresh, _ = run_of(tiny_config(backbone=backbone), frames_of(4))
    for name, value in fresh.backbone.state_dict().items():
        assert torch.equal(pipeline.backbone.state_dict()[name], value), name


def test_a_collapsed_run_goes_back_with_its_average(tmp_path: Path) -> None:
    best = ModelCheckpoint(tmp_path, filename="best", monitor="val/mean_error_px", mode="min")
    watch, average = (
        CollapseWatch(monitor="val/mean_error_px", mode="min", patience=1),
        ExponentialMovingAverage(decay=0.5),
    )
    kept: dict[str, Any] = {}
    back: dict[str, State] = {}

    class Lost(lightning.Callback):
        """In the second epoch all that was learned is lost."""

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 1:
                kept.update(content(Path(best.best_model_path)))
            elif trainer.current_epoch == 2:
                assert average._average_model is not None
                back["current_model_state"] = {name: value.clone() for name, value in pl_module.state_dict().items()}
                averaged = average._average_model.module.state_dict()
                back["state_dict"] = {name: value.clone() for name, value in averaged.items()}

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.current_epoch == 1:
                watch.factor = 0.0  # whatever the figure, it is a collapse
                with torch.no_grad():
                    for weight in pl_module.parameters():
                        weight.zero_()

    fitted(tmp_path, Lost(), watch, average, best, epochs=3)
    assert watch.rolled_back == 1
    for part, state in back.items():
        assert all(torch.equal(value, kept[part][name]) for name, value in state.items()), part


@pytest.mark.parametrize(
    "made",
    [lambda: ExponentialMovingAverage(decay=1.0), lambda: StochasticWeightAverage(start=1.0)],
    ids=["ema", "swa"],
)
def test_shares_out_of_range_are_refused(made: Callable[[], AveragedWeights]) -> None:
    with pytest.raises(ConfigError, match="expected a share"):
        made()
