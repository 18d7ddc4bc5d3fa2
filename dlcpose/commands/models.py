"""The named models, and what each is: computed by building it, never typed in."""

from dataclasses import asdict, dataclass

import yaml

from dlcpose.commands.compose import compose
from dlcpose.commands.entry import CONF, options


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
    """Names that `model=` takes."""
    return options("model")


def describe(name: str, *, keypoints: int = 17, size: tuple[int, int] = (256, 256)) -> ModelRow:
    """Facts of one model for this many keypoints and an image of `size`; no weights are made."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from dlcpose.build import Parts, build_pipeline, build_trunk
    from dlcpose.pipelines.base import Pipeline
    from dlcpose.structures.input import Input
    from dlcpose.structures.skeleton import Skeleton

    config, parts = compose([f"model={name}"]), Parts()
    skeleton = Skeleton(
        tuple(f"keypoint_{number}" for number in range(keypoints)),
        limbs=tuple((number, number + 1) for number in range(keypoints - 1)),
    )
    with torch.device("meta"):  # shapes without numbers: nothing is allocated or multiplied
        pipeline = build_pipeline(
            config,
            parts,
            build_trunk(config, parts),
            skeleton=skeleton,
            model_input=Input(*size),
            max_animals=1,
            to_train=False,
        ).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            assert isinstance(pipeline, Pipeline)
            shown = pipeline.shown_size(size)
            pipeline(torch.zeros(1, 3, *shown))
    detector = getattr(pipeline, "detector", None)
    of_detector = 0 if detector is None else sum(weight.numel() for weight in detector.parameters())
    return ModelRow(
        name=name,
        pipeline=str(config["pipeline"]["_target_"]).rsplit(".", 2)[1],
        animals="several" if pipeline.one_animal_each or pipeline.head.multi_animal else "one",
        parameters=sum(weight.numel() for weight in pipeline.parameters()) - of_detector,
        detector_parameters=of_detector,
        gmacs=counter.get_total_flops() / 2e9,
        stride=pipeline.head.stride,
        input=shown,
        keypoints=keypoints,
    )


def models_for_several() -> list[str]:
    """Names of the models that tell several animals apart."""
    # Composing every model would take ten seconds; which pipelines and heads they choose stands in their files.
    chosen = {name: tuple(_choices(name).get(group) for group in ("pipeline", "head")) for name in available_models()}
    apart = {pair: _tells_apart(*pair) for pair in set(chosen.values())}
    return [name for name, pair in chosen.items() if apart[pair]]


def _choices(model: str) -> dict[str, str]:
    """The options that a model's file chooses, by group."""
    entries = yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text())["defaults"]
    return {
        key.removeprefix("override /"): option
        for entry in entries
        if isinstance(entry, dict)
        for key, option in entry.items()
    }


def _tells_apart(pipeline: str | None, head: str | None) -> bool:
    from dlcpose.build import Parts

    asked = [f"{group}={option}" for group, option in (("pipeline", pipeline), ("head", head)) if option is not None]
    config, parts = compose(["~model", "name=any", *asked]), Parts()
    # The classes of head and pipeline say so: nothing needs to be built.
    late_pipeline, late_head = parts(config["pipeline"], "pipeline"), parts(config["head"], "head")
    return bool(late_pipeline.func.one_animal_each or late_head.func.multi_animal)


def models_command(as_json: bool = False) -> None:
    """Print the table of models."""
    rows = [describe(name) for name in available_models()]
    if as_json:
        import json

        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    # As narrow as it can be: names are there to be copied, and in 80 columns none may be cut.
    table = Table(box=SIMPLE_HEAD, padding=0)
    table.caption = f"for {rows[0].keypoints} keypoints; of top-down models GMACs are of one crop"
    headings = ("model", "pipeline", "animals", "weights\n(M)", "detector\n(M)", "GMACs", "input", "stride")
    for heading in headings:
        is_text = heading in ("model", "pipeline", "animals")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            row.pipeline,
            row.animals,
            f"{row.parameters / 1e6:.2f}",
            f"{row.detector_parameters / 1e6:.2f}" if row.detector_parameters else "",
            f"{row.gmacs:.2f}",
            f"{row.input[1]}x{row.input[0]}",
            f"{row.stride:g}",
        )
    Console().print(table)
