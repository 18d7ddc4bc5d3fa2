"""Self-contained checkpoints: weights, config as text, skeleton, input, split, versions. Nothing in them can run code."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from dlcpose.build import Parts, build_pipeline, build_trunk
from dlcpose.pipelines.base import Trainable
from dlcpose.structures.errors import CheckpointError, DlcposeError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton
from dlcpose.structures.split import Split

FORMAT = 1


@dataclass(frozen=True)
class Description:
    """What a checkpoint holds besides weights.

    config: resolved, plain. individuals: names of the animals. max_animals: in one image of the training data.
    identified: whether an individual is the same animal from frame to frame.
    """

    config: Mapping[str, Any]
    skeleton: Skeleton
    model_input: Input
    split: Split
    individuals: tuple[str, ...]
    max_animals: int
    identified: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain values that load with `weights_only=True`; the config as text, since objects in it would not."""
        return {
            "format": FORMAT,
            "config": yaml.safe_dump(dict(self.config), sort_keys=False),
            "skeleton": self.skeleton.as_dict(),
            "input": self.model_input.as_dict(),
            "split": self.split.as_dict(),
            "individuals": list(self.individuals),
            "max_animals": self.max_animals,
            "identified": self.identified,
            "versions": versions(),
        }


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read from a file: its description and its weights."""

    path: Path
    description: Description
    weights: dict[str, Tensor]


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide what a model computes."""
    packages = ("dlcpose", "torch", "torchvision", "timm", "pytorch-lightning", "albumentations", "numpy")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def read_checkpoint(path: Path | str) -> Checkpoint:
    """A checkpoint of a dlcpose run. Raises CheckpointError when the file is missing, broken, or of something else."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint. A run leaves checkpoints/best.ckpt and last.ckpt in its folder."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path}: cannot be read as a checkpoint without running code ({type(error).__name__}). "
            "Expected a .ckpt of a dlcpose run."
        ) from error
    described = content.get("dlcpose") if isinstance(content, dict) else None
    if not isinstance(described, dict):
        raise CheckpointError(f"{path}: expected a .ckpt of a dlcpose run, got a checkpoint of something else.")
    if described.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: expected checkpoint format {FORMAT}, got {described.get('format')}: "
            f"it was written by dlcpose {described.get('versions', {}).get('dlcpose', '?')}. Install that version."
        )
    try:
        return Checkpoint(path, _description(described), dict(content["state_dict"]))
    except (KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError, DlcposeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise CheckpointError(f"{path}: what it says of its model is incomplete ({reason}). Train it anew.") from error


def _description(described: Mapping[str, Any]) -> Description:
    return Description(
        config=yaml.safe_load(described["config"]),
        skeleton=Skeleton.from_dict(described["skeleton"]),
        model_input=Input.from_dict(described["input"]),
        split=Split(**{name: tuple(keys) for name, keys in described["split"].items()}),
        individuals=tuple(described["individuals"]),
        max_animals=described["max_animals"],
        identified=described["identified"],
    )


def restore(checkpoint: Checkpoint, parts: Parts) -> Trainable:
    """The pipeline a checkpoint describes, with its weights, ready to predict."""
    description = checkpoint.description
    pipeline = build_pipeline(
        without_weights(description.config),
        parts,
        build_trunk(without_weights(description.config), parts),
        skeleton=description.skeleton,
        model_input=description.model_input,
        max_animals=description.max_animals,
        individuals=description.individuals if description.identified else (),
        to_train=False,
    )
    try:
        pipeline.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{checkpoint.path}: the weights do not fit the model it describes: {reason[:300]}. "
            "Load it with the versions of dlcpose and timm that it was written with."
        ) from error
    return pipeline.eval()


EMPTY = {"pretrained": False, "checkpoint_path": None, "checkpoint": None}  # settings that fetch weights, and none


def without_weights(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with parts that start empty: their weights come from the checkpoint, not from a hub or another file."""
    return {
        name: EMPTY[name] if name in EMPTY else without_weights(node) if isinstance(node, Mapping) else node
        for name, node in config.items()
    }
