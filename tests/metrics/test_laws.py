"""Laws that hold for every metric of conf/metric."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import yaml
from hypothesis import given, settings

from dlcpose.metrics import base
from dlcpose.metrics.base import EvaluatedFrames, Metric, builtin_infos, figures_of, infos_of
from dlcpose.metrics.counts import Counts
from dlcpose.metrics.figure_info import FigureInfo, find_info
from dlcpose.metrics.matching import match_frames
from dlcpose.metrics.per_keypoint import per_keypoint
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
    assert set(figures_of(METRICS, EvaluatedFrames(predictions, labels, SKELETON))) >= {
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
        permuted = {name: getattr(labels[i], name)[here] for name in names}
        mixed_labels.append(replace(labels[i], stored_keypoints=None, **permuted))
        names = ("keypoints_in_image", "keypoint_scores", "scores", "identities", "boxes_in_image")
        mixed_predictions.append(
            replace(predictions[i], **{name: getattr(predictions[i], name)[there] for name in names})
        )
    figures = figures_of(METRICS, EvaluatedFrames(predictions, labels, SKELETON))
    assert figures_of(METRICS, EvaluatedFrames(mixed_predictions, mixed_labels, SKELETON)) == pytest.approx(
        figures, nan_ok=True
    )


@pytest.mark.parametrize("most", [1, 4])
def test_a_perfect_prediction_is_perfect(most: int) -> None:
    labels, _ = herd(5, most=most)
    figures = figures_of(METRICS, EvaluatedFrames(perfect(labels), labels, SKELETON))
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
    figures = figures_of(METRICS, EvaluatedFrames(empty(labels), labels, SKELETON))
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


def test_nothing_labeled_defines_no_figure() -> None:
    labels = [labels_of("a.png", (480, 640), np.full((1, 5, 2), np.nan))]
    figures = figures_of(METRICS, EvaluatedFrames([prediction_of("a.png", SHAPE[None])], labels, SKELETON))
    undefined = {name for name, figure in figures.items() if np.isnan(figure)}
    assert undefined == set(figures) - {"images", "animals", "false_negatives", "false_positives"}
    assert figures["false_positives"] == 1
    assert figures_of(METRICS, EvaluatedFrames([], [], SKELETON))["images"] == 0


@pytest.mark.parametrize("keypoints", [1, 3, 17, 24])
def test_any_number_of_keypoints(keypoints: int) -> None:
    skeleton = Skeleton(names=tuple(f"point{k}" for k in range(keypoints)))
    points = np.random.default_rng(0).uniform(0, 400, (2, keypoints, 2))
    labels = [labels_of("a.png", (480, 640), points)]
    figures = figures_of(METRICS, EvaluatedFrames(perfect(labels), labels, skeleton))
    assert figures["mean_error_px"] == figures["false_negatives"] == 0
    assert figures["oks_ap"] == pytest.approx(1)


def mismatched() -> list[tuple[list, list[FrameLabels]]]:
    labels, predictions = herd(7, frames=3)
    four = [replace(each, keypoints_in_image=each.keypoints_in_image[:, :4]) for each in predictions]
    return [
        (predictions[:2], labels),
        (predictions[::-1], labels),
        (four, labels),
        ([predictions[0]] * 2, [labels[0]] * 2),
    ]


@pytest.mark.parametrize(("predictions", "labels"), mismatched())
def test_predictions_of_other_frames_are_refused(predictions, labels) -> None:
    with pytest.raises(ValueError, match="xpected"):
        EvaluatedFrames(predictions, labels, SKELETON)


def test_predictions_are_matched_once_for_all_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(base, "match_frames", lambda *given: calls.append(given) or match_frames(*given))
    labels, predictions = herd(8)
    frames = EvaluatedFrames(predictions, labels, SKELETON)
    figures_of(METRICS, frames)
    per_keypoint(frames)
    assert len(calls) == 1


@pytest.mark.parametrize("most", [1, 4])
def test_the_stated_direction_is_the_right_one(most: int) -> None:
    labels, noisy = herd(9, most=most)
    infos = infos_of(METRICS)
    best = figures_of(METRICS, EvaluatedFrames(perfect(labels), labels, SKELETON))
    worse = figures_of(METRICS, EvaluatedFrames(noisy, labels, SKELETON))
    for name, value in best.items():
        higher = find_info(name, infos).higher_is_better
        if higher is not None and not np.isnan(value):
            assert value >= worse[name] if higher else value <= worse[name], name


def test_the_facts_of_this_package_s_metrics_need_no_list() -> None:
    assert infos_of(METRICS).items() <= builtin_infos().items()
    assert "box_ap" in builtin_infos()


class Undescribed(Metric):
    figures: ClassVar[dict[str, FigureInfo]] = {"something": FigureInfo("something")}

    def __call__(self, frames: EvaluatedFrames) -> dict[str, float]:
        return {"other": 1.0}


def test_a_figure_without_facts_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"metric\.mine.*other"):
        figures_of({"mine": Undescribed()}, EvaluatedFrames([], [], SKELETON))


def test_two_metrics_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"metric\.second.*images"):
        figures_of({"first": Counts(), "second": Counts()}, EvaluatedFrames([], [], SKELETON))
