"""Facts about figures, found by a figure's full name."""

from dataclasses import asdict

import pytest

from dlcpose.metrics.figure_info import (
    FigureInfo,
    find_info,
    finite_or_none,
    headline_names,
    is_described,
    sort_figures,
)

INFOS = {
    "error": FigureInfo("error", "px", 2, False, headline=True),
    "error@{}": FigureInfo("error above {}", "px", 2, False),
    "pck@{}": FigureInfo("PCK@{}", higher_is_better=True, headline=True),
    "loss_{}": FigureInfo("loss of {}", higher_is_better=False),
}


@pytest.mark.parametrize(
    ("name", "title", "higher"),
    [
        ("error", "error", False),
        ("error@0.6", "error above 0.6", False),
        ("val/pck@0.1", "PCK@0.1 (validation)", True),
        ("train/loss_heatmap", "loss of heatmap (training)", False),
        ("true_boxes/error", "error (true boxes)", False),
        ("mine", "mine", None),
        ("pck@", "pck@", None),
    ],
)
def test_the_facts_of_a_figure(name: str, title: str, higher: bool | None) -> None:
    info = find_info(name, INFOS)
    assert (info.title, info.higher_is_better) == (title, higher)
    assert is_described(name, INFOS) == (higher is not None)


def test_figures_are_sorted_as_their_metrics_state_them() -> None:
    names = ["val/error", "mine", "pck@0.1", "error@0.6", "error", "pck@0.05"]
    assert sort_figures(names, INFOS) == ["error", "error@0.6", "pck@0.1", "pck@0.05", "mine", "val/error"]


def test_the_headline_takes_the_last_of_a_family() -> None:
    assert headline_names(["pck@0.05", "pck@0.1", "error@0.6", "error", "val/error"], INFOS) == ["error", "pck@0.1"]


def test_facts_survive_json() -> None:
    for info in INFOS.values():
        assert FigureInfo.from_dict({**asdict(info), "of_a_later_version": 1}) == info
    for broken in ({"title": 3}, {"title": "a", "digits": "2"}, {"title": "a", "higher_is_better": "yes"}):
        with pytest.raises(ValueError, match="expected"):
            FigureInfo.from_dict(broken)


def test_figures_for_json_are_finite() -> None:
    assert [finite_or_none(float(text)) for text in ("nan", "inf", "-inf", "1.5")] == [None, None, None, 1.5]
