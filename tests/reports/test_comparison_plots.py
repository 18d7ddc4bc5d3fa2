"""Drawings that are XML, whose marks lie within their frame and know their setting."""

import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.reports.comparison import Comparison
from dlcpose.reports.comparison_plots import (
    HEIGHT,
    WIDTH,
    axis_over,
    cost_against_figure,
    learning_curves,
    parallel_coordinates,
    value_label,
)
from dlcpose.runs.comparison import comparison_of
from tests.runs.made_up_sweeps import made_up_sweep


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return comparison_of([made_up_sweep(tmp_path_factory.mktemp("sweep"))])


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=6), st.booleans())
def test_an_axis_keeps_the_order_and_shows_everything(values: list[float], even: bool) -> None:
    axis = axis_over(values, even=even)
    shares = [axis.share(value) for value in sorted(values)]
    assert shares == sorted(shares)
    assert all(-1e-9 <= share <= 1 + 1e-9 for share in shares)
    assert axis.ticks
    assert all(-1e-9 <= axis.share(tick) <= 1 + 1e-9 for tick in axis.ticks)


def test_a_wide_range_is_drawn_by_its_logarithm() -> None:
    assert axis_over([1e-4, 1e-2]).share(1e-3) == pytest.approx(0.5)
    assert axis_over([1.0, 3.0]).share(2.0) == pytest.approx(0.5)
    assert axis_over([-1.0, 100.0], pad=0).share(0.0) == pytest.approx(1 / 101)


def points_of(svg: str) -> list[tuple[float, float]]:
    lines = [node for node in ElementTree.fromstring(svg).iter() if node.tag == "polyline"]
    texts = [pair.split(",") for node in lines for pair in node.attrib["points"].split()]
    return [(float(x), float(y)) for x, y in texts]


def test_every_setting_has_its_curve_within_the_frame(made: Comparison) -> None:
    svg = learning_curves(made, "val/mean_error_px")
    assert svg is not None
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points_of(svg))
    lines = [node for node in ElementTree.fromstring(svg).iter() if node.attrib.get("class") == "line"]
    assert len(lines) == 6  # 3 models at 2 rates: the mean over their seeds
    thin = [node for node in ElementTree.fromstring(svg).iter() if node.attrib.get("class") == "thin"]
    assert len(thin) == 12
    assert learning_curves(made, "val/nothing") is None


def test_the_best_run_is_highest_on_the_axes_of_figures(made: Comparison) -> None:
    svg = parallel_coordinates(made)
    assert svg is not None
    lines = [node for node in ElementTree.fromstring(svg).iter() if node.tag == "polyline"]
    assert len(lines) == 12
    titles = [node.text for node in ElementTree.fromstring(svg).iter() if node.tag == "title"]
    ends = {title: float(line.attrib["points"].split(",")[-1]) for title, line in zip(titles, lines, strict=True)}
    assert min(ends, key=lambda title: ends[title]) == made.runs[0].name
    assert max(ends, key=lambda title: ends[title]) == made.runs[-1].name


def test_costs_are_drawn_where_they_differ(made: Comparison) -> None:
    svg = cost_against_figure(made, "parameters", "Parameters (M)", 1e-6)
    assert svg is not None
    assert len([node for node in ElementTree.fromstring(svg).iter() if node.tag == "circle"]) == 6
    assert cost_against_figure(made, "peak_memory_mb", "Memory", 1.0) is None  # all the same
    assert cost_against_figure(made, "nothing", "", 1.0) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "–"),
        (0.00031622776, "0.0003162"),
        (1.2345678e-6, "1.235e-6"),
        (3, "3"),
        ("a", "a"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_values_are_shown_briefly(value: object, text: str) -> None:
    assert value_label(value) == text


def test_a_curve_with_holes_is_drawn_without_them(made: Comparison) -> None:
    from dataclasses import replace

    torn = replace(made.runs[0], curves={"x": [(0, math.nan), (1, 2.0), (2, math.inf)]})
    svg = learning_curves(replace(made, settings=(replace(made.settings[0], runs=(torn,)),), runs=(torn,)), "x")
    assert svg is not None
    assert len(points_of(svg)) == 1
