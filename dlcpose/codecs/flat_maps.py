"""A few thousand numbers of large maps, wherever those lie, brought to numpy: there small sums cost no kernel each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]


def gather_cells(flat: Tensor, index: Array, steps: Sequence[int] = (0,)) -> list[Array]:
    """The numbers at some places of a flat tensor, and at the same number of steps (0 or more) beyond each.

    flat: (V,). index: (...) int64. Returns for each of the steps an array (...).
    """
    if flat.device.type == "cpu":
        values = flat.numpy()
        return [values[step:].take(index) for step in steps]
    every = index + np.array(steps).reshape(-1, *([1] * index.ndim))  # one journey to the device for all of them
    found = flat.index_select(0, torch.from_numpy(every.ravel()).to(flat.device)).cpu().numpy()
    return list(found.reshape(len(steps), *index.shape))


def flatten_maps(maps: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """A tensor's numbers as they lie in memory, (V,), and how far apart there neighbours along each dimension are.

    Nothing is copied, in whatever memory format a network left its maps.
    """
    span = 1 + sum((size - 1) * stride for size, stride in zip(maps.shape, maps.stride(), strict=True))
    return maps.as_strided((span,), (1,)), maps.stride()


def cells_above(flat: Tensor, threshold: float) -> Array:
    """Where a flat tensor (V,) is at least the threshold, in rising order: (E,) int64."""
    if flat.device.type == "cpu":  # numpy takes a fifth of torch's time
        return np.flatnonzero(flat.numpy() >= threshold)
    places: Array = (flat >= threshold).nonzero(as_tuple=True)[0].cpu().numpy()
    return places
