"""Reseed the random generators before each batch, by the batch's place in the run."""

import random
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class ReseedEachBatch(Callback):
    """Seeds this process before each batch by (seed, epoch, batch, rank), for dropout and everything else that is random.

    So a resumed run draws what it would have drawn had it not been stopped, and no state of a generator has to be kept.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        place = (self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        number = int(np.random.SeedSequence(place).generate_state(1)[0])
        torch.manual_seed(number)
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002 - for parts that use NumPy's global generator
