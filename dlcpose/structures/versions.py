"""Versions of what decides what a model computes."""

import platform
from importlib.metadata import version


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide what a model computes."""
    packages = ("dlcpose", "torch", "torchvision", "timm", "pytorch-lightning", "albumentations", "numpy")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}
