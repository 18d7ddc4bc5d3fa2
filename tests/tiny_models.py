"""Every composed model as a tiny one: the same parts with as little width and depth as they take, and data for them."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
import torch
from torch.utils.data import DataLoader

from dlcpose.build import build_input, build_pipeline, build_trunk
from dlcpose.checkpoint import Description
from dlcpose.config.compose import compose
from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.crops import fit_to_canvas
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.instantiate import Instantiator
from dlcpose.pipelines.base import PoseModule
from dlcpose.pipelines.components import TrainingContext
from dlcpose.structures.batch import PoseBatch, collate
from tests.made_up_runs import halves, trainer_of

SIDE = 64  # px of the images and of the crops
# What settings of a group become wherever they are larger, whichever option has them.
ATTENTION = {"width": 32, "layers": 2, "heads": 4, "feed_forward": 64, "dropout": 0.0}
SMALLER: dict[str, dict[str, Any]] = {
    "backbone": {"widen": 0.125, "deepen": 0.2, "table": [SIDE, SIDE], "drop_path": 0.0},
    "neck": {**ATTENTION, "channels": 16},
    "head": {**ATTENTION, "channels": 16, "hidden": 32, "attended": 16, "stages": 2}
    | {"stage_channels": 16, "last_channels": 16},
    "side_head": {"channels": 16},
    "detector": {"channels": 16, "longest_side": SIDE},
    "pipeline": {},
    "condition": {},
    "input": {"height": SIDE, "width": SIDE},
}
# Of timm's networks, by how their names begin: the settings of the backbone that make them narrow and shallow.
NETWORKS: dict[str, dict[str, Any]] = {
    "hrnet": {"name": "hrnet_w18_small"},
    "resnet": {"options": {"layers": [1, 1, 1, 1], "channels": [32, 32, 32, 32]}},  # of which 32 groups are normed
    "vit": {"options": {"embed_dim": 32, "depth": 2, "num_heads": 4}},
}
# So that a network that knows nothing yet finds something, but not thousands.
FINDING_ANYTHING = {"threshold": 0.0, "min_affinity": -1.0, "max_animals": 4}
# So that the same batch is the same again: boxes and conditions as they are.
WITHOUT_RANDOMNESS = dict.fromkeys(
    ("shift", "scale", "jitter", "miss", "inversion", "swap", "absent", "background", "moved"), 0.0
)


# Whether slow tests take the larger sizes of a model too, which differ from the smallest in the backbone only.
ALL_MODELS = os.environ.get("DLCPOSE_MODELS") == "all"
# Sizes of a model, the smallest first.
SIZES = ["s", "small", "18", "w18", "m", "base", "50", "w32", "b", "x", "large", "101", "w48"]


def smallest_of_each(models: list[str]) -> list[str]:
    """The models without the larger sizes of others."""
    smallest: dict[str, str] = {}
    for model in models:
        name, _, size = model.rpartition("_")
        if size not in SIZES:
            smallest[model] = model
        elif name not in smallest or SIZES.index(size) < SIZES.index(smallest[name].rpartition("_")[2]):
            smallest[name] = model
    return list(smallest.values())


@functools.cache
def composed(*overrides: str) -> dict[str, Any]:
    """What the shell would compose, once: composing takes longer than a tiny model's step."""
    return compose(overrides)


def tiny(config: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """A composed config with SMALLER widths and depths, and with `values` wherever one of the groups has such a key."""
    return {
        group: _changed(node, SMALLER[group] | values) if group in SMALLER and isinstance(node, Mapping) else node
        for group, node in config.items()
    }


def _changed(node: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    changed = {key: _smaller(key, value, values) for key, value in node.items()}
    for kind, settings in NETWORKS.items():
        if str(changed.get("name", "")).startswith(kind):
            options = {**(changed.get("options") or {}), **settings.get("options", {})}
            changed |= settings | ({"options": options} if options else {})
    return changed


def _smaller(key: str, value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return _changed(value, values)
    if key not in values or value is None:
        return value
    return values[key] if isinstance(value, list) else min(value, values[key])


def worms_node(keypoints: int, animals: int, *, unique_points: int = 2) -> dict[str, Any]:
    """The config of frames of animals that are one chain of joints, of which the first `keypoints` are labeled."""
    count = max(2, keypoints)
    joints: list[dict[str, Any]] = [{"name": "joint0", "radius": 0.08}]
    joints += [
        {
            "name": f"joint{number}",
            "parent": f"joint{number - 1}",
            "forward": 1 / (count - 1),
            "radius": 0.08,
            "base": 0.08,
            "swing": 0.6 / (count - 1),
            "tint": "head" if number == count - 1 else "coat",
            "labeled": number < keypoints,
        }
        for number in range(1, count)
    ]
    return {
        "_target_": "dlcpose.datasets.synthetic.frames.SyntheticFrames",
        **{"frames": 2, "height": SIDE, "width": SIDE, "videos": 1, "animals": animals, "occlusion": 0.0, "seed": 1},
        **{"skeleton": {"joints": joints}, "identity_marks": animals > 1, "unique_points": unique_points},
    }


@functools.cache
def worms(keypoints: int, animals: int, *, unique_points: int = 2) -> SyntheticFrames:
    """Two such frames."""
    data: SyntheticFrames = Instantiator()(worms_node(keypoints, animals, unique_points=unique_points), "dataset")
    return data


def built(config: Mapping[str, Any], data: LabeledFrames) -> PoseModule:
    """The pipeline that a training command would build for a config and data, from a seed, with what it saves."""
    torch.manual_seed(0)
    instantiate = Instantiator()
    trunk = build_trunk(config, instantiate)
    model_input = build_input(config, instantiate, trunk, [(frame.height, frame.width) for frame in data.frames])
    description = Description(
        config,
        data.skeleton,
        model_input,
        halves(data),
        data.individuals,
        data.max_animals,
        data.has_identities,
    )
    context = TrainingContext(description=description.as_dict())
    return build_pipeline(config, instantiate, description.data, trunk=trunk, to_train=context)


def batch_of(data: LabeledFrames, pipeline: PoseModule) -> PoseBatch:
    """All frames of the data at once, as the loader would hand them on."""
    return collate([fit_to_canvas(data[index], pipeline.frame_input) for index in range(len(data))])


class Losses(lightning.Callback):
    """The loss of each batch of the first epoch, after which training ends; the same is dropped each time."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        torch.manual_seed(0)

    def on_train_batch_end(self, trainer: Any, pipeline: Any, outputs: Any, *_: Any) -> None:
        self.values.append(float(outputs["loss"]))

    def on_train_epoch_end(self, trainer: Any, pipeline: Any) -> None:
        trainer.should_stop = True


def first_steps(
    pipeline: PoseModule, batch: PoseBatch, steps: int, folder: Path
) -> tuple[list[float], lightning.Trainer]:
    """The losses of the first steps of a long run on one batch, and the trainer, which can save what was learned."""
    losses = Losses()
    pipeline.to(memory_format=torch.channels_last)  # as in a run: other layouts round otherwise
    trainer = trainer_of(folder, max_epochs=300 // steps, callbacks=[losses])
    trainer.fit(pipeline, train_dataloaders=DataLoader([batch] * steps, batch_size=None))
    return losses.values, trainer
