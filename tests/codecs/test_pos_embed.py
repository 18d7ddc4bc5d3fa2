"""Sine position embeddings against their formula, and their symmetries."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcpose.codecs.pos_embed import sine_pos_embed

sides = st.integers(1, 12)
widths = st.integers(1, 12).map(lambda quarter: 4 * quarter)


def written_out(size: tuple[int, int], width: int) -> torch.Tensor:
    """The formula number by number, as the papers' programs state it."""
    table = torch.zeros(*size, width)
    half = width // 2
    for row in range(size[0]):
        for column in range(size[1]):
            for place, (index, length) in enumerate(((row, size[0]), (column, size[1]))):
                for number in range(half):
                    angle = (index + 1) / length * 2 * math.pi / 10_000 ** (2 * (number // 2) / half)
                    value = math.cos(angle) if number % 2 else math.sin(angle)
                    table[row, column, place * half + number] = value
    return table


@settings(max_examples=15, deadline=None)
@given(sides, sides, widths)
def test_it_is_the_formula(height: int, width: int, channels: int) -> None:
    torch.testing.assert_close(
        sine_pos_embed((height, width), channels), written_out((height, width), channels), atol=1e-5, rtol=1e-5
    )


def test_rows_are_encoded_by_the_first_half_and_columns_by_the_second() -> None:
    table = sine_pos_embed((5, 7), 16)
    assert (table[:, :1, :8] == table[..., :8]).all()
    assert (table[:1, :, 8:] == table[..., 8:]).all()


def test_no_two_cells_are_equal() -> None:
    cells = sine_pos_embed((64, 48), 96).flatten(end_dim=1)
    apart = torch.cdist(cells, cells) + torch.eye(len(cells)) * 10
    assert apart.min() > 0.05


def test_the_similarity_of_cells_depends_only_on_their_distance() -> None:
    table = sine_pos_embed((9, 9), 32)
    alike = torch.einsum("hwc,ijc->hwij", table, table)
    torch.testing.assert_close(alike[1, 2, 4, 3], alike[4, 6, 7, 7])
    assert alike[4, 4, 4, 5] > alike[4, 4, 4, 7]


@pytest.mark.parametrize("width", [0, 2, 30])
def test_a_width_that_is_no_multiple_of_4_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        sine_pos_embed((2, 2), width)
