"""What a resumed checkpoint says of the trainer is compared with the run's own before it is taken over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcpose.callbacks.resumed_state import ResumedState, check_kind
from dlcpose.runs.checkpoint_io import WholeFiles
from dlcpose.structures.errors import CheckpointError
from tests.made_up_runs import frames_of, run_of, tiny_config, trainer_of

State = dict[str, Any]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run after one of two epochs."""
    folder = tmp_path_factory.mktemp("stopped")
    pipeline, module = run_of(tiny_config(), frames_of(4))
    trainer = trainer_of(folder)
    trainer.fit(pipeline, datamodule=module)
    trainer.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt"


def go_on(folder: Path, checkpoint: Path) -> int:
    """The epochs that a run of two has after it was resumed."""
    pipeline, module = run_of(tiny_config(), frames_of(4))
    trainer = trainer_of(folder, max_epochs=2, callbacks=[ResumedState()], plugins=[WholeFiles(folder)])
    trainer.fit(pipeline, datamodule=module, ckpt_path=checkpoint, weights_only=True)
    return trainer.current_epoch


def group_of(state: State) -> State:
    group: State = state["optimizer_states"][0]["param_groups"][0]
    return group


CHANGES: dict[str, Callable[[State], Any]] = {
    "loops": lambda state: state.update(loops="all of them"),
    "loops.fit_loop": lambda state: state["loops"].update(fit_loop=[]),
    "loops.fit_loop.epoch_progress.total.ready": lambda state: state["loops"]["fit_loop"]["epoch_progress"][
        "total"
    ].update(ready="one"),
    "optimizer_states": lambda state: state.pop("optimizer_states"),
    "optimizer_states.0.param_groups": lambda state: state["optimizer_states"][0].update(param_groups=[]),
    "optimizer_states.0.param_groups.0.betas": lambda state: group_of(state).update(betas="none"),
    "optimizer_states.0.param_groups.0.lr": lambda state: group_of(state).update(lr=True),
    "optimizer_states.0.param_groups.0.params": lambda state: group_of(state)["params"].pop(),
    "lr_schedulers": lambda state: state.update(lr_schedulers=None),
    "lr_schedulers.0.step": lambda state: state["lr_schedulers"][0].update(step="never"),
    "lr_schedulers.0.last_epoch": lambda state: state["lr_schedulers"][0].update(last_epoch="first"),
}


@pytest.mark.parametrize("place", CHANGES)
def test_a_state_of_another_kind_than_the_runs_own_is_named(place: str, stopped: Path, tmp_path: Path) -> None:
    state = torch.load(stopped, weights_only=True)
    CHANGES[place](state)
    torch.save(state, tmp_path / "changed.ckpt")
    with pytest.raises(CheckpointError) as error:
        go_on(tmp_path, tmp_path / "changed.ckpt")
    assert str(error.value).startswith(f"resume: {place} of the checkpoint is not what this run keeps")


def test_a_run_goes_on_with_its_own_state_and_with_entries_of_other_versions(stopped: Path, tmp_path: Path) -> None:
    assert go_on(tmp_path, stopped) == 2
    state = torch.load(stopped, weights_only=True)
    group_of(state)["of_a_later_version"] = None
    del group_of(state)["foreach"]
    state["lr_schedulers"][0]["of_an_earlier_version"] = 1
    torch.save(state, tmp_path / "other.ckpt")
    assert go_on(tmp_path, tmp_path / "other.ckpt") == 2


def test_weights_alone_are_nothing_to_resume(stopped: Path, tmp_path: Path) -> None:
    state = torch.load(stopped, weights_only=True)
    del state["callbacks"]
    torch.save(state, tmp_path / "weights.ckpt")
    with pytest.raises(CheckpointError, match=r"init_from\.checkpoint="):
        go_on(tmp_path, tmp_path / "weights.ckpt")


@pytest.mark.parametrize(
    ("resumed", "own"),
    [(1, 2.5), (None, 1), ([1, (2, 3)], [0, [0, 0]]), ({"a": 1, "b": "new"}, {"a": 0, "c": {}}), (torch.ones(2), None)],
)
def test_what_is_of_one_kind_passes(resumed: object, own: object) -> None:
    check_kind(resumed, own, "state")


@pytest.mark.parametrize(
    ("resumed", "own"), [("1", 1), (1, "1"), (1, True), ([1], [1, 2]), (None, []), ({"a": {"b": []}}, {"a": {"b": 1}})]
)
def test_what_is_of_another_kind_does_not(resumed: object, own: object) -> None:
    with pytest.raises(CheckpointError, match="state"):
        check_kind(resumed, own, "state")
