"""Reader of a DeepLabCut project's config.yaml: animals, keypoints and skeleton, validated."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from dlcpose.structures.errors import DataError
from dlcpose.structures.skeleton import Skeleton, pairs_from_names

logger = logging.getLogger(__name__)

# DeepLabCut writes a skeleton of these into every new project, and many projects keep it.
TEMPLATE_NAMES = frozenset({"bodypart1", "bodypart2", "bodypart3", "objectA"})
ONLY_INDIVIDUAL = "individual_1"  # what DeepLabCut 3 calls the animal of a single-animal project


@dataclass(frozen=True)
class ProjectConfig:
    """A validated config.yaml; `folder` is its own folder, whatever its project_path says.

    multi_animal: whether columns name an individual. has_identities: whether an individual is the same animal in all
    frames.
    """

    folder: Path
    scorer: str
    skeleton: Skeleton
    individuals: tuple[str, ...]
    multi_animal: bool
    has_identities: bool
    iteration: int
    train_fraction: float | None


def read_project_config(folder: Path) -> ProjectConfig:
    """The config.yaml of a project's folder.

    Raises DataError where there is none, it is not yaml, a required key is missing, or names are inconsistent.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected the folder of a DeepLabCut project, got no folder. Correct the path.")
    path = folder / "config.yaml"
    if not path.is_file():
        raise DataError(f"{folder}: expected the folder of a DeepLabCut project, but it has no config.yaml.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: expected yaml, got something that does not parse ({reason}).") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected the keys of a DeepLabCut project, got {type(content).__name__}.")
    multi_animal = bool(content.get("multianimalproject")) or content.get("bodyparts") == "MULTI!"
    keypoints = _names(content, "multianimalbodyparts" if multi_animal else "bodyparts", path)
    unique = _names(content, "uniquebodyparts", path) if multi_animal and content.get("uniquebodyparts") else ()
    fractions = content.get("TrainingFraction")
    return ProjectConfig(
        folder=folder,
        scorer=str(_needed(content, "scorer", path)),
        skeleton=_skeleton(keypoints, unique, content.get("skeleton") or (), path),
        individuals=_names(content, "individuals", path) if multi_animal else (ONLY_INDIVIDUAL,),
        multi_animal=multi_animal,
        has_identities=bool(content.get("identity")),
        iteration=int(content.get("iteration") or 0),
        train_fraction=float(fractions[0]) if isinstance(fractions, list) and fractions else None,
    )


def _needed(content: dict[str, Any], key: str, path: Path) -> Any:
    if content.get(key) is None:
        raise DataError(f"{path}: expected the key {key!r}, got none. Add it as DeepLabCut writes it.")
    return content[key]


def _names(content: dict[str, Any], key: str, path: Path) -> tuple[str, ...]:
    names = _needed(content, key, path)
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int | float) for name in names):
        raise DataError(f"{path}: expected a list of names under {key!r}, got {names!r}.")
    if misread := [name for name in names if isinstance(name, bool)]:
        raise DataError(f"{path}: a name under {key!r} is read as {misread[0]}: put it in quotes.")
    if repeated := sorted({str(name) for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: expected each name under {key!r} once, got {repeated} more than once.")
    return tuple(str(name) for name in names)


def _skeleton(keypoints: tuple[str, ...], unique: tuple[str, ...], edges: Any, path: Path) -> Skeleton:
    index_pairs: list[tuple[int, int]] = []
    for names in _name_pairs(edges, path):
        unknown = [name for name in names if name not in keypoints]
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
    try:
        return Skeleton(
            names=keypoints,
            edges=tuple(index_pairs),
            pairs=pairs_from_names(keypoints),
            unique=unique,
            unique_pairs=pairs_from_names(unique),
        )
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _name_pairs(edges: Any, path: Path) -> Iterator[tuple[str, str]]:
    """Pairs of names from nested lists of names; a list of more than two names is a chain."""
    if not isinstance(edges, Sequence) or isinstance(edges, str):
        raise DataError(f"{path}: expected pairs of keypoints under `skeleton:`, got {edges!r}.")
    if any(isinstance(edge, list) for edge in edges):
        for edge in edges:
            yield from _name_pairs(edge, path)
    elif len(edges) == 1:
        raise DataError(f"{path}: expected pairs of keypoints under `skeleton:`, got {edges[0]!r} alone.")
    else:
        yield from pairwise(str(name) for name in edges)
