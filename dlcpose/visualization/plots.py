"""Plots of an evaluation and of a run, as pictures."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dlcpose.visualization.pictures import keypoint_colors

Array = npt.NDArray[Any]
INK, ACCENT, SECOND, GRID = "#2b2f36", "#2563eb", "#d97706", "#e5e7eb"
MOST_NAMES = 12  # more would cover the plot: the table of the report names the colours
SMALLEST_ERROR = 0.05  # px: labels are not better, and a logarithm needs an end


def plot_errors(errors: Array, names: Sequence[str]) -> bytes:
    """How errors are spread, as png: a histogram of all, and for each keypoint the share below each error.

    errors: (A, K) pixels, NaN where there is none. names: K.
    """
    figure = _figure(9.2, 3.4)
    left, right = figure.subplots(1, 2)
    known = np.maximum(errors[~np.isnan(errors)], SMALLEST_ERROR)
    if len(known):
        edges = np.geomspace(known.min() * 0.95, known.max() * 1.05, 41)
        left.hist(known, edges, color=ACCENT, alpha=0.85)
        for value, style, name in ((np.median(known), "-", "median"), (known.mean(), "--", "mean")):
            left.axvline(value, color=INK, linestyle=style, linewidth=1.2, label=f"{name} {value:.2f} px")
        left.legend(frameon=False, fontsize=9)
        for column, name, color in zip(errors.T, names, keypoint_colors(len(names)), strict=True):
            own = np.sort(np.maximum(column[~np.isnan(column)], SMALLEST_ERROR))
            shade = tuple(part / 255 for part in color)
            right.step(own, np.arange(1, len(own) + 1) / max(len(own), 1), where="post", color=shade, label=name)
        if len(names) <= MOST_NAMES:
            right.legend(frameon=False, fontsize=8)
    for axes, title, of in ((left, "All keypoints", "keypoints"), (right, "Each keypoint", "share of keypoints below")):
        axes.set_xscale("log")
        _plain_ticks(axes)
        _dress(axes, title, "error (px)", of)
    right.set_ylim(0, 1.02)
    return _png(figure)


def plot_scores(errors: Array, scores: Array, confidence: float) -> bytes:
    """Whether scores can be trusted, as png: each keypoint's error over its score, and medians over tenths of the score.

    errors, scores: (A, K), NaN where there is none. confidence: the cutoff that figures are given for.
    """
    figure = _figure(4.6, 3.4)
    axes = figure.subplots()
    known = ~np.isnan(errors) & ~np.isnan(scores)
    x, y = scores[known], np.maximum(errors[known], SMALLEST_ERROR)
    if len(x):
        axes.scatter(x, y, s=9, color=ACCENT, alpha=float(np.clip(300 / len(x), 0.08, 0.6)), linewidths=0)
        tenth = np.clip((x * 10).astype(int), 0, 9)
        filled = [t for t in range(10) if (tenth == t).any()]
        medians = [float(np.median(y[tenth == t])) for t in filled]
        axes.plot([(t + 0.5) / 10 for t in filled], medians, "o-", color=INK, markersize=4, label="median")
    axes.axvline(confidence, color=SECOND, linestyle="--", linewidth=1.2, label=f"cutoff {confidence:g}")
    axes.set_yscale("log")
    axes.set_xlim(-0.02, 1.02)
    axes.legend(frameon=False, fontsize=9)
    _plain_ticks(axes)
    _dress(axes, "Score and error", "score of the keypoint", "error (px)")
    return _png(figure)


class _Panel(NamedTuple):
    """Series that share an axis, and which end of one of them is best."""

    names: tuple[str, ...]
    title: str
    marked: str
    best: str  # lowest, highest


PANELS = (
    _Panel(("train/loss", "val/loss"), "loss", "val/loss", "lowest"),
    _Panel(("val/mean_error_px", "val/median_error_px"), "error (px)", "val/mean_error_px", "lowest"),
    _Panel(("val/oks_ap", "val/oks_ap50"), "average precision of poses", "val/oks_ap", "highest"),
    _Panel(("val/box_ap", "val/box_ap50"), "average precision of boxes", "val/box_ap", "highest"),
)


def plot_learning(table: pd.DataFrame) -> bytes:
    """Losses and validation figures over a run's epochs, as png; `table` has a column `epoch` and one for each series."""
    known = {name for name in table if np.isfinite(table[name].to_numpy(float)).any()}
    shown = [panel for panel in PANELS if known.intersection(panel.names)]
    figure = _figure(4.6 * max(len(shown), 1), 3.4)
    for axes, panel in zip(figure.subplots(1, max(len(shown), 1), squeeze=False)[0], shown, strict=False):
        names = [name for name in panel.names if name in known]
        for name, color in zip(names, (ACCENT, SECOND), strict=False):
            series = table[["epoch", name]].dropna().groupby("epoch")[name].mean()
            series = series[np.isfinite(series)]
            series.index = series.index + 1  # epochs are counted from 1 wherever a person reads them
            axes.plot(series.index, series, "o-" if len(series) < 30 else "-", color=color, markersize=3, label=name)
            if name == panel.marked:
                best = series.idxmin() if panel.best == "lowest" else series.idxmax()
                axes.plot(
                    [best], [series[best]], "o", color=INK, markersize=5, label=f"{panel.best} {series[best]:.3g}"
                )
        values = table[names].to_numpy(float)
        values = values[np.isfinite(values)]
        if panel.best == "lowest" and values.min() > 0 and values.max() / values.min() > 20:
            axes.set_yscale("log")
            _plain_ticks(axes)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        axes.legend(frameon=False, fontsize=9)
        _dress(axes, panel.title.capitalize(), "epoch", panel.title)
    return _png(figure)


def _figure(width: float, height: float) -> Figure:
    # Never pyplot: it keeps figures, and may look for a screen.
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _dress(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _plain_ticks(axes: Axes) -> None:
    """0.1, 1, 10 in place of powers of ten."""
    for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
        if scale == "log":
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
