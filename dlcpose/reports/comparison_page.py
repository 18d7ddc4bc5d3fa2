"""What a comparison leaves: one page that needs no other and no network, a table as csv, and everything as json."""

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dlcpose.reports.comparison import COSTS, Comparison, Run, Setting, Spread, command_again, short_key, value_of
from dlcpose.reports.comparison_plots import (
    SHADES,
    cost_against_figure,
    figure_title,
    learning_curves,
    parallel_coordinates,
    shade,
    value_label,
    words_of,
)
from dlcpose.reports.figure_texts import TEXTS, number_text
from dlcpose.structures.atomic_files import write_atomic

CURVES = ("train/loss", "val/loss")  # beside the figure that ranks
COST_TEXTS = {  # title, digits, unit, divisor
    "minutes": ("Time", 1, "min", 1.0),
    "training_images_per_s": ("DetectorTraining", 1, "images/s", 1.0),
    "peak_memory_mb": ("Memory", 0, "MB", 1.0),
    "parameters": ("Parameters", 2, "M", 1e6),
}
MOST_ALSO = 60  # rows of what differs besides


def write_comparison(folder: Path, made: Comparison, title: str) -> None:
    """Write comparison.html, comparison.csv and comparison.json into a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "comparison.html": render_comparison(made, title, folder),
        "comparison.csv": as_csv(made),
        "comparison.json": json.dumps(as_json(made, title), indent=1, allow_nan=False) + "\n",
    }
    for name, text in contents.items():
        write_atomic(folder / name, text)


def render_comparison(made: Comparison, title: str, folder: Path) -> str:
    """The page as html. folder: where it will lie, for links to the runs' own reports."""
    # Names come from other people's files: without escaping, an override could bring a script along.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    curves = [(name, learning_curves(made, name)) for name in dict.fromkeys((made.ranked_by, *CURVES))]
    costs = [
        (COST_TEXTS[cost][0], cost_against_figure(made, cost, _cost_title(cost), COST_TEXTS[cost][3]))
        for cost in ("minutes", "parameters")
    ]
    wide = parallel_coordinates(made)
    return environment.get_template("comparison.html.j2").render(
        title=title,
        summary=summary(made),
        cards=_cards(made),
        ranked_by=made.ranked_by,
        columns=made.columns,
        figures=[(name, figure_title(name)) for name in made.figures],
        costs=[_cost_title(cost) for cost in _costs(made)],
        settings=[_setting_row(made, place, setting) for place, setting in enumerate(made.settings)],
        runs=[_run_row(made, run, folder) for run in made.runs],
        unfinished=[run for run in made.runs if run.status != "finished"],
        has_seeds=any(len(setting.runs) > 1 for setting in made.settings),
        curves=[(figure_title(name), Markup(svg)) for name, svg in curves if svg],
        scatter=[(name, Markup(svg)) for name, svg in costs if svg],
        parallel=Markup(wide) if wide else None,
        legend=[(shade(place), words_of(made, s)) for place, s in enumerate(made.settings[:SHADES]) if s.figures],
        rest=sum(bool(setting.figures) for setting in made.settings[SHADES:]),
        importance=[(name, f"{100 * share:.0f} %", round(100 * share)) for name, share in _falling(made.importance)],
        importance_note=made.importance_note,
        also=_also(made),
        also_left_out=max(0, len(made.also) - MOST_ALSO),
    )


def summary(made: Comparison) -> str:
    """What was compared, in one line."""
    finished = sum(run.status == "finished" for run in made.runs)
    several = {column: len({str(value_of(run, column)) for run in made.runs}) for column in made.columns}
    seeds = len({value_of(run, "seed") for run in made.runs})
    words = [f"{count} of {column}" for column, count in several.items()] + ([f"{seeds} seeds"] if seeds > 1 else [])
    counted = f"{len(made.runs)} run{'s' if len(made.runs) != 1 else ''}"
    counted += "" if finished == len(made.runs) else f", {finished} finished"
    return " · ".join([counted, *words])


def _cards(made: Comparison) -> list[dict[str, str]]:
    cards = []
    best = next((setting for setting in made.settings if made.ranked_by in setting.figures), None)
    if best is not None:
        cards.append({"value": words_of(made, best), "title": f"best by {made.ranked_by}", "kind": "words"})
        for name in made.figures[:3]:
            if name in best.figures:
                cards.append({"value": spread_text(name, best.figures[name]), "title": figure_title(name), "kind": ""})
    minutes = sum(run.costs["minutes"] for run in made.runs if "minutes" in run.costs)
    if minutes:
        text = f"{minutes:.1f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
        cards.append({"value": text, "title": "all runs together", "kind": ""})
    return cards


def _costs(made: Comparison) -> list[str]:
    return [cost for cost in COSTS if any(cost in run.costs for run in made.runs)]


def _setting_row(made: Comparison, place: int, setting: Setting) -> dict[str, Any]:
    cells = []
    for name in made.figures:
        spread = setting.figures.get(name)
        means = [other.figures[name].mean for other in made.settings if name in other.figures]
        is_best = (
            spread is not None and len({*means}) > 1 and spread.mean == (min if made.falls_for(name) else max)(means)
        )
        cells.append(
            {
                "text": "–" if spread is None else spread_text(name, spread, unit=False),
                "sort": "" if spread is None else spread.mean,
                "best": is_best,
                "dots": [] if spread is None else _dots(made, name, spread),
            }
        )
    costs = [
        {
            "text": cost_text(cost, setting.costs.get(cost)),
            "sort": setting.costs[cost].mean if cost in setting.costs else "",
        }
        for cost in _costs(made)
    ]
    finished = sum(run.status == "finished" for run in setting.runs)
    return {
        "place": place,
        "colour": shade(place),
        "values": [value_label(value) for value in setting.values],
        "count": str(finished) if finished == len(setting.runs) else f"{finished} of {len(setting.runs)}",
        "cells": cells,
        "costs": costs,
    }


def _dots(made: Comparison, name: str, spread: Spread) -> list[float]:
    """Where each seed's value lies between the least and the largest of all runs, in per cent."""
    everything = [v for setting in made.settings if name in setting.figures for v in setting.figures[name].values]
    low, high = min(everything), max(everything)
    return [round(100 * (value - low) / (high - low), 1) if high > low else 50.0 for value in spread.values]


def spread_text(name: str, spread: Spread, *, unit: bool = True) -> str:
    """Mean and deviation of a figure with its digits; its unit where no head of a column says it."""
    digits, own_unit = _digits(name)
    deviation = "" if math.isnan(spread.deviation) else f" ± {spread.deviation:.{digits}f}"
    return f"{number_text(spread.mean, digits)}{deviation}{f' {own_unit}' if unit and own_unit else ''}"


def _digits(name: str) -> tuple[int, str]:
    _, digits, unit, _ = TEXTS.get(name.rpartition("/")[2].partition("@")[0], ("", 4, "", ""))
    return digits, unit


def _cost_title(cost: str) -> str:
    title, _, unit, _ = COST_TEXTS[cost]
    return f"{title} ({unit})"


def cost_text(cost: str, spread: Spread | None) -> str:
    """A cost in the unit that stands above it, its mean where there are several."""
    _, digits, _, divisor = COST_TEXTS[cost]
    return "–" if spread is None else number_text(spread.mean / divisor, digits)


def _run_row(made: Comparison, run: Run, folder: Path) -> dict[str, Any]:
    place = next(place for place, setting in enumerate(made.settings) if run in setting.runs)
    report = run.folder / "evaluation" / "report.html"
    return {
        "place": place,
        "colour": shade(place),
        "name": run.name,
        "link": os.path.relpath(report.resolve(), folder.resolve()) if report.exists() else None,
        "seed": value_label(value_of(run, "seed")),
        "status": run.status if run.pruned is None else f"pruned at epoch {run.pruned}",
        "is_bad": run.status != "finished",
        "figures": [
            (number_text(run.figures.get(name, math.nan), _digits(name)[0]), run.figures.get(name, ""))
            for name in made.figures
        ],
        "costs": [
            (
                cost_text(c, Spread((run.costs[c],), run.costs[c], math.nan) if c in run.costs else None),
                run.costs.get(c, ""),
            )
            for c in _costs(made)
        ],
        "epochs": "–" if run.epochs is None else run.epochs,
        "again": command_of(run),
    }


def command_of(run: Run) -> str:
    """The command that makes a run again, from the overrides that its folder keeps."""
    return command_again(run.overrides, run.config_dir)


def _falling(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda item: -item[1])


def _also(made: Comparison) -> list[tuple[str, list[tuple[str, int]]]]:
    """What differs besides the columns: each key with its values and how many runs have each."""
    rows = []
    for key, values in list(made.also.items())[:MOST_ALSO]:
        texts = [value_label(value) for value in values]
        rows.append((key, [(text, texts.count(text)) for text in dict.fromkeys(texts)]))
    return rows


def as_csv(made: Comparison) -> str:
    """A row for each run: where it is, its settings, its figures and what it cost."""
    figures = list(dict.fromkeys([*made.figures, *sorted({name for run in made.runs for name in run.figures})]))
    costs = _costs(made)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "status", *made.columns, "seed", "epochs", *figures, *costs, "error"])
    for run in made.runs:
        settings = [_plain(value) for value in (*made.row(run), value_of(run, "seed"))]
        known = [run.figures.get(name, "") for name in figures] + [run.costs.get(cost, "") for cost in costs]
        epochs = "" if run.epochs is None else run.epochs
        writer.writerow([str(run.folder), run.status, *settings, epochs, *known, run.error])
    return text.getvalue()


def _plain(value: Any) -> Any:
    return "" if value is None else json.dumps(value) if isinstance(value, list | dict) else value


def as_json(made: Comparison, title: str) -> dict[str, Any]:
    """Everything on the page for a program to read; what is not defined is null."""

    def spreads(each: Mapping[str, Spread]) -> dict[str, Any]:
        return {
            name: {
                "mean": s.mean,
                "deviation": None if math.isnan(s.deviation) else s.deviation,
                "values": list(s.values),
            }
            for name, s in each.items()
        }

    return {
        "title": title,
        "ranked_by": made.ranked_by,
        "lower_is_better": made.falls,
        "columns": list(made.columns),
        "settings": [
            {
                "values": dict(zip(made.columns, setting.values, strict=True)),
                "runs": [str(run.folder) for run in setting.runs],
                "figures": spreads(setting.figures),
                "costs": spreads(setting.costs),
            }
            for setting in made.settings
        ],
        "runs": [
            {
                "folder": str(run.folder),
                "status": run.status,
                "settings": {**dict(zip(made.columns, made.row(run), strict=True)), "seed": value_of(run, "seed")},
                "epochs": run.epochs,
                "pruned_at_epoch": run.pruned,
                "figures": _finite(run.figures),
                "costs": _finite(run.costs),
                "device": run.device,
                "error": run.error,
                "again": command_of(run),
            }
            for run in made.runs
        ],
        "importance": dict(made.importance),
        "importance_note": made.importance_note,
        "also_differs": {key: list(values) for key, values in made.also.items()},
    }


def _finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def table_rows(made: Comparison, most: int = 20) -> tuple[list[str], Sequence[Sequence[str]]]:
    """The table of settings for a screen: its head and its rows, best first."""
    short = [short_key(column) for column in made.columns]
    named = made.columns if len(set(short)) < len(short) else short
    head = [*named, "runs", *made.figures, *(_cost_title(cost) for cost in _costs(made)[:1])]
    rows = []
    for place, setting in enumerate(made.settings[:most]):
        row = _setting_row(made, place, setting)
        figures = [cell["text"] for cell in row["cells"]]
        rows.append([*row["values"], row["count"], *figures, *(cell["text"] for cell in row["costs"][:1])])
    return head, rows
