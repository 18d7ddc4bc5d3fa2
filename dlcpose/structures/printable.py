"""Make text from untrusted files safe to print: names of keypoints, videos or settings may hold control characters."""

import logging
import unicodedata

MAX_LENGTH = 1000
MAX_LOGGED = 3000
BIDIRECTIONAL = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def printable(text: object, *, max_length: int = MAX_LENGTH) -> str:
    """The text on one line, control characters as `\\x1b` or `\\n`, cut off with an ellipsis beyond max_length.

    Printed as it is, a name with an escape sequence could clear the screen or forge a line.
    """
    shown = str(text)
    shown = shown if len(shown) <= max_length else shown[: max_length - 1] + "…"
    return "".join(
        character.encode("unicode_escape").decode("ascii") if _is_control(character) else character
        for character in shown
    )


def _is_control(character: str) -> bool:
    """Control characters, line and paragraph separators, and marks that reorder the text around them."""
    return unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") or character in BIDIRECTIONAL


class PrintableRecords(logging.Filter):
    """Makes what our modules log printable, for the handlers that show it; records of others stay as they are."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] == __name__.partition(".")[0]:
            record.msg, record.args = printable(record.getMessage(), max_length=MAX_LOGGED), None
        return True


PRINTABLE_RECORDS = PrintableRecords()  # one for all: a handler takes the same filter once
