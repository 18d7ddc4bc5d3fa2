"""The config groups that a model is made of: one entry each, in the order in which their components are built."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dlcpose.structures.registry import Registry


@dataclass(frozen=True)
class Place:
    """What may be instantiated in one place of a config.

    own: a package or module of dlcpose, whose public classes that derive from `base` are allowed; without a base, its
    public functions and classes. names: full paths of others. base: path of the class that every class derives from.
    inner: of the settings that are parts themselves, the name of their place. models: the settings that are whole models,
    described as in a checkpoint. several: whether the place holds any number of parts, each under a name of the user's.
    """

    own: str | None = None
    names: tuple[str, ...] = ()
    base: str | None = None
    inner: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    several: bool = False


@dataclass(frozen=True)
class ModelGroup:
    """A config group that a model is made of. A PoseModule names those that it needs in its `groups`.

    name: of the group, and of its component among a model's Components. place: what may be built of it. facts: what
    components built later may ask for in their signature besides this component by its name, until another group tells
    its own; each with the component's attribute. option: for a group that only some models have, what to choose where one
    is missing; pipeline: one that has it.
    """

    name: str
    place: Place
    facts: Mapping[str, str] = field(default_factory=dict)
    option: str = ""
    pipeline: str = ""


MODEL_GROUPS = (
    ModelGroup(
        "backbone",
        Place("dlcpose.backbones", base="dlcpose.backbones.base.Backbone"),
        facts={"in_channels": "channels", "strides": "strides"},
    ),
    ModelGroup(
        "neck",
        Place("dlcpose.necks", base="dlcpose.necks.base.Neck"),
        facts={"in_channels": "out_channels", "stride": "stride"},
    ),
    ModelGroup(
        "head",
        Place(
            "dlcpose.heads",
            base="dlcpose.heads.base.Head",
            inner={"heatmap_loss": "loss", "edges": "edges", "refinement": "refinement"},
        ),
    ),
    ModelGroup("side_head", Place("dlcpose.side_heads", inner={"head": "head"}, several=True)),
    ModelGroup(
        "fusion",
        Place("dlcpose.fusions", base="dlcpose.fusions.base.Fusion"),
        option="fusion=prenet",
        pipeline="conditional_top_down",
    ),
    ModelGroup(
        "condition",
        Place("dlcpose.conditions", base="dlcpose.conditions.base.ConditionSource"),
        option="condition=generated",
        pipeline="conditional_top_down",
    ),
    ModelGroup(
        "detector",
        Place(
            "dlcpose.detectors",
            names=("dlcpose.detectors.pose_boxes.pose_detector",),
            base="dlcpose.detectors.base.Detector",
            inner={
                **{"backbone": "backbone", "neck": "neck", "heatmap_loss": "loss"},
                **{"boxes": "box_rule", "training": "detector_training"},
            },
            models=("bottom_up",),
        ),
        option="detector=centernet, or another of conf/detector",
        pipeline="top_down",
    ),
)
# Of packages outside this one, each registered with the base class of its components.
PLUGINS: Registry[type[Any]] = Registry("dlcpose.model_groups", ())
model_group = PLUGINS.register


def model_groups() -> tuple[ModelGroup, ...]:
    """All model groups in the order in which they are built: our own, then those of plugins."""
    plugins = [
        ModelGroup(name, Place(base=f"{base.__module__}.{base.__qualname__}"), option=f"an option of {name}")
        for name, base in PLUGINS.load().items()
    ]
    return (*MODEL_GROUPS, *plugins)
