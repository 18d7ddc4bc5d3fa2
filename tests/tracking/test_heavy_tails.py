"""Costs of deviations with heavy tails, beside scipy's distribution."""

import numpy as np
import pytest
from scipy.stats import multivariate_t

from dlcpose.tracking.heavy_tails import student_t_cost


@pytest.mark.parametrize("dimensions", [1, 2, 6])
@pytest.mark.parametrize("freedom", [1.0, 2.0, 4.0])
def test_a_cost_is_what_the_density_loses(dimensions: int, freedom: float) -> None:
    points = np.random.default_rng(0).normal(0, 5, (20, dimensions))
    density = multivariate_t(np.zeros(dimensions), df=freedom)
    expected = density.logpdf(np.zeros(dimensions)) - density.logpdf(points)
    costs = student_t_cost((points**2).sum(axis=-1), dimensions=dimensions, freedom=freedom)
    np.testing.assert_allclose(costs, expected, rtol=1e-9)
