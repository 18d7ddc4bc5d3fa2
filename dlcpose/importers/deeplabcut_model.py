"""A DeepLabCut 3 model put together from its parts, in our terms."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from dlcpose.importers.deeplabcut_config import SnapshotConfig
from dlcpose.importers.part import Part, Weights
from dlcpose.importers.registries import BACKBONES, DETECTORS, HEADS, METHODS, NECKS, HeadPlace, mapper_of
from dlcpose.structures.errors import DataError

SIDE_HEADS = {  # of the heads there: the option here, and its key
    "unique_bodypart": ("deeplabcut_unique", "unique"),
    "identity": ("deeplabcut_identity", "identity"),
}


@dataclass(frozen=True)
class ForeignModel:
    """What a model of another package is in our terms: parts in the order in which they compose."""

    parts: Sequence[Part]

    @property
    def overrides(self) -> list[str]:
        """What composes the model; choices of options first, since each brings values of its own."""
        each = [override for part in self.parts for override in part.overrides()]
        groups = {group for part in self.parts for group in part.choices}
        return sorted(each, key=lambda override: override.partition("=")[0] not in groups)

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


def describe_model(config: SnapshotConfig) -> ForeignModel:
    """The parts of the model that a config describes. Raises DataError, with the nearest, for kinds that are not known."""
    where = f"{config.path.name}.model"
    method = mapper_of(METHODS, config.method, f"{config.path.name}.method")(config)
    backbone = config.model.node("backbone")
    parts = [method, mapper_of(BACKBONES, backbone.text("type"), f"{where}.backbone.type")(backbone, config)]
    if "neck" in config.model:
        neck = config.model.node("neck")
        parts.append(mapper_of(NECKS, neck.text("type"), f"{where}.neck.type")(neck, config))
    parts += _heads(config, where)
    if "detector" in config.root:
        detector = config.root.node("detector").node("model")
        parts.append(mapper_of(DETECTORS, detector.text("type"), f"{config.path.name}.detector.type")(detector, config))
    return ForeignModel(parts)


def _heads(config: SnapshotConfig, where: str) -> list[Part]:
    """The parts of all heads: the animals' own, and the side heads."""
    parts, side_heads = [], []
    for name, node in config.model.node("heads").nodes().items():
        kind = f"{where}.heads.{name}.type"
        if name == "bodypart":
            place = HeadPlace("head", "heads.bodypart.", "head.")
            parts.append(mapper_of(HEADS, node.text("type"), kind)(node, config, place))
            continue
        if name not in SIDE_HEADS:
            raise DataError(f"{where}.heads.{name}: expected one of bodypart, {', '.join(SIDE_HEADS)}.")
        option, key = SIDE_HEADS[name]
        side_heads.append(option)
        place = HeadPlace(f"side_head.{key}.head", f"heads.{name}.", f"side_heads.{key}.head.")
        mapped = mapper_of(HEADS, node.text("type"), kind)(node, config, place)
        parts.append(Part(settings=mapped.settings, weights=mapped.weights))
    if not parts:
        raise DataError(
            f"{where}.heads: expected a head `bodypart`, got {', '.join(config.model.node('heads').nodes())}."
        )
    return [*parts, Part(choices={"side_head": f"[{','.join(side_heads)}]" if side_heads else "none"})]
