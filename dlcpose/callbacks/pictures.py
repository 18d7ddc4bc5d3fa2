"""Predictions drawn beside the labels, every few epochs, for the loggers that show pictures and for the run folder."""

from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from dlcpose.datasets.datamodule import PoseDataModule
from dlcpose.loggers.base import ExperimentTracker
from dlcpose.pipelines.base import PoseModule
from dlcpose.structures.batch import collate
from dlcpose.structures.run_length import epochs_of_run
from dlcpose.structures.sample import Image
from dlcpose.visualization.pictures import contact_sheet, draw_poses, write_picture


class PosePictures(Callback):
    """Draws the same validation frames every `every_n_epochs`: labels as rings, predictions as dots.

    run_dir: of the run, whose folder `pictures` gets them, or None.
    """

    def __init__(self, run_dir: str | Path | None = None, *, every_n_epochs: int = 10, frames: int = 4) -> None:
        self.every_n_epochs, self.frames = every_n_epochs, frames
        self.folder = None if run_dir is None else Path(run_dir) / "pictures"

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        is_due = epoch % self.every_n_epochs == 0 or epoch == epochs_of_run(trainer, trainer.num_training_batches)
        if trainer.sanity_checking or not is_due or not trainer.is_global_zero:
            return
        sheet = self._sheet(trainer, pl_module)
        if sheet is not None:
            for logger in trainer.loggers:
                if isinstance(logger, ExperimentTracker):
                    # The step that was the last, as with the figures beside it; the next belongs to the epoch to come.
                    logger.show("val/predictions", sheet, trainer.global_step - 1)
            if self.folder is not None:
                write_picture(self.folder / f"epoch_{epoch:04d}.jpg", sheet)

    def _sheet(self, trainer: Trainer, pl_module: LightningModule) -> Image | None:
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, PoseDataModule) or not isinstance(pl_module, PoseModule) or not data.val_indices:
            return None
        crops = data.val_dataloader().dataset
        chosen = torch.linspace(0, len(data.val_indices) - 1, min(self.frames, len(data.val_indices))).round().int()
        drawn, captions = [], []
        for place in chosen.tolist():
            batch = collate([crops[place]]).to(pl_module.device)
            with torch.no_grad():
                prediction = pl_module.predict_batch(batch)[0]
            sample = data.data[data.val_indices[place]]
            drawn.append(
                draw_poses(
                    sample.image,
                    prediction.keypoints_in_image,
                    pl_module.skeleton,
                    scores=prediction.keypoint_scores,
                    labels_in_image=sample.labels.keypoints_in_image,
                    boxes_in_image=prediction.boxes_in_image,
                    box_scores=prediction.scores,
                )
            )
            captions.append(prediction.key)
        return contact_sheet(drawn, captions, columns=2, tile=480)
