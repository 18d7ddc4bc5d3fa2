"""From a config to objects: the one place where a `_target_` is followed, and the keeper of what may be.

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


def _asked(late: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is known when a part is built, that which its signature names: a part asks for a fact by its name."""
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
    """The parts that need to know nothing of the data: built first, so that what cannot fit fails before data is read.

    Both are None for a pipeline that is made of neither.
    """

    backbone: Any
    neck: Any


def build_trunk(config: Mapping[str, Any], instantiate: Instantiator) -> Trunk:
    """Backbone and neck of a config. Raises ConfigError where the neck asks for what the backbone does not have."""
    if "backbone" not in _names(instantiate(config["pipeline"], "pipeline")):
        return Trunk(None, None)
    backbone = instantiate(config["backbone"], "backbone")
    neck = _complete(
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
    if "head" in _names(late_pipeline):
        canvas = kind.head_canvas(model_input, _settings_of(late_pipeline))
        known = {"individuals": tuple(individuals), "canvas": canvas}
        made |= _build_heads(config, instantiate, trunk, kind, skeleton=skeleton, max_animals=max_animals, known=known)
        made |= _build_conditioning(config, instantiate, trunk, late_pipeline, {"skeleton": skeleton, "canvas": canvas})
    made |= _build_detector(config, instantiate, late_pipeline, skeleton)
    if to_train:
        # They are completed when training begins; what they refuse then is a mistake in the config all the same.
        for name in ("optimizer", "scheduler"):
            made[name] = functools.partial(_complete, instantiate(config[name], name), name)
        made["metrics"] = instantiate(config["metric"], "metric")
        for name in ("head", "detector"):
            _check_room(made.get(name), name, max_animals)
    built: PoseModule = _complete(late_pipeline, "pipeline", **made)
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
    head = _complete(late_head, "head", **_asked(late_head, facts))
    _check_head(head, max_animals, kind)
    side_heads = {}
    for name, late in instantiate(config.get("side_head") or {}, "side_head").items():
        if (beside := _complete(late, f"side_head.{name}", **_asked(late, facts))) is not None:
            side_heads[name] = beside
    return {"backbone": trunk.backbone, "neck": trunk.neck, "head": head, "side_heads": side_heads}


def _build_conditioning(
    config: Mapping[str, Any], instantiate: Instantiator, trunk: Trunk, late_pipeline: Any, known: Mapping[str, Any]
) -> dict[str, Any]:
    """What a pipeline with conditions is made of besides. Raises ConfigError where something is missing, or would be idle."""
    built = {}
    for name, needed in (("fusion", "fusion=prenet"), ("condition", "condition=generated")):
        described, is_asked = config.get(name) or {}, name in _names(late_pipeline)
        if bool(described) != is_asked:
            has, take = ("has no use for one", f"{name}=none") if described else ("needs one", needed)
            raise ConfigError(
                f"{name}: {_kind_of(late_pipeline).__name__} {has}. Take {take}"
                f"{', or pipeline=conditional_top_down' if described else ''}."
            )
        if is_asked:
            late = instantiate(described, name)
            built[name] = _complete(late, name, **_asked(late, {**known, "backbone": trunk.backbone}))
    return built


def _build_detector(
    config: Mapping[str, Any], instantiate: Instantiator, late_pipeline: Any, skeleton: Skeleton
) -> dict[str, Any]:
    """The detector, for a pipeline that has one. Raises ConfigError where one is missing, or would have nothing to do."""
    described, kind = config.get("detector") or {}, _kind_of(late_pipeline).__name__
    if "detector" not in _names(late_pipeline):
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
        detector = _complete(detector, "detector", **_asked(detector, facts))
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


def _names(late: Any) -> Collection[str]:
    """What a part asks for by name when it is completed."""
    return inspect.signature(late.func).parameters if isinstance(late, functools.partial) else ()


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
    built: Input = _complete(late_input, "input", image_sizes=image_sizes, multiple_of=multiple_of)
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
