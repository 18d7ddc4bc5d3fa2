"""Write a comparison: a page that needs no other file and no network, a table as csv, and everything as json."""

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dlcpose.metrics.figure_info import FigureInfo, finite_or_none
from dlcpose.reports.comparison import COSTS, Comparison, Run, Setting, Spread, command_again, short_key, value_of
from dlcpose.reports.comparison_plots import (
    SHADES,
    cost_against_figure,
    learning_curves,
    parallel_coordinates,
    setting_label,
    shade,
    value_label,
)
from dlcpose.reports.figure_table import format_figure
from dlcpose.structures.atomic_files import write_atomic
from dlcpose.structures.counted import counted
from dlcpose.visualization.page_template import page_template

CURVES = ("train/loss", "val/loss")  # beside the figure that ranks
MAX_ALSO = 60  # rows of other keys that differ


def write_comparison(folder: Path, comparison: Comparison, title: str) -> None:
    """Write comparison.html, comparison.csv and comparison.json into a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "comparison.html": render_comparison(comparison, title, folder),
        "comparison.csv": as_csv(comparison),
        "comparison.json": json.dumps(as_json(comparison, title), indent=1, allow_nan=False) + "\n",
    }
    for name, text in contents.items():
        write_atomic(folder / name, text)


def render_comparison(comparison: Comparison, title: str, folder: Path) -> str:
    """The page as html. folder: where it will be written, for links to the runs' own reports."""
    curves = [(name, learning_curves(comparison, name)) for name in dict.fromkeys((comparison.ranked_by, *CURVES))]
    costs = [
        (COSTS[cost].heading, cost_against_figure(comparison, cost, _cost_title(cost), COSTS[cost].scale))
        for cost in ("minutes", "parameters")
    ]
    wide = parallel_coordinates(comparison)
    return page_template(Path(__file__).with_name("comparison.html.j2")).render(
        title=title,
        summary=summary(comparison),
        cards=_cards(comparison),
        ranked_by=comparison.ranked_by,
        columns=comparison.columns,
        figures=[(name, comparison.info(name).heading) for name in comparison.figures],
        costs=[_cost_title(cost) for cost in _costs(comparison)],
        settings=[_setting_row(comparison, place, setting) for place, setting in enumerate(comparison.settings)],
        runs=[_run_row(comparison, run, folder) for run in comparison.runs],
        unfinished=[run for run in comparison.runs if run.status != "finished"],
        has_seeds=any(len(setting.runs) > 1 for setting in comparison.settings),
        curves=[(comparison.info(name).heading, Markup(svg)) for name, svg in curves if svg],
        scatter=[(name, Markup(svg)) for name, svg in costs if svg],
        parallel=Markup(wide) if wide else None,
        legend=[
            (shade(place), setting_label(comparison, s))
            for place, s in enumerate(comparison.settings[:SHADES])
            if s.figures
        ],
        rest=sum(bool(setting.figures) for setting in comparison.settings[SHADES:]),
        importance=[
            (name, f"{100 * share:.0f} %", round(100 * share)) for name, share in _falling(comparison.importance)
        ],
        importance_note=comparison.importance_note,
        also=_also(comparison),
        also_left_out=max(0, len(comparison.also) - MAX_ALSO),
    )


def summary(comparison: Comparison) -> str:
    """One line: how many runs, of which settings."""
    finished = sum(run.status == "finished" for run in comparison.runs)
    several = {column: len({str(value_of(run, column)) for run in comparison.runs}) for column in comparison.columns}
    seeds = len({str(value_of(run, "seed")) for run in comparison.runs})
    words = [f"{count} of {column}" for column, count in several.items()] + ([f"{seeds} seeds"] if seeds > 1 else [])
    runs = counted(len(comparison.runs), "run")
    runs += "" if finished == len(comparison.runs) else f", {finished} finished"
    return " · ".join([runs, *words])


def _cards(comparison: Comparison) -> list[dict[str, str]]:
    cards = []
    best = next((setting for setting in comparison.settings if comparison.ranked_by in setting.figures), None)
    if best is not None:
        cards.append(
            {"value": setting_label(comparison, best), "title": f"best by {comparison.ranked_by}", "kind": "words"}
        )
        for name in comparison.figures[:3]:
            if name in best.figures:
                cards.append(
                    {
                        "value": spread_text(comparison.info(name), best.figures[name]),
                        "title": comparison.info(name).heading,
                        "kind": "",
                    }
                )
    minutes = sum(run.costs["minutes"] for run in comparison.runs if "minutes" in run.costs)
    if minutes:
        text = f"{minutes:.1f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
        cards.append({"value": text, "title": "all runs together", "kind": ""})
    return cards


def _costs(comparison: Comparison) -> list[str]:
    return [cost for cost in COSTS if any(cost in run.costs for run in comparison.runs)]


def _setting_row(comparison: Comparison, place: int, setting: Setting) -> dict[str, Any]:
    cells = []
    for name in comparison.figures:
        spread = setting.figures.get(name)
        means = [other.figures[name].mean for other in comparison.settings if name in other.figures]
        is_best = (
            spread is not None
            and len({*means}) > 1
            and spread.mean == (min if comparison.is_lower_better(name) else max)(means)
        )
        cells.append(
            {
                "text": "–" if spread is None else spread_text(comparison.info(name), spread, unit=False),
                "sort": "" if spread is None else spread.mean,
                "best": is_best,
                "dots": [] if spread is None else _dots(comparison, name, spread),
            }
        )
    costs = [
        {
            "text": cost_text(cost, setting.costs.get(cost)),
            "sort": setting.costs[cost].mean if cost in setting.costs else "",
        }
        for cost in _costs(comparison)
    ]
    finished = sum(run.status == "finished" for run in setting.runs)
    return {
        "place": place,
        "color": shade(place),
        "values": [value_label(value) for value in setting.values],
        "count": str(finished) if finished == len(setting.runs) else f"{finished} of {len(setting.runs)}",
        "cells": cells,
        "costs": costs,
    }


def _dots(comparison: Comparison, name: str, spread: Spread) -> list[float]:
    """Where each seed's value lies between the lowest and the highest of all runs, in %."""
    everything = [v for setting in comparison.settings if name in setting.figures for v in setting.figures[name].values]
    low, high = min(everything), max(everything)
    return [round(100 * (value - low) / (high - low), 1) if high > low else 50.0 for value in spread.values]


def spread_text(info: FigureInfo, spread: Spread, *, unit: bool = True) -> str:
    """Mean ± standard deviation of a figure, with its unit unless a column's head names it."""
    mean = format_figure(spread.mean, info, unit=False)
    deviation = "" if math.isnan(spread.deviation) else f" ± {format_figure(spread.deviation, info, unit=False)}"
    return f"{mean}{deviation}{f' {info.unit}' if unit and info.unit else ''}"


def _cost_title(cost: str) -> str:
    return f"{COSTS[cost].heading} ({COSTS[cost].unit})"


def cost_text(cost: str, spread: Spread | None) -> str:
    """The mean of a cost over the seeds, in the unit of its column."""
    return "–" if spread is None else format_figure(spread.mean, COSTS[cost], unit=False)


def _run_row(comparison: Comparison, run: Run, folder: Path) -> dict[str, Any]:
    place = next(place for place, setting in enumerate(comparison.settings) if run in setting.runs)
    report = run.folder / "evaluation" / "report.html"
    return {
        "place": place,
        "color": shade(place),
        "name": run.name,
        "link": os.path.relpath(report.resolve(), folder.resolve()) if report.exists() else None,
        "seed": value_label(value_of(run, "seed")),
        "status": run.status if run.pruned is None else f"pruned at epoch {run.pruned}",
        "is_bad": run.status != "finished",
        "figures": [
            (
                format_figure(run.figures.get(name, math.nan), comparison.info(name), unit=False),
                run.figures.get(name, ""),
            )
            for name in comparison.figures
        ],
        "costs": [
            (
                cost_text(c, Spread((run.costs[c],), run.costs[c], math.nan) if c in run.costs else None),
                run.costs.get(c, ""),
            )
            for c in _costs(comparison)
        ],
        "epochs": "–" if run.epochs is None else run.epochs,
        "again": command_of(run),
    }


def command_of(run: Run) -> str:
    """The command that repeats a run, from the overrides in its folder."""
    return command_again(run.overrides, run.config_dir)


def _falling(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda item: -item[1])


def _also(comparison: Comparison) -> list[tuple[str, list[tuple[str, int]]]]:
    """Other keys that differ: each with its values and how many runs have each."""
    rows = []
    for key, values in list(comparison.also.items())[:MAX_ALSO]:
        texts = [value_label(value) for value in values]
        rows.append((key, [(text, texts.count(text)) for text in dict.fromkeys(texts)]))
    return rows


def as_csv(comparison: Comparison) -> str:
    """A row for each run: its folder, settings, figures and costs."""
    figures = list(
        dict.fromkeys([*comparison.figures, *sorted({name for run in comparison.runs for name in run.figures})])
    )
    costs = _costs(comparison)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "status", *comparison.columns, "seed", "epochs", *figures, *costs, "error"])
    for run in comparison.runs:
        settings = [_plain(value) for value in (*comparison.row(run), value_of(run, "seed"))]
        known = [run.figures.get(name, "") for name in figures] + [run.costs.get(cost, "") for cost in costs]
        epochs = "" if run.epochs is None else run.epochs
        writer.writerow([str(run.folder), run.status, *settings, epochs, *known, run.error])
    return text.getvalue()


def _plain(value: Any) -> Any:
    return "" if value is None else json.dumps(value) if isinstance(value, list | dict) else value


def as_json(comparison: Comparison, title: str) -> dict[str, Any]:
    """Everything on the page as plain values for json; NaN becomes None."""

    def spreads(each: Mapping[str, Spread]) -> dict[str, Any]:
        return {
            name: {
                "mean": s.mean,
                "deviation": finite_or_none(s.deviation),
                "values": list(s.values),
            }
            for name, s in each.items()
        }

    return {
        "title": title,
        "ranked_by": comparison.ranked_by,
        "lower_is_better": comparison.is_lower_better(comparison.ranked_by),
        "columns": list(comparison.columns),
        "settings": [
            {
                "values": dict(zip(comparison.columns, setting.values, strict=True)),
                "runs": [str(run.folder) for run in setting.runs],
                "figures": spreads(setting.figures),
                "costs": spreads(setting.costs),
            }
            for setting in comparison.settings
        ],
        "runs": [
            {
                "folder": str(run.folder),
                "status": run.status,
                "settings": {
                    **dict(zip(comparison.columns, comparison.row(run), strict=True)),
                    "seed": value_of(run, "seed"),
                },
                "epochs": run.epochs,
                "pruned_at_epoch": run.pruned,
                "figures": {name: finite_or_none(value) for name, value in run.figures.items()},
                "costs": {name: finite_or_none(value) for name, value in run.costs.items()},
                "device": run.device,
                "error": run.error,
                "again": command_of(run),
            }
            for run in comparison.runs
        ],
        "importance": dict(comparison.importance),
        "importance_note": comparison.importance_note,
        "also_differs": {key: list(values) for key, values in comparison.also.items()},
    }


def table_rows(comparison: Comparison, max_rows: int = 20) -> tuple[list[tuple[str, ...]], Sequence[Sequence[str]]]:
    """Head and rows of the settings for a screen, best first. Headings are lines: a figure has its frames, its name."""
    short = [short_key(column) for column in comparison.columns]
    named = comparison.columns if len(set(short)) < len(short) else short
    figures_of = [name.rpartition("/") for name in comparison.figures]
    head: list[tuple[str, ...]] = [(name,) for name in (*named, "runs")]
    head += [(group or "test", name) for group, _, name in figures_of]
    head += [(COSTS[cost].heading, f"({COSTS[cost].unit})") for cost in _costs(comparison)[:1]]
    rows = []
    for place, setting in enumerate(comparison.settings[:max_rows]):
        row = _setting_row(comparison, place, setting)
        figures = [cell["text"] for cell in row["cells"]]
        rows.append([*row["values"], row["count"], *figures, *(cell["text"] for cell in row["costs"][:1])])
    return head, rows
