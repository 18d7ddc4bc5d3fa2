"""Plots of a comparison as SVG, for a page that is light or dark: colors are CSS variables of the page.

Every mark carries its setting's number (`data-s`), by which the page highlights one setting in all plots at once.
"""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, NamedTuple

from dlcpose.reports.comparison import Comparison, Run, Setting, short_key, value_of

SHADES = 8  # settings with a color of their own: the best ones
LOG_FROM = 10.0  # ratio of an axis's ends from which on it is logarithmic
SMALLEST, LARGEST = 1e-300, 1e300  # of what an axis spans: its ticks are numbers, too
WIDTH, HEIGHT = 420.0, 250.0
LONGEST_LABEL = 22  # characters of a value between two axes of parallel coordinates


class Frame(NamedTuple):
    """The rectangle that marks are drawn in, in SVG units."""

    left: float = 48
    top: float = 10
    right: float = WIDTH - 12
    bottom: float = HEIGHT - 40


class Axis(NamedTuple):
    """An axis: share() maps a value to its share of the axis's length; ticks are the values written beside it."""

    share: Callable[[float], float]
    ticks: tuple[float, ...]


def axis_over(values: Sequence[float], *, pad: float = 0.04, even: bool = False) -> Axis:
    """An axis over all values: logarithmic from a factor of LOG_FROM on, unless even; one value, or a span
    that numbers have no room for, lies in its middle."""
    low, high = min(values), max(values)
    if not even and low > SMALLEST and high / low >= LOG_FROM:
        a, b = math.log10(low), math.log10(high)
        margin = pad * (b - a)
        a, b = a - margin, b + margin
        ticks = [
            f * 10**e for e in range(math.floor(a), math.ceil(b) + 1) for f in ((1, 2, 5) if b - a < 2.5 else (1,))
        ]
        return Axis(lambda value: (math.log10(value) - a) / (b - a), tuple(t for t in ticks if a <= math.log10(t) <= b))
    if not SMALLEST < high - low < LARGEST:
        return Axis(lambda value: 0.5, (low,))
    margin = pad * (high - low)
    a, b = low - margin, high + margin
    step = 10 ** math.floor(math.log10((b - a) / 3))
    step = next(step * factor for factor in (1, 2, 5, 10) if (b - a) / (step * factor) <= 5.5)
    first = math.ceil(a / step)
    ticks = [place * step for place in range(first, math.floor(b / step) + 1)]
    return Axis(lambda value: (value - a) / (b - a), tuple(ticks))


def shade(place: int) -> str:
    """The color of a setting by its place in the ranking."""
    return f"var(--s{place})" if place < SHADES else "var(--rest)"


def places(comparison: Comparison) -> dict[str, int]:
    """The place in the ranking of each run's setting, by the run's folder."""
    return {str(run.folder): place for place, setting in enumerate(comparison.settings) for run in setting.runs}


def number_label(value: float) -> str:
    """A number with four significant digits, for an axis."""
    return f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e")


def learning_curves(comparison: Comparison, name: str) -> str | None:
    """A figure over the epochs of every run, with the mean over seeds as a thicker line; None where no run has it."""
    known = {
        run: [(e, v) for e, v in run.curves.get(name, ()) if math.isfinite(v)] for run in _by_rank(comparison)[::-1]
    }
    lines = {run: line for run, line in known.items() if line}
    if not lines:
        return None
    frame = Frame()
    x = axis_over([epoch + 1 for line in lines.values() for epoch, _ in line], pad=0.02, even=True)
    y = axis_over([value for line in lines.values() for _, value in line])

    def drawn(line: Sequence[tuple[float, float]], kind: str) -> str:
        points = [(f"{_x(frame, x, epoch + 1):.1f}", f"{_y(frame, y, value):.1f}") for epoch, value in line]
        last_x, last_y = points[-1]
        end = f'<circle class="dot" cx="{last_x}" cy="{last_y}" r="2.6"/>' if kind == "line" else ""
        return f'<polyline class="{kind}" points="{" ".join(f"{x},{y}" for x, y in points)}"/>{end}'

    marks = [_axes(frame, x, y, "epoch", name)]
    for place, setting in reversed(list(enumerate(comparison.settings))):
        own = [lines[run] for run in setting.runs if run in lines]
        strong = own if len(own) == 1 else [_mean_line(own)] if own else []
        head = f'<g data-s="{place}" style="--c:{shade(place)}"><title>{escape(setting_label(comparison, setting))}</title>'
        for kind, each in (("thin", own if len(own) > 1 else []), ("line", strong)):
            marks += [f"{head}{drawn(line, kind)}</g>" for line in each]
    return _svg(marks)


def cost_against_figure(comparison: Comparison, cost: str, title: str, scale: float) -> str | None:
    """The figure that ranks settings over a cost, with its range; None where fewer than two settings have both."""
    priced = [
        (place, setting, setting.costs[cost].mean * scale)
        for place, setting in enumerate(comparison.settings)
        if comparison.ranked_by in setting.figures and cost in setting.costs
    ]
    if len({price for _, _, price in priced}) < 2:
        return None
    frame = Frame()
    x = axis_over([price for _, _, price in priced], pad=0.08)
    y = axis_over([value for _, setting, _ in priced for value in setting.figures[comparison.ranked_by].values])
    marks = [_axes(frame, x, y, title, comparison.ranked_by)]
    for place, setting, price in reversed(priced):
        across, spread = _x(frame, x, price), setting.figures[comparison.ranked_by]
        ends = [_y(frame, y, value) for value in (min(spread.values), max(spread.values))]
        marks.append(
            f'<g data-s="{place}" style="--c:{shade(place)}"><title>{escape(setting_label(comparison, setting))}: '
            f"{number_label(spread.mean)}, {number_label(price)} {escape(title)}</title>"
            f'<line class="whisker" x1="{across:.1f}" x2="{across:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}"/>'
            f'<circle class="point" cx="{across:.1f}" cy="{_y(frame, y, spread.mean):.1f}" r="6"/></g>'
        )
    return _svg(marks)


def parallel_coordinates(comparison: Comparison) -> str | None:
    """Parallel coordinates: each finished run is a line over its settings and figures, better figures higher.

    None where no setting differs.
    """
    runs = [run for run in _by_rank(comparison) if run.status == "finished" and comparison.ranked_by in run.figures]
    if len(runs) < 2 or not comparison.columns:
        return None
    scales = [(key, _scale([value_of(run, key) for run in runs])) for key in comparison.columns]
    scales += [
        (name, _scale([run.figures[name] for run in runs], lower_is_better=comparison.is_lower_better(name)))
        for name in dict.fromkeys((comparison.ranked_by, *comparison.figures[1:2]))
        if all(math.isfinite(run.figures.get(name, math.nan)) for run in runs)
    ]
    width, top, bottom = max(1080.0, 170.0 * len(scales)), 44.0, 272.0
    marks, heights = [], []
    for place, (name, scale) in enumerate(scales):
        across = 40 + place * (width - 170) / max(1, len(scales) - 1)
        heights.append([(across, bottom - share * (bottom - top)) for share in scale.shares])
        marks.append(_pole(name, across, scale, top, bottom))
    where = places(comparison)
    lines = []
    for number, run in reversed(list(enumerate(runs))):
        place = where[str(run.folder)]
        points = " ".join(f"{axis[number][0]:.1f},{axis[number][1]:.1f}" for axis in heights)
        lines.append(
            f'<g data-s="{place}" style="--c:{shade(place)}"><title>{escape(run.name)}</title>'
            f'<polyline class="line soft" points="{points}"/></g>'
        )
    return _svg([*lines, *marks], width, 290.0)


def _pole(name: str, across: float, scale: "Scale", top: float, bottom: float) -> str:
    parts = [
        f'<text class="name" x="{across:.1f}" y="20">{escape(name)}</text>',
        f'<line class="pole" x1="{across:.1f}" x2="{across:.1f}" y1="{top}" y2="{bottom}"/>',
    ]
    for text, share in scale.labels:
        height = bottom - share * (bottom - top) + 4
        # The end of a path tells it from others; the whole of it would reach over the next axis.
        shown = text if len(text) <= LONGEST_LABEL else f"…{text[1 - LONGEST_LABEL :]}"
        title = f"<title>{escape(text)}</title>" if shown != text else ""
        parts.append(f'<text class="tick halo" x="{across + 7:.1f}" y="{height:.1f}">{escape(shown)}{title}</text>')
    return "".join(parts)


class Scale(NamedTuple):
    """A vertical axis: where each run lies on it, from 0 to 1, and its labels."""

    shares: list[float]
    labels: list[tuple[str, float]]


def _scale(values: Sequence[Any], *, lower_is_better: bool = False) -> Scale:
    """Numbers by their size, turned around where lower is better; other values at equal steps, the first on top."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        axis = axis_over([float(value) for value in values], pad=0.0)
        few = sorted(set(values))
        written = few if len(few) <= 5 else [t for t in axis.ticks if min(values) <= t <= max(values)]

        def share(value: float) -> float:
            return 1 - axis.share(value) if lower_is_better else axis.share(value)

        return Scale([share(value) for value in values], [(number_label(value), share(value)) for value in written])
    texts = [value_label(value) for value in values]
    known = list(dict.fromkeys(texts))
    at = {text: 1 - (place + 0.5) / len(known) for place, text in enumerate(known)}
    return Scale([at[text] for text in texts], list(at.items()))


def setting_label(comparison: Comparison, setting: Setting) -> str:
    """A setting as text: its values in the columns."""
    pairs = zip(comparison.columns, setting.values, strict=True)
    return ", ".join(f"{short_key(key)} {value_label(value)}" for key, value in pairs) or setting.runs[0].name


def value_label(value: Any) -> str:
    """A setting's value as text."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return number_label(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _by_rank(comparison: Comparison) -> list[Run]:
    return [run for setting in comparison.settings for run in setting.runs]


def _mean_line(lines: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The mean over runs at the epochs that all of them have."""
    tables = [dict(line) for line in lines]
    shared = sorted(set.intersection(*(set(table) for table in tables)))
    return [(epoch, sum(table[epoch] for table in tables) / len(tables)) for epoch in shared] or list(lines[0])


def _x(frame: Frame, axis: Axis, value: float) -> float:
    return frame.left + axis.share(value) * (frame.right - frame.left)


def _y(frame: Frame, axis: Axis, value: float) -> float:
    return frame.bottom - axis.share(value) * (frame.bottom - frame.top)


def _axes(frame: Frame, x: Axis, y: Axis, x_name: str, y_name: str) -> str:
    across = [tick for tick in x.ticks if x_name != "epoch" or tick == int(tick)]
    parts = [
        f'<line class="grid" x1="{frame.left}" x2="{frame.right}" y1="{_y(frame, y, t):.1f}" y2="{_y(frame, y, t):.1f}"/>'
        f'<text class="tick" text-anchor="end" x="{frame.left - 7}" y="{_y(frame, y, t) + 4:.1f}">{number_label(t)}</text>'
        for t in y.ticks
    ]
    parts += [
        f'<text class="tick" text-anchor="middle" x="{_x(frame, x, t):.1f}" y="{frame.bottom + 17}">{number_label(t)}</text>'
        for t in across
    ]
    middle = (frame.left + frame.right) / 2
    parts.append(
        f'<text class="tick" text-anchor="middle" x="{middle}" y="{frame.bottom + 34}">{escape(x_name)}</text>'
    )
    parts.append(f"<title>{escape(y_name)} over {escape(x_name)}</title>")
    return "".join(parts)


def _svg(marks: Sequence[str], width: float = WIDTH, height: float = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img">{"".join(marks)}</svg>'
