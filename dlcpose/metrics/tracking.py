"""Figures of tracks: HOTA, IDF1, MOTA and identity switches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

Array = npt.NDArray[Any]
ALPHAS = np.arange(0.05, 0.99, 0.05)  # similarities from which HOTA counts a match; it is the mean over them
EPS = np.finfo(np.float64).eps


def tracking_figures(
    gt_ids: Sequence[Array], pred_ids: Sequence[Array], similarity: Sequence[Array], *, threshold: float = 0.5
) -> dict[str, float]:
    """`hota`, `det_a`, `ass_a`, `idf1`, `mota` and `switches` of the tracks of one clip; NaN without ground truth.

    For each frame t: gt_ids[t] (N_t,) and pred_ids[t] (M_t,) whole numbers, each once in a frame; similarity[t] (N_t, M_t)
    in [0, 1]. threshold: similarity from which IDF1, MOTA and switches count a match. All but `switches`, a number, and
    `mota`, which may be negative, are in [0, 1].
    Raises ValueError when the shapes do not agree or an id stands twice in one frame.
    Sources: Luiten et al. 2021 (HOTA), Ristani et al. 2016 (IDF1), Bernardin and Stiefelhagen 2008 (MOTA, with a switch
    counted against the last match of an animal, however long ago), as TrackEval computes them.
    """
    _check(gt_ids, pred_ids, similarity)
    gt = _from_zero(gt_ids)
    pred = _from_zero(pred_ids)
    if not sum(map(len, gt)):
        return dict.fromkeys(("hota", "det_a", "ass_a", "idf1", "mota", "switches"), float("nan"))
    likeness = [np.asarray(each, np.float64) for each in similarity]
    return {
        **_hota(gt, pred, likeness),
        "idf1": _idf1(gt, pred, likeness, threshold),
        **_clear(gt, pred, likeness, threshold),
    }


def _hota(gt: list[Array], pred: list[Array], similarity: list[Array]) -> dict[str, float]:
    gt_count, pred_count = _counts(gt), _counts(pred)  # frames of each track
    shared = np.zeros((len(gt_count), len(pred_count)))
    for rows, columns, sim in zip(gt, pred, similarity, strict=True):
        union = sim.sum(axis=0)[None] + sim.sum(axis=1)[:, None] - sim
        shared[np.ix_(rows, columns)] += np.where(union > EPS, sim / np.maximum(union, EPS), 0.0)
    alignment = shared / np.maximum(gt_count[:, None] + pred_count[None] - shared, EPS)
    matches = np.zeros((len(ALPHAS), *shared.shape))
    for rows, columns, sim in zip(gt, pred, similarity, strict=True):
        r, c = linear_sum_assignment(alignment[np.ix_(rows, columns)] * sim, maximize=True)
        is_match = sim[r, c] >= ALPHAS[:, None] - EPS  # (alphas, pairs)
        matches[:, rows[r], columns[c]] += is_match
    true_positives = matches.sum(axis=(1, 2))  # (alphas,)
    det_a = true_positives / np.maximum(gt_count.sum() + pred_count.sum() - true_positives, 1)
    together = matches / np.maximum(gt_count[:, None] + pred_count[None] - matches, 1)
    ass_a = (matches * together).sum(axis=(1, 2)) / np.maximum(true_positives, 1)
    return {
        "hota": float(np.sqrt(det_a * ass_a).mean()),
        "det_a": float(det_a.mean()),
        "ass_a": float(ass_a.mean()),
    }


def _idf1(gt: list[Array], pred: list[Array], similarity: list[Array], threshold: float) -> float:
    """Of all ground-truth and predicted animals, the share that one fixed matching of the tracks explains."""
    gt_count, pred_count = _counts(gt), _counts(pred)
    matches = np.zeros((len(gt_count), len(pred_count)))
    for rows, columns, sim in zip(gt, pred, similarity, strict=True):
        matches[np.ix_(rows, columns)] += sim >= threshold
    r, c = linear_sum_assignment(matches, maximize=True)
    return float(2 * matches[r, c].sum() / (gt_count.sum() + pred_count.sum()))


def _clear(gt: list[Array], pred: list[Array], similarity: list[Array], threshold: float) -> dict[str, float]:
    last = np.full(max(int(each.max(initial=-1)) for each in gt) + 1, -1)  # the track each animal was last matched to
    before = last.copy()  # and in the frame before
    true_positives = false_positives = switches = 0
    for rows, columns, sim in zip(gt, pred, similarity, strict=True):
        stays = (before[rows][:, None] == columns[None]) & (before[rows][:, None] >= 0)
        score = np.where(sim >= threshold - EPS, sim + 1000.0 * stays, 0.0)
        r, c = linear_sum_assignment(score, maximize=True)
        r, c = r[score[r, c] > 0], c[score[r, c] > 0]
        known = last[rows[r]]
        switches += int(((known >= 0) & (known != columns[c])).sum())
        last[rows[r]] = columns[c]
        before[:] = -1
        before[rows[r]] = columns[c]
        true_positives += len(r)
        false_positives += len(columns) - len(r)
    total = sum(map(len, gt))
    return {"mota": (true_positives - false_positives - switches) / total, "switches": float(switches)}


def _from_zero(ids: Sequence[Array]) -> list[Array]:
    """The ids of each frame as 0, 1, ..., in the order of their values."""
    names = np.unique(np.concatenate([np.zeros(0, np.int64), *(np.asarray(each, np.int64) for each in ids)]))
    return [np.searchsorted(names, np.asarray(each, np.int64)) for each in ids]


def _counts(ids: list[Array]) -> Array:
    return np.bincount(np.concatenate([np.zeros(0, np.int64), *ids])).astype(np.float64)


def _check(gt_ids: Sequence[Array], pred_ids: Sequence[Array], similarity: Sequence[Array]) -> None:
    if not len(gt_ids) == len(pred_ids) == len(similarity):
        raise ValueError(
            f"Expected as many frames of ground truth, predictions and similarities, got {len(gt_ids)}, {len(pred_ids)} "
            f"and {len(similarity)}."
        )
    for frame, (gt, pred, sim) in enumerate(zip(gt_ids, pred_ids, similarity, strict=True)):
        if np.shape(sim) != (len(gt), len(pred)):
            raise ValueError(f"Frame {frame}: expected similarities ({len(gt)}, {len(pred)}), got {np.shape(sim)}.")
        if len(set(np.asarray(gt).tolist())) < len(gt) or len(set(np.asarray(pred).tolist())) < len(pred):
            raise ValueError(f"Frame {frame}: expected each id once, got {np.asarray(gt)} and {np.asarray(pred)}.")
