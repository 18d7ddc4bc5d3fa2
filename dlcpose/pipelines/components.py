"""The components that a PoseModule is assembled from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch.optim import Optimizer

from dlcpose.backbones.base import Backbone
from dlcpose.conditions.base import ConditionSource
from dlcpose.detectors.base import Detector
from dlcpose.fusions.base import Fusion
from dlcpose.heads.base import Head
from dlcpose.metrics.base import Metric
from dlcpose.necks.base import Neck
from dlcpose.side_heads.base import SideHead
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton

Component = TypeVar("Component")


@dataclass(frozen=True)
class Components:
    """The built components of a config, which `build.build_pipeline` hands to a PoseModule; None where its kind needs none.

    model_input: what the pose network sees. side_heads, metrics: by name.
    optimizer: from (name, parameter) pairs to an optimizer. scheduler: from (optimizer, steps) to Lightning's description
    of a learning rate schedule. Both are None in a module that only predicts. sized_for_input: whether a component has
    layers for the height and width of model_input, and takes no other size.
    """

    skeleton: Skeleton
    model_input: Input
    backbone: Backbone | None = None
    neck: Neck | None = None
    head: Head | None = None
    side_heads: Mapping[str, SideHead] = field(default_factory=dict)
    detector: Detector | None = None
    condition: ConditionSource | None = None
    fusion: Fusion | None = None
    optimizer: Callable[..., Optimizer] | None = None
    scheduler: Callable[..., dict[str, Any]] | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    sized_for_input: bool = False


def required(component: Component | None, name: str) -> Component:
    """A component that is required. Raises ValueError, with its name, where it is None."""
    if component is None:
        raise ValueError(f"expected a {name} among the components, got none")
    return component
