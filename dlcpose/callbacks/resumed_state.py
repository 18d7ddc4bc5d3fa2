"""Compare what a resumed checkpoint says of the trainer and its optimizers with this run's own, before it is taken over."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from dlcpose.structures.data_files import shown
from dlcpose.structures.errors import CheckpointError

RESTORED = ("loops", "optimizer_states", "lr_schedulers")  # what Lightning restores besides weights and callbacks


class ResumedState(Callback):
    """Refuses counters, settings of optimizers and states of schedulers of another kind than the run keeps itself.

    Lightning and torch believe them: those of a damaged or a stranger's file end in errors of theirs, some of them in the
    middle of a step, and a scheduler's may take the place of its methods. Raises CheckpointError.
    """

    def __init__(self) -> None:
        self.resumed: Mapping[str, Any] | None = None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.resumed = {name: checkpoint.get(name) for name in RESTORED}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare: the optimizers are there, and nothing is restored in them yet."""
        resumed, self.resumed = self.resumed, None
        if resumed is None:
            return
        check_kind(resumed["loops"], {"fit_loop": trainer.fit_loop.state_dict()}, "loops")
        groups = [{"param_groups": optimizer.state_dict()["param_groups"]} for optimizer in trainer.optimizers]
        check_kind(resumed["optimizer_states"], groups, "optimizer_states")
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        check_kind(resumed["lr_schedulers"], [scheduler.state_dict() for scheduler in schedulers], "lr_schedulers")
        for place, (scheduler, state) in enumerate(zip(schedulers, resumed["lr_schedulers"], strict=True)):
            for name in state.keys() - scheduler.state_dict().keys():
                if hasattr(scheduler, name):  # such as `step`, which torch would replace
                    raise _unlike(f"lr_schedulers.{place}.{name}", "no such entry", state[name])


def check_kind(resumed: Any, own: Any, where: str) -> None:
    """Raises CheckpointError where a resumed value is of another kind than a run's own: lists of one length, and what
    both have of dictionaries, entry by entry.

    None stands for a value that is not there yet, in both. where: the value's place, for the error.
    """
    if own is None or resumed is None:
        if isinstance(own, Mapping | Sequence) and not isinstance(own, str):
            raise _unlike(where, _kind(own), resumed)
    elif isinstance(own, Mapping):
        if not isinstance(resumed, Mapping):
            raise _unlike(where, _kind(own), resumed)
        for name in own.keys() & resumed.keys():
            check_kind(resumed[name], own[name], f"{where}.{name}")
    elif isinstance(own, list | tuple):
        if not isinstance(resumed, list | tuple) or len(resumed) != len(own):
            raise _unlike(where, _kind(own), resumed)
        for place, (there, here) in enumerate(zip(resumed, own, strict=True)):
            check_kind(there, here, f"{where}.{place}")
    elif isinstance(own, bool | Real | str) and _kind(resumed) != _kind(own):
        raise _unlike(where, _kind(own), resumed)


def _kind(value: Any) -> str:
    """What a value is, in an error."""
    if isinstance(value, Mapping):
        return "a dictionary"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    kinds = {bool: "true or false", Real: "a number", str: "a text"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), type(value).__name__)


def _unlike(where: str, expected: str, got: Any) -> CheckpointError:
    return CheckpointError(
        f"resume: {where} of the checkpoint is not what this run keeps: expected {expected}, got {shown(got)}. Start a new "
        "run from its weights: init_from.checkpoint=PATH in place of resume=PATH."
    )
