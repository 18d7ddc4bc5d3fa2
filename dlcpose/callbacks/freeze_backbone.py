"""Freeze the backbone for the first epochs, while the new layers behind it learn."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from dlcpose.structures.errors import ConfigError


class FreezeBackbone(Callback):
    """Keeps the backbone's weights and its batch-norm statistics as they are for the first `epochs`.

    Lightning's BackboneFinetuning would give the optimizer another group of weights later, which a schedule that is
    stated over the whole run, and a resumed run, do not expect. What is frozen follows from the epoch alone.
    Raises ConfigError where epochs is negative, or the pipeline has no backbone.
    """

    def __init__(self, *, epochs: int = 5) -> None:
        if epochs < 0:
            raise ConfigError(f"callbacks.freeze.epochs: expected 0 or more, got {epochs}.")
        self.epochs = epochs
        self.waiting: list[nn.Parameter] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        backbone: Any = pl_module.backbone
        if backbone is None:
            raise ConfigError(
                f"callbacks.freeze: {type(pl_module).__name__} has no backbone of its own to freeze. Leave it out."
            )
        # What the config has frozen for good stays so.
        self.waiting = [weight for weight in backbone.parameters() if weight.requires_grad]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._freeze(trainer, pl_module)  # Lightning starts no epoch in which a run is resumed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._freeze(trainer, pl_module)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if self._is_frozen(trainer):
            for weight in self.waiting:
                weight.grad = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for weight in self.waiting:
            weight.requires_grad_(True)

    def _freeze(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze the backbone in the epochs that it waits for, and let it learn in the others."""
        backbone: Any = pl_module.backbone
        is_frozen = self._is_frozen(trainer)
        backbone.train()
        if is_frozen:
            for module in backbone.modules():
                module.train(module.training and not isinstance(module, _BatchNorm))
        # Several devices agree on gradients of all that could learn when the run began: there they are dropped below.
        for weight in self.waiting:
            weight.requires_grad_(not is_frozen or trainer.world_size > 1)

    def _is_frozen(self, trainer: Trainer) -> bool:
        return trainer.current_epoch < self.epochs
