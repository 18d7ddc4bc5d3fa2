import numpy as np
import pytest

from dlcpose.visualization.labels import draw_text, text_size


@pytest.mark.parametrize("corner", [(10, 10), (-50, -50), (500, 500)])
@pytest.mark.parametrize("background", [0, 128, 255])
def test_a_text_lies_within_the_picture_and_is_seen_on_any_background(corner: tuple[int, int], background: int) -> None:
    picture = np.full((60, 120, 3), background, np.uint8)
    draw_text(picture, "fly 1", corner, size=16, color=(255, 165, 40))
    changed = np.abs(picture.astype(int) - background).max(axis=-1) > 90
    width, height = text_size("fly 1", 16)
    assert changed.sum() > 40
    rows, columns = np.nonzero(changed)
    left, top = min(max(corner[0], 0), 120 - width), min(max(corner[1], 0), 60 - height)
    assert left <= columns.min() <= columns.max() < left + width
    assert top <= rows.min() <= rows.max() < top + height


def test_a_text_larger_than_the_picture_is_cut() -> None:
    picture = np.zeros((8, 10, 3), np.uint8)
    draw_text(picture, "a long name", (0, 0), size=20, color=(255, 255, 255))
    assert picture.any()


def test_letters_beyond_latin_are_no_empty_boxes() -> None:
    pictures = []
    for text in ("\U000f0000", "ж", "д", "λ", "ş"):  # the first is a letter of no font
        pictures.append(np.zeros((40, 40, 3), np.uint8))
        draw_text(pictures[-1], text, (4, 4), size=20, color=(255, 255, 255))
    assert len({picture.tobytes() for picture in pictures}) == 5


@pytest.mark.parametrize("text", ["a\nb", "a\r\n", "\x1b[2J", "a\u2028b"])
def test_a_name_with_line_ends_is_drawn_on_one_line(text: str) -> None:
    picture = np.zeros((40, 200, 3), np.uint8)
    draw_text(picture, text, (0, 0), size=16, color=(255, 255, 255))
    assert picture.any()
    assert text_size(text, 16)[1] <= text_size("a\\nb[", 16)[1] + 2
