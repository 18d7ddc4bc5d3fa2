"""Text for rich's tables without markup: a keypoint may be called `ear[left]`."""

from rich.text import Text

from dlcpose.structures.printable import printable


def plain(text: object) -> Text:
    """The text without markup and without control characters."""
    return Text(printable(text))
