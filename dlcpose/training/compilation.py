"""`compile=true`: check before the first step whether torch can compile here, with a one-line error."""

from typing import Any

import torch

from dlcpose.pipelines.base import PoseModule
from dlcpose.structures.errors import ConfigError


def check_compile(chosen: Any) -> None:
    """Raises ConfigError for a `compile` that is neither true, false nor a backend of torch's."""
    backends = torch.compiler.list_backends(exclude_tags=("experimental",))
    if type(chosen) is not bool and chosen not in backends:
        raise ConfigError(f"compile: expected true, false or one of {', '.join(backends)}, got {chosen!r}.")


def compile_networks(chosen: bool | str, pipeline: PoseModule, device: torch.device) -> None:
    """Have torch compile a pipeline's networks. Raises ConfigError where it cannot compile for the device."""
    if chosen is False:
        return
    backend = "inductor" if chosen is True else chosen
    trial = torch.nn.Conv2d(1, 1, 1).to(device)
    try:
        # A missing compiler would otherwise fail in the middle of the first step, with pages of traceback.
        torch.compile(trial, backend=backend)(torch.zeros(1, 1, 4, 4, device=device))
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConfigError(
            f"compile={str(chosen).lower()}: torch cannot compile with {backend} for {device.type} here "
            f"({type(error).__name__}: {' '.join(lines[:2])[:200]}). inductor needs a C++ compiler such as g++, on a "
            "GPU triton. Install it, or take compile=false."
        ) from error
    pipeline.compile_networks(backend)
