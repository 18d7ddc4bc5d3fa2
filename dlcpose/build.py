"""From a config to the parts of a model and their pipeline."""

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dlcpose.detectors.base import Detector
from dlcpose.heads.base import Head
from dlcpose.instantiate import Instantiator, complete, facts_for, parameters_of
from dlcpose.pipelines.base import PoseModule
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton


class SeveralAnimalsError(ConfigError):
    """A head for one animal was given data with several."""


@dataclass(frozen=True)
class Trunk:
    """The parts that need to know nothing of the data: built first, so that what cannot fit fails before data is read.

    Both are None for a pipeline that is made of neither.
    """

    backbone: Any
    neck: Any


def build_trunk(config: Mapping[str, Any], instantiate: Instantiator) -> Trunk:
    """Backbone and neck of a config. Raises ConfigError where the neck asks for what the backbone does not have."""
    if "backbone" not in parameters_of(instantiate(config["pipeline"], "pipeline")):
        return Trunk(None, None)
    backbone = instantiate(config["backbone"], "backbone")
    neck = complete(
        instantiate(config["neck"], "neck"), "neck", in_channels=backbone.channels, strides=backbone.strides
    )
    return Trunk(backbone, neck)


def build_pipeline(
    config: Mapping[str, Any],
    instantiate: Instantiator,
    trunk: Trunk,
    *,
    skeleton: Skeleton,
    model_input: Input,
    max_animals: int,
    individuals: Sequence[str] = (),
    to_train: bool,
) -> PoseModule:
    """The pipeline of a config for one skeleton. Raises ConfigError where the head cannot serve the data's animals.

    individuals: names of the animals where each is the same one from frame to frame, else none.
    """
    late_pipeline = instantiate(config["pipeline"], "pipeline")
    kind = _kind_of(late_pipeline)
    made: dict[str, Any] = {"skeleton": skeleton, "model_input": model_input}
    if "head" in parameters_of(late_pipeline):
        canvas = kind.head_canvas(model_input, _settings_of(late_pipeline))
        known = {"individuals": tuple(individuals), "canvas": canvas}
        made |= _build_heads(config, instantiate, trunk, kind, skeleton=skeleton, max_animals=max_animals, known=known)
        made |= _build_conditioning(config, instantiate, trunk, late_pipeline, {"skeleton": skeleton, "canvas": canvas})
    made |= _build_detector(config, instantiate, late_pipeline, skeleton)
    if to_train:
        # They are completed when training begins; what they refuse then is a mistake in the config all the same.
        for name in ("optimizer", "scheduler"):
            made[name] = functools.partial(complete, instantiate(config[name], name), name)
        made["metrics"] = instantiate(config["metric"], "metric")
        for name in ("head", "detector"):
            _check_room(made.get(name), name, max_animals)
    built: PoseModule = complete(late_pipeline, "pipeline", **made)
    return built


def _build_heads(
    config: Mapping[str, Any],
    instantiate: Instantiator,
    trunk: Trunk,
    kind: type[PoseModule],
    *,
    skeleton: Skeleton,
    max_animals: int,
    known: Mapping[str, Any],
) -> dict[str, Any]:
    """What a pipeline of poses is made of: backbone, neck, head and side heads."""
    # Where the head is shown one animal at a time, nobody sees the arena.
    seen = replace(skeleton, unique=(), unique_pairs=()) if kind.one_animal_per_crop else skeleton
    facts = {"in_channels": trunk.neck.out_channels, "stride": trunk.neck.stride, "skeleton": seen, **known}
    late_head = instantiate(config["head"], "head")
    head = complete(late_head, "head", **facts_for(late_head, facts))
    _check_head(head, max_animals, kind)
    side_heads = {}
    for name, late in instantiate(config.get("side_head") or {}, "side_head").items():
        if (beside := complete(late, f"side_head.{name}", **facts_for(late, facts))) is not None:
            side_heads[name] = beside
    return {"backbone": trunk.backbone, "neck": trunk.neck, "head": head, "side_heads": side_heads}


def _build_conditioning(
    config: Mapping[str, Any], instantiate: Instantiator, trunk: Trunk, late_pipeline: Any, known: Mapping[str, Any]
) -> dict[str, Any]:
    """What a pipeline with conditions is made of besides. Raises ConfigError where something is missing, or would be idle."""
    built = {}
    for name, needed in (("fusion", "fusion=prenet"), ("condition", "condition=generated")):
        described, is_asked = config.get(name) or {}, name in parameters_of(late_pipeline)
        if bool(described) != is_asked:
            has, take = ("has no use for one", f"{name}=none") if described else ("needs one", needed)
            raise ConfigError(
                f"{name}: {_kind_of(late_pipeline).__name__} {has}. Take {take}"
                f"{', or pipeline=conditional_top_down' if described else ''}."
            )
        if is_asked:
            late = instantiate(described, name)
            built[name] = complete(late, name, **facts_for(late, {**known, "backbone": trunk.backbone}))
    return built


def _build_detector(
    config: Mapping[str, Any], instantiate: Instantiator, late_pipeline: Any, skeleton: Skeleton
) -> dict[str, Any]:
    """The detector, for a pipeline that has one. Raises ConfigError where one is missing, or would have nothing to do."""
    described, kind = config.get("detector") or {}, _kind_of(late_pipeline).__name__
    if "detector" not in parameters_of(late_pipeline):
        if described:
            raise ConfigError(
                f"detector: {kind} looks at whole images and has no use for a detector. "
                "Take detector=none, or pipeline=top_down."
            )
        return {}
    if not described:
        raise ConfigError(f"detector: {kind} needs one. Choose detector=centernet, or another of conf/detector.")
    detector = instantiate({name: node for name, node in described.items() if name != "bottom_up"}, "detector")
    if isinstance(detector, functools.partial):  # one that asks for facts
        bottom_up = build_from_description(described["bottom_up"], instantiate) if described.get("bottom_up") else None
        facts = {"skeleton": skeleton, "bottom_up": bottom_up}
        detector = complete(detector, "detector", **facts_for(detector, facts))
    if not isinstance(detector, Detector):
        raise ConfigError(
            f"detector: expected a dlcpose.detectors.base.Detector, got {type(detector).__name__}. Derive it from Detector."
        )
    return {"detector": detector}


def build_from_description(described: Mapping[str, Any], instantiate: Instantiator) -> PoseModule:
    """The pipeline that a checkpoint describes, with weights that are to be replaced by its own.

    described: config, skeleton, input, individuals, max_animals and identified, as a checkpoint has them; the config as
    plain values. Raises ConfigError where something is missing.
    """
    instantiate = instantiate.of_file("detector.checkpoint")  # which may be somebody else's
    try:
        config, skeleton = described["config"], Skeleton.from_dict(described["skeleton"])
        return build_pipeline(
            config,
            instantiate,
            build_trunk(config, instantiate),
            skeleton=skeleton,
            model_input=Input.from_dict(described["input"]),
            max_animals=described["max_animals"],
            individuals=described["individuals"] if described["identified"] else (),
            to_train=False,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"detector.bottom_up: what it says of a model is incomplete ({type(error).__name__}: {error}). It is filled in "
            "from detector.checkpoint; leave it out."
        ) from error


def _kind_of(late_pipeline: Any) -> type[PoseModule]:
    kind = late_pipeline.func if isinstance(late_pipeline, functools.partial) else None
    if not (inspect.isclass(kind) and issubclass(kind, PoseModule)):
        raise ConfigError(
            "pipeline: expected a dlcpose.pipelines.base.Pipeline with `_partial_: true`. Derive it from Pipeline."
        )
    return kind


def _settings_of(late: Any) -> dict[str, Any]:
    return dict(late.keywords)


def build_input(
    config: Mapping[str, Any], instantiate: Instantiator, trunk: Trunk, image_sizes: Sequence[tuple[int, int]]
) -> Input:
    """The input that a config makes for a backbone and images of these (height, width)."""
    late_input = instantiate(config["input"], "input")
    multiple_of = 1 if trunk.backbone is None else trunk.backbone.size_divisor
    built: Input = complete(late_input, "input", image_sizes=image_sizes, multiple_of=multiple_of)
    return built


def _check_room(part: Any, where: str, max_animals: int) -> None:
    room = getattr(part, "max_animals", None)
    if room is not None and room < max_animals:
        raise ConfigError(
            f"{where}.max_animals={room}: the data has up to {max_animals} animals in an image, of which {room} would be "
            f"found at most. Take {where}.max_animals={max_animals}."
        )


def _check_head(head: Any, max_animals: int, pipeline: type[PoseModule]) -> None:
    if not isinstance(head, Head):
        raise ConfigError(f"head: expected a dlcpose.heads.base.Head, got {type(head).__name__}. Derive it from Head.")
    if pipeline.one_animal_per_crop and head.multi_animal:
        raise ConfigError(
            f"head: {type(head).__name__} looks for several animals, {pipeline.__name__} shows it one at a time. "
            "Choose head=heatmap, or pipeline=bottom_up."
        )
    if max_animals > 1 and not (head.multi_animal or pipeline.one_animal_per_crop):
        raise SeveralAnimalsError(
            f"head: {type(head).__name__} finds one animal, the data has up to {max_animals} in an image."
        )
