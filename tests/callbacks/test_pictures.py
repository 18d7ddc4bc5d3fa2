from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dlcpose.callbacks.pictures import PosePictures
from dlcpose.datasets.base import read_image_file
from dlcpose.loggers.tensorboard_logger import TensorBoardTracker
from tests.made_up_runs import frames_of, run_of, tiny_config, trainer_of


def test_pictures_are_written_when_due_and_go_to_tensorboard(tmp_path: Path) -> None:
    pipeline, module = run_of(tiny_config(), frames_of(6))
    board = TensorBoardTracker(tmp_path)
    pictures = PosePictures(every_n_epochs=2, frames=2, run_dir=tmp_path)
    trainer_of(tmp_path, max_epochs=3, callbacks=[pictures], logger=board).fit(pipeline, datamodule=module)
    # Every second epoch, and the last whatever its number.
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["epoch_0002.jpg", "epoch_0003.jpg"]
    events = EventAccumulator(board.log_dir, size_guidance={"images": 0})
    events.Reload()
    shown = events.Images("val/predictions")
    assert len(shown) == 2
    sheet = read_image_file(tmp_path / "pictures" / "epoch_0003.jpg")
    assert (shown[1].height, shown[1].width) == sheet.shape[:2]
    assert sheet.std() > 10


def test_pictures_change_nothing_of_the_run(tmp_path: Path) -> None:
    weights = []
    for callbacks in ([], [PosePictures(every_n_epochs=1, run_dir=tmp_path)]):
        pipeline, module = run_of(tiny_config(), frames_of(4))
        trainer_of(tmp_path, max_epochs=2, callbacks=callbacks).fit(pipeline, datamodule=module)
        weights.append(pipeline.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=0)


@pytest.mark.parametrize("frames", [1, 3, 50])
def test_frames_are_spread_over_the_validation_set(tmp_path: Path, frames: int) -> None:
    pipeline, module = run_of(tiny_config(), frames_of(10))
    pictures = PosePictures(frames=frames)
    trainer = trainer_of(tmp_path)
    trainer.fit(pipeline, datamodule=module)
    first, again = (pictures._sheet(trainer, pipeline.eval()) for _ in range(2))
    assert first is not None
    np.testing.assert_array_equal(first, again)
    rows = -(-min(frames, 5) // 2)
    assert first.shape[0] == pytest.approx(rows * (480 + 36) + 10, abs=2)


def test_without_validation_frames_nothing_is_drawn(tmp_path: Path) -> None:
    pipeline, module = run_of(tiny_config(), frames_of(4))
    module.val_indices = []
    pictures = PosePictures(every_n_epochs=1, run_dir=tmp_path)
    trainer_of(tmp_path, callbacks=[pictures], limit_val_batches=0).fit(pipeline, datamodule=module)
    assert not (tmp_path / "pictures").exists()
