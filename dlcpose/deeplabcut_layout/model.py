"""A DeepLabCut 3 model put together from its parts, in our terms."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from dlcpose.deeplabcut_layout.config import SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part, Weights, quoted
from dlcpose.deeplabcut_layout.registries import (
    BACKBONES,
    DETECTORS,
    HEADS,
    METHODS,
    NECKS,
    SIDE_HEADS,
    HeadPlace,
    mapper_of,
)
from dlcpose.structures.errors import DataError


@dataclass(frozen=True)
class ForeignModel:
    """What a model of another package is in our terms: parts in the order in which they compose."""

    parts: Sequence[Part]

    @property
    def overrides(self) -> list[str]:
        """What composes the model, in Hydra's grammar; of two parts that give a value the later counts."""
        choices = {group: option for part in self.parts for group, option in part.choices.items()}
        settings = {key: value for part in self.parts for key, value in part.settings.items()}
        return [
            *(f"{group}={option}" for group, option in choices.items()),
            *(f"{key}={quoted(value)}" for key, value in settings.items()),
        ]

    @property
    def multiple_of(self) -> int:
        """What the sides of an image must be multiples of."""
        return max(part.multiple_of for part in self.parts)

    def to_ours(self, weights: Weights) -> tuple[dict[str, Tensor], list[str]]:
        """The weights under our names, and the names of those that belong to no part."""
        ours = {name: value for part in self.parts for name, value in part.weights.to_ours(weights).items()}
        ours |= {name: value for part in self.parts for name, value in part.constants.items()}
        left_over = [name for name in weights if not any(part.weights.is_theirs(name) for part in self.parts)]
        return ours, left_over


def describe_model(config: SnapshotConfig, *, with_detector: bool) -> ForeignModel:
    """The parts of the model that a config describes. Raises DataError, with the nearest, for kinds that are not known.

    with_detector: whether there are weights of its detector; boxes are those of labels otherwise.
    """
    where = f"{config.path.name}.model"
    method = mapper_of(METHODS, config.method, f"{config.path.name}.method")(config)
    backbone = config.model.node("backbone")
    parts = [method, mapper_of(BACKBONES, backbone.text("type"), f"{where}.backbone.type")(backbone, config)]
    if "neck" in config.model:
        neck = config.model.node("neck")
        parts.append(mapper_of(NECKS, neck.text("type"), f"{where}.neck.type")(neck, config))
    parts += _heads(config, where)
    if with_detector and "detector" in config.root:
        detector = config.root.node("detector").node("model")
        parts.append(mapper_of(DETECTORS, detector.text("type"), f"{config.path.name}.detector.type")(detector, config))
    return ForeignModel(parts)


def _heads(config: SnapshotConfig, where: str) -> list[Part]:
    """The parts of all heads: the animals' own, and the side heads."""
    nodes = config.model.node("heads").nodes()
    if "bodypart" not in nodes:
        raise DataError(f"{where}.heads: expected a head `bodypart`, got {', '.join(nodes) or 'none'}.")
    animals = nodes.pop("bodypart")
    mapper = mapper_of(HEADS, animals.text("type"), f"{where}.heads.bodypart.type")
    side_heads = [mapper_of(SIDE_HEADS, name, f"{where}.heads")(node, config) for name, node in nodes.items()]
    options = [part.choices["side_head"] for part in side_heads]
    return [
        mapper(animals, config, HeadPlace("head", "heads.bodypart.", "head.")),
        *(replace(part, choices={}) for part in side_heads),
        Part(choices={"side_head": f"[{','.join(options)}]" if options else "none"}),
    ]
