"""What holds for every figure of conf/metric."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings

from dlcpose.metrics.base import Metric, figures_of
from dlcpose.metrics.counts import Counts
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.sample import FrameLabels, labels_of
from dlcpose.structures.skeleton import Skeleton
from tests.metrics.made_up import SHAPE, SKELETON, empty, herd, perfect, prediction_of, seeds


def default_metrics() -> dict[str, Metric]:
    """conf/metric/default.yaml, each entry built by its `_target_`."""
    content = yaml.safe_load((Path(__file__).parents[2] / "conf" / "metric" / "default.yaml").read_text())
    metrics = {}
    for name, entry in content.items():
        module, target = entry.pop("_target_").rsplit(".", 1)
        metrics[name] = getattr(__import__(module, fromlist=[target]), target)(**entry)
    return metrics


METRICS = default_metrics()


def test_the_agreed_names_are_there() -> None:
    labels, predictions = herd(0)
    assert set(figures_of(METRICS, predictions, labels, SKELETON)) >= {
        "mean_error_px",
        "median_error_px",
        "mean_error_px@0.6",
        "rmse_px",
        "rmse_px@0.6",
        "pck@0.05",
        "pck@0.1",
        "oks_ap",
        "oks_ap50",
        "oks_ap75",
        "oks_ar",
        "dlc_rmse",
        "dlc_rmse_pcutoff",
        "dlc_map",
        "dlc_mar",
        "false_negatives",
        "false_positives",
        "images",
    }


@given(seed=seeds)
@settings(max_examples=5, deadline=None)
def test_neither_the_order_of_images_nor_that_of_animals_matters(seed: int) -> None:
    labels, predictions = herd(seed)
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))
    mixed_labels, mixed_predictions = [], []
    for i in order:
        here, there = random.permutation(len(labels[i])), random.permutation(len(predictions[i]))
        names = ("keypoints_in_image", "visibility", "boxes_in_image", "areas", "identities")
        mixed_labels.append(replace(labels[i], **{name: getattr(labels[i], name)[here] for name in names}))
        names = ("keypoints_in_image", "keypoint_scores", "scores", "identities", "boxes_in_image")
        mixed_predictions.append(
            replace(predictions[i], **{name: getattr(predictions[i], name)[there] for name in names})
        )
    figures = figures_of(METRICS, predictions, labels, SKELETON)
    assert figures_of(METRICS, mixed_predictions, mixed_labels, SKELETON) == pytest.approx(figures, nan_ok=True)


@pytest.mark.parametrize("most", [1, 4])
def test_a_perfect_prediction_is_perfect(most: int) -> None:
    labels, _ = herd(5, most=most)
    figures = figures_of(METRICS, perfect(labels), labels, SKELETON)
    for name in (
        "mean_error_px",
        "median_error_px",
        "rmse_px",
        "mean_error_px@0.6",
        "dlc_rmse",
        "false_negatives",
        "false_positives",
    ):
        assert figures[name] == 0, name
    for name in ("pck@0.05", "pck@0.1", "oks_ap", "oks_ap50", "oks_ap75", "oks_ar", "kept@0.6"):
        assert figures[name] == pytest.approx(1), name
    assert figures["dlc_map"] == pytest.approx(100)
    assert figures["dlc_mar"] == pytest.approx(100)


def test_no_prediction_finds_nothing() -> None:
    labels, _ = herd(6)
    figures = figures_of(METRICS, empty(labels), labels, SKELETON)
    for name in (
        "pck@0.05",
        "pck@0.1",
        "oks_ap",
        "oks_ap50",
        "oks_ap75",
        "oks_ar",
        "dlc_map",
        "dlc_mar",
        "false_positives",
    ):
        assert figures[name] == 0, name
    assert figures["false_negatives"] == figures["animals"] == sum(len(frame) for frame in labels)
    assert np.isnan(figures["mean_error_px"])


def test_nothing_labelled_defines_no_figure() -> None:
    labels = [labels_of("a.png", (480, 640), np.full((1, 5, 2), np.nan))]
    figures = figures_of(METRICS, [prediction_of("a.png", SHAPE[None])], labels, SKELETON)
    undefined = {name for name, figure in figures.items() if np.isnan(figure)}
    assert undefined == set(figures) - {"images", "animals", "false_negatives", "false_positives"}
    assert figures["false_positives"] == 1
    assert figures_of(METRICS, [], [], SKELETON)["images"] == 0


@pytest.mark.parametrize("keypoints", [1, 3, 17, 24])
def test_any_number_of_keypoints(keypoints: int) -> None:
    skeleton = Skeleton(names=tuple(f"point{k}" for k in range(keypoints)))
    points = np.random.default_rng(0).uniform(0, 400, (2, keypoints, 2))
    labels = [labels_of("a.png", (480, 640), points)]
    figures = figures_of(METRICS, perfect(labels), labels, skeleton)
    assert figures["mean_error_px"] == figures["false_negatives"] == 0
    assert figures["oks_ap"] == pytest.approx(1)


def mismatched() -> list[tuple[list, list[FrameLabels], str]]:
    labels, predictions = herd(7, frames=3)
    four = [replace(each, keypoints_in_image=each.keypoints_in_image[:, :4]) for each in predictions]
    return [
        (predictions[:2], labels, "prediction for each of the 3"),
        (predictions[::-1], labels, "Expected the prediction of frame labeled-data/v/img000.png"),
        (four, labels, "expected 5 keypoints, got 4 predicted"),
        ([predictions[0]] * 2, [labels[0]] * 2, "each frame once"),
    ]


@pytest.mark.parametrize(("predictions", "labels", "message"), mismatched())
def test_predictions_of_other_frames_are_refused(predictions, labels, message) -> None:
    for metric in METRICS.values():
        with pytest.raises(ValueError, match=message):
            metric(predictions, labels, SKELETON)


def test_two_metrics_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"metric\.second.*images"):
        figures_of({"first": Counts(), "second": Counts()}, [], [], SKELETON)
