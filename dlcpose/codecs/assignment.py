"""Which of two sets belong together, by how like they are."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment


def assign_pairs(similarity: npt.NDArray[Any], least: float) -> list[tuple[int, int]]:
    """The pairs (row, column) that are most alike together, each at least `least`: (M, N) -> at most min(M, N) pairs.

    NaN is like nothing.
    """
    gain = np.where(similarity >= least, similarity, 0.0)
    pairs = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in pairs if gain[row, column] > 0]
