"""Plots of the evaluation: how often they are drawn."""

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from dlcpose.visualization.plots import plot_scores


def test_a_plot_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    draw = Axes.draw
    monkeypatch.setattr(Axes, "draw", lambda axes, *args, **more: [drawn.append(axes), draw(axes, *args, **more)][1])
    rng: Any = np.random.default_rng(0)
    content = plot_scores(rng.random((50, 3)), rng.random((50, 3)), 0.6)
    assert content.startswith(b"\x89PNG")
    assert len(drawn) == len(set(map(id, drawn))) > 0
