"""The registry of formats that models are exported to: a module registers its format with `@export_format(name)`."""

import functools
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dlcpose.checkpoint import Checkpoint, restore
from dlcpose.instantiate import Instantiator
from dlcpose.pipelines.base import PoseModule
from dlcpose.structures.atomic_files import check_writable
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.registry import Registry, modules_in


@dataclass(frozen=True)
class ExportRequest:
    """What is to be exported, and to where.

    checkpoint: read from its file, not built yet. output: the file or folder to write. precision: "32" or "fp16".
    images: files of frames to check the export on. trust: packages of the user's own that the model may be made of.
    overwrite: replace what lies at the output.
    """

    checkpoint: Checkpoint
    output: Path
    precision: str = "32"
    images: tuple[Path, ...] = ()
    trust: tuple[str, ...] = ()
    overwrite: bool = False

    @functools.cached_property
    def pipeline(self) -> PoseModule:
        """The checkpoint's model with its weights, ready to predict on the CPU."""
        return restore(self.checkpoint, Instantiator(self.trust))


class ExportFormat(ABC):
    """A format of models. needs: packages to import, which the extra installs. precisions: that it can be written in."""

    needs: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    precisions: ClassVar[tuple[str, ...]] = ("32",)

    @abstractmethod
    def write(self, request: ExportRequest) -> Sequence[str]:
        """Write the model at `request.output`, whole or not at all; returns lines that say what was written and checked.

        Raises ConfigError for a model that the format cannot hold: which part of it, and why.
        """


EXPORT_FORMATS: Registry[type[ExportFormat]] = Registry("dlcpose.export_formats", modules_in("dlcpose.model_formats"))
export_format = EXPORT_FORMATS.register


def export_model(name: str, request: ExportRequest) -> Sequence[str]:
    """Export a model to the format of this name; returns lines that say what was written and checked.

    Raises ConfigError for an unknown format, one whose packages are not installed, or that lacks the precision;
    DataError where something lies at the output and is not to be replaced.
    """
    formats = EXPORT_FORMATS.load()
    if name not in formats:
        raise ConfigError(f"--format: expected one of {', '.join(sorted(formats))}, got {name!r}.")
    chosen = formats[name]
    missing = [package for package in chosen.needs if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"--format {name}: it needs {' and '.join(missing)}, not installed here. Install dlcpose[{chosen.extra}]."
        )
    if request.precision not in chosen.precisions:
        raise ConfigError(
            f"--precision: {name} is written in {' or '.join(chosen.precisions)}, got {request.precision!r}."
        )
    if request.output.exists() and not request.overwrite:
        raise DataError(
            f"{request.output}: it is there already. Add --overwrite to replace it, or give another --output."
        )
    check_writable(request.output.parent)
    return chosen().write(request)
