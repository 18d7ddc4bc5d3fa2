"""What a PoseModule is assembled from: the built components of a config, and the training they are built for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch.optim import Optimizer

from dlcpose.metrics.base import Metric
from dlcpose.structures.input import Input
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton
from dlcpose.unlabeled.video import VideoObjective


@dataclass(frozen=True)
class TrainingContext:
    """What a PoseModule is given of the training that it is built for.

    labels: ground truth by key, of all frames that are validated. description: what checkpoints hold besides the weights.
    video_objective: the loss on the clips of training batches, None where they have none. pcutoff: as in LabeledFrames.
    """

    labels: Mapping[str, FrameLabels] = field(default_factory=dict)
    description: Mapping[str, Any] = field(default_factory=dict)
    video_objective: VideoObjective | None = None
    pcutoff: float | None = None


@dataclass(frozen=True)
class Components:
    """The built components of a config, which `build.build_pipeline` hands to a PoseModule.

    model_input: what the pose network sees. of_groups: a component for each model group that the module needs, by the
    group's name; of a group that holds several, those by name. metrics: by name.
    optimizer: from (name, parameter) pairs to an optimizer. scheduler: from (optimizer, steps) to Lightning's description
    of a learning rate schedule. context: of the training. All three are None in a module that only predicts. sized: the
    groups whose component has layers for the height and width of model_input, and takes no other size.
    """

    skeleton: Skeleton
    model_input: Input
    of_groups: Mapping[str, Any]
    optimizer: Callable[..., Optimizer] | None = None
    scheduler: Callable[..., dict[str, Any]] | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    context: TrainingContext | None = None
    sized: frozenset[str] = frozenset()

    def required(self, group: str) -> Any:
        """The component of a group. Raises ValueError where there is none."""
        if group not in self.of_groups:
            raise ValueError(f"expected a {group} among the components, got none")
        return self.of_groups[group]
