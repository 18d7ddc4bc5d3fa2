"""A network small enough to train in a test, on a handful of rendered animals, through the same doors as a real run."""

from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
import yaml

from dlcpose.build import build_input, build_pipeline, build_trunk
from dlcpose.checkpoint import Description
from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.datamodule import PoseDataModule
from dlcpose.datasets.splits import train_frames
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.instantiate import Instantiator
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.pipelines.components import TrainingContext
from dlcpose.structures.split import Split
from dlcpose.unlabeled.video import VideoObjective

CONF = Path(__file__).parents[1] / "conf"


def option(group: str, name: str) -> dict[str, Any]:
    """A config file as plain values, with those that it is based on; those of other groups must not be in it."""
    node: dict[str, Any] = yaml.safe_load((CONF / group / f"{name}.yaml").read_text())
    for base in node.pop("defaults", []):
        if isinstance(base, str) and base != "_self_":
            node = {**option(group, base), **node}
    return node


def tiny_config(**changes: Any) -> dict[str, Any]:
    """resnet_18 would take seconds where timm's own test network takes none."""
    return {
        "backbone": {**option("backbone", "resnet_18"), "name": "test_resnet"},
        "neck": {**option("neck", "fpn"), "channels": 32},
        "head": {
            **option("head", "heatmap"),
            "channels": 32,
            "heatmap_loss": option("loss", "binary_cross_entropy"),
        },
        "pipeline": option("pipeline", "bottom_up"),
        "input": option("input", "letterbox"),
        "augmentation": option("augmentation", "none"),
        "optimizer": option("optimizer", "adamw"),
        "scheduler": option("scheduler", "cosine"),
        "metric": {"error": {"_target_": "dlcpose.metrics.pixel_error.PixelError"}},
        **changes,
    }


def frames_of(count: int, **settings: Any) -> SyntheticFrames:
    return SyntheticFrames(**{"frames": count, "height": 64, "width": 64, "videos": 1, "occlusion": 0.0, **settings})


def halves(data: LabeledFrames) -> Split:
    """Half of the frames to train on, half to validate with, none to test."""
    keys = tuple(frame.key for frame in data.frames)
    middle = max(1, len(keys) // 2)
    return Split(keys[:middle], keys[middle:], ())


def pipeline_of(
    config: dict[str, Any], data: LabeledFrames, *, to_train: bool = True, objective: VideoObjective | None = None
) -> PoseEstimator:
    torch.manual_seed(0)
    instantiate = Instantiator()
    trunk = build_trunk(config, instantiate)
    sizes = [(frame.height, frame.width) for frame in data.frames]
    model_input = build_input(config, instantiate, trunk, sizes)
    description = Description(config, data.skeleton, model_input, halves(data), data.individuals, data.max_animals)
    context = TrainingContext({frame.key: frame for frame in data.frames}, description.as_dict(), objective)
    return build_pipeline(config, instantiate, description.data, trunk=trunk, to_train=context if to_train else None)


def run_of(
    config: dict[str, Any],
    data: LabeledFrames,
    *,
    workers: int = 0,
    batch_size: int = 2,
    min_steps: int = 0,
    objective: VideoObjective | None = None,
) -> tuple[PoseEstimator, PoseDataModule]:
    """What a training command hands to Lightning."""
    pipeline = pipeline_of(config, data, objective=objective)
    split = halves(data)
    augmentation = Instantiator()(config["augmentation"], "augmentation")
    schedule = augmentation.schedule(
        train_frames(data, split), data.skeleton, pipeline.frame_input, may_crop=pipeline.may_crop_frames
    )
    module = PoseDataModule(
        data,
        split,
        pipeline.frame_input,
        schedule,
        seed=0,
        batch_size=batch_size,
        workers=workers,
        min_steps=min_steps,
    )
    return pipeline, module


def trainer_of(folder: Path, **settings: Any) -> lightning.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return lightning.Trainer(
        **{
            "default_root_dir": folder,
            "accelerator": "cpu",
            "max_epochs": 1,
            "enable_checkpointing": False,
            **quiet,
            **settings,
        }
    )


def checkpoint_of(folder: Path, config: dict[str, Any] | None = None, data: LabeledFrames | None = None) -> Path:
    """A checkpoint as Lightning writes it, after an epoch."""
    pipeline, module = run_of(config or tiny_config(), data or frames_of(4))
    trainer = trainer_of(folder)
    trainer.fit(pipeline, datamodule=module)
    trainer.save_checkpoint(folder / "best.ckpt")
    return folder / "best.ckpt"
