"""A model of another package as a checkpoint of ours: composed, built, filled with its weights, and written."""

import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlcpose.build import build_input, build_pipeline, build_trunk
from dlcpose.checkpoint import Description, match_weights, outlined, own_data_statistics
from dlcpose.config.compose import compose
from dlcpose.instantiate import Instantiator
from dlcpose.pipelines.base import PoseModule
from dlcpose.structures.atomic_files import write_output
from dlcpose.structures.data_description import DataDescription
from dlcpose.structures.errors import CheckpointError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton
from dlcpose.structures.split import Split


@dataclass(frozen=True)
class ImportedModel:
    """A foreign model in our terms, with its weights.

    overrides: what composes it from the shell. weights: by our names. left_over: names there that have no place here.
    multiple_of: what the sides of an image are padded to multiples of. license: of the weights, where it is known.
    not_taken: names there that are of no use for this model, with the reason.
    """

    source: Path
    overrides: Sequence[str]
    weights: Mapping[str, Tensor]
    left_over: Sequence[str]
    skeleton: Skeleton
    individuals: tuple[str, ...]
    has_identities: bool
    multiple_of: int
    license: str | None = None
    not_taken: Mapping[str, str] = field(default_factory=dict)


def write_checkpoint(model: ImportedModel, output: Path) -> Description:
    """Write a model as a checkpoint that predicts, evaluates and trains on like any other.

    Raises CheckpointError, with a list, where weights have no place or places no weights: a model with random layers in it
    would predict nonsense without a word.
    """
    config = compose(list(model.overrides))
    with outlined(model.source, model.weights):  # its config may describe a model larger than its weights
        weights = _checked(_built(config, model)[0], model)
    pipeline, model_input = _built(config, model)
    state = {**pipeline.state_dict(), **weights}
    description = Description(
        config=config,
        skeleton=model.skeleton,
        model_input=model_input,
        split=Split((), (), ()),
        individuals=model.individuals,
        max_animals=len(model.individuals),
        has_identities=model.has_identities,
    )
    content: dict[str, Any] = {"state_dict": state, "dlcpose": description.as_dict()}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_output(output, buffer.getbuffer())
    return description


def _built(config: Mapping[str, Any], model: ImportedModel) -> tuple[PoseModule, Input]:
    """The pipeline of a composed config, without the model's weights, and its input."""
    instantiate = Instantiator()
    trunk = build_trunk(config, instantiate)
    model_input = build_input(config, instantiate, trunk, [])
    model_input = replace(model_input, multiple_of=model.multiple_of) if model_input.canvas is None else model_input
    individuals = model.individuals if model.has_identities else ()
    data = DataDescription(model.skeleton, model_input, len(model.individuals), individuals)
    return build_pipeline(config, instantiate, data, trunk=trunk), model_input


def _checked(pipeline: PoseModule, model: ImportedModel) -> dict[str, Tensor]:
    """The weights for every tensor of a pipeline, but for what it keeps of its data where the model has none.

    Raises CheckpointError where they do not fit one to one.
    """
    state = pipeline.state_dict()
    own = own_data_statistics(pipeline) - model.weights.keys()
    found = match_weights({name: value for name, value in state.items() if name not in own}, model.weights)
    problems = {**dict.fromkeys(model.left_over, "belongs to no part of the model"), **found.unexpected}
    problems |= {name: reason for name, reason in found.missing.items() if name not in problems}
    if problems:
        shown = [f"{name} ({reason})" for name, reason in list(problems.items())[:8]]
        more = f" and {len(problems) - len(shown)} more" if len(problems) > len(shown) else ""
        raise CheckpointError(
            f"{model.source}: its weights are not those of the model that its config describes: {', '.join(shown)}{more}. "
            "Give the config that the snapshot was trained with; a file that was cut short has to be copied again."
        )
    infinite = [name for name in found.loaded if not bool(model.weights[name].isfinite().all())]
    if infinite:
        raise CheckpointError(
            f"{model.source}: {infinite[0]} has values that are not finite: its training has diverged."
        )
    return {name: model.weights[name] for name in found.loaded}


def training_command(model: ImportedModel, output: Path) -> str:
    """What trains the imported model on."""
    return shlex.join(["python", "train.py", *model.overrides, f"init_from.checkpoint={output}"])
