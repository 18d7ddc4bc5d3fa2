"""Self-contained checkpoints: weights, config as text, skeleton, input, split, versions. Nothing in them can run code."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_module_registration_hook

from dlcpose.build import build_pipeline
from dlcpose.instantiate import Instantiator
from dlcpose.model_groups import model_groups
from dlcpose.pipelines.base import PoseModule
from dlcpose.pipelines.data_statistics import data_statistics
from dlcpose.pipelines.finite_values import first_not_finite
from dlcpose.structures.checkpoint_file import read_checkpoint_file
from dlcpose.structures.counted import counted
from dlcpose.structures.data_description import DataDescription, check_limits
from dlcpose.structures.data_files import as_yaml, parse_yaml, shown
from dlcpose.structures.errors import CheckpointError, DlcposeError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton
from dlcpose.structures.split import Split
from dlcpose.structures.versions import versions

FORMAT = 1
MAX_CONFIG = 10_000_000  # characters: a longer one is no config
# Modules of a model by the tensors of its file: ours and timm's are made of 8 a tensor at most, usually of one or two.
MODULES_PER_TENSOR, SOME_MODULES = 16, 1_000
DETECTOR = "detector."  # what the names of its weights begin with
NO_WEIGHTS = {"pretrained": False, "checkpoint_path": None, "checkpoint": None}  # settings that fetch weights, and none


@dataclass(frozen=True)
class Description:
    """What a checkpoint holds besides weights.

    config: resolved, plain. individuals: names of the animals. max_animals: in one image of the training data.
    has_identities: whether an individual is the same animal from frame to frame.
    """

    config: Mapping[str, Any]
    skeleton: Skeleton
    model_input: Input
    split: Split
    individuals: tuple[str, ...]
    max_animals: int
    has_identities: bool = False

    @property
    def data(self) -> DataDescription:
        """What a model is built for."""
        individuals = self.individuals if self.has_identities else ()
        return DataDescription(self.skeleton, self.model_input, self.max_animals, individuals)

    def as_dict(self) -> dict[str, Any]:
        """Plain values that load with `weights_only=True`; the config as text, since objects in it would not."""
        return {
            "format": FORMAT,
            "config": as_yaml(dict(self.config)),
            "skeleton": self.skeleton.as_dict(),
            "input": self.model_input.as_dict(),
            "split": self.split.as_dict(),
            "individuals": list(self.individuals),
            "max_animals": self.max_animals,
            "identified": self.has_identities,
            "versions": versions(),
        }


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read from a file: its description and its weights."""

    path: Path
    description: Description
    weights: dict[str, Tensor]


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint of a dlcpose run. Raises CheckpointError when the file is missing, broken, or not one of these."""
    path = Path(path)
    content = read_checkpoint_file(path)
    described = content.get("dlcpose")
    if not isinstance(described, dict):
        raise CheckpointError(f"{path}: expected a .ckpt of a dlcpose run, got another program's checkpoint.")
    if type(described.get("format")) is not int or described["format"] != FORMAT:
        written_with = described.get("versions")
        version = written_with.get("dlcpose") if isinstance(written_with, dict) else None
        version = version[:40] if isinstance(version, str) else "?"
        raise CheckpointError(
            f"{path}: expected checkpoint format {FORMAT}, got {shown(described.get('format'))}: "
            f"it was written by dlcpose {version}. Install that version."
        )
    try:
        return Checkpoint(path, _description(described), _weights(content["state_dict"]))
    except Exception as error:  # values of other types than it has, tensors among them, raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise CheckpointError(
            f"{path}: its description of the model is incomplete ({reason}). Train it anew."
        ) from error


def _weights(state: Any) -> dict[str, Tensor]:
    """The weights by name. Raises TypeError for anything else."""
    weights = dict(state)
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise TypeError(f"expected weights by name, got {type(value).__name__} for {str(name)[:80]!r}")
    return weights


def _description(described: Mapping[str, Any]) -> Description:
    """A checkpoint's description of its model. Raises ValueError for what is larger than any model, and for other types."""
    config = described["config"]
    if not isinstance(config, str) or len(config) > MAX_CONFIG:
        raise ValueError(f"expected a config as text of at most {MAX_CONFIG} characters")
    check_limits(described)
    return Description(
        config=_config(config),
        skeleton=Skeleton.from_dict(described["skeleton"]),
        model_input=Input.from_dict(described["input"]),
        split=Split(**{name: tuple(keys) for name, keys in described["split"].items()}),
        individuals=tuple(described["individuals"]),
        max_animals=described["max_animals"],
        has_identities=described["identified"],
    )


def _config(text: str) -> dict[str, Any]:
    config = parse_yaml(text, "its config", error=CheckpointError)
    if not isinstance(config, dict) or not all(isinstance(name, str) for name in config):
        raise ValueError(f"expected a config of named parts, got {shown(config)}")
    return config


def restore(checkpoint: Checkpoint, instantiate: Instantiator, detector: Mapping[str, Any] | None = None) -> PoseModule:
    """The pipeline a checkpoint describes, with its weights, ready to predict.

    detector: the config of another one, which brings its own weights. Raises ConfigError where the pipeline has none, and
    for a model that a checkpoint may not describe; CheckpointError for weights that do not fit, or are not finite.
    """
    check_outline(checkpoint, instantiate)
    config = without_pretrained_weights(checkpoint.description.config)
    if detector is not None:
        config["detector"] = embed_bottom_up_model(detector, instantiate)
    instantiate = instantiate.of_file(checkpoint.path, own=() if detector is None else ("detector",))
    pipeline = _built(checkpoint, config, instantiate)
    check_finite(pipeline, checkpoint)
    try:
        pipeline.load_state_dict(_beside(pipeline, checkpoint.weights) if detector is not None else checkpoint.weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{checkpoint.path}: the weights do not fit the model it describes: {reason[:300]}. "
            "Load it with the versions of dlcpose and timm that it was written with."
        ) from error
    pipeline.loaded_from = checkpoint.path
    return pipeline.eval()


def check_outline(checkpoint: Checkpoint, instantiate: Instantiator) -> None:
    """Raises CheckpointError where the model that a checkpoint describes is not of the size of its weights.

    An untrusted file of a few kB may describe one of any size.
    """
    if instantiate.trust:  # a user's own part may not support the meta device
        return
    config = without_pretrained_weights(checkpoint.description.config)
    with outlined(checkpoint.path, checkpoint.weights):
        _check_fit(_built(checkpoint, config, instantiate.of_file(checkpoint.path)), checkpoint)


@contextmanager
def outlined(path: Path, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """A context in which models are made without values: they take no memory, however large the layers.

    Raises CheckpointError within it, naming the file of the weights, for a model of many more layers than these: each
    takes time.
    """
    most, count = MODULES_PER_TENSOR * len(weights) + SOME_MODULES, 0

    def check_number(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise CheckpointError(
                f"{path}: the weights do not fit the model it describes, which has more than {most} layers for "
                f"{counted(len(weights), 'tensor')}. Take the file and the config of one model."
            )

    hook = register_module_module_registration_hook(check_number)
    try:
        with torch.device("meta"):
            yield
    finally:
        hook.remove()


def _built(checkpoint: Checkpoint, config: Mapping[str, Any], instantiate: Instantiator) -> PoseModule:
    """The pipeline that a checkpoint describes. Raises CheckpointError where that cannot be built at all."""
    try:
        return build_pipeline(config, instantiate, checkpoint.description.data)
    except DlcposeError:
        raise
    except Exception as error:  # a part is missing or does not fit the others: constructors raise errors of any type
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise CheckpointError(f"{checkpoint.path}: the model it describes cannot be built ({reason}).") from error


def _check_fit(pipeline: PoseModule, checkpoint: Checkpoint) -> None:
    """Raises CheckpointError where a model has other weights than a checkpoint holds, or of another kind of number."""
    model = pipeline.state_dict()
    found = match_weights(model, checkpoint.weights)
    unlike = found.missing | found.unexpected
    if unlike:
        name, reason = next(iter(unlike.items()))
        raise CheckpointError(
            f"{checkpoint.path}: the weights do not fit the model it describes: {name} ({reason}). "
            "Load it with the versions of dlcpose and timm that it was written with."
        )


def check_finite(pipeline: PoseModule, checkpoint: Checkpoint) -> None:
    """Raises CheckpointError for weights that are not finite; what heads keep of their data may be."""
    if (name := first_not_finite(pipeline, checkpoint.weights)) is not None:
        raise CheckpointError(
            f"{checkpoint.path}: {name} has values that are not finite: its training has diverged, or the file is "
            "damaged. Take the checkpoint of an earlier epoch, or train anew with a lower optimizer.lr."
        )


def without_pretrained_weights(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with parts that start empty: their weights come from the checkpoint, not from a hub or another file."""
    return {
        name: NO_WEIGHTS[name]
        if name in NO_WEIGHTS
        else without_pretrained_weights(node)
        if isinstance(node, Mapping)
        else node
        for name, node in config.items()
    }


def _beside(pipeline: PoseModule, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's weights, with the pipeline's own detector weights in place of the checkpoint's."""
    own = {name: value for name, value in pipeline.state_dict().items() if name.startswith(DETECTOR)}
    return {**{name: value for name, value in weights.items() if not name.startswith(DETECTOR)}, **own}


def embed_bottom_up_model(detector: Mapping[str, Any], instantiate: Instantiator) -> dict[str, Any]:
    """A detector's config with the description of the bottom-up model from its checkpoint, for detectors that take one.

    So the checkpoint that is saved with it can be restored without that file. Raises CheckpointError where it cannot be
    read, or describes a model that is not of the size of its weights.
    """
    if "bottom_up" not in detector or not detector["checkpoint"]:
        return dict(detector)
    checkpoint = read_checkpoint(detector["checkpoint"])
    check_outline(checkpoint, instantiate)
    described = checkpoint.description.as_dict()
    config = without_pretrained_weights(_config(described["config"]))
    names = ("pipeline", *(group.name for group in model_groups()))
    model = {name: config[name] for name in names if name in config}
    known = {name: described[name] for name in ("skeleton", "input", "individuals", "max_animals", "identified")}
    return {**detector, "bottom_up": {"config": model, **known}}


# ------------------------------------------------------------------------------------------------ into another model


@dataclass(frozen=True)
class WeightMatch:
    """Names of the tensors that a model can load from a state; of the others, why not.

    unexpected: tensors of the state that do not fit. missing: tensors of the model that the state does not give.
    """

    loaded: tuple[str, ...]
    unexpected: dict[str, str]
    missing: dict[str, str]


def match_weights(target: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> WeightMatch:
    """Match a given state to a model's: layers of the same tensors, their shapes and kinds of number, are loaded.

    A layer is loaded whole or not at all: a bias means nothing without the weight that it was learned with.
    """
    differing = {_layer(name) for name in {*target, *given} if not _fits(target.get(name), given.get(name))}

    def reason(name: str) -> str:
        there, here = given.get(name), target.get(name)
        if _fits(here, there):
            return "its layer does not fit"
        if there is None or here is None:
            return f"not in the {'model' if here is None else 'file'}"
        if there.shape == here.shape:
            return f"{there.dtype} in the file, {here.dtype} in the model"
        return f"{_sides(there)} in the file, {_sides(here)} in the model"

    return WeightMatch(
        loaded=tuple(name for name in target if _layer(name) not in differing),
        unexpected={name: reason(name) for name in given if _layer(name) in differing},
        missing={name: reason(name) for name in target if _layer(name) in differing},
    )


def own_data_statistics(pipeline: PoseModule) -> frozenset[str]:
    """The data statistics of a pipeline, without those of a model in its detector, which keeps its own."""
    return frozenset(name for name in data_statistics(pipeline) if not name.startswith(DETECTOR))


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _fits(here: Tensor | None, there: Tensor | None) -> bool:
    """Whether one tensor can take the values of another: torch would make real numbers of complex ones without a word."""
    if here is None or there is None:
        return here is there
    return here.shape == there.shape and here.dtype.is_floating_point == there.dtype.is_floating_point


def _sides(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
