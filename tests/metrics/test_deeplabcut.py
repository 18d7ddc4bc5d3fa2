"""DeepLabCut's figures against a second derivation from the written definition, in plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings

from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.metrics.deeplabcut import DeepLabCutFigures
from dlcpose.structures.sample import labels_of
from dlcpose.structures.skeleton import Skeleton
from tests.metrics.made_up import SHAPE, SKELETON, at, herd, prediction_of, seeds

Point = tuple[float, float] | None


def naive_figures(labels, predictions, pcutoff=0.6, sigma=0.1) -> dict[str, float]:
    images = []
    for frame, prediction in zip(labels, predictions, strict=True):
        gt: list[list[Point]] = []
        for pose, flags in zip(frame.keypoints_in_image, frame.visibility, strict=True):
            gt.append(
                [
                    (float(x), float(y)) if v > 0 and 0 < x < frame.width and 0 < y < frame.height else None
                    for (x, y), v in zip(pose, flags, strict=True)
                ]
            )
        gt = [pose for pose in gt if any(point is not None for point in pose)]
        found = []
        for pose, scores in zip(prediction.keypoints_in_image, prediction.keypoint_scores, strict=True):
            points = [
                (float(x), float(y), float(s)) if s >= 0 and not math.isnan(x) else None
                for (x, y), s in zip(pose, scores, strict=True)
            ]
            if any(points):
                found.append(points)
        found.sort(key=lambda pose: -_mean_score(pose))
        images.append((gt, found))
    single = all(len(gt) <= 1 and len(found) <= 1 for gt, found in images)
    distances, sure = [], []
    for gt, found in images:
        for pose, partner in _pairs(gt, found, 1e-6, sigma, single):
            for there, here in zip(partner, pose, strict=True):
                if there is not None and here is not None:
                    distances.append(math.dist(there, here[:2]))
                    if here[2] >= pcutoff:
                        sure.append(distances[-1])
    precision, recall = _precision_recall(images, sigma)
    return {
        "dlc_rmse": sum(distances) / len(distances) if distances else math.nan,
        "dlc_rmse_pcutoff": sum(sure) / len(sure) if sure else math.nan,
        "dlc_map": precision,
        "dlc_mar": recall,
    }


def _mean_score(pose) -> float:
    scores = [point[2] for point in pose if point is not None]
    return sum(scores) / len(scores)


def _oks(pose, gt, sigma) -> float:
    known = [point for point in gt if point is not None]
    if len(known) < 2:
        return math.nan
    xs, ys = zip(*known, strict=True)
    area = (max(xs) - min(xs) + np.spacing(1)) * (max(ys) - min(ys) + np.spacing(1))
    total = 0.0
    for there, here in zip(gt, pose, strict=True):
        if there is not None and here is not None:
            total += math.exp(-(math.dist(there, here[:2]) ** 2) / (2 * area * (2 * sigma) ** 2))
    return total / len(known)


def _pairs(gt, found, threshold, sigma, single=False):
    if single:
        return [(found[0], gt[0])] if gt and found else []
    taken, pairs = set(), []
    for pose in found:
        similar = [_oks(pose, each, sigma) for each in gt]
        known = [n for n in range(len(gt)) if not math.isnan(similar[n])]
        if not known:
            continue
        best = max(known, key=lambda n: similar[n])
        if best not in taken and similar[best] >= threshold:
            taken.add(best)
            pairs.append((pose, gt[best]))
    return pairs


def _precision_recall(images, sigma) -> tuple[float, float]:
    images = [
        (
            [pose for pose in gt if sum(point is not None for point in pose) > 1],
            [pose for pose in found if sum(point is not None for point in pose) > 1],
        )
        for gt, found in images
    ]
    labeled = sum(len(gt) for gt, _ in images)
    if not any(found for _, found in images):
        return 0.0, 0.0
    if labeled == 0:
        return math.nan, math.nan
    precisions, recalls = [], []
    for step in range(10):
        threshold = 0.5 + 0.05 * step
        outcome = []
        for gt, found in images:
            right = [id(pose) for pose, _ in _pairs(gt, found, threshold, sigma)]
            outcome += [(_mean_score(pose), id(pose) in right) for pose in found]
        outcome.sort(key=lambda each: -each[0])
        curve, hits = [], 0
        for count, (_, right) in enumerate(outcome, start=1):
            hits += right
            curve.append((hits / labeled, hits / count))
        for least in np.linspace(0, 1, 101):  # as written: a recall of 7/20 lies below the rounded 0.35
            precisions.append(max((p for r, p in curve if r >= least), default=0.0))
        recalls.append(hits / labeled)
    return 100 * sum(precisions) / len(precisions), 100 * sum(recalls) / len(recalls)


@given(seed=seeds)
def test_several_animals_agree_with_the_definition(seed: int) -> None:
    labels, predictions = herd(seed, missing=0.3, noise=8)
    figures = DeepLabCutFigures()(EvaluatedFrames(predictions, labels, SKELETON))
    assert figures == pytest.approx(naive_figures(labels, predictions), rel=1e-6, nan_ok=True)


@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_a_single_animal_agrees_with_the_definition(seed: int) -> None:
    labels, predictions = herd(seed, most=1, missing=0.3, noise=30)
    figures = DeepLabCutFigures(pcutoff=0.4)(EvaluatedFrames(predictions, labels, SKELETON))
    assert figures == pytest.approx(naive_figures(labels, predictions, pcutoff=0.4), rel=1e-6, nan_ok=True)


def test_the_rmse_is_the_mean_distance() -> None:
    labels = [labels_of("a.png", (480, 640), at(300, 200)[None])]
    moved = at(300, 200)[None] + np.array([[3, 4], [0, 0], [0, 0], [0, 0], [0, 10]])
    figures = DeepLabCutFigures()(
        EvaluatedFrames([prediction_of("a.png", moved, [[0.5, 0.6, 0.7, 0.8, 0.9]])], labels, SKELETON)
    )
    assert figures["dlc_rmse"] == pytest.approx(3)
    assert figures["dlc_rmse_pcutoff"] == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("of_metric", "of_project", "expected"), [(None, None, 0.6), (None, 0.3, 0.3), (0.7, 0.3, 0.7), (0.0, 0.3, 0.0)]
)
def test_the_pcutoff_is_that_of_the_project_unless_it_is_set(
    of_metric: float | None, of_project: float | None, expected: float
) -> None:
    labels, predictions = herd(1, missing=0.3, noise=8)
    frames = EvaluatedFrames(predictions, labels, SKELETON, pcutoff=of_project)
    figures = DeepLabCutFigures(pcutoff=of_metric)(frames)
    asked = naive_figures(labels, predictions, pcutoff=expected)
    assert figures == pytest.approx(asked, rel=1e-6, nan_ok=True)


def test_matched_animal_is_not_matched_again() -> None:
    # Both are most like the first labeled animal; the surer one takes it and the other goes empty-handed.
    labels = [labels_of("a.png", (480, 640), np.stack([SHAPE + 200, at(260, 200)]))]
    found = np.stack([at(201, 200), at(202, 200)])
    figures = DeepLabCutFigures()(
        EvaluatedFrames([prediction_of("a.png", found, [[0.9] * 5, [0.8] * 5])], labels, SKELETON)
    )
    assert figures["dlc_rmse"] == pytest.approx(1)
    assert figures["dlc_mar"] == pytest.approx(50)


def test_points_of_the_arena_are_pooled() -> None:
    skeleton = Skeleton(names=SKELETON.names, unique=("corner",))
    pose = at(300, 200)[None]
    labels = [labels_of("a.png", (480, 640), pose, unique_in_image=np.array([[10, 10]], np.float32))]
    found = prediction_of("a.png", pose, unique=np.array([[16, 18]]), unique_scores=np.array([0.1]))
    figures = DeepLabCutFigures()(EvaluatedFrames([found], labels, skeleton))
    assert figures["dlc_rmse"] == pytest.approx(10 / 6)
    assert figures["dlc_rmse_pcutoff"] == 0


def test_animals_on_one_line_have_no_size_and_are_never_right() -> None:
    line = at(0, 200) * (0, 1) + (300, 0)
    labels = [labels_of("a.png", (480, 640), line[None])]
    assert DeepLabCutFigures()(EvaluatedFrames([prediction_of("a.png", line[None])], labels, SKELETON))["dlc_map"] == 0


@pytest.mark.parametrize("place", [(0, 100), (100, 0), (640, 100), (100, 480), (-5, 100), (100, 900)])
def test_labels_on_the_border_and_outside_of_an_image_do_not_count(place: tuple[float, float]) -> None:
    skeleton = Skeleton(names=SKELETON.names, unique=("corner",))
    found = prediction_of("a.png", at(300, 200)[None] + 7, unique=np.array([[16, 18]]))
    figures = []
    for point in (place, (np.nan, np.nan)):
        pose, beyond = at(300, 200), np.tile(point, (len(SHAPE), 1))  # an animal out of sight, and a keypoint
        pose[2] = point
        corner = np.array([point], np.float32)
        labels = [labels_of("a.png", (480, 640), np.stack([beyond, pose]), unique_in_image=corner)]
        figures.append(DeepLabCutFigures()(EvaluatedFrames([found], labels, skeleton)))
    assert figures[0] == figures[1]
    assert figures[0]["dlc_rmse"] == pytest.approx(7 * 2**0.5)
