"""The registry of commands: a module of this folder, or of a plugin, registers its command with `@command(name)`."""

from collections.abc import Callable
from typing import Any

from dlcpose.structures.registry import Registry, modules_in

# Modules are imported even for `dlcpose --help`: slow imports belong into the functions.
COMMANDS: Registry[Callable[..., Any]] = Registry("dlcpose.commands", modules_in("dlcpose.cli"))
command = COMMANDS.register
