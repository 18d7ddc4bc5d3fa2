"""The length of a training run in epochs, for all that happens at a share of it."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing Lightning takes seconds
    from pytorch_lightning import Trainer


def epochs_of_run(trainer: "Trainer", batches: float) -> int | None:
    """The number of epochs that a run begins, whether its epochs or its steps end it; None for a run without an end.

    batches: of an epoch, on each device. The steps are those of Lightning's `estimated_stepping_batches`: the last step
    of an epoch takes the batches that are left.
    """
    ends = []
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        ends.append(trainer.max_epochs)
    if trainer.max_steps >= 0 and 0 < batches < math.inf:
        ends.append(math.ceil(trainer.max_steps / math.ceil(batches / trainer.accumulate_grad_batches)))
    return min(ends, default=None)


def batches_within_limit(batches: int, limit: float) -> int:
    """The batches of an epoch that Lightning's `limit_train_batches` leaves: a number of them, or a share."""
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)
