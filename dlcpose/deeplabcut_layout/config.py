"""DeepLabCut 3's pytorch_config.yaml: which model a snapshot is of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcpose.structures.data_files import read_yaml, shown
from dlcpose.structures.errors import DataError

FILE_NAME = "pytorch_config.yaml"


class Node:
    """A mapping of a config that says where something is missing. where: its place in the file, for errors."""

    def __init__(self, content: Any, where: str) -> None:
        if not isinstance(content, Mapping):
            raise DataError(f"{where}: expected settings by name, got {_shown(content)}. Is the file whole?")
        self.content, self.where = content, where

    def __contains__(self, key: str) -> bool:
        return self.content.get(key) is not None

    def node(self, key: str) -> "Node":
        """The settings below a key. Raises DataError where there are none."""
        return Node(self.content.get(key), f"{self.where}.{key}")

    def nodes(self) -> dict[str, "Node"]:
        """All settings that are mappings themselves, by key."""
        return {str(key): self.node(str(key)) for key, value in self.content.items() if isinstance(value, Mapping)}

    def text(self, key: str, default: str | None = None) -> str:
        """A text. Raises DataError where it is missing, or something else."""
        return str(self._value(key, default, (str,), "a text"))

    def number(self, key: str, default: float | None = None) -> float:
        """A number. Raises DataError where it is missing, or something else."""
        value = self._value(key, default, (int, float), "a number")
        return self._floats(key, [value])[0]

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number. Raises DataError where it is missing, or something else."""
        return int(self._value(key, default, (int,), "a whole number"))

    def flag(self, key: str, default: bool | None = None) -> bool:
        """true or false. Raises DataError where it is missing, or something else."""
        return bool(self._value(key, default, (bool,), "true or false"))

    def integers(self, key: str, *, least: int = 0) -> list[int]:
        """Whole numbers, `least` or more of them; one alone counts as a list. Raises DataError for something else."""
        value = self.content.get(key)
        values = [value] if isinstance(value, int) else value
        if not isinstance(values, list) or len(values) < least or not all(type(each) is int for each in values):
            expected = f"{least} whole numbers or more" if least else "whole numbers"
            raise DataError(f"{self.where}.{key}: expected {expected}, got {_shown(value)}.")
        return list(values)

    def numbers(self, key: str, count: int) -> list[float]:
        """`count` numbers; one alone stands for all. Raises DataError where they are missing, or something else."""
        value = self.content.get(key)
        values = [value] * count if isinstance(value, int | float) else value
        if (
            not isinstance(values, list)
            or len(values) != count
            or not all(isinstance(each, int | float) for each in values)
        ):
            raise DataError(f"{self.where}.{key}: expected {count} numbers, got {_shown(value)}.")
        return self._floats(key, values)

    def pairs(self, key: str) -> list[list[int]]:
        """Pairs of whole numbers. Raises DataError where they are missing, or something else."""
        value = self.content.get(key)
        if not isinstance(value, list) or not all(isinstance(each, list) and len(each) == 2 for each in value):
            raise DataError(f"{self.where}.{key}: expected pairs of keypoints, got {_shown(value)}.")
        if not all(type(index) is int for pair in value for index in pair):
            raise DataError(f"{self.where}.{key}: expected pairs of numbers of keypoints, got {_shown(value)}.")
        return [list(pair) for pair in value]

    def names(self, key: str) -> tuple[str, ...]:
        """A list of names, empty where it is missing. Raises DataError for something else."""
        value = self.content.get(key) or []
        if not isinstance(value, list) or not all(isinstance(each, str | int | float) for each in value):
            raise DataError(f"{self.where}.{key}: expected a list of names, got {_shown(value)}.")
        return tuple(str(each) for each in value)

    def expect(self, settings: Mapping[str, Any]) -> None:
        """Raises DataError where a setting is there with another value: dlcpose has no counterpart of it."""
        for key, value in settings.items():
            if key in self and self.content[key] != value:
                raise DataError(
                    f"{self.where}.{key}: dlcpose imports {value!r} alone, got {_shown(self.content[key])}."
                )

    def _floats(self, key: str, values: list[Any]) -> list[float]:
        try:
            return [float(each) for each in values]
        except OverflowError:  # whole numbers of hundreds of digits
            raise DataError(f"{self.where}.{key}: expected a number, got {_shown(self.content[key])}.") from None

    def _value(self, key: str, default: Any, kinds: tuple[type, ...], named: str) -> Any:
        value = self.content.get(key)
        value = default if value is None else value
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise DataError(f"{self.where}.{key}: expected {named}, got {_shown(value)}.")
        return value


@dataclass(frozen=True)
class SnapshotConfig:
    """A pytorch_config.yaml, read.

    net_type: DeepLabCut's name of the model. method: bu, td or ctd. bodyparts, unique_bodyparts, individuals: names.
    """

    path: Path
    root: Node
    net_type: str
    method: str
    bodyparts: tuple[str, ...]
    unique_bodyparts: tuple[str, ...]
    individuals: tuple[str, ...]

    @property
    def model(self) -> Node:
        """Backbone, neck and heads."""
        return self.root.node("model")

    @property
    def inference(self) -> Node:
        """How images become the network's input."""
        return self.root.node("data").node("inference")


def read_config(path: Path) -> SnapshotConfig:
    """A pytorch_config.yaml. Raises DataError where it is missing, broken, or describes no model."""
    if not path.is_file():
        raise DataError(
            f"{path}: no such file. A snapshot of DeepLabCut 3 says only together with its {FILE_NAME} which model it is of: "
            "copy it from the `train` folder of the shuffle, or name it with --config."
        )
    return config_of(read_yaml(path), path)


def config_of(content: Any, path: Path) -> SnapshotConfig:
    """The same of what a file holds. Raises DataError where it describes no model."""
    root = Node(content, path.name)
    metadata = root.node("metadata")
    bodyparts = metadata.names("bodyparts")
    if not bodyparts:
        raise DataError(f"{path}: metadata.bodyparts is empty: it does not say which keypoints the model predicts.")
    method = root.text("method", "bu").lower()
    return SnapshotConfig(
        path=path,
        root=root,
        net_type=root.text("net_type", "?").removeprefix("top_down_"),
        method=method,
        bodyparts=bodyparts,
        unique_bodyparts=metadata.names("unique_bodyparts"),
        individuals=metadata.names("individuals") or ("individual_1",),
    )


def _shown(value: Any) -> str:
    return "nothing" if value is None else shown(value)
