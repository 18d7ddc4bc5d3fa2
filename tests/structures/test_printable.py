from hypothesis import given
from hypothesis import strategies as st

from dlcpose.structures.printable import printable


@given(st.text())
def test_what_is_printed_is_one_line_without_control_characters(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)
    shown.encode()  # no half of a surrogate pair is left


def test_plain_names_stay_and_long_ones_are_cut() -> None:
    assert printable("ear[left] µ 耳") == "ear[left] µ 耳"
    assert printable("a\x1b[2J\nb") == "a\\x1b[2J\\nb"
    assert len(printable("x" * 5000)) == 1000
