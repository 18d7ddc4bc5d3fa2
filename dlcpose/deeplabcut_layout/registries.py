"""What each kind of part of a DeepLabCut 3 model becomes, by the `type` that its config names it with.

A module of `parts`, or of a plugin, registers a function that maps a part's settings to a Part.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part
from dlcpose.structures.errors import DataError
from dlcpose.structures.registry import Registry, modules_in


@dataclass(frozen=True)
class HeadPlace:
    """Where a head belongs: its key in our config, and how the names of its weights begin there and here."""

    key: str
    theirs: str
    ours: str


PartMapper = Callable[[Node, SnapshotConfig], Part]
HeadMapper = Callable[[Node, SnapshotConfig, HeadPlace], Part]
MODULES = modules_in("dlcpose.deeplabcut_layout.parts")

BACKBONES: Registry[PartMapper] = Registry("dlcpose.deeplabcut_backbones", MODULES)
NECKS: Registry[PartMapper] = Registry("dlcpose.deeplabcut_necks", MODULES)
HEADS: Registry[HeadMapper] = Registry("dlcpose.deeplabcut_heads", MODULES)
SIDE_HEADS: Registry[PartMapper] = Registry("dlcpose.deeplabcut_side_heads", MODULES)  # by their names
DETECTORS: Registry[PartMapper] = Registry("dlcpose.deeplabcut_detectors", MODULES)
METHODS: Registry[Callable[[SnapshotConfig], Part]] = Registry("dlcpose.deeplabcut_methods", MODULES)


def mapper_of(registry: Registry[Any], kind: str, where: str) -> Any:
    """What maps a kind of part. Raises DataError, with the nearest known kinds, for one that is not known."""
    known = registry.load()
    if kind not in known:
        near = difflib.get_close_matches(kind, list(known), n=3, cutoff=0.4) or list(known)
        raise DataError(f"{where}: dlcpose cannot import {kind!r}. Nearest that it can: {', '.join(near)}.")
    return known[kind]
