"""HOTA, IDF1, MOTA and switches: by their definitions, and as other packages compute them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcpose.metrics.tracking import tracking_figures

Clip = tuple[list[Any], list[Any], list[Any]]


def made_up_clip(seed: int, frames: int = 60, animals: int = 4) -> Clip:
    """Tracks that come and go, exchange their numbers, and overlap more or less."""
    rng = np.random.default_rng(seed)
    gt, pred, similarity = [], [], []
    names = rng.permutation(animals + 2)
    for _ in range(frames):
        if rng.random() < 0.1:
            names = rng.permutation(animals + 2)
        shown = np.flatnonzero(rng.random(animals) < 0.9)
        found = np.flatnonzero(rng.random(animals + 2) < 0.8)
        sim = rng.uniform(0, 0.45, (len(shown), len(found)))
        sim[shown[:, None] == found[None]] = rng.uniform(0.3, 1, int((shown[:, None] == found[None]).sum()))
        gt.append(shown * 7 + 3)
        pred.append(names[found])
        similarity.append(sim)
    return gt, pred, similarity


def perfect_clip(frames: int = 20, animals: int = 3) -> Clip:
    ids = [np.arange(animals)] * frames
    return ids, ids, [np.eye(animals)] * frames


def test_perfect_tracks_have_perfect_figures() -> None:
    figures = tracking_figures(*perfect_clip())
    assert figures == {"hota": 1, "det_a": 1, "ass_a": 1, "idf1": 1, "mota": 1, "switches": 0}


def test_an_exchange_half_way_counts_twice_as_a_switch_and_halves_the_identities() -> None:
    gt, pred, _ = perfect_clip(frames=20, animals=2)
    swapped = [each if frame < 10 else each[::-1] for frame, each in enumerate(pred)]
    figures = tracking_figures(gt, swapped, similarity=[np.eye(2)] * 20)
    assert figures["switches"] == 2
    assert figures["idf1"] == pytest.approx(0.5)
    assert figures["mota"] == pytest.approx((40 - 2) / 40)
    assert figures["det_a"] == 1
    assert figures["ass_a"] == pytest.approx(1 / 3)  # 10 of 20 + 20 - 10 frames together, for every pair


def test_a_lost_animal_that_comes_back_under_its_number_is_no_switch() -> None:
    gt = [np.array([0, 1])] * 9
    pred = [np.array([5, 6]) if frame not in (3, 4, 5) else np.array([6]) for frame in range(9)]
    similarity = [np.eye(2) if len(each) == 2 else np.array([[0.0], [1.0]]) for each in pred]
    figures = tracking_figures(gt, pred, similarity)
    assert figures["switches"] == 0
    assert figures["mota"] == pytest.approx(15 / 18)
    assert figures["idf1"] == pytest.approx(2 * 15 / (18 + 15))


def test_figures_without_labels_or_predictions() -> None:
    background = np.zeros(0, np.int64)
    assert np.isnan(list(tracking_figures([background], [np.array([1])], [np.zeros((0, 1))]).values())).all()
    figures = tracking_figures([np.array([1])], [background], [np.zeros((1, 0))])
    assert figures == {"hota": 0, "det_a": 0, "ass_a": 0, "idf1": 0, "mota": 0, "switches": 0}


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_other_numbers_and_another_order_of_the_animals_change_nothing(seed: int) -> None:
    gt, pred, similarity = made_up_clip(seed, frames=12)
    rng = np.random.default_rng(seed)
    names = rng.permutation(50)
    orders = [rng.permutation(len(each)) for each in pred]
    figures = tracking_figures(gt, pred, similarity)
    others = tracking_figures(
        gt,
        [names[each[order]] for each, order in zip(pred, orders, strict=True)],
        [each[:, order] for each, order in zip(similarity, orders, strict=True)],
    )
    assert others == pytest.approx(figures)


@pytest.mark.parametrize("broken", ["frames", "shape", "twice"])
def test_what_does_not_belong_together_is_refused(broken: str) -> None:
    gt, pred, similarity = perfect_clip()
    if broken == "frames":
        gt = gt[1:]
    elif broken == "shape":
        similarity = [np.eye(2), *similarity[1:]]
    else:
        pred = [np.array([1, 1, 2]), *pred[1:]]
    with pytest.raises(ValueError, match="xpected"):
        tracking_figures(gt, pred, similarity)


@pytest.mark.parametrize("seed", range(5))
def test_trackers_computes_the_same(seed: int) -> None:
    theirs = pytest.importorskip("trackers.eval", reason="trackers brings a second OpenCV; install it by hand")
    clip = made_up_clip(seed)
    figures = tracking_figures(*clip)
    hota, clear = theirs.compute_hota_metrics(*clip), theirs.compute_clear_metrics(*clip)
    identity = theirs.compute_identity_metrics(*clip)
    expected = {"hota": hota["HOTA"], "det_a": hota["DetA"], "ass_a": hota["AssA"], "idf1": identity["IDF1"]}
    expected |= {"mota": clear["MOTA"], "switches": clear["IDSW"]}
    assert figures == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_trackeval_computes_the_same(seed: int) -> None:
    theirs = pytest.importorskip("trackeval.metrics", reason="trackeval brings a second OpenCV; install it by hand")
    gt, pred, similarity = made_up_clip(seed)
    gt_names, pred_names = np.unique(np.concatenate(gt)), np.unique(np.concatenate(pred))
    data = {
        "num_gt_dets": sum(map(len, gt)),
        "num_tracker_dets": sum(map(len, pred)),
        "num_gt_ids": len(gt_names),
        "num_tracker_ids": len(pred_names),
        "gt_ids": [np.searchsorted(gt_names, each) for each in gt],
        "tracker_ids": [np.searchsorted(pred_names, each) for each in pred],
        "similarity_scores": similarity,
        "num_timesteps": len(gt),
    }
    quiet = {"PRINT_CONFIG": False}
    hota = theirs.HOTA(quiet).eval_sequence(data)
    clear = theirs.CLEAR({**quiet, "THRESHOLD": 0.5}).eval_sequence(data)
    identity = theirs.Identity({**quiet, "THRESHOLD": 0.5}).eval_sequence(data)
    expected = {
        name: float(np.mean(hota[key])) for name, key in (("hota", "HOTA"), ("det_a", "DetA"), ("ass_a", "AssA"))
    }
    expected |= {"idf1": identity["IDF1"], "mota": clear["MOTA"], "switches": clear["IDSW"]}
    assert tracking_figures(gt, pred, similarity) == pytest.approx(expected)
