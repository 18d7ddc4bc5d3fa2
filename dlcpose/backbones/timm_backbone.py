"""Any network that timm offers with feature maps, by its name there."""

import difflib
from collections.abc import Mapping
from typing import Any

import timm

from dlcpose.backbones.base import Backbone
from dlcpose.structures.errors import CheckpointError, ConfigError


class TimmBackbone(Backbone):
    """A timm network with its feature maps of each stride, finest first.

    name: timm's. pretrained: weights from the hub timm names. checkpoint_path: weights from a file instead.
    output_stride: dilate instead of striding beyond this, where timm can. options: further arguments of
    timm.create_model.
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
        f"backbone.pretrained=true: the weights of {name!r} cannot be fetched ({type(error).__name__}). Take "
        "backbone.checkpoint_path=FILE with weights fetched elsewhere, or backbone.pretrained=false to start at random."
    )
