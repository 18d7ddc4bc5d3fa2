"""DeepLabCut's bottom-up and single-animal models: whole images at their native size."""

from collections.abc import Collection

from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part
from dlcpose.deeplabcut_layout.registries import METHODS
from dlcpose.structures.errors import DataError

KNOWN = ("normalize_images", "auto_padding", "top_down_crop")


@METHODS.register("bu")
def bottom_up(config: SnapshotConfig) -> Part:
    """Images as they are, padded where the backbone needs it."""
    check_input(config.root.node("data"), KNOWN)
    return Part(choices={"pipeline": "bottom_up", "input": "native"}, multiple_of=_multiple(config))


def check_input(data: Node, known: Collection[str]) -> None:
    """Raises DataError where images are changed before a network in a way that dlcpose does not.

    data: the settings of a network's images. known: what changes images here as well.
    """
    inference = data.node("inference")
    for key, value in inference.content.items():
        if value and key not in known:
            raise DataError(
                f"{inference.where}.{key}: dlcpose cannot import a model whose images are changed by {key!r}. "
                "Set it to null there if the model works without."
            )
    if not inference.flag("normalize_images", False):
        raise DataError(f"{inference.where}.normalize_images: expected true, which dlcpose's input does as well.")
    if (mode := data.text("colormode", "RGB")) != "RGB":
        raise DataError(f"{data.where}.colormode: expected RGB, got {mode!r}.")


def _multiple(config: SnapshotConfig) -> int:
    if "auto_padding" not in config.inference:
        return 1
    padding = config.inference.node("auto_padding")
    sides = padding.integer("pad_height_divisor", 1), padding.integer("pad_width_divisor", 1)
    if sides[0] != sides[1]:
        raise DataError(f"{padding.where}: expected one multiple for height and width, got {sides}.")
    return sides[0]
