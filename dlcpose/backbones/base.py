"""The base class of backbones: feature maps by stride, weights from a file, freezing."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dlcpose.structures.counted import counted
from dlcpose.structures.errors import CheckpointError
from dlcpose.structures.weights_file import read_weights_file

logger = logging.getLogger(__name__)


class Backbone(nn.Module):
    """A network that returns feature maps, with what all backbones share: weights from a file, freezing.

    channels, strides: of the maps that `forward` returns, finest first; of several with one stride, the deepest.
    size_divisor: the sides of an image must be multiples of this.
    network: from images to a list of maps with the given channels and strides, finest first. name: of the network, for
    errors. checkpoint_path: weights from a file. finest_stride: maps finer than this are left out. frozen: weights are not
    trained. frozen_statistics: batch norm keeps its running statistics in training.
    Raises CheckpointError when the file does not hold the network's weights.
    """

    def __init__(
        self,
        network: nn.Module,
        channels: Sequence[int],
        strides: Sequence[int],
        *,
        name: str,
        size_divisor: int,
        checkpoint_path: str | None,
        finest_stride: int,
        frozen: bool,
        frozen_statistics: bool,
    ) -> None:
        super().__init__()
        self.network = network
        deepest = {stride: index for index, stride in enumerate(strides) if stride >= finest_stride}
        self.indices = tuple(deepest.values())
        self.channels: tuple[int, ...] = tuple(channels[index] for index in self.indices)
        self.strides: tuple[int, ...] = tuple(deepest)
        self.size_divisor = size_divisor
        self.frozen, self.frozen_statistics = frozen, frozen_statistics
        if checkpoint_path is not None:
            self._load(Path(checkpoint_path), name)
        if frozen:
            self.requires_grad_(False)
        self.train()  # Lightning trains modules in the mode it finds them in

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of images (B, 3, H, W): one (B, C, H/s, W/s) for each stride s."""
        features = self.network(images)
        return [features[index] for index in self.indices]

    def train(self, mode: bool = True) -> Self:
        """Training mode, except for frozen batch norm."""
        super().train(mode)
        for module in self.modules():
            if (self.frozen or self.frozen_statistics) and isinstance(module, _BatchNorm):
                module.train(False)
        return self

    def check_canvas(self, canvas: tuple[int, int] | None) -> None:
        """Raises ConfigError for images of a canvas (height, width), None for any, of which it cannot give its maps.

        For backbones that are chosen among networks of others, before the first step; most take images of any size.
        """

    def attention_maps(self, images: Tensor, points_in_crop: Tensor, layer: int) -> Tensor | None:
        """Attention weights of a layer, as `Head.attention_maps` gives them; None for a backbone without attention."""
        return None

    def adapted_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A file's weights with the names and shapes of the network; unchanged unless a backbone overrides this."""
        return state

    def _load(self, path: Path, name: str) -> None:
        """Load a file's weights: it must hold every tensor of the network in its shape."""
        if not path.exists():
            raise CheckpointError(f"backbone.checkpoint_path: no such file: {path}.")
        expected = self.network.state_dict()
        # Files from before torch counted the batches of batch norm, such as torchvision's ResNets, lack that number.
        counts = {key: count for key, count in expected.items() if key.endswith(".num_batches_tracked")}
        state = {**counts, **self.adapted_weights(_read_weights(path))}
        missing = [key for key in expected if key not in state]
        mismatched = [key for key in expected if key in state and state[key].shape != expected[key].shape]
        if missing or mismatched:
            is_own = any(key.startswith("network.") for key in state)  # this class's own name for its network
            way_out = (
                f"A run starts from another one's checkpoint with init_from.checkpoint={path} init_from.strict=false."
                if is_own
                else "Give the file that belongs to backbone.name."
            )
            raise CheckpointError(
                f"{path}: not the weights of {name!r}: {len(missing)} of {len(expected)} tensors are missing"
                f"{f' (such as {missing[0]})' if missing else ''} and {len(mismatched)} have another shape. "
                f"{way_out}"
            )
        _check_numbers(path, state, expected)
        self.network.load_state_dict({key: state[key] for key in expected})
        if surplus := [key for key in state if key not in expected]:
            shown = ", ".join(surplus[:4]) + (f" and {len(surplus) - 4} more" if len(surplus) > 4 else "")
            logger.warning(
                "%s: %s loaded; this network has no place for %s.", path, counted(len(expected), "tensor"), shown
            )


def _read_weights(path: Path) -> dict[str, Tensor]:
    """A file's weights without the prefixes of what the network was a part of. Raises CheckpointError for several."""
    weights: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    for name, value in read_weights_file(path).weights.items():
        key = name.removeprefix("backbone.").removeprefix("model.")
        if key in weights and not torch.equal(weights[key], value):
            raise CheckpointError(
                f"{path}: expected the weights of one network, got both {names[key]} and {name}. Save those of one alone: "
                "torch.save({'state_dict': WEIGHTS}, PATH)."
            )
        weights[key], names[key] = value, name
    return weights


def _check_numbers(path: Path, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError for tensors that torch would convert with a loss, or that no training recovers from."""
    for key, value in expected.items():
        given = state[key]
        if given.is_floating_point() != value.is_floating_point():
            raise CheckpointError(
                f"{path}: expected {key} as {value.dtype}, got {given.dtype}. Give the original weights."
            )
        if not bool(given.isfinite().all()):
            raise CheckpointError(f"{path}: {key} has values that are not finite. Give another file of these weights.")
