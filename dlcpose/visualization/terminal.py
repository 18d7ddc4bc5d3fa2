"""Text for rich's tables that is printed as it is: a keypoint called `ear[left]` is no markup."""

from rich.text import Text

from dlcpose.structures.printable import printable


def plain(text: object) -> Text:
    """The text without markup and without control characters."""
    return Text(printable(text))
