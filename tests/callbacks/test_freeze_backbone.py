import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from dlcpose.callbacks.freeze_backbone import FreezeBackbone
from dlcpose.structures.errors import ConfigError
from tests.made_up_runs import frames_of, run_of, tiny_config, trainer_of

State = dict[str, Tensor]


class Epochs(lightning.Callback):
    """Keeps the weights at the start of each epoch, and after the last."""

    def __init__(self) -> None:
        self.states: list[State] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    on_train_end = on_train_epoch_start


def fitted(
    folder: Path, *callbacks: lightning.Callback, resume: Path | None = None, epochs: int = 3, **changes: Any
) -> list[State]:
    seen = Epochs()
    pipeline, module = run_of(tiny_config(**changes), frames_of(4), min_steps=2)
    kept = ModelCheckpoint(folder, filename="last", monitor=None, enable_version_counter=False)
    trainer = trainer_of(folder, max_epochs=epochs, callbacks=[*callbacks, seen, kept], enable_checkpointing=True)
    trainer.fit(pipeline, datamodule=module, ckpt_path=resume, weights_only=True)
    return seen.states


def changed(before: State, after: State, part: str) -> set[bool]:
    """Whether the learned weights and the running statistics of a part are others; `num_batches_tracked` counts too."""
    return {not torch.equal(value, after[name]) for name, value in before.items() if name.startswith(part)}


def test_the_backbone_waits_and_then_learns(tmp_path: Path) -> None:
    states = fitted(tmp_path, FreezeBackbone(epochs=2))
    for before, after in itertools.pairwise(states[:3]):
        assert changed(before, after, "backbone.") == {False}
        assert True in changed(before, after, "head.")
    assert True in changed(states[2], states[3], "backbone.")


def test_none_is_the_same_as_nothing(tmp_path: Path) -> None:
    with_it, without = fitted(tmp_path, FreezeBackbone(epochs=0)), fitted(tmp_path)
    assert all(torch.equal(value, without[-1][name]) for name, value in with_it[-1].items())


@pytest.mark.parametrize("stopped_before", [1, 2])
def test_stopped_and_resumed_it_ends_the_same(tmp_path: Path, stopped_before: int) -> None:
    class Killed(lightning.Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == stopped_before:
                raise KeyError("killed")

    straight = fitted(tmp_path / "straight", FreezeBackbone(epochs=2))
    with pytest.raises(KeyError):
        fitted(tmp_path, FreezeBackbone(epochs=2), Killed())
    resumed = fitted(tmp_path, FreezeBackbone(epochs=2), resume=tmp_path / "last.ckpt")
    assert all(torch.equal(value, resumed[-1][name]) for name, value in straight[-1].items())


def test_resumed_within_an_epoch_it_ends_the_same(tmp_path: Path) -> None:
    middle = tmp_path / "middle.ckpt"

    class Killed(lightning.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 1:  # of two in an epoch
                trainer.save_checkpoint(middle)
                raise KeyError("killed")

    straight = fitted(tmp_path / "straight", FreezeBackbone(epochs=1))
    with pytest.raises(KeyError):
        fitted(tmp_path, FreezeBackbone(epochs=1), Killed())
    resumed = fitted(tmp_path, FreezeBackbone(epochs=1), resume=middle)
    assert changed(straight[0], resumed[0], "backbone.") == {
        False
    }  # as the second epoch begins, the first that is seen
    assert all(torch.equal(value, resumed[-1][name]) for name, value in straight[-1].items())


def test_what_the_config_froze_stays_frozen(tmp_path: Path) -> None:
    backbone = {**tiny_config()["backbone"], "frozen": True}
    states = fitted(tmp_path, FreezeBackbone(epochs=1), backbone=backbone)
    assert changed(states[0], states[-1], "backbone.") == {False}


def test_several_devices_keep_gradients_until_they_are_agreed_on() -> None:
    pipeline, _ = run_of(tiny_config(), frames_of(4))
    frozen = FreezeBackbone(epochs=1)
    trainer: Any = SimpleNamespace(current_epoch=0, world_size=2)
    frozen.setup(trainer, pipeline, "fit")
    frozen.on_train_epoch_start(trainer, pipeline)
    for weight in pipeline.parameters():
        assert weight.requires_grad
        weight.grad = torch.ones_like(weight)
    frozen.on_before_optimizer_step(trainer, pipeline, torch.optim.SGD(pipeline.parameters()))
    assert all(weight.grad is None for weight in pipeline.backbone.parameters())
    assert all(weight.grad is not None for weight in pipeline.head.parameters())


def test_a_pipeline_without_a_backbone_is_refused() -> None:
    frozen = FreezeBackbone(epochs=1)
    trainer: Any = SimpleNamespace()
    detection: Any = SimpleNamespace(backbone=None)
    with pytest.raises(ConfigError, match="has no backbone"):
        frozen.setup(trainer, detection, "fit")
    with pytest.raises(ConfigError, match=r"callbacks\.freeze\.epochs"):
        FreezeBackbone(epochs=-1)
