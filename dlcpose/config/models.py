"""Facts about the named models (parameters, multiply-accumulates, stride), computed by building them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from dlcpose.config.compose import compose
from dlcpose.config.folders import CONF, option_names


@dataclass(frozen=True)
class ModelFacts:
    """Facts about one model, for a number of keypoints and one image of `input` (height, width).

    animals: "one" or "several". parameters: their number. gmacs: multiply-accumulates in 10⁹. Of a top-down model both
    are those of the pose network for one crop; detector_parameters counts the detector's. license: of the weights that
    backbone.pretrained=true fetches, as their hub states it; empty where there are none.
    """

    name: str
    pipeline: str
    animals: str
    parameters: int
    detector_parameters: int
    gmacs: float
    stride: float
    input: tuple[int, int]
    keypoints: int
    license: str


def available_models() -> list[str]:
    """Names of the pose models that `model=` takes."""
    return [name for name in option_names("model") if name != "detection"]  # a detector alone has no poses


def describe(name: str, *, keypoints: int = 17, size: tuple[int, int] | None = None) -> ModelFacts:
    """Facts about a model for this many keypoints, without allocating weights.

    size: (height, width) that the pose network sees; that of the model's input for 256x256 images unless given.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from dlcpose.build import build_input, build_pipeline, build_trunk
    from dlcpose.instantiate import Instantiator
    from dlcpose.structures.data_description import DataDescription
    from dlcpose.structures.input import Input
    from dlcpose.structures.skeleton import Skeleton

    config, instantiate = compose([f"model={name}"]), Instantiator()
    skeleton = Skeleton(
        tuple(f"keypoint_{number}" for number in range(keypoints)),
        edges=tuple((number, number + 1) for number in range(keypoints - 1)),
    )
    with torch.device("meta"):  # shapes without values: nothing is allocated or computed
        trunk = build_trunk(config, instantiate)
        model_input = build_input(config, instantiate, trunk, [(256, 256)]) if size is None else Input(*size)
        pipeline = build_pipeline(config, instantiate, DataDescription(skeleton, model_input), trunk=trunk).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            estimator = pipeline.estimator
            assert estimator is not None
            input_size = model_input.canvas or (256, 256)
            estimator(torch.zeros(1, estimator.channels, *input_size))
    detector = pipeline.detector
    of_detector = 0 if detector is None else sum(weight.numel() for weight in detector.parameters())
    return ModelFacts(
        name=name,
        pipeline=str(config["pipeline"]["_target_"]).rsplit(".", 2)[1],
        animals="several" if estimator.one_animal_per_crop or estimator.head.multi_animal else "one",
        parameters=sum(weight.numel() for weight in pipeline.parameters()) - of_detector,
        detector_parameters=of_detector,
        gmacs=counter.get_total_flops() / 2e9,
        stride=estimator.head.stride,
        input=input_size,
        keypoints=keypoints,
        license=_license(config["backbone"]),
    )


def _license(backbone: Mapping[str, Any]) -> str:
    """The license of the weights that `pretrained=true` of a backbone's config would fetch; empty where there are none."""
    import timm

    if "pretrained" not in backbone:
        return ""
    weights = timm.get_pretrained_cfg(backbone["name"])
    if weights is None or not weights.has_weights:
        return ""
    return weights.license or "not stated"


def multi_animal_models() -> list[str]:
    """Names of the models that predict several animals."""
    from dlcpose.instantiate import Instantiator

    # Composing every model would take ten seconds. The classes of head and pipeline state it, and are named in the
    # files.
    defaults = compose(["~model", "name=any"])

    def chosen(model: str, group: str) -> Any:
        option = _choices("model", model).get(group)
        target = defaults[group]["_target_"] if option is None else _target_of(group, option)
        return Instantiator()({"_target_": target, "_partial_": True}, group).func

    return [
        name
        for name in available_models()
        if chosen(name, "pipeline").one_animal_per_crop or chosen(name, "head").multi_animal
    ]


def _choices(group: str, option: str) -> dict[str, str]:
    """The options of other groups that an option's file overrides, those of its bases included."""
    choices: dict[str, str] = {}
    for entry in _content(group, option).get("defaults", []):
        if isinstance(entry, dict):
            choices |= {key.removeprefix("override /"): choice for key, choice in entry.items()}
        elif entry != "_self_":
            choices = _choices(group, entry) | choices
    return choices


def _target_of(group: str, option: str) -> str:
    """The class that an option's file names, or the first option of its defaults list."""
    content = _content(group, option)
    node = content.get(group, content)  # options of the whole config name their group
    if "_target_" in node:
        return str(node["_target_"])
    return _target_of(
        group, next(entry for entry in content["defaults"] if isinstance(entry, str) and entry != "_self_")
    )


def _content(group: str, option: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CONF / group / f"{option}.yaml").read_text(encoding="utf-8"))
    return content
