"""Figures as rows of text for a screen or a page, by the facts that their metrics state."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from dlcpose.metrics.figure_info import FigureInfo, find_info, sort_figures


class FigureRow(NamedTuple):
    """A figure as text: its name, its title, its value with digits and unit, and a note on how to read it."""

    name: str
    title: str
    value: str
    note: str


def figure_rows(figures: Mapping[str, float], infos: Mapping[str, FigureInfo]) -> list[FigureRow]:
    """Every figure as a row, in the order of the infos; one without an info has its name as title."""
    return [figure_row(name, figures[name], infos) for name in sort_figures(figures, infos)]


def figure_row(name: str, value: float, infos: Mapping[str, FigureInfo]) -> FigureRow:
    """One figure as a row of text."""
    info = find_info(name, infos)
    return FigureRow(name, info.heading, format_figure(value, info), info.note)


def format_figure(value: float, info: FigureInfo, *, unit: bool = True) -> str:
    """A value with the digits of its figure, and its unit unless a column's head names it; a dash for NaN."""
    return format_number(value * info.scale, info.digits, info.unit if unit else "")


def format_number(value: float, digits: int, unit: str = "") -> str:
    """A number with so many digits and its unit; a dash for NaN."""
    if math.isnan(value):
        return "–"
    return f"{value:.{digits}f}" + (f" {unit}" if unit else "")
