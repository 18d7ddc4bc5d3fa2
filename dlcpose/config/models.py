"""The named models, and what each is: computed by building it, never typed in."""

from dataclasses import dataclass
from typing import Any

import yaml

from dlcpose.config.compose import compose
from dlcpose.config.folders import CONF, option_names


@dataclass(frozen=True)
class ModelRow:
    """A model's facts. parameters: count. gmacs: multiply-accumulates in 10⁹ for one image of `input` (height, width).

    Of a top-down model both are those of the pose part, for one crop; detector_parameters has the rest.
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


def available_models() -> list[str]:
    """Names of the pose models that `model=` takes."""
    return [name for name in option_names("model") if name != "detection"]  # a detector alone has no poses


def describe(name: str, *, keypoints: int = 17, size: tuple[int, int] | None = None) -> ModelRow:
    """Facts of one model for this many keypoints; no weights are made.

    size: (height, width) that the pose network sees; what the model's input makes of 256x256 images unless given.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from dlcpose.build import build_input, build_pipeline, build_trunk
    from dlcpose.instantiate import Instantiator
    from dlcpose.pipelines.base import PoseEstimator
    from dlcpose.structures.data_description import DataDescription
    from dlcpose.structures.input import Input
    from dlcpose.structures.skeleton import Skeleton

    config, instantiate = compose([f"model={name}"]), Instantiator()
    skeleton = Skeleton(
        tuple(f"keypoint_{number}" for number in range(keypoints)),
        edges=tuple((number, number + 1) for number in range(keypoints - 1)),
    )
    with torch.device("meta"):  # shapes without numbers: nothing is allocated or multiplied
        trunk = build_trunk(config, instantiate)
        model_input = build_input(config, instantiate, trunk, [(256, 256)]) if size is None else Input(*size)
        pipeline = build_pipeline(config, instantiate, DataDescription(skeleton, model_input), trunk=trunk).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            assert isinstance(pipeline, PoseEstimator)
            shown = model_input.canvas or (256, 256)
            pipeline(torch.zeros(1, pipeline.channels, *shown))
    detector = pipeline.detector
    of_detector = 0 if detector is None else sum(weight.numel() for weight in detector.parameters())
    return ModelRow(
        name=name,
        pipeline=str(config["pipeline"]["_target_"]).rsplit(".", 2)[1],
        animals="several" if pipeline.one_animal_per_crop or pipeline.head.multi_animal else "one",
        parameters=sum(weight.numel() for weight in pipeline.parameters()) - of_detector,
        detector_parameters=of_detector,
        gmacs=counter.get_total_flops() / 2e9,
        stride=pipeline.head.stride,
        input=shown,
        keypoints=keypoints,
    )


def models_for_several() -> list[str]:
    """Names of the models that tell several animals apart."""
    from dlcpose.instantiate import Instantiator

    # Composing every model would take ten seconds. The classes of head and pipeline say it, and stand in their files.
    unless_chosen = compose(["~model", "name=any"])

    def chosen(model: str, group: str) -> Any:
        option = _choices("model", model).get(group)
        target = unless_chosen[group]["_target_"] if option is None else _target_of(group, option)
        return Instantiator()({"_target_": target, "_partial_": True}, group).func

    return [
        name
        for name in available_models()
        if chosen(name, "pipeline").one_animal_per_crop or chosen(name, "head").multi_animal
    ]


def _choices(group: str, option: str) -> dict[str, str]:
    """The options of other groups that an option's file chooses."""
    entries = _content(group, option).get("defaults", [])
    named = [entry for entry in entries if isinstance(entry, dict)]
    return {key.removeprefix("override /"): choice for entry in named for key, choice in entry.items()}


def _target_of(group: str, option: str) -> str:
    """The class an option names, itself or by the option of its group that it begins with."""
    content = _content(group, option)
    node = content.get(group, content)  # options of the whole config name their group
    if "_target_" in node:
        return str(node["_target_"])
    return _target_of(
        group, next(entry for entry in content["defaults"] if isinstance(entry, str) and entry != "_self_")
    )


def _content(group: str, option: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CONF / group / f"{option}.yaml").read_text())
    return content
