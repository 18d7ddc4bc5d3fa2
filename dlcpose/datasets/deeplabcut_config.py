"""Reader of a DeepLabCut project's config.yaml: animals, keypoints and skeleton, validated."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PureWindowsPath
from typing import Any

from dlcpose.structures.checked_values import Fields
from dlcpose.structures.data_files import naming_file, read_yaml, shown
from dlcpose.structures.errors import DataError
from dlcpose.structures.skeleton import Skeleton, check_names, pairs_from_names

logger = logging.getLogger(__name__)

# DeepLabCut writes a skeleton of these into every new project, and many projects keep it.
TEMPLATE_NAMES = frozenset({"bodypart1", "bodypart2", "bodypart3", "objectA"})
UNIQUE_INDIVIDUAL = "single"  # DeepLabCut keeps unique keypoints under this individual
ONLY_INDIVIDUAL = "individual_1"  # what DeepLabCut 3 calls the animal of a single-animal project


@dataclass(frozen=True)
class ProjectConfig:
    """A validated config.yaml; `folder` is its own folder, whatever its project_path says.

    multi_animal: whether columns name an individual. has_identities: whether an individual is the same animal in all
    frames. videos: names, without folder and ending, of those whose labels DeepLabCut itself trains on. pcutoff: the
    score below which DeepLabCut takes a keypoint to be not seen, None where the config has none for all keypoints.
    """

    folder: Path
    scorer: str
    skeleton: Skeleton
    individuals: tuple[str, ...]
    multi_animal: bool
    has_identities: bool
    iteration: int
    train_fraction: float | None
    videos: tuple[str, ...]
    pcutoff: float | None


def project_folder(path: Path) -> Path:
    """The folder of a project that is named by its folder or, as DeepLabCut does, by its config.yaml."""
    return path.parent if path.name == "config.yaml" and not path.is_dir() else path


def read_project_config(folder: Path) -> ProjectConfig:
    """The config.yaml of a project's folder.

    Raises DataError where there is none, it is not yaml, a required key is missing, or names are inconsistent.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected the folder of a DeepLabCut project, got no folder. Correct the path.")
    path = folder / "config.yaml"
    if not path.is_file():
        raise DataError(f"{folder}: expected the folder of a DeepLabCut project, but it has no config.yaml.")
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected the keys of a DeepLabCut project, got {type(content).__name__}.")
    fields = Fields(content, str(path))
    multi_animal = fields.flag("multianimalproject") or content.get("bodyparts") == "MULTI!"
    keypoints = _names(content, "multianimalbodyparts" if multi_animal else "bodyparts", path)
    unique = _names(content, "uniquebodyparts", path) if multi_animal and content.get("uniquebodyparts") else ()
    fractions = content.get("TrainingFraction")
    return ProjectConfig(
        folder=folder,
        scorer=_scorer(fields, path),
        skeleton=_skeleton(keypoints, unique, content.get("skeleton") or (), path),
        individuals=_names(content, "individuals", path) if multi_animal else (ONLY_INDIVIDUAL,),
        multi_animal=multi_animal,
        has_identities=fields.flag("identity"),
        iteration=fields.whole("iteration", default=0),
        train_fraction=_train_fraction(fractions, path) if isinstance(fractions, list) and fractions else None,
        videos=_videos(content.get("video_sets")),
        pcutoff=_pcutoff(fields, path),
    )


def _videos(video_sets: object) -> tuple[str, ...]:
    # PureWindowsPath knows both separators: a project may come from another system.
    return tuple(PureWindowsPath(str(video)).stem for video in video_sets) if isinstance(video_sets, dict) else ()


def _pcutoff(fields: Fields, path: Path) -> float | None:
    if not fields.has("pcutoff"):
        return None
    if isinstance(fields.content["pcutoff"], list | dict):  # which DeepLabCut 3 takes too
        logger.warning(
            "%s: pcutoff has a value for each keypoint, which no figure takes: dlc_rmse_pcutoff is of the default. "
            "metric.deeplabcut.pcutoff=0.6 sets it.",
            path,
        )
        return None
    return fields.number("pcutoff", minimum=0, maximum=1)


def _scorer(fields: Fields, path: Path) -> str:
    _needed(dict(fields.content), "scorer", path)
    return fields.text("scorer")


def _train_fraction(fractions: list[Any], path: Path) -> float:
    """The first of the fractions that DeepLabCut has split by."""
    first = Fields({"TrainingFraction": fractions[0]}, str(path))
    return first.number("TrainingFraction", minimum=0, maximum=100)


def _needed(content: dict[str, Any], key: str, path: Path) -> Any:
    if content.get(key) is None:
        raise DataError(f"{path}: expected the key {key!r}, got none. Add it as DeepLabCut writes it.")
    return content[key]


def _names(content: dict[str, Any], key: str, path: Path) -> tuple[str, ...]:
    names = _needed(content, key, path)
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int | float) for name in names):
        raise DataError(f"{path}: expected a list of names under {key!r}, got {shown(names)}.")
    if misread := [name for name in names if isinstance(name, bool)]:
        raise DataError(f"{path}: a name under {key!r} is read as {misread[0]}: put it in quotes.")
    if repeated := sorted(name for name, count in Counter(map(str, names)).items() if count > 1):
        raise DataError(f"{path}: expected each name under {key!r} once, got {repeated} more than once.")
    with naming_file(f"{path}: {key}"):
        check_names("individual or keypoint", map(str, names))
    return tuple(str(name) for name in names)


def _skeleton(keypoints: tuple[str, ...], unique: tuple[str, ...], edges: Any, path: Path) -> Skeleton:
    index_pairs: list[tuple[int, int]] = []
    known = set(keypoints)
    for names in _name_pairs(edges, path):
        unknown = [name for name in names if name not in known]
        if set(unknown) & set(unique):
            logger.warning("%s: the skeleton's edge %s has a unique body part and is left out.", path, list(names))
        elif unknown and TEMPLATE_NAMES.issuperset(unknown):
            logger.warning("%s: the skeleton's edge %s is of DeepLabCut's template and is left out.", path, list(names))
        elif unknown:
            raise DataError(
                f"{path}: the skeleton names an unknown keypoint. Expected one of {list(keypoints)}, "
                f"got {unknown[0]!r}. Correct the spelling under `skeleton:`."
            )
        else:
            pair = keypoints.index(names[0]), keypoints.index(names[1])
            if pair not in index_pairs and pair[::-1] not in index_pairs:
                index_pairs.append(pair)
    with naming_file(path):
        return Skeleton(
            names=keypoints,
            edges=tuple(index_pairs),
            pairs=pairs_from_names(keypoints),
            unique=unique,
            unique_pairs=pairs_from_names(unique),
        )


def _name_pairs(edges: Any, path: Path) -> Iterator[tuple[str, str]]:
    """Pairs of names from nested lists of names; a list of more than two names is a chain."""
    if not isinstance(edges, Sequence) or isinstance(edges, str):
        raise DataError(f"{path}: expected pairs of keypoints under `skeleton:`, got {shown(edges)}.")
    if any(isinstance(edge, list) for edge in edges):
        for edge in edges:
            yield from _name_pairs(edge, path)
    elif len(edges) == 1:
        raise DataError(f"{path}: expected pairs of keypoints under `skeleton:`, got {shown(edges[0])} alone.")
    else:
        yield from pairwise(str(name) for name in edges)
