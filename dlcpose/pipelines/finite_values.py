"""Check that losses and weights are finite, and end a training otherwise, before its checkpoints are overwritten.

Predictions of what is not are none: the maps of a model that predicts are checked, too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dlcpose.pipelines.data_statistics import data_statistics
from dlcpose.structures.errors import CheckpointError, DlcposeError
from dlcpose.structures.printable import printable

EVERY = 20  # steps between two checks of a GPU's losses, each of which synchronizes
MAX_NAMED = 8  # images in a message
MAX_OUTPUT = 1e6  # of a network, as large as a coordinate may be: float16 holds no more than 65,504


class DivergedError(DlcposeError):
    """A training whose loss or weights are no longer finite."""


class _Step(NamedTuple):
    number: int
    losses: dict[str, Tensor]
    keys: Sequence[str]


class FiniteLosses:
    """Raises DivergedError, with the images of the batch, for a loss that is not finite.

    On the CPU at once; elsewhere after some steps, and before anything is saved: `check`.
    """

    def __init__(self) -> None:
        self._waiting: list[_Step] = []

    def add(self, number: int, losses: Mapping[str, Tensor], keys: Sequence[str]) -> None:
        """Take the losses of a training step, detached."""
        self._waiting.append(_Step(number, dict(losses), keys))
        if len(self._waiting) >= EVERY or all(loss.device.type == "cpu" for loss in losses.values()):
            self.check()

    def check(self) -> None:
        """Check all losses since the last call."""
        steps, self._waiting = self._waiting, []
        if not steps or bool(
            torch.stack([loss.float() for step in steps for loss in step.losses.values()]).isfinite().all()
        ):
            return
        step = next(step for step in steps if not all(bool(loss.isfinite()) for loss in step.losses.values()))
        name, loss = next((name, loss) for name, loss in step.losses.items() if not bool(loss.isfinite()))
        named = ", ".join(printable(key, max_length=120) for key in step.keys[:MAX_NAMED])
        more = f" and {len(step.keys) - MAX_NAMED} more" if len(step.keys) > MAX_NAMED else ""
        raise DivergedError(
            f"training: {name} is {float(loss):g} at step {step.number}, whose batch holds {named}{more}. The run ends here, "
            "and its checkpoints are as they were before. Lower optimizer.lr, or look at these images and their labels "
            "(dlcpose inspect)."
        )


def first_not_finite(pipeline: nn.Module, weights: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor that is not finite, None where all are; heads' statistics of the data may be infinite."""
    kept = data_statistics(pipeline)
    for name, value in weights.items():
        if value.is_floating_point() and name not in kept and not bool(value.isfinite().all()):
            return name
    return None


def check_outputs(outputs: Any, model: str) -> None:
    """Raises CheckpointError for outputs of a network that are not finite, or that no trained one gives.

    Peaks of NaN are no animals, or NaN keypoints: as if there were none in the image. outputs: tensors, also within tuples
    and mappings. model: what is wrong, for the message.
    """
    for tensor in _tensors(outputs):
        if tensor.is_floating_point() and tensor.numel():
            least, largest = (float(each) for each in torch.aminmax(tensor))
            if not -MAX_OUTPUT <= least <= largest <= MAX_OUTPUT:
                raise CheckpointError(
                    f"{model}: the network gave {least:g} to {largest:g}, expected numbers from {-MAX_OUTPUT:g} to "
                    f"{MAX_OUTPUT:g}. Its weights are broken, or too large for the precision: take precision=32, another "
                    "checkpoint, or train it anew with a lower optimizer.lr."
                )


@contextmanager
def outputs_checked(layers: Iterable[nn.Module], model: str) -> Iterator[None]:
    """Within it the outputs of these layers are checked as they are computed, by `check_outputs`."""
    hooks = [layer.register_forward_hook(lambda _, given, outputs: check_outputs(outputs, model)) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _tensors(outputs: Any) -> Iterator[Tensor]:
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, Mapping | tuple | list):
        for each in outputs.values() if isinstance(outputs, Mapping) else outputs:
            yield from _tensors(each)
