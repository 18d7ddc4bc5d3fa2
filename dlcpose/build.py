"""Build models from configs: the only place that follows a `_target_`, and only to trusted packages.

A config is plain dictionaries and lists (a checkpoint holds it as text), so a model is built from a checkpoint without
Hydra. What hydra.utils.instantiate does is not enough here: it follows any path into any package, passes arguments
through OmegaConf, which turns a Skeleton into a DictConfig, and explains a misspelt setting with a traceback.
"""

import difflib
import functools
import importlib
import inspect
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightning_fabric.utilities.exceptions import MisconfigurationException

from dlcpose.detectors.base import Detector
from dlcpose.heads.base import Head
from dlcpose.pipelines.base import PoseModule
from dlcpose.pipelines.components import Components
from dlcpose.structures.data_description import DataDescription
from dlcpose.structures.errors import ConfigError, DlcposeError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton

TRUSTED = (
    "dlcpose",
    "torch.optim",
    "torch.nn",
    "timm",
    "torchvision",
    "albumentations",
    "pytorch_lightning",
    "torchmetrics",
)
# Of our own package only what holds parts: the rest writes files and runs programs, which no config has to name.
PARTS = tuple(
    f"dlcpose.{package}"
    for package in (
        *("backbones", "necks", "heads", "side_heads", "detectors", "pipelines", "losses", "metrics", "schedulers"),
        *("optimizers", "callbacks", "loggers", "datasets", "augmentations", "structures.input"),
        *("fusions", "conditions"),
    )
)


class SeveralAnimalsError(ConfigError):
    """A head for one animal was given data with several."""


@dataclass(frozen=True)
class Instantiator:
    """Builds what config nodes describe. trust: packages of the user's own that may be named besides ours.

    Calling it with a node and the node's name returns the object: a mapping with `_target_` is called with its other
    entries (or bound to them where `_partial_` is true), any other mapping or list is built entry by entry.
    Raises ConfigError on an untrusted or unknown target, and on a setting that the target does not take.
    """

    trust: tuple[str, ...] = ()

    def __call__(self, node: Any, where: str) -> Any:
        if isinstance(node, Mapping):
            built = {
                key: self(value, f"{where}.{key}")
                for key, value in node.items()
                if key not in ("_target_", "_partial_")
            }
            if "_target_" not in node:
                return built
            target = self._target(str(node["_target_"]), where)
            return _called(target, built, where, partial=bool(node.get("_partial_", False)))
        if isinstance(node, (list, tuple)):
            return [self(value, f"{where}[{index}]") for index, value in enumerate(node)]
        return node

    def _target(self, path: str, where: str) -> Any:
        if not _within(path, TRUSTED + self.trust):
            package = path.split(".")[0]
            raise ConfigError(
                f"{where}._target_: {path} is outside the packages that a config may name "
                f"({', '.join(TRUSTED + self.trust)}). If you trust it, add trust=[{package}]."
            )
        found = _imported(path, where)
        # A path may enter a trusted package and leave it again (timm.models.os.system): where the thing was defined
        # counts. From other people's packages only classes: their functions load files and call hosts.
        home = found.__module__ or ""  # torch's compiled functions say None
        is_own = _within(home, (*PARTS, *self.trust))
        is_class = inspect.isclass(found) and _within(home, TRUSTED) and not _within(home, ("dlcpose",))
        if not (is_own or is_class):
            raise ConfigError(
                f"{where}._target_: {path} is not a class of a trusted package: it may not be called. "
                "Name a class, or a part of dlcpose."
            )
        return found


def _within(path: str, packages: Sequence[str]) -> bool:
    return any(path == package or path.startswith(f"{package}.") for package in packages)


def _imported(path: str, where: str) -> Any:
    module_name, _, name = path.rpartition(".")
    if not module_name or not name:
        raise ConfigError(f"{where}._target_: expected the path of something within a package, got {path!r}.")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"{where}._target_: {path} cannot be imported ({error}). Correct the path, or install the package that has it."
        ) from error
    found = getattr(module, name, None)
    if not callable(found) or not hasattr(found, "__module__"):
        near = difflib.get_close_matches(name, dir(module), n=3)
        raise ConfigError(f"{where}._target_: {module_name} has no {name}. Nearest: {', '.join(near) or 'none'}.")
    return found


def _called(target: Any, settings: dict[str, Any], where: str, *, partial: bool) -> Any:
    _check_settings(target, settings, where)
    late = functools.partial(target, **settings)
    return late if partial else _complete(late, where)


def _requested(late: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of the facts known when a component is built, those that its signature names."""
    return {name: value for name, value in facts.items() if name in _names(late)}


def _complete(late: Any, where: str, *arguments: Any, **settings: Any) -> Any:
    """Call what waited for its last arguments; what it refuses is a mistake in the config."""
    if not isinstance(late, functools.partial):
        raise ConfigError(f"{where}: expected a part that is completed later. Add `_partial_: true` to its option.")
    try:
        return late(*arguments, **settings)
    except DlcposeError:
        raise
    except (TypeError, ValueError, MisconfigurationException) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{where}: {late.func.__name__} refuses its settings: {reason}") from error


def _check_settings(target: Any, settings: Mapping[str, Any], where: str) -> None:
    parameters = inspect.signature(target).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    names = [parameter.name for parameter in parameters]
    for name in settings:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
            raise ConfigError(
                f"{where}.{name}: {target.__name__} takes no such setting. Nearest: {', '.join(near or names)}."
            )
    for name, value in settings.items():
        _check_plain_type(target, name, value, where)


def _check_plain_type(target: Any, name: str, value: Any, where: str) -> None:
    """Where a setting is annotated with plain types only, the value must be of one of them."""
    called = target.__init__ if inspect.isclass(target) else target
    try:
        expected = typing.get_type_hints(called).get(name)
    except (NameError, AttributeError, TypeError):  # an annotation that exists for type checkers only
        return
    is_union = typing.get_origin(expected) in (typing.Union, types.UnionType)
    kinds = typing.get_args(expected) if is_union else (expected,)
    if any(kind not in (int, float, bool, str, type(None)) for kind in kinds):
        return
    is_number_for_float = float in kinds and isinstance(value, int) and not isinstance(value, bool)
    if type(value) not in kinds and not is_number_for_float:
        names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
        raise ConfigError(f"{where}.{name}: expected {names}, got {value!r}.")


@dataclass(frozen=True)
class Trunk:
    """The components that need to know nothing of the data: built first, so that what cannot fit fails before data is read.

    Both are None for a model that is made of neither.
    """

    backbone: Any = None
    neck: Any = None


def build_trunk(config: Mapping[str, Any], instantiate: Instantiator) -> Trunk:
    """Backbone and neck of a config. Raises ConfigError where the neck needs what the backbone does not have."""
    if "backbone" not in _module_class(instantiate(config["pipeline"], "pipeline")).groups:
        return Trunk()
    backbone = instantiate(config["backbone"], "backbone")
    neck = _complete(
        instantiate(config["neck"], "neck"), "neck", in_channels=backbone.channels, strides=backbone.strides
    )
    return Trunk(backbone, neck)


def build_input(
    config: Mapping[str, Any], instantiate: Instantiator, trunk: Trunk, image_sizes: Sequence[tuple[int, int]]
) -> Input:
    """The input of a config for a backbone and images of these (height, width)."""
    late_input = instantiate(config["input"], "input")
    multiple_of = 1 if trunk.backbone is None else trunk.backbone.size_divisor
    built: Input = _complete(late_input, "input", image_sizes=image_sizes, multiple_of=multiple_of)
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
            components[name] = functools.partial(_complete, instantiate(config[name], name), name)
        components["metrics"] = instantiate(config["metric"], "metric")
        for name in ("head", "detector"):
            _check_max_animals(components.get(name), name, data.max_animals)
    assembled = Components(skeleton=data.skeleton, model_input=data.model_input, **components)
    module: PoseModule = _complete(late_module, "pipeline", assembled)
    return module


def build_from_description(described: Mapping[str, Any], instantiate: Instantiator) -> PoseModule:
    """The model that a checkpoint describes, without its weights.

    described: config, skeleton, input, individuals, max_animals and identified, as a checkpoint has them; the config as
    plain values. Raises ConfigError where something is missing.
    """
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
    head = _complete(late_head, "head", **_requested(late_head, facts))
    _check_head(head, data.max_animals, kind)
    side_heads = {}
    for name, late in instantiate(config.get("side_head") or {}, "side_head").items():
        if (side_head := _complete(late, f"side_head.{name}", **_requested(late, facts))) is not None:
            side_heads[name] = side_head
    return {"backbone": trunk.backbone, "neck": trunk.neck, "head": head, "side_heads": side_heads}


def _build_conditioning(
    config: Mapping[str, Any], instantiate: Instantiator, kind: type[PoseModule], trunk: Trunk, data: DataDescription
) -> dict[str, Any]:
    """Fusion and condition source of a conditional model."""
    facts = {"skeleton": data.skeleton, "canvas": data.model_input.canvas, "backbone": trunk.backbone}
    built = {}
    for name in ("fusion", "condition"):
        if _is_part_of(name, config, kind):
            late = instantiate(config[name], name)
            built[name] = _complete(late, name, **_requested(late, facts))
    return built


def _build_detector(described: Mapping[str, Any], instantiate: Instantiator, skeleton: Skeleton) -> Detector:
    detector = instantiate({name: node for name, node in described.items() if name != "bottom_up"}, "detector")
    if isinstance(detector, functools.partial):  # one that requests facts
        bottom_up = build_from_description(described["bottom_up"], instantiate) if described.get("bottom_up") else None
        facts = {"skeleton": skeleton, "bottom_up": bottom_up}
        detector = _complete(detector, "detector", **_requested(detector, facts))
    if not isinstance(detector, Detector):
        raise ConfigError(
            f"detector: expected a dlcpose.detectors.base.Detector, got {type(detector).__name__}. Derive it from Detector."
        )
    return detector


# Of groups that only some models are made of: what to take where it is missing, and the pipeline that has it.
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


def _names(late: Any) -> Collection[str]:
    """The parameters of what is completed later."""
    return inspect.signature(late.func).parameters if isinstance(late, functools.partial) else ()


def _module_class(late_module: Any) -> type[PoseModule]:
    kind = late_module.func if isinstance(late_module, functools.partial) else None
    if not (inspect.isclass(kind) and issubclass(kind, PoseModule)):
        raise ConfigError(
            "pipeline: expected a dlcpose.pipelines.base.PoseModule with `_partial_: true`. Derive it from PoseModule."
        )
    return kind


def _check_max_animals(part: Any, where: str, max_animals: int) -> None:
    limit = getattr(part, "max_animals", None)
    if limit is not None and limit < max_animals:
        raise ConfigError(
            f"{where}.max_animals={limit}: the data has up to {max_animals} animals in an image, of which at most {limit} "
            f"would be predicted. Take {where}.max_animals={max_animals}."
        )


def _check_head(head: Any, max_animals: int, kind: type[PoseModule]) -> None:
    if not isinstance(head, Head):
        raise ConfigError(f"head: expected a dlcpose.heads.base.Head, got {type(head).__name__}. Derive it from Head.")
    if kind.one_animal_per_crop and head.multi_animal:
        raise ConfigError(
            f"head: {type(head).__name__} predicts several animals, {kind.__name__} shows it one at a time. "
            "Choose head=heatmap, or pipeline=bottom_up."
        )
    if max_animals > 1 and not (head.multi_animal or kind.one_animal_per_crop):
        raise SeveralAnimalsError(
            f"head: {type(head).__name__} predicts one animal, the data has up to {max_animals} in an image."
        )
