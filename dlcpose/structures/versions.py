"""Versions of Python and of the packages that a model's computations depend on."""

import platform
from importlib.metadata import version


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a model's computations depend on."""
    packages = ("dlcpose", "torch", "torchvision", "timm", "pytorch-lightning", "albumentations", "numpy")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}
