"""The cost of a deviation whose distribution has heavy tails."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def student_t_cost(squared: Array, *, dimensions: int, freedom: float) -> Array:
    """Of Student's t, in nats, from squared deviations in units of the variance, summed over so many dimensions.

    freedom: degrees of it; the fewer, the less a large deviation costs beyond a middling one.
    """
    costs: Array = (freedom + dimensions) / 2 * np.log1p(squared / freedom)
    return costs
