"""Reading weights that other packages published: torch files, old and new, and safetensors; no code in them runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlcpose.structures.checkpoint_file import check_sizes, check_tensors, is_archive
from dlcpose.structures.errors import CheckpointError
from dlcpose.structures.torch_pickle import check_pickles


@dataclass(frozen=True)
class WeightsFile:
    """weights: by the names in the file. meta: what it says besides, as far as it is plain."""

    weights: Mapping[str, Tensor]
    meta: Mapping[str, Any] = field(default_factory=dict)


class _Skipped:
    """In the place of arrays of numpy beside the weights, such as MMPose's facts about a data set: they are not read."""

    def __init__(self, *content: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


SKIPPED: list[Any] = [
    (_Skipped, name)
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    for name in (f"{module}._reconstruct", f"{module}.scalar")
]
SKIPPED += [(_Skipped, "numpy.ndarray"), (_Skipped, "numpy.dtype")]


def read_weights_file(path: Path) -> WeightsFile:
    """The weights of a file: those under `state_dict` or `model`, or all of it.

    Raises CheckpointError for a file that is missing, broken, of something else, or holds objects besides weights.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file.")
    try:
        content = _safetensors(path) if path.suffix == ".safetensors" else _torch_file(path)
    except Exception as error:  # a broken file can raise anything
        text = str(error)
        if "Unsupported global" in text or "GLOBAL" in text:
            raise CheckpointError(
                f"{path}: it holds objects besides weights, and reading those could run code. If you trust the file, open it "
                "in an environment of its own and save its weights alone: torch.save({'state_dict': WEIGHTS}, PATH)."
            ) from error
        raise CheckpointError(
            f"{path}: cannot be read as weights of torch or safetensors: it is cut short or something else. Copy it again."
        ) from error
    weights, meta = content, {}
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            weights, found = content[key], content.get("meta")
            meta = found if isinstance(found, dict) else {}
            break
    if not isinstance(weights, dict) or not weights or not all(isinstance(each, Tensor) for each in weights.values()):
        raise CheckpointError(f"{path}: expected weights by their names, got something else.")
    if any(value.device.type == "meta" for value in weights.values()):
        raise CheckpointError(
            f"{path}: it has shapes without values (tensors on torch's meta device). Save the weights."
        )
    return WeightsFile({str(name).removeprefix("module."): value for name, value in weights.items()}, meta)


def _safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(path)


def _torch_file(path: Path) -> Any:
    if is_archive(path):
        check_sizes(path)
    else:
        check_pickles(path)
    with torch.serialization.safe_globals(SKIPPED):
        content = torch.load(path, map_location="cpu", weights_only=True)
    check_tensors(content)
    return content
