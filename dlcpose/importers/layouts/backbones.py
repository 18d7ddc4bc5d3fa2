"""Backbones alone, as torchvision, timm and MMPose publish them: they make no pose model, but one can start from them."""

from collections.abc import Collection
from typing import ClassVar, NoReturn

from dlcpose.importers.layout import LAYOUTS, Layout, PublishedFile
from dlcpose.structures.errors import DataError

PREFIXES = ("backbone.", "model.")
HEADS = ("head.", "heads.", "keypoint_", "associate_")
# A name that all files of a kind have, what it is called, and how a model takes it.
KINDS = {
    "layer4.0.conv1.weight": ("a ResNet", "backbone=timm backbone.name=resnet50"),
    "stage4.0.branches.0.0.conv1.weight": ("an HRNet", "backbone=hrnet_w32 backbone.name=hrnet_w32"),
    "stem.0.conv.weight": ("a CSPNeXt", "model=rtmpose_m"),
    "blocks.0.attn.qkv.weight": ("a vision transformer", "model=vitpose_s"),
    "embeddings.patch_embeddings.projection.weight": ("a vision transformer", "model=vitpose_s"),
}


@LAYOUTS.register("backbone")
class BackboneAlone(Layout):
    """Recognized to say what to do with it."""

    title = "a backbone of torchvision or timm (for backbone.checkpoint_path)"
    marks: ClassVar = ("layer4.0.conv1.weight", "fc.weight")

    @classmethod
    def matches(cls, names: Collection[str]) -> bool:
        return _kind(names) is not None and not any(name.startswith(HEADS) for name in names)

    @classmethod
    def read(cls, file: PublishedFile) -> NoReturn:
        what, how = KINDS[_kind(file.weights) or ""]
        raise DataError(
            f"{file.path}: the weights of {what} alone, not of a pose model. Start a training from them, with the name that "
            f"fits: python train.py {how} backbone.checkpoint_path={file.path}."
        )


def _kind(names: Collection[str]) -> str | None:
    return next((mark for mark in KINDS for prefix in ("", *PREFIXES) if prefix + mark in names), None)
