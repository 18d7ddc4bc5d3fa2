"""Plots of an evaluation (errors, scores) and of a run (learning curves), as png."""

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dlcpose.metrics.figure_info import FigureInfo, find_info, sort_figures
from dlcpose.structures.printable import printable
from dlcpose.visualization.pictures import keypoint_colors

Array = npt.NDArray[Any]
INK, ACCENT, SECOND, GRID = "#2b2f36", "#2563eb", "#d97706", "#e5e7eb"
MAX_NAMES = 12  # more would cover the plot: the table of the report names the colors
MIN_ERROR = 0.05  # px: labels are not more precise, and a logarithmic axis needs a lower end


def plot_errors(errors: Array, names: Sequence[str]) -> bytes:
    """The distribution of errors as png: a histogram of all, and the cumulative distribution of each keypoint.

    errors: (A, K) pixels, NaN where there is none. names: K.
    """
    figure = _figure(9.2, 3.4)
    left, right = figure.subplots(1, 2)
    known = np.maximum(errors[~np.isnan(errors)], MIN_ERROR)
    if len(known):
        edges = np.geomspace(known.min() * 0.95, known.max() * 1.05, 41)
        left.hist(known, edges, color=ACCENT, alpha=0.85)
        for value, style, name in ((np.median(known), "-", "median"), (known.mean(), "--", "mean")):
            left.axvline(value, color=INK, linestyle=style, linewidth=1.2, label=f"{name} {value:.2f} px")
        _legend(left)
        for column, name, color in zip(errors.T, names, keypoint_colors(len(names)), strict=True):
            own = np.sort(np.maximum(column[~np.isnan(column)], MIN_ERROR))
            shade = tuple(part / 255 for part in color)
            right.step(
                own, np.arange(1, len(own) + 1) / max(len(own), 1), where="post", color=shade, label=_plain(name)
            )
        if len(names) <= MAX_NAMES:
            _legend(right, fontsize=8)
    for axes, title, of in ((left, "All keypoints", "keypoints"), (right, "Each keypoint", "share of keypoints below")):
        axes.set_xscale("log")
        _plain_ticks(axes)
        _dress(axes, title, "error (px)", of)
    right.set_ylim(0, 1.02)
    return _png(figure)


def plot_scores(errors: Array, scores: Array, confidence: float) -> bytes:
    """Error over score as png: a dot for each keypoint, and the median error in each tenth of the scores.

    errors, scores: (A, K), NaN where there is none. confidence: the cutoff of the figures, drawn as a line.
    """
    figure = _figure(4.6, 3.4)
    axes = figure.subplots()
    known = ~np.isnan(errors) & ~np.isnan(scores)
    x, y = scores[known], np.maximum(errors[known], MIN_ERROR)
    if len(x):
        axes.scatter(x, y, s=9, color=ACCENT, alpha=float(np.clip(300 / len(x), 0.08, 0.6)), linewidths=0)
        tenth = np.clip((x * 10).astype(int), 0, 9)
        filled = [t for t in range(10) if (tenth == t).any()]
        medians = [float(np.median(y[tenth == t])) for t in filled]
        axes.plot([(t + 0.5) / 10 for t in filled], medians, "o-", color=INK, markersize=4, label="median")
    axes.axvline(confidence, color=SECOND, linestyle="--", linewidth=1.2, label=f"cutoff {confidence:g}")
    axes.set_yscale("log")
    axes.set_xlim(-0.02, 1.02)
    _legend(axes)
    _plain_ticks(axes)
    _dress(axes, "Score and error", "score of the keypoint", "error (px)")
    return _png(figure)


def plot_learning(table: pd.DataFrame, infos: Mapping[str, FigureInfo]) -> bytes:
    """Losses and validation figures over a run's epochs, as png.

    table: a column `epoch` and one for each series, named train/... or val/... . infos: which figures are drawn, in
    which plot (`curve`), and in which direction they are better.
    """
    known = [str(name) for name in table if np.isfinite(table[name].to_numpy(float)).any()]
    panels: dict[str, list[str]] = {}
    for name in sort_figures((name for name in known if name.startswith(("train/", "val/"))), infos):
        if curve := find_info(name, infos).curve:
            panels.setdefault(curve, []).append(name)
    order = list(dict.fromkeys(info.curve for info in infos.values()))
    shown = sorted(panels, key=lambda curve: (curve != "loss", order.index(curve)))
    figure = _figure(4.6 * max(len(shown), 1), 3.4)
    for axes, curve in zip(figure.subplots(1, max(len(shown), 1), squeeze=False)[0], shown, strict=False):
        _plot_curves(axes, curve, table, panels[curve], infos)
    return _png(figure)


def _plot_curves(
    axes: Axes, title: str, table: pd.DataFrame, names: Sequence[str], infos: Mapping[str, FigureInfo]
) -> None:
    """Series in one plot, the best epoch of the first validation figure marked."""
    marked = next((name for name in names if name.startswith("val/")), None)
    falls = [find_info(name, infos).higher_is_better is False for name in names]
    for name, color in zip(names, itertools.cycle((ACCENT, SECOND)), strict=False):
        series = table[["epoch", name]].dropna().groupby("epoch")[name].mean()
        series = series[np.isfinite(series)]
        series.index = series.index + 1  # epochs are counted from 1 wherever a person reads them
        axes.plot(
            series.index, series, "o-" if len(series) < 30 else "-", color=color, markersize=3, label=_plain(name)
        )
        if name == marked:
            best = series.idxmin() if falls[names.index(name)] else series.idxmax()
            end = "lowest" if falls[names.index(name)] else "highest"
            axes.plot([best], [series[best]], "o", color=INK, markersize=5, label=f"{end} {series[best]:.3g}")
    values = table[list(names)].to_numpy(float)
    values = values[np.isfinite(values)]
    if all(falls) and values.min() > 0 and values.max() / values.min() > 20:
        axes.set_yscale("log")
        _plain_ticks(axes)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    _legend(axes)
    _dress(axes, title[:1].upper() + title[1:], "epoch", title)


def _figure(width: float, height: float) -> Figure:
    # Never pyplot: it keeps figures, and may need a display.
    return Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")


def _plain(name: str) -> str:
    """A name as a label of a legend: matplotlib leaves out those that begin with an underscore."""
    return printable(f"\u200b{name}" if name.startswith("_") else name)


def _legend(axes: Axes, fontsize: int = 9) -> None:
    for text in axes.legend(frameon=False, fontsize=fontsize).get_texts():
        text.set_parse_math(False)  # a `$` in a keypoint's name is no formula


def _dress(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold", parse_math=False)
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
    FigureCanvasAgg(figure).print_png(stream)  # type: ignore[no-untyped-call]  # savefig draws twice, the first time to lay out
    return stream.getvalue()
