import logging

from hypothesis import given
from hypothesis import strategies as st

from dlcpose.structures.printable import PRINTABLE_RECORDS, printable


@given(st.text())
def test_what_is_printed_is_one_line_without_control_characters(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)
    shown.encode()  # no half of a surrogate pair is left


def test_plain_names_stay_and_long_ones_are_cut() -> None:
    assert printable("ear[left] µ 耳") == "ear[left] µ 耳"
    assert printable("a\x1b[2J\nb") == "a\\x1b[2J\\nb"
    assert printable("a\u202eb\u061c") == "a\\u202eb\\u061c"  # marks that reorder what stands around them
    assert len(printable("x" * 5000)) == 1000


def test_what_we_log_is_one_line_and_what_others_log_is_theirs() -> None:
    for name, expected in (("dlcpose.datasets.coco", "x.json: \\x1b[2J\\n"), ("av", "x.json: \x1b[2J\n")):
        record = logging.LogRecord(name, logging.WARNING, __file__, 1, "%s: %s", ("x.json", "\x1b[2J\n"), None)
        assert PRINTABLE_RECORDS.filter(record)
        assert record.getMessage() == expected
