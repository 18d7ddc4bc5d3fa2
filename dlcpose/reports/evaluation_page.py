"""The report of an evaluation as one html file that needs no other file and no network."""

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dlcpose.metrics.figure_info import FigureInfo, headline_names
from dlcpose.metrics.matching import MatchedAnimals
from dlcpose.metrics.per_keypoint import Row
from dlcpose.reports.figure_table import figure_row, figure_rows, format_number
from dlcpose.structures.sample import Image
from dlcpose.structures.skeleton import Skeleton
from dlcpose.visualization.page_template import page_template
from dlcpose.visualization.pictures import encoded, keypoint_colors
from dlcpose.visualization.plots import plot_errors, plot_scores

CONFIDENCE = 0.6  # where the figures name no cutoff
COLUMNS = {  # of the table of keypoints: title, digits
    "labeled": ("labeled", 0),
    "mean_error_px": ("mean error (px)", 2),
    "median_error_px": ("median (px)", 2),
    "rmse_px": ("RMSE (px)", 2),
    "pck@0.05": ("PCK 0.05", 3),
    "pck@0.1": ("PCK 0.1", 3),
    "mean_score": ("mean score", 3),
    "false_negatives": ("false negatives", 0),
}


class Example(NamedTuple):
    """A picture of a frame and its caption."""

    image: Image
    caption: str


def render_report(
    title: str,
    figures: Mapping[str, float],
    infos: Mapping[str, FigureInfo],
    rows: Sequence[Row],
    skeleton: Skeleton,
    matched: MatchedAnimals,
    worst: Sequence[Example],
    typical: Sequence[Example],
    drawn: tuple[int, int],
) -> str:
    """The report as html. drawn: how many frames have a picture in the folder, and how many there are."""
    plots = [
        ("Distribution of errors", plot_errors(matched.errors, skeleton.names), "wide"),
        ("Error against score", plot_scores(matched.errors, matched.scores, _cutoff(figures)), "narrow"),
    ]
    colors = {name: "rgb({}, {}, {})".format(*rgb) for name, rgb in _colors(skeleton).items()}
    return page_template(Path(__file__).with_name("report.html.j2")).render(
        title=title,
        headline=[figure_row(name, figures[name], infos) for name in headline_names(figures, infos)],
        figures=figure_rows(figures, infos),
        columns=[title for title, _ in COLUMNS.values()],
        keypoints=[_cells(row, rows) for row in rows],
        colors=colors,
        plots=[(name, _inline(png, "png"), width) for name, png, width in plots],
        worst=[(_inline(encoded(each.image, ".jpg"), "jpeg"), each.caption) for each in worst],
        typical=[(_inline(encoded(each.image, ".jpg"), "jpeg"), each.caption) for each in typical],
        drawn=drawn[0],
        left_out=drawn[1] - drawn[0],
    )


def _cells(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """A row of the table of keypoints as text, and the length of its bar: its share of the largest mean error, in %."""
    largest = max(
        (float(each["mean_error_px"]) for each in rows if not math.isnan(float(each["mean_error_px"]))), default=0
    )
    share = float(row["mean_error_px"]) / largest if largest else 0.0
    return {
        "name": row["keypoint"],
        "cells": [format_number(float(row[name]), digits) for name, (_, digits) in COLUMNS.items()],
        "bar": 0 if math.isnan(share) else round(100 * share),
    }


def _colors(skeleton: Skeleton) -> dict[str, tuple[int, int, int]]:
    return dict(zip(skeleton.names, keypoint_colors(len(skeleton)), strict=True))


def _cutoff(figures: Mapping[str, float]) -> float:
    prefix = "mean_error_px@"
    return next((float(name.removeprefix(prefix)) for name in figures if name.startswith(prefix)), CONFIDENCE)


def _inline(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
