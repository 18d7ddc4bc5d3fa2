"""What tells runs apart, and how good they are: against numpy and scipy, whatever their order."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import f_oneway

from dlcpose.metrics.figure_info import FigureInfo
from dlcpose.reports.comparison import Run, compare, differing, explained_share, spread_of

NUMBERS = st.floats(-100, 100).map(lambda value: round(value, 3))


def run(name: str, *, error: float = 1.0, status: str = "finished", given: tuple[str, ...] = (), **values: Any) -> Run:
    choices = {key: value for key, value in values.items() if key in ("model", "backbone")}
    return Run(
        name=name,
        folder=Path(name),
        status=status,
        settings={key.replace("__", "."): value for key, value in values.items() if key not in choices},
        choices=choices,
        overrides=given,
        figures={"val/mean_error_px": error} if status == "finished" else {},
        costs={"minutes": 2.0},
        curves={},
        objectives=("val/mean_error_px",),
    )


def test_what_follows_from_a_column_is_none() -> None:
    runs = [
        run("a", given=("model=x",), model="x", backbone="b1", head__channels=1, seed=0),
        run("b", given=("model=x",), model="x", backbone="b1", head__channels=1, seed=1),
        run("c", given=("model=y",), model="y", backbone="b2", head__channels=2, seed=0),
    ]
    columns, also = differing(runs)
    assert columns == ("model",)
    assert set(also) == {"backbone", "head.channels"}


def test_independent_setting_is_a_column_without_an_override() -> None:
    runs = [run("a", model="x", dataset__frames=10), run("b", model="x", dataset__frames=20)]
    assert differing(runs)[0] == ("dataset.frames",)


def test_a_share_is_explained_of_diverged_runs_too() -> None:
    groups = [[1.0, 2.0], [3.0, 5.0]]
    assert explained_share([[1e300 * value for value in group] for group in groups]) == pytest.approx(
        explained_share(groups)
    )
    assert explained_share([[0.0, 0.0], [0.0]]) == 0.0


def test_the_seed_and_the_sweep_tell_no_settings_apart() -> None:
    runs = [
        run(
            str(seed),
            given=(f"seed={seed}", f"sweep.trial={seed}"),
            seed=seed,
            datamodule__seed=seed,
            sweep__trial=seed,
        )
        for seed in (0, 1)
    ]
    made = compare(runs)
    assert (made.columns, len(made.settings)) == ((), 1)
    assert made.settings[0].figures["val/mean_error_px"].values == (1.0, 1.0)


def test_a_key_that_follows_the_seed_is_no_column() -> None:
    runs = [
        run(f"{m}{s}", given=(f"model={m}", f"seed={s}"), model=m, seed=s, datamodule__seed=s, head__channels=len(m))
        for m in ("x", "yy")
        for s in (0, 1)
    ]
    assert differing(runs) == (("model",), {"datamodule.seed": [0, 1, 0, 1], "head.channels": [1, 1, 2, 2]})


def test_a_number_and_its_spelling_are_the_same_setting() -> None:
    runs = [run("a", given=("optimizer.lr=1e-3",), optimizer__lr=0.001), run("b", given=(), optimizer__lr=0.001)]
    assert differing(runs)[0] == ()


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(0, 2), NUMBERS), min_size=1, max_size=8), st.randoms())
def test_the_order_of_runs_changes_nothing(drawn: list[tuple[str, int, float]], rng: Any) -> None:
    runs = [
        run(str(place), error=error, given=(f"model={model}",), model=model, seed=seed)
        for place, (model, seed, error) in enumerate(drawn)
    ]
    shuffled = list(runs)
    rng.shuffle(shuffled)
    made, again = compare(runs), compare(shuffled)
    ours = {setting.values: sorted(run.name for run in setting.runs) for setting in made.settings}
    theirs = {setting.values: sorted(run.name for run in setting.runs) for setting in again.settings}
    assert ours == theirs
    means = [setting.figures["val/mean_error_px"].mean for setting in made.settings]
    assert means == sorted(means)
    assert sorted(run.name for run in made.runs) == sorted(run.name for run in runs)


@given(st.lists(NUMBERS, min_size=1, max_size=9))
def test_mean_and_deviation_are_those_of_numpy(values: list[float]) -> None:
    spread = spread_of(values)
    assert spread.mean == pytest.approx(np.mean(values), abs=1e-9)
    if len(values) == 1:
        assert math.isnan(spread.deviation)
    else:
        assert spread.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-9)


@given(st.lists(st.lists(NUMBERS, min_size=2, max_size=4), min_size=2, max_size=4))
def test_the_explained_share_is_that_of_an_analysis_of_variance(groups: list[list[float]]) -> None:
    share = explained_share(groups)
    within = [value - np.mean(group) for group in groups for value in group]
    if np.ptp([value for group in groups for value in group]) == 0:
        assert share == 0
    elif np.abs(within).max() < 1e-6:
        assert share == pytest.approx(1)
    else:
        count, whole = len(groups), sum(map(len, groups))
        expected = (share / (count - 1)) / ((1 - share) / (whole - count))
        assert f_oneway(*groups).statistic == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_effects_are_computed_where_runs_share_values() -> None:
    grid = [
        run(
            f"{m}{r}{s}",
            error={"x": 1.0, "y": 5.0}[m] + 0.1 * s,
            given=(f"model={m}", f"lr={r}"),
            model=m,
            lr=r,
            seed=s,
        )
        for m in "xy"
        for r in (1, 2)
        for s in (0, 1)
    ]
    made = compare(grid)
    assert made.importance["model"] > 0.99
    assert made.importance["lr"] == pytest.approx(0)
    alone = [run(str(rate), error=rate, given=(f"lr={rate}",), lr=rate) for rate in range(4)]
    assert compare(alone).importance == {}  # as many values as runs: everything would be explained


def test_runs_that_did_not_finish_are_kept_and_ranked_last() -> None:
    made = compare([run("a", status="failed", model="x"), run("b", error=9.0, model="y")])
    assert [setting.values for setting in made.settings] == [("y",), ("x",)]
    assert made.settings[1].figures == {}
    assert [each.name for each in made.runs] == ["b", "a"]


def test_the_validation_ranks_and_the_direction_is_known() -> None:
    low = run("low", error=1.0, model="x")
    high = run("high", error=2.0, model="y")
    assert compare([high, low]).settings[0].values == ("x",)
    made = compare([high, low])
    assert made.ranked_by == "val/mean_error_px"
    names = ("val/rmse_px", "pck@0.1", "val/loss", "oks_ap", "false_negatives")
    assert [made.is_lower_better(name) for name in names] == [True, False, True, False, True]


def test_the_facts_of_a_figure_are_those_the_runs_state() -> None:
    info = FigureInfo("wobble", "°", 1, True, headline=True)
    runs = [
        replace(run(name, model=name), figures={"wobble": value}, objectives=(), infos={"wobble": info})
        for name, value in (("a", 1.0), ("b", 2.0))
    ]
    made = compare(runs)
    assert (made.ranked_by, made.is_lower_better("wobble"), made.figures) == ("wobble", False, ("wobble",))
    assert [setting.values for setting in made.settings] == [("b",), ("a",)]
