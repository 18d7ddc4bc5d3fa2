import numpy as np
import pytest
from hypothesis import given

from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.metrics.pixel_error import PixelError
from dlcpose.structures.sample import labels_of
from dlcpose.structures.skeleton import Skeleton
from tests.metrics.made_up import SHAPE, SKELETON, as_table, at, herd, prediction_of, seeds


@given(seed=seeds)
def test_errors_agree_with_pandas(seed: int) -> None:
    labels, predictions = herd(seed, most=1)
    table = as_table(labels, predictions)
    table["error"] = ((table.x - table.fx) ** 2 + (table.y - table.fy) ** 2) ** 0.5
    sure = table[(table.score >= 0.6) & table.error.notna()]
    figures = PixelError()(EvaluatedFrames(predictions, labels, SKELETON))
    expected = {
        "mean_error_px": table.error.mean(),
        "median_error_px": table.error.median(),
        "rmse_px": (table.error**2).mean() ** 0.5,
        "shift_x_px": (table.fx - table.x).median(),
        "shift_y_px": (table.fy - table.y).median(),
        "mean_error_px@0.6": sure.error.mean(),
        "rmse_px@0.6": (sure.error**2).mean() ** 0.5,
        "kept@0.6": len(sure) / table.x.notna().sum(),
    }
    assert figures == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_a_single_animal_s_error_counts_however_large() -> None:
    labels = [labels_of("a.png", (480, 640), SHAPE[None]), labels_of("b.png", (480, 640), SHAPE[None])]
    predictions = [prediction_of("a.png", SHAPE[None]), prediction_of("b.png", SHAPE[None] + (300, 400))]
    assert PixelError()(EvaluatedFrames(predictions, labels, SKELETON))["mean_error_px"] == pytest.approx(250)


def test_of_several_animals_only_matched_ones_have_an_error() -> None:
    gt = np.stack([SHAPE + 200, at(500, 200)])
    labels = [labels_of("a.png", (480, 640), gt)]
    predictions = [prediction_of("a.png", np.stack([at(800, 800), at(203, 204)]))]
    assert PixelError()(EvaluatedFrames(predictions, labels, SKELETON))["mean_error_px"] == pytest.approx(5)


def test_the_cutoff_stands_in_the_name_and_unlabeled_keypoints_do_not_count() -> None:
    visibility = np.array([[2, 1, 0, 2, 2]])
    labels = [labels_of("a.png", (480, 640), SHAPE[None], visibility=visibility)]
    found = SHAPE[None] + np.array([[3, 4], [6, 8], [90, 90], [0, 0], [0, 0]])
    figures = PixelError(confidence=0.25)(
        EvaluatedFrames([prediction_of("a.png", found, [[0.2, 0.3, 1, 1, 1]])], labels, SKELETON)
    )
    assert figures["mean_error_px"] == pytest.approx(15 / 4)
    assert figures["mean_error_px@0.25"] == pytest.approx(10 / 3)
    assert figures["kept@0.25"] == 3 / 4


def test_points_of_the_arena_have_a_figure_of_their_own() -> None:
    skeleton = Skeleton(names=SKELETON.names, unique=("corner", "food"))
    arena = np.array([[10, 10], [np.nan, np.nan]], np.float32)
    labels = [labels_of("a.png", (480, 640), SHAPE[None], unique_in_image=arena)]
    found = prediction_of("a.png", SHAPE[None], unique=np.array([[13, 14], [0, 0]]))
    figures = PixelError()(EvaluatedFrames([found], labels, skeleton))
    assert figures["unique_error_px"] == 5
    assert figures["mean_error_px"] == 0
    none_found = PixelError()(EvaluatedFrames([prediction_of("a.png", SHAPE[None])], labels, skeleton))
    assert np.isnan(none_found["unique_error_px"])


def test_a_shift_of_all_keypoints_shows_with_its_sign() -> None:
    labels = [labels_of("a.png", (480, 640), SHAPE[None])]
    figures = PixelError()(EvaluatedFrames([prediction_of("a.png", SHAPE[None] + (1.5, -2.5))], labels, SKELETON))
    assert (figures["shift_x_px"], figures["shift_y_px"]) == pytest.approx((1.5, -2.5), abs=1e-4)
