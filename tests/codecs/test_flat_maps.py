"""Cells of maps are read without copying the maps, in any memory format."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from dlcpose.codecs.flat_maps import bordered, cells_above, flatten_maps, gather_cells

MAPS = torch.arange(2 * 4 * 3 * 5.0).view(2, 4, 3, 5)
LAYOUTS = {
    "plain": MAPS,
    "channels last": MAPS.contiguous(memory_format=torch.channels_last),
    "part of a larger one": torch.nn.functional.pad(MAPS, (1, 2, 3, 1))[..., 3:-1, 1:-2],
    "one image for two": MAPS[:1].expand(2, -1, -1, -1),
}


@pytest.mark.parametrize("maps", LAYOUTS.values(), ids=LAYOUTS)
def test_every_number_is_where_the_steps_say(maps: Tensor) -> None:
    flat, steps = flatten_maps(maps)
    index = np.array(list(itertools.product(*map(range, maps.shape)))) @ np.array(steps)
    (values,) = gather_cells(flat, index)
    np.testing.assert_array_equal(values, maps.reshape(-1).numpy())
    assert flat.data_ptr() == maps.data_ptr()  # nothing was copied


def test_steps_lead_to_neighbors() -> None:
    flat, (_, _, row, column) = flatten_maps(MAPS)
    index = np.array([[0, 5], [60, 66]])
    here, right, below = gather_cells(flat, index, (0, column, row))
    assert here.shape == (2, 2)
    np.testing.assert_array_equal(right, here + 1)
    np.testing.assert_array_equal(below, here + 5)


def test_places_are_those_of_torch() -> None:
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(cells_above(values, 0.7), (values >= 0.7).nonzero()[:, 0].numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("maps", LAYOUTS.values(), ids=LAYOUTS)
def test_a_border_is_the_one_that_torch_adds(maps: Tensor, dtype: torch.dtype) -> None:
    found = bordered(maps.to(dtype), -torch.inf)
    torch.testing.assert_close(found, torch.nn.functional.pad(maps.to(dtype), (1, 1, 1, 1), value=-torch.inf))
