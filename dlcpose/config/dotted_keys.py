"""A config by its dotted keys (`optimizer.lr`), as overrides name them."""

from collections.abc import Mapping
from typing import Any


def flatten_config(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A config by dotted keys; lists stay whole."""
    entries: dict[str, Any] = {}
    for name, value in node.items():
        key = f"{prefix}.{name}" if prefix else str(name)
        entries |= flatten_config(value, key) if isinstance(value, Mapping) and value else {key: value}
    return entries
