"""From a config to a model: its components are instantiated, checked against each other, and assembled."""

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dlcpose.backbones.base import Backbone
from dlcpose.detectors.base import Detector
from dlcpose.heads.base import Head
from dlcpose.instantiate import Instantiator, complete, facts_for, parameters_of
from dlcpose.necks.base import Neck
from dlcpose.pipelines.base import PoseModule
from dlcpose.pipelines.components import Components
from dlcpose.structures.data_description import DataDescription
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton


class SeveralAnimalsError(ConfigError):
    """A head for one animal was given data with several."""


@dataclass(frozen=True)
class Trunk:
    """The components that need to know nothing of the data: built first, so that what cannot fit fails before data is read.

    Both are None for a model that is made of neither.
    """

    backbone: Backbone | None = None
    neck: Neck | None = None


def build_trunk(config: Mapping[str, Any], instantiate: Instantiator) -> Trunk:
    """Backbone and neck of a config. Raises ConfigError where the neck needs what the backbone does not have."""
    if "backbone" not in _module_class(instantiate(config["pipeline"], "pipeline")).groups:
        return Trunk()
    backbone = instantiate(config["backbone"], "backbone")
    _check_base(backbone, Backbone, "backbone")
    facts = {"in_channels": backbone.channels, "strides": backbone.strides}
    neck = complete(instantiate(config["neck"], "neck"), "neck", **facts)
    _check_base(neck, Neck, "neck")
    return Trunk(backbone, neck)


def build_input(
    config: Mapping[str, Any],
    instantiate: Instantiator,
    trunk: Trunk,
    image_sizes: Sequence[tuple[int, int]],
    animal_shares: Sequence[float] = (),
) -> Input:
    """The input of a config for a backbone and images of these (height, width).

    animal_shares: the longer side of each animal as a share of the longer side of its image, where animals are known.
    """
    late_input = instantiate(config["input"], "input")
    multiple_of = 1 if trunk.backbone is None else trunk.backbone.size_divisor
    facts = {"image_sizes": image_sizes, "multiple_of": multiple_of, "animal_shares": animal_shares}
    built: Input = complete(late_input, "input", **facts_for(late_input, facts))
    return built


def build_pipeline(
    config: Mapping[str, Any],
    instantiate: Instantiator,
    data: DataDescription,
    *,
    trunk: Trunk | None = None,
    to_train: bool = False,
) -> PoseModule:
    """The model of a config for the data that it will see.

    trunk: its backbone and neck where they are built already. to_train: whether it gets an optimizer and metrics.
    Raises ConfigError where components are missing, superfluous or do not fit each other, SeveralAnimalsError where the
    head cannot serve the data's animals.
    """
    late_module = instantiate(config["pipeline"], "pipeline")
    kind = _module_class(late_module)
    components: dict[str, Any] = {}
    if "head" in kind.groups:
        trunk = trunk or build_trunk(config, instantiate)
        components |= _build_heads(config, instantiate, kind, trunk, data)
        components |= _build_conditioning(config, instantiate, kind, trunk, data)
    if _is_part_of("detector", config, kind):
        components["detector"] = _build_detector(config["detector"], instantiate, data.skeleton)
    if to_train:
        # They are completed when training begins; what they refuse then is a mistake in the config all the same.
        for name in ("optimizer", "scheduler"):
            components[name] = functools.partial(complete, instantiate(config[name], name), name)
        components["metrics"] = instantiate(config["metric"], "metric")
        for name in ("head", "detector"):
            _check_max_animals(components.get(name), name, data.max_animals)
    assembled = Components(skeleton=data.skeleton, model_input=data.model_input, **components)
    module: PoseModule = complete(late_module, "pipeline", assembled)
    return module


def build_from_description(described: Mapping[str, Any], instantiate: Instantiator) -> PoseModule:
    """The model that a checkpoint describes, without its weights.

    described: config, skeleton, input, individuals, max_animals and identified, as a checkpoint has them; the config as
    plain values. Raises ConfigError where something is missing, or may not be built from a file.
    """
    instantiate = instantiate.of_file("detector.checkpoint")  # which may be untrusted
    try:
        data = DataDescription(
            skeleton=Skeleton.from_dict(described["skeleton"]),
            model_input=Input.from_dict(described["input"]),
            max_animals=described["max_animals"],
            individuals=tuple(described["individuals"]) if described["identified"] else (),
        )
        return build_pipeline(described["config"], instantiate, data)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"detector.bottom_up: the description of a model is incomplete ({type(error).__name__}: {error}). It is filled "
            "in from detector.checkpoint; leave it out."
        ) from error


def _build_heads(
    config: Mapping[str, Any], instantiate: Instantiator, kind: type[PoseModule], trunk: Trunk, data: DataDescription
) -> dict[str, Any]:
    """Backbone, neck, head and side heads."""
    assert trunk.neck is not None
    # A crop of one animal may not show the unique keypoints.
    skeleton = replace(data.skeleton, unique=(), unique_pairs=()) if kind.one_animal_per_crop else data.skeleton
    facts = {
        "in_channels": trunk.neck.out_channels,
        "stride": trunk.neck.stride,
        "skeleton": skeleton,
        "individuals": data.individuals,
        "canvas": data.model_input.canvas,
    }
    late_head = instantiate(config["head"], "head")
    head = complete(late_head, "head", **facts_for(late_head, facts))
    _check_base(head, Head, "head")
    _check_head(head, data.max_animals, kind)
    side_heads = {}
    late_side_heads = instantiate(config.get("side_head") or {}, "side_head")
    for name, late in late_side_heads.items():
        if (side_head := complete(late, f"side_head.{name}", **facts_for(late, facts))) is not None:
            side_heads[name] = side_head
    return {
        **{"backbone": trunk.backbone, "neck": trunk.neck, "head": head, "side_heads": side_heads},
        # A component whose signature names the canvas has layers for that size.
        "sized_for_input": any("canvas" in parameters_of(late) for late in (late_head, *late_side_heads.values())),
    }


def _build_conditioning(
    config: Mapping[str, Any], instantiate: Instantiator, kind: type[PoseModule], trunk: Trunk, data: DataDescription
) -> dict[str, Any]:
    """Fusion and condition source of a conditional model."""
    facts = {"skeleton": data.skeleton, "canvas": data.model_input.canvas, "backbone": trunk.backbone}
    built = {}
    for name in ("fusion", "condition"):
        if _is_part_of(name, config, kind):
            late = instantiate(config[name], name)
            built[name] = complete(late, name, **facts_for(late, facts))
    return built


def _build_detector(described: Mapping[str, Any], instantiate: Instantiator, skeleton: Skeleton) -> Detector:
    detector: Any = instantiate({name: node for name, node in described.items() if name != "bottom_up"}, "detector")
    if isinstance(detector, functools.partial):  # a factory that takes facts by name
        bottom_up = build_from_description(described["bottom_up"], instantiate) if described.get("bottom_up") else None
        facts = {"skeleton": skeleton, "bottom_up": bottom_up}
        detector = complete(detector, "detector", **facts_for(detector, facts))
    _check_base(detector, Detector, "detector")
    built: Detector = detector
    return built


def _check_base(part: Any, base: type[Any], where: str) -> None:
    """Raises ConfigError unless a part derives from the base class of its group."""
    if not isinstance(part, base):
        path = f"{base.__module__}.{base.__name__}"
        raise ConfigError(f"{where}: expected a {path}, got {type(part).__name__}. Derive it from {base.__name__}.")


# Groups that only some models have: what to choose where one is missing, and the pipeline that takes it.
OPTIONAL_GROUPS = {
    "fusion": ("fusion=prenet", "conditional_top_down"),
    "condition": ("condition=generated", "conditional_top_down"),
    "detector": ("detector=centernet, or another of conf/detector", "top_down"),
}


def _is_part_of(group: str, config: Mapping[str, Any], kind: type[PoseModule]) -> bool:
    """Whether a model has a component of a group. Raises ConfigError where it is missing, or would not be used."""
    is_given, is_needed = bool(config.get(group)), group in kind.groups
    if is_given == is_needed:
        return is_needed
    suggestion, pipeline = OPTIONAL_GROUPS[group]
    if is_needed:
        raise ConfigError(f"{group}: {kind.__name__} needs one. Take {suggestion}.")
    raise ConfigError(f"{group}: {kind.__name__} has no use for one. Take {group}=none, or pipeline={pipeline}.")


def _module_class(late_module: Any) -> type[PoseModule]:
    kind = late_module.func if isinstance(late_module, functools.partial) else None
    if not (inspect.isclass(kind) and issubclass(kind, PoseModule)):
        raise ConfigError(
            "pipeline: expected a dlcpose.pipelines.base.PoseModule with `_partial_: true`. Derive it from PoseModule."
        )
    return kind


def _check_max_animals(part: Head | Detector | None, where: str, max_animals: int) -> None:
    limit = None if part is None else part.max_animals
    if limit is not None and limit < max_animals:
        raise ConfigError(
            f"{where}.max_animals={limit}: the data has up to {max_animals} animals in an image, of which at most {limit} "
            f"would be predicted. Take {where}.max_animals={max_animals}."
        )


def _check_head(head: Head, max_animals: int, kind: type[PoseModule]) -> None:
    if kind.one_animal_per_crop and head.multi_animal:
        raise ConfigError(
            f"head: {type(head).__name__} predicts several animals, {kind.__name__} shows it one at a time. "
            "Choose head=heatmap, or pipeline=bottom_up."
        )
    if max_animals > 1 and not (head.multi_animal or kind.one_animal_per_crop):
        raise SeveralAnimalsError(
            f"head: {type(head).__name__} predicts one animal, the data has up to {max_animals} in an image."
        )
