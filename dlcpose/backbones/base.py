"""The base class of backbones: feature maps by stride, weights from a file, freezing."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

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
        state = self.adapted_weights(_read_weights(path))
        expected = self.network.state_dict()
        missing = [key for key in expected if key not in state]
        mismatched = [key for key in expected if key in state and state[key].shape != expected[key].shape]
        if missing or mismatched:
            raise CheckpointError(
                f"{path}: not the weights of {name!r}: {len(missing)} of {len(expected)} tensors are missing"
                f"{f' (such as {missing[0]})' if missing else ''} and {len(mismatched)} have another shape. "
                "Give the file that belongs to backbone.name."
            )
        self.network.load_state_dict({key: state[key] for key in expected})
        if surplus := [key for key in state if key not in expected]:
            shown = ", ".join(surplus[:4]) + (f" and {len(surplus) - 4} more" if len(surplus) > 4 else "")
            logger.warning("%s: %d tensors loaded; this network has no place for %s.", path, len(expected), shown)


def _read_weights(path: Path) -> dict[str, Tensor]:
    weights = read_weights_file(path).weights
    return {key.removeprefix("backbone.").removeprefix("model."): value for key, value in weights.items()}
