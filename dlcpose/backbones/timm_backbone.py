"""Any backbone that timm offers with features, by its name there."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dlcpose.structures.errors import CheckpointError, ConfigError


class NetworkBackbone(nn.Module):
    """A network that gives feature maps, with what every backbone does beside: weights from a file, freezing.

    channels, strides: of the maps that `forward` returns, one for each stride: the deepest.
    size_divisor: what the sides of an image must be multiples of.
    network: from images to a list of maps, whose channels and strides are given, finest first. name: of the network, for
    errors. checkpoint_path: weights from a file. finest_stride: maps finer than this are left out. frozen: weights stay
    as they are. frozen_statistics: batch-norm keeps its running means while training.
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
        """Training mode, but for what is frozen."""
        super().train(mode)
        for module in self.modules():
            if (self.frozen or self.frozen_statistics) and isinstance(module, _BatchNorm):
                module.train(False)
        return self

    def fitted(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A file's weights under the names and in the shapes of the network; as they are, unless a backbone knows more."""
        return state

    def _load(self, path: Path, name: str) -> None:
        """Put a file's weights into the network: every tensor of it must be found there, in its shape."""
        state = self.fitted(_read_weights(path))
        wanted = self.network.state_dict()
        missing = [key for key in wanted if key not in state]
        unlike = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
        if missing or unlike:
            raise CheckpointError(
                f"{path}: not the weights of {name!r}: {len(missing)} of {len(wanted)} tensors are missing"
                f"{f' (such as {missing[0]})' if missing else ''} and {len(unlike)} have another shape. "
                "Give the file that belongs to backbone.name."
            )
        self.network.load_state_dict({key: state[key] for key in wanted})


class TimmBackbone(NetworkBackbone):
    """A timm network cut into the feature maps it gives at each stride, finest first.

    name: timm's. pretrained: weights from the hub timm names. checkpoint_path: weights from a file instead.
    output_stride: dilate instead of striding beyond this, where timm can. options: further arguments of
    timm.create_model.
    Raises ConfigError when timm has no such features, and CheckpointError when weights cannot be had: it never goes on
    with random weights where others were asked for.
    """

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool = False,
        checkpoint_path: str | None = None,
        output_stride: int | None = None,
        finest_stride: int = 4,
        frozen: bool = False,
        frozen_statistics: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        settings = dict(options or {})
        if output_stride is not None:
            settings["output_stride"] = output_stride
        network = create_network(name, pretrained, {**settings, "features_only": True})
        strides = network.feature_info.reduction()
        super().__init__(
            network,
            network.feature_info.channels(),
            strides,
            name=name,
            size_divisor=max(strides),
            checkpoint_path=checkpoint_path,
            finest_stride=finest_stride,
            frozen=frozen,
            frozen_statistics=frozen_statistics,
        )


def create_network(name: str, pretrained: bool, settings: Mapping[str, Any]) -> Any:
    """timm.create_model, with errors that say what to do: ConfigError, or CheckpointError where weights are not to be had."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        raise ConfigError(
            f"backbone.name: timm {timm.__version__} has no model {name!r}. Nearest: {', '.join(near) or 'none'}. "
            "`python -c 'import timm; print(timm.list_models())'` lists all."
        )
    try:
        return timm.create_model(name, pretrained=pretrained, **settings)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError, AssertionError) as error:
        if pretrained and _is_offline(error):
            raise _no_weights(name, error) from error
        raise ConfigError(f"backbone: timm cannot give the features of {name!r} with {settings}: {error}") from error
    except OSError as error:
        raise _no_weights(name, error) from error


def _is_offline(error: Exception) -> bool:
    return any(word in str(error).lower() for word in ("connect", "hub", "download", "network", "resolve", "offline"))


def _no_weights(name: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"backbone.pretrained=true: the weights of {name!r} cannot be fetched ({type(error).__name__}). Two ways out: "
        "backbone.checkpoint_path=FILE with weights fetched elsewhere, or backbone.pretrained=false to start at random."
    )


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"backbone.checkpoint_path: no such file: {path}.") from error
    except Exception as error:
        raise CheckpointError(
            f"{path}: expected weights as torch or safetensors, got something else ({error})."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return {key.removeprefix("backbone.").removeprefix("model."): value for key, value in content.items()}
