"""Any network that timm offers with feature maps, by its name there."""

import difflib
from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.layers import Format
from torch import Tensor

from dlcpose.backbones.base import Backbone
from dlcpose.structures.errors import CheckpointError, ConfigError


class TimmBackbone(Backbone):
    """A timm network with its feature maps of each stride, finest first.

    name: timm's. pretrained: weights from the hub timm names. checkpoint_path: weights from a file instead.
    output_stride: dilate instead of striding beyond this, where timm can. options: further arguments of
    timm.create_model; some networks need their images' size there, as img_size.
    Raises ConfigError when timm has no such features, and CheckpointError when weights are unavailable: random weights
    never take their place.
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
        self.name = name
        self.channels_last = getattr(network, "output_fmt", Format.NCHW) == Format.NHWC  # such as Swin's

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps of images (B, 3, H, W): one (B, C, H/s, W/s) for each stride s."""
        maps = super().forward(images)
        return [each.permute(0, 3, 1, 2) for each in maps] if self.channels_last else maps

    def check_canvas(self, canvas: tuple[int, int] | None) -> None:
        """Raises ConfigError where its maps of images of a canvas are not what timm states, or there are none."""
        # Nearly all networks take images of any size, which a small one, not square, shows in no time.
        small = (self.size_divisor, 2 * self.size_divisor)
        wrong = self._wrong_maps(small)
        if wrong is not None and canvas is not None:
            wrong = self._wrong_maps(canvas)
        if wrong is None:
            return
        height, width = small if canvas is None else canvas
        one_size = (
            f"+backbone.options.img_size=[{height},{width}] if it has such an option"
            if canvas is not None
            else "input=letterbox, for a network of one size"
        )
        raise ConfigError(
            f"backbone.name: {self.name} gives no maps, as timm states them, of images of {width}x{height} ({wrong}). Take "
            f"{one_size}, backbone=vit_s for a vision transformer of any size, or another network."
        )

    @torch.no_grad()
    def _wrong_maps(self, size: tuple[int, int]) -> str | None:
        """What is wrong with the maps of an image of some (height, width), None where they are as stated."""
        was_training = self.training
        self.eval()  # statistics stay, and nothing is drawn at random
        try:
            maps = self(next(self.parameters()).new_zeros((1, 3, *size)))
        except Exception as error:  # of whatever kind a network of timm's raises
            return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        finally:
            self.train(was_training)
        stated = [
            (channels, size[0] // stride, size[1] // stride)
            for channels, stride in zip(self.channels, self.strides, strict=True)
        ]
        shapes = [tuple(each.shape[1:]) for each in maps]
        return None if shapes == stated else f"maps {shapes} in place of {stated}"


def create_network(name: str, pretrained: bool, settings: Mapping[str, Any]) -> Any:
    """The network of timm.create_model. Raises ConfigError, or CheckpointError where weights are unavailable."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        raise ConfigError(
            f"backbone.name: timm {timm.__version__} has no model {name!r}. Nearest: {', '.join(near) or 'none'}. "
            "`python -c 'import timm; print(timm.list_models())'` lists all."
        )
    try:
        return timm.create_model(name, pretrained=pretrained, **settings)
    except (RuntimeError, TypeError, AttributeError, AssertionError, ValueError, LookupError) as error:
        if pretrained and _is_offline(error):
            raise _no_weights(name, error) from error
        raise ConfigError(f"backbone: timm cannot give the features of {name!r} with {settings}: {error}") from error
    except OSError as error:
        raise _no_weights(name, error) from error


def _is_offline(error: Exception) -> bool:
    return any(word in str(error).lower() for word in ("connect", "hub", "download", "network", "resolve", "offline"))


def _no_weights(name: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"backbone.pretrained=true: the weights of {name!r} cannot be fetched ({type(error).__name__}). Take "
        "backbone.checkpoint_path=FILE with weights fetched elsewhere, or backbone.pretrained=false to start at random."
    )
