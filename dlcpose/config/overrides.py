"""The overrides of a command, read as Hydra reads them."""

import contextlib
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException


def parsed_overrides(texts: Sequence[str]) -> list[Override]:
    """The overrides of a command; Hydra itself refuses everything else."""
    parser, parsed = OverridesParser.create(), []
    for text in texts:
        with contextlib.suppress(HydraException):
            parsed += parser.parse_overrides([text])
    return parsed


def key_of(override: Override) -> str:
    """The key of an override, without the signs that mark it as new."""
    return str(override.key_or_group)


def override_values(override: Override | None) -> list[Any]:
    """All values that an override gives, also where it is swept."""
    if override is None:
        return []
    if override.is_sweep_override():
        return list(override.sweep_iterator()) if override.is_discrete_sweep() else []
    return [override.value()]
