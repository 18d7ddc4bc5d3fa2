"""What each kind of our parts is in a DeepLabCut 3 config, by the class that our config names.

The inverse of `registries`: modules of `writers_of_parts` register a function that maps a part's settings to DeepLabCut's.
What is written is read again by the mappers, which say where the weights belong.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dlcpose.structures.errors import ConfigError
from dlcpose.structures.registry import Registry, modules_in
from dlcpose.structures.skeleton import Skeleton


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model beside its parts' settings.

    config: the whole. channels: of the features that heads read. canvas: (height, width) of crops, None for whole images.
    """

    config: Mapping[str, Any]
    skeleton: Skeleton
    individuals: tuple[str, ...]
    channels: int
    canvas: tuple[int, int] | None

    def target(self, group: str) -> str:
        """The class that the config names in a group."""
        return str((self.config.get(group) or {}).get("_target_", ""))


@dataclass(frozen=True)
class Written:
    """A part as DeepLabCut configures it.

    name: of a side head, or of the models (net type) where this part decides that. neck: of a head that is two parts there.
    """

    node: dict[str, Any]
    name: str | None = None
    neck: dict[str, Any] | None = None


Writer = Callable[[Mapping[str, Any], ModelFacts], Written]
MODULES = modules_in("dlcpose.deeplabcut_layout.writers_of_parts")
BACKBONE_WRITERS: Registry[Writer] = Registry("dlcpose.deeplabcut_backbone_writers", MODULES)
HEAD_WRITERS: Registry[Writer] = Registry("dlcpose.deeplabcut_head_writers", MODULES)
SIDE_HEAD_WRITERS: Registry[Writer] = Registry("dlcpose.deeplabcut_side_head_writers", MODULES)
DETECTOR_WRITERS: Registry[Writer] = Registry("dlcpose.deeplabcut_detector_writers", MODULES)
METHOD_WRITERS: Registry[Writer] = Registry("dlcpose.deeplabcut_method_writers", MODULES)


def written(
    registry: Registry[Writer], node: Mapping[str, Any], facts: ModelFacts, where: str, instead: str
) -> Written:
    """A part in DeepLabCut's terms. Raises ConfigError, with what to take instead, for one that it does not have."""
    target = str(node.get("_target_", ""))
    known = registry.load()
    if target not in known:
        raise ConfigError(f"{where}: DeepLabCut has no {target.rpartition('.')[2] or 'such part'}. {instead}")
    return known[target](node, facts)
