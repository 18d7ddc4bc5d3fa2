"""A part of a model of another package: what it is in our configs, and where its weights belong."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

Weights = Mapping[str, Tensor]
# Texts that Hydra's grammar reads as they are: words that are no number or value of its own, and paths of such letters.
PLAIN = re.compile(r"(?!(true|false|null|nan|inf)\Z)[a-z_]\w*|\w*(/[\w.-]+)+", re.ASCII | re.IGNORECASE)
# Of a quoted text in Hydra's grammar: a quote ends it, `${` stands for another value. Backslashes are doubled before these
# and at the end, and nowhere else.
SPECIAL = re.compile(r"(\\*)('|\$\{|\Z)")


class WeightMap(Protocol):
    """Weights of a part from their names and shapes there to ours, and back."""

    def to_ours(self, theirs: Weights) -> dict[str, Tensor]:
        """Of a whole model's weights, those of this part, as ours."""

    def to_theirs(self, ours: Weights) -> dict[str, Tensor]:
        """The inverse."""

    def is_theirs(self, name: str) -> bool:
        """Whether a name there is of this part; such weights are accounted for."""


@dataclass(frozen=True)
class Renamed:
    """Weights that differ only in how their names begin: (beginning there, beginning here), the first that fits counts.

    unused: beginnings there of weights that the model's config has switched off, which are left out.
    """

    beginnings: Sequence[tuple[str, str]]
    unused: Sequence[str] = ()

    def to_ours(self, theirs: Weights) -> dict[str, Tensor]:
        return _renamed(theirs, self.beginnings)

    def to_theirs(self, ours: Weights) -> dict[str, Tensor]:
        return _renamed(ours, [(our, their) for their, our in self.beginnings])

    def is_theirs(self, name: str) -> bool:
        return name.startswith((*(their for their, _ in self.beginnings), *self.unused))


def _renamed(weights: Weights, beginnings: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in weights.items():
        for old, new in beginnings:
            if name.startswith(old):
                renamed[new + name.removeprefix(old)] = value
                break
    return renamed


@dataclass(frozen=True)
class Part:
    """A part of a foreign model in our terms.

    choices: options of config groups. settings: values of the composed config, by their keys. weights: where they belong.
    constants: tensors of ours that settings there give. multiple_of: what the sides of an image must be multiples of there.
    """

    choices: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: WeightMap = field(default_factory=lambda: Renamed(()))
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    multiple_of: int = 1


def quoted(value: Any) -> str:
    """A plain value in the grammar of Hydra's overrides."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{quoted(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(quoted(entry) for entry in value) + "]"
    text = str(value)
    return text if PLAIN.fullmatch(text) else "'" + SPECIAL.sub(_escaped, text) + "'"


def _escaped(special: re.Match[str]) -> str:
    backslashes, mark = special.groups()
    return backslashes * 2 + (f"\\{mark}" if mark else "")
