"""The files of a DeepLabCut 3 model folder, and the weights in its snapshots, read without running code."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dlcpose.deeplabcut_layout.config import FILE_NAME, SnapshotConfig, config_of
from dlcpose.structures.checkpoint_file import read_checkpoint_file
from dlcpose.structures.errors import CheckpointError, DataError

POSE, DETECTOR = "snapshot", "snapshot-detector"  # what the names of files begin with
CONFIG, WEIGHTS, OF_DETECTOR = "config", "pose", "detector"  # what a file of `export_model` holds
TENSORFLOW = ("*.index", "*.meta", "*.data-00000-of-*", "*.pb")


@dataclass(frozen=True)
class ModelFiles:
    """Paths of a model: its config, its snapshot and, of a top-down model, the detector's. None: there is none."""

    config: Path
    snapshot: Path
    detector: Path | None


def find_files(
    source: Path, *, config: Path | None = None, snapshot: Path | None = None, detector: Path | None = None
) -> ModelFiles:
    """The files of a model: of its folder, or beside its snapshot. Of several snapshots, the best one or else the last.

    source: the folder of a shuffle, its `train` folder, or a snapshot. The others are taken instead of what is there.
    Raises DataError where something is missing, with what was found instead.
    """
    if source.is_file():
        snapshot, folder = snapshot or source, source.parent
    elif source.is_dir():
        folder = source / "train" if (source / "train").is_dir() else source
    else:
        raise DataError(f"{source}: expected the folder of a DeepLabCut model or a snapshot, got nothing of that name.")
    if snapshot is None:
        refuse_tensorflow(sorted(folder.iterdir()))
        if (snapshot := _best(folder, POSE)) is None:
            raise DataError(
                f"{folder}: expected snapshots of DeepLabCut 3 (snapshot-200.pt, snapshot-best-190.pt), got none. Give the "
                "folder of a shuffle below dlc-models-pytorch, or a snapshot."
            )
    for path in (snapshot, detector):
        if path is not None and not path.is_file():
            raise DataError(f"{path}: no such file.")
    return ModelFiles(config or folder / FILE_NAME, snapshot, detector or _best(folder, DETECTOR))


def shuffle_of(snapshot: Path) -> tuple[int, float] | None:
    """The number and the TrainingFraction of the shuffle whose folder below dlc-models-pytorch a snapshot lies in; None
    where it lies elsewhere.
    """
    match = re.fullmatch(r".+-trainset(\d+)shuffle(\d+)", snapshot.absolute().parents[1].name)
    return None if match is None else (int(match.group(2)), int(match.group(1)) / 100)


def project_of(snapshot: Path) -> Path | None:
    """The project whose dlc-models-pytorch a snapshot lies in; None where it lies elsewhere.

    The config of a snapshot has the place of the project on the machine that trained it, or none.
    """
    folders = snapshot.absolute().parents
    is_inside = len(folders) > 4 and folders[3].name == "dlc-models-pytorch" and (folders[4] / "config.yaml").is_file()
    return folders[4] if is_inside else None


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a snapshot, by DeepLabCut's names.

    Raises CheckpointError where it is broken, holds objects, or is something else.
    """
    try:
        content: Any = read_checkpoint_file(path)
    except CheckpointError as error:
        raise CheckpointError(_reason(path, error)) from error
    weights = content.get("model")
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(
            f"{path}: expected a snapshot of DeepLabCut 3, weights under `model`, got {', '.join(map(str, content))[:60]}."
        )
    return {str(name): value for name, value in weights.items()}


def is_exported(path: Path) -> bool:
    """Whether a file is a whole model as DeepLabCut's `export_model` writes it and DeepLabCut-Live loads it."""
    try:
        content = read_checkpoint_file(path, memory_map=True)
    except CheckpointError:  # of an older torch, or of another package
        return False
    return isinstance(content.get(CONFIG), dict) and isinstance(content.get(WEIGHTS), dict)


def read_exported(path: Path) -> tuple[SnapshotConfig, dict[str, Tensor], dict[str, Tensor] | None]:
    """Config, weights, and those of a top-down model's detector of such a file.

    Raises DataError for a config that describes no model, and CheckpointError for weights that are none.
    """
    content = read_checkpoint_file(path)
    detector = content.get(OF_DETECTOR)
    return (
        config_of(content[CONFIG], path),
        _weights(path, WEIGHTS, content[WEIGHTS]),
        None if detector is None else _weights(path, OF_DETECTOR, detector),
    )


def _weights(path: Path, key: str, weights: Any) -> dict[str, Tensor]:
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f"{path}: expected weights under `{key}`, got something else. Export it again.")
    return {str(name): value for name, value in weights.items()}


def _reason(path: Path, error: CheckpointError) -> str:
    """What is said of a snapshot that cannot be read."""
    objects = getattr(error.__cause__, "args", ("",))[0]
    if type(error.__cause__).__name__ == "UnpicklingError" and "GLOBAL" in str(objects):
        named = re.search(r"GLOBAL ([\w.]+)", str(objects))
        what = f" ({named.group(1)})" if named else ""
        return (
            f"{path}: it holds objects besides weights{what}, as snapshots of early versions of DeepLabCut 3 do, and reading "
            "those could run code. If you trust the file, open it once in DeepLabCut's own environment and save its weights "
            "alone: s = torch.load(PATH, weights_only=False); torch.save({'model': s['model']}, PATH)."
        )
    return f"{path}: cannot be read as a snapshot: it is cut short or something else. Copy it again."


def _best(folder: Path, prefix: str) -> Path | None:
    """The best snapshot of a folder, else the one of the last epoch, of those named by a prefix."""
    found = []
    for path in folder.glob(f"{prefix}-*.pt"):
        if match := re.fullmatch(rf"{prefix}-(best-)?(\d+)\.pt", path.name):
            found.append((match.group(1) is not None, int(match.group(2)), path))
    return max(found)[2] if found else None


def refuse_tensorflow(paths: Iterable[Path]) -> None:
    """Raises DataError for a file of a model of DeepLabCut 2."""
    for path in paths:
        if any(path.match(pattern) for pattern in TENSORFLOW):
            raise DataError(
                f"{path}: a TensorFlow model of DeepLabCut 2, which dlcpose cannot import: its networks differ. Train the "
                "project anew (dataset=deeplabcut dataset.root=PROJECT), or import a model of DeepLabCut 3's PyTorch engine."
            )
