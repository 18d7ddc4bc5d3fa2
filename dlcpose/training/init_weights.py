"""Initialize a new run with the weights of another run, as far as they fit."""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from dlcpose.checkpoint import (
    DETECTOR,
    Checkpoint,
    Description,
    WeightMatch,
    check_finite,
    match_weights,
    own_data_statistics,
    read_checkpoint,
)
from dlcpose.pipelines.base import PoseModule
from dlcpose.structures.atomic_files import write_atomic
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import CheckpointError, ConfigError
from dlcpose.structures.printable import printable

logger = logging.getLogger(__name__)

RECORD = "init_from.json"  # in the run folder
# Settings that give a part weights from elsewhere: beside init_from it would be unclear which count.
SOURCES = {"backbone": ("pretrained", "checkpoint_path"), "detector": ("pretrained",)}


def init_from(config: Mapping[str, Any], pipeline: PoseModule, description: Description, resumed: Path | None) -> None:
    """Load the weights of config["init_from"]["checkpoint"] into a new model, and report which were loaded.

    With strict=true all of them must fit, else those that fit are loaded. Heads' statistics of their data are never
    loaded, nor the detector where detector.checkpoint names one. Raises ConfigError for settings that contradict each
    other, CheckpointError for a file that is no checkpoint or does not fit; also for `resumed`, the checkpoint that a
    run resumes from.
    """
    _check_settings(config, resumed)
    if config["init_from"]["checkpoint"] is None:
        if resumed is not None:
            checkpoint = read_checkpoint(resumed)
            _check_same_model(pipeline, checkpoint)
            check_finite(pipeline, checkpoint)
        return
    checkpoint, state = read_checkpoint(config["init_from"]["checkpoint"]), pipeline.state_dict()
    aside = dict.fromkeys(own_data_statistics(pipeline), "of the data")
    if (config["detector"] or {}).get("checkpoint"):
        detector = [name for name in {**state, **checkpoint.weights} if name.startswith(DETECTOR)]
        aside |= dict.fromkeys(detector, "detector.checkpoint gives it")
    matched = match_weights(_without(state, aside), _without(checkpoint.weights, aside))
    _check_sources(config, matched)
    if not any(name in matched.loaded for name, _ in pipeline.named_parameters()):
        raise CheckpointError(
            f"init_from.checkpoint={checkpoint.path}: nothing in it fits this model: it is of "
            f"{_made_of(checkpoint.description)}, this of {_made_of(description)}. Give a "
            f"run of the same backbone, or leave init_from out.{_settings_of_imported(checkpoint)}"
        )
    if config["init_from"]["strict"]:
        _check_all_fits(pipeline, checkpoint, description, matched)
    check_finite(pipeline, checkpoint)
    pipeline.load_state_dict({**state, **{name: checkpoint.weights[name] for name in matched.loaded}})
    _report(Path(config["run_dir"]), state, checkpoint, description, matched, aside)


def _check_settings(config: Mapping[str, Any], resumed: Path | None) -> None:
    path, strict = config["init_from"]["checkpoint"], config["init_from"]["strict"]
    if type(strict) is not bool:
        raise ConfigError(f"init_from.strict: expected true or false, got {strict!r}.")
    if path is None and not strict:
        raise ConfigError("init_from.strict=false: it has no effect without init_from.checkpoint=PATH. Leave it out.")
    if path is not None and not isinstance(path, str):
        raise ConfigError(f"init_from.checkpoint: expected the path of a checkpoint, got {path!r}.")
    if path is not None and resumed is not None:
        raise ConfigError(
            f"init_from.checkpoint={path} resume={config['resume']}: a resumed run has its own weights. Leave one of "
            "them out."
        )


def _check_same_model(pipeline: PoseModule, resumed: Checkpoint) -> None:
    """Raises CheckpointError where a run would be resumed as another model, in one line instead of Lightning's hundred."""
    matched = match_weights(pipeline.state_dict(), resumed.weights)
    if unlike := matched.unexpected | matched.missing:
        raise CheckpointError(
            f"resume={resumed.path}: it is of another model: {_some(unlike)}. Resume with the settings of that run, or "
            f"start a new one from its weights: init_from.checkpoint={resumed.path} init_from.strict=false."
        )


def _check_sources(config: Mapping[str, Any], matched: WeightMatch) -> None:
    """Raises ConfigError where a part to be initialized has weights from another setting."""
    for part, settings in SOURCES.items():
        given = [name for name in settings if (config[part] or {}).get(name)]
        if given and any(name.startswith(f"{part}.") for name in matched.loaded):
            setting = f"{part}.{given[0]}"
            raise ConfigError(
                f"{setting}={config[part][given[0]]} "
                f"init_from.checkpoint={config['init_from']['checkpoint']}: both give the {part} its weights. "
                f"Leave one of them out ({setting}={'false' if given[0] == 'pretrained' else 'null'})."
            )


def _check_all_fits(
    pipeline: PoseModule, checkpoint: Checkpoint, description: Description, matched: WeightMatch
) -> None:
    """Raises CheckpointError unless the file holds exactly the tensors of the model, for the same keypoints."""
    theirs, ours = checkpoint.description.skeleton.names, description.skeleton.names
    reasons = []
    if theirs != ours:
        reasons.append(f"its keypoints are {_named(theirs)}, the data's are {_named(ours)}")
    unlike = matched.unexpected | matched.missing
    if unlike:
        reasons.append(_some(unlike))
    if reasons:
        has_other_parts = any(not name.startswith("head.") for name in unlike)  # other keypoints change the head alone
        raise CheckpointError(
            f"init_from.checkpoint={checkpoint.path} does not fit: {'; '.join(reasons)}. Add init_from.strict=false to load "
            f"{len(matched.loaded)} of the model's {len(pipeline.state_dict())} tensors and initialize the rest."
            f"{_settings_of_imported(checkpoint) if has_other_parts else ''}"
        )


def _settings_of_imported(checkpoint: Checkpoint) -> str:
    """A hint at the settings that build an imported model, whose parts are not those of a run's defaults."""
    if checkpoint.description.split.train:
        return ""
    return " It was imported: `dlcpose import` prints the settings that build its model, after `train on:`."


def _report(
    run_dir: Path,
    state: Mapping[str, Tensor],
    checkpoint: Checkpoint,
    description: Description,
    matched: WeightMatch,
    aside: Mapping[str, str],
) -> None:
    """Print what was loaded, by module, and write the full list into the run folder."""
    missing = matched.missing | {name: reason for name, reason in aside.items() if name in state}
    unexpected = matched.unexpected | {name: reason for name, reason in aside.items() if name in checkpoint.weights}
    theirs, ours = checkpoint.description.skeleton.names, description.skeleton.names
    content = {"checkpoint": str(checkpoint.path), "keypoints": {"there": list(theirs), "here": list(ours)}}
    content |= {"loaded": list(matched.loaded), "unexpected": unexpected, "missing": missing}

    @rank_zero_only
    def report() -> None:
        taken = sum(state[name].numel() for name in matched.loaded)
        whole = sum(tensor.numel() for tensor in state.values())
        print(f"starts from {checkpoint.path}: {taken:,} of {whole:,} weights loaded")
        if theirs != ours:
            print(f"  keypoints there: {_named(theirs)}; here: {_named(ours)}")
        if matched.unexpected or matched.missing:
            print(f"  loaded: {_by_module(matched.loaded, [*unexpected, *missing], state)}")
            print(f"  not loaded: {_by_module(unexpected, matched.loaded, checkpoint.weights)}")
            print(f"  initialized anew: {_by_module(missing, matched.loaded, state)}")
        write_atomic(run_dir / RECORD, json.dumps(content, indent=1) + "\n")
        print(f"  each of them: {run_dir / RECORD}", flush=True)
        if known := set(description.split.test) & set(checkpoint.description.split.train):
            logger.warning(
                "init_from.checkpoint=%s: it was trained on %d of the %s, such as %s, so the test figures will "
                "be too good. Leave init_from out for figures of frames that are new to the model.",
                checkpoint.path,
                len(known),
                counted(len(description.split.test), "test frame"),
                min(known),
            )

    report()


def _by_module(names: Iterable[str], others: Iterable[str], state: Mapping[str, Tensor]) -> str:
    """Names grouped by module, or by its parts where these differ in outcome, with the number of weights of each."""
    mixed = {name.split(".")[0] for name in others}
    counts: dict[str, int] = {}
    for name in names:
        path = name.split(".")
        module = ".".join(path[: 2 if path[0] in mixed else 1])
        counts[module] = counts.get(module, 0) + state[name].numel()
    return printable(", ".join(f"{module} ({count:,})" for module, count in counts.items()) or "nothing")


def _some(unlike: Mapping[str, str]) -> str:
    """The first tensors that do not fit, with reasons, and the number of others."""
    first: dict[str, str] = {}
    for name, reason in unlike.items():
        first.setdefault(".".join(name.split(".")[:2]), f"{name} ({reason})")
    shown = list(first.values())[:3]
    more = len(unlike) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _named(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4])
    return printable(f"{len(names)} ({shown}{', ...' if len(names) > 4 else ''})")


def _made_of(description: Description) -> str:
    """A short description of a model: the classes of its parts, and which network of several a backbone is."""
    nodes = (description.config.get(part) or {} for part in ("pipeline", "backbone", "head"))
    return ", ".join(
        str(node["_target_"]).rpartition(".")[2] + (f" {node['name']!r:.80}" if "name" in node else "")
        for node in nodes
        if "_target_" in node
    )


def _without(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name not in names}
