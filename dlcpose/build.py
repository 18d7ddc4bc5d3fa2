"""From a config to a model: its components are instantiated, checked against each other, and assembled."""

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dlcpose.backbones.base import Backbone
from dlcpose.detectors.base import Detector
from dlcpose.heads.base import Head
from dlcpose.instantiate import Instantiator, check_base, complete, facts_for, parameters_of
from dlcpose.metrics.base import infos_of
from dlcpose.metrics.figure_info import FigureInfo, find_mode
from dlcpose.model_groups import MODEL_GROUPS, ModelGroup, model_groups
from dlcpose.necks.base import Neck
from dlcpose.pipelines.base import PoseModule
from dlcpose.pipelines.components import Components, TrainingContext
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

    @property
    def components(self) -> dict[str, Any]:
        """Those that there are, by group."""
        return {name: each for name, each in vars(self).items() if each is not None}


def build_trunk(config: Mapping[str, Any], instantiate: Instantiator) -> Trunk:
    """Backbone and neck of a config. Raises ConfigError where the neck needs what the backbone does not have."""
    kind = _module_class(instantiate(config["pipeline"], "pipeline"))
    groups = [group for group in MODEL_GROUPS if group.name in {each.name for each in fields(Trunk)}]
    return Trunk(**_build_components(groups, config, instantiate, kind, {}).components)


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
    to_train: TrainingContext | None = None,
) -> PoseModule:
    """The model of a config for the data that it will see.

    trunk: its backbone and neck where they are built already. to_train: the training that it gets an optimizer and
    metrics for; None where it only predicts. Raises ConfigError where components are missing, superfluous or do not fit
    each other, SeveralAnimalsError where the head cannot serve the data's animals.
    """
    late_module = instantiate(config["pipeline"], "pipeline")
    kind = _module_class(late_module)
    # A crop of one animal may not show the unique keypoints.
    skeleton = replace(data.skeleton, unique=(), unique_pairs=()) if kind.one_animal_per_crop else data.skeleton
    facts = {"skeleton": skeleton, "individuals": data.individuals, "canvas": data.model_input.canvas}
    built = _build_components(model_groups(), config, instantiate, kind, facts, trunk)
    if (head := built.components.get("head")) is not None:
        _check_head(head, data.max_animals, kind)
    training: dict[str, Any] = {"context": to_train}
    if to_train is not None:
        # They are completed when training begins; what they refuse then is a mistake in the config all the same.
        metrics = instantiate(config["metric"], "metric")
        scheduler = with_direction(instantiate(config["scheduler"], "scheduler"), "scheduler", infos_of(metrics))
        training["scheduler"] = functools.partial(complete, scheduler, "scheduler")
        training["optimizer"] = functools.partial(complete, instantiate(config["optimizer"], "optimizer"), "optimizer")
        training["metrics"] = metrics
        if (backbone := built.components.get("backbone")) is not None:
            backbone.check_canvas(data.model_input.canvas)
        for name in ("head", "detector"):
            _check_max_animals(built.components.get(name), name, data.max_animals)
    assembled = Components(data.skeleton, data.model_input, built.components, sized=frozenset(built.sized), **training)
    module: PoseModule = complete(late_module, "pipeline", assembled)
    return module


def with_direction(part: Any, where: str, infos: Mapping[str, FigureInfo]) -> Any:
    """A part that monitors a figure, with `mode`, "min" or "max", as the figure's info states it where it is to come yet.

    A part without `monitor` and `mode`, and one that monitors a figure of no direction, stays as it is. Raises ConfigError
    for a mode that contradicts the info.
    """
    if isinstance(part, functools.partial):
        if not {"monitor", "mode"} <= parameters_of(part).keys():
            return part
        monitor, given = inspect.signature(part).parameters["monitor"].default, part.keywords.get("mode")
    else:
        monitor, given = getattr(part, "monitor", None), getattr(part, "mode", None)
    mode = None if monitor is None else find_mode(str(monitor), infos)
    if None not in (mode, given) and mode != given:
        better = "higher" if mode == "max" else "lower"
        raise ConfigError(
            f"{where}.mode: {monitor} is better when {better}, so it is {mode}, got {given!r:.80}. Leave it out, with "
            "_partial_: true where it stands in a file of your own: it comes from the figure."
        )
    is_to_come = isinstance(part, functools.partial) and mode is not None
    return functools.partial(part, mode=mode) if is_to_come else part


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


@dataclass(frozen=True)
class _Built:
    """Components by group, and the groups of which one has layers for the input's size."""

    components: dict[str, Any] = field(default_factory=dict)
    sized: set[str] = field(default_factory=set)


def _build_components(
    groups: Sequence[ModelGroup],
    config: Mapping[str, Any],
    instantiate: Instantiator,
    kind: type[PoseModule],
    facts: Mapping[str, Any],
    trunk: Trunk | None = None,
) -> _Built:
    """The components of those groups that a model is made of, each with the facts that its signature names.

    facts: those of the data. trunk: what is built already.
    """
    built = _Built({} if trunk is None else trunk.components)
    of_features: dict[str, Any] = {}
    for group in groups:
        if not _is_part_of(group, config, kind):
            continue
        if group.name not in built.components:
            # A part that a component has of its own, such as a side head's head, is a setting.
            others = {name: each for name, each in built.components.items() if name not in group.place.inner}
            _build_component(group, config[group.name], instantiate, {**facts, **of_features, **others}, built)
        if group.facts:  # the neck's stand in place of the backbone's
            of_features = {name: getattr(built.components[group.name], its) for name, its in group.facts.items()}
    return built


def _build_component(
    group: ModelGroup, node: Mapping[str, Any], instantiate: Instantiator, facts: Mapping[str, Any], built: _Built
) -> None:
    """Add a group's component to what is built; of a group that holds several, those that suit the data, by name."""
    if group.place.several:
        lates = instantiate(node, group.name)
        made = {name: _complete(late, f"{group.name}.{name}", facts) for name, late in lates.items()}
        built.components[group.name] = {name: each for name, each in made.items() if each is not None}
    else:
        inside = group.place.models
        settings = {name: each for name, each in node.items() if name not in inside}
        models = {name: build_from_description(node[name], instantiate) if node.get(name) else None for name in inside}
        late = instantiate(settings, group.name)
        lates = {group.name: late}
        component = _complete(late, group.name, {**facts, **models})
        check_base(component, group.place, group.name)
        built.components[group.name] = component
    # A component whose signature names the canvas has layers for that size.
    if any("canvas" in parameters_of(late) for late in lates.values()):
        built.sized.add(group.name)


def _complete(late: Any, where: str, facts: Mapping[str, Any]) -> Any:
    """A component with the facts that its signature names; as it is where it needed none."""
    return complete(late, where, **facts_for(late, facts)) if isinstance(late, functools.partial) else late


def _is_part_of(group: ModelGroup, config: Mapping[str, Any], kind: type[PoseModule]) -> bool:
    """Whether a model has a component of a group. Raises ConfigError where it is missing, or would not be used."""
    is_given, is_needed = bool(config.get(group.name)), group.name in kind.groups
    if group.option and is_needed and not is_given:
        raise ConfigError(f"{group.name}: {kind.__name__} needs one. Take {group.option}.")
    if group.option and is_given and not is_needed:
        way_out = f"Take {group.name}=none, or pipeline={group.pipeline}" if group.pipeline else "Leave it out"
        raise ConfigError(f"{group.name}: {kind.__name__} has no use for one. {way_out}.")
    return is_needed and (is_given or not group.place.several)


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
