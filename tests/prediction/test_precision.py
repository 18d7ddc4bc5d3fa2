"""What "auto" comes to."""

import numpy as np
import pytest
import torch

from dlcpose.prediction.precision import (
    _bf16_speedup_on_cpu,
    automatic_batch_size,
    fastest_precision,
    is_as_good,
    is_bf16_faster,
    power_of_two_below,
)
from dlcpose.structures.instances import PosePrediction
from dlcpose.training import trainer
from tests.prediction.test_regions import prediction

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
POINTS = RNG.uniform(0, 100, (2, 10, 2))
SCORES = np.full((2, 10), 0.8)


def moved(shift: float) -> list[PosePrediction]:
    return [prediction(POINTS + shift, SCORES)]


def test_predictions_that_hardly_differ_are_as_good() -> None:
    assert is_as_good(moved(0), moved(0.01), 1.0)
    assert not is_as_good(moved(0), moved(0.2), 1.0)
    assert is_as_good(moved(0), moved(0.2), 0.1)  # pixels of the model's input count


def test_the_order_of_animals_does_not_matter() -> None:
    assert is_as_good(moved(0), [prediction(POINTS[::-1], SCORES)], 1.0)


def test_animals_of_which_few_keypoints_are_found_are_compared_with_themselves() -> None:
    """Not with each other, though no keypoint that they share is far from the other's."""
    points = POINTS.copy()
    points[0, 5:] = points[1, :5] = np.nan
    found = [prediction(points, np.where(np.isnan(points[..., 0]), 0.0, SCORES))]
    assert is_as_good(found, found, 1.0)


def test_a_few_keypoints_that_jump_are_too_many() -> None:
    points = POINTS.copy()
    points[0, :2] += 1.0  # a tenth of them
    assert not is_as_good(moved(0), [prediction(points, SCORES)], 1.0)


def test_unsure_keypoints_may_go_where_they_like() -> None:
    scores, points = SCORES.copy(), POINTS.copy()
    scores[0, :2], points[0, :2] = 0.1, points[0, :2] + 50
    assert is_as_good([prediction(POINTS, scores)], [prediction(points, scores)], 1.0)


@pytest.mark.parametrize("other", [[prediction(POINTS[:1], SCORES[:1])], [prediction(POINTS * np.nan, SCORES * 0)]])
def test_animals_or_keypoints_that_are_gone_are_not_as_good(other: list[PosePrediction]) -> None:
    assert not is_as_good(moved(0), other, 1.0)


def test_of_what_is_not_sure_nothing_can_be_said() -> None:
    unsure = [prediction(POINTS, SCORES * 0.01)]
    assert not is_as_good(unsure, unsure, 1.0)


@pytest.mark.parametrize("has_bf16", [True, False])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_bf16_is_taken_where_it_is_fast_and_good(has_bf16: bool, shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcpose.prediction.precision.is_bf16_faster", lambda device: has_bf16)
    chosen = fastest_precision(CPU, lambda precision: moved(shift if precision == "bf16" else 0.0), 1.0)
    assert chosen == ("bf16" if has_bf16 and not shift else "32")


@pytest.mark.parametrize(
    ("has_bf16", "speedup", "expected"),
    [(True, 2.0, True), (True, 0.6, False), (True, 1.0, False), (False, 9.0, False)],
)
def test_a_cpu_takes_bf16_where_it_has_it_and_gains_by_it(
    has_bf16: bool, speedup: float, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions and training runs alike."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr("dlcpose.prediction.precision._bf16_speedup_on_cpu", lambda: speedup)
    assert is_bf16_faster(CPU) == expected
    assert trainer.fastest_precision("cpu") == ("bf16-mixed" if expected else "32-true")


def test_the_speed_of_bf16_is_measured_without_random_numbers() -> None:
    before = torch.get_rng_state()
    assert 0 < _bf16_speedup_on_cpu() < np.inf
    assert torch.equal(torch.get_rng_state(), before)


def test_batches_on_a_cpu_follow_the_size_of_the_frames() -> None:
    sizes = [automatic_batch_size(CPU, (side, side), print) for side in (64, 480, 1080, 4000)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 8
    assert sizes[-1] == 1


@pytest.mark.parametrize(("number", "expected"), [(0.1, 1), (1, 1), (3.9, 2), (4, 4), (1000, 64)])
def test_powers_of_two(number: float, expected: int) -> None:
    assert power_of_two_below(number, 64) == expected
