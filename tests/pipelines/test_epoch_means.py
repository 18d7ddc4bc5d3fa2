"""Means over an epoch do not depend on who took which batch, nor on whether the epoch was stopped."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.pipelines.epoch_means import BatchLosses, RunningMeans, mean_over_batches, mean_over_devices

batches = st.lists(st.tuples(st.floats(-100, 100), st.integers(1, 9)), min_size=1, max_size=12)


def means_over(taken: list[tuple[float, int]], means: RunningMeans | None = None) -> RunningMeans:
    means = means or RunningMeans()
    for value, count in taken:
        means.add({"loss": torch.tensor(value)}, count)
    return means


@given(batches, st.integers(0, 12))
def test_shared_or_stopped_it_is_the_mean_over_all_samples(taken: list[tuple[float, int]], place: int) -> None:
    expected = sum(value * count for value, count in taken) / sum(count for _, count in taken)
    shares = [means_over(taken[:place]).sums(), means_over(taken[place:]).sums()]
    assert mean_over_devices(shares)["loss"] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    stopped = RunningMeans(means_over(taken[:place]).sums())
    assert means_over(taken[place:], stopped).sums() == means_over(taken).sums()  # to the last bit


def test_terms_of_some_batches_only_are_means_over_those() -> None:
    means = RunningMeans()
    means.add({"always": torch.tensor(1.0)}, 2)
    means.add({"always": torch.tensor(4.0), "sometimes": torch.tensor(3.0)}, 1)
    means.add({"never": torch.tensor(torch.nan)}, 0)
    assert mean_over_devices([means.sums()]) == {"always": 2.0, "sometimes": 3.0}


def test_a_repeated_validation_frame_counts_once() -> None:
    first = BatchLosses(("a", "b"), {"loss": torch.tensor(1.0)}, 2)
    last, repeated = BatchLosses(("c",), {"loss": torch.tensor(4.0)}, 1), BatchLosses(("a",), {"loss": 9.0}, 1)
    assert mean_over_batches([first, last, repeated]) == {"loss": 2.0}
