"""`dlcpose compare`: compare the runs of a sweep, or any others."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcpose.cli.registry import command
from dlcpose.cli.say import say

if TYPE_CHECKING:
    from rich.table import Table

NARROWEST = 6  # characters of a setting's column
WIDEST = 10_000  # of a table
FOLDED = 8  # characters in a line of a heading in a narrow terminal, where its words are no longer


@command("compare")
def compare_command(
    runs: Annotated[list[Path], typer.Argument(help="run folders, or folders that hold them, such as a sweep's")],
    output: Annotated[
        Path | None, typer.Option(help="the folder to write; `comparison`, in the sweep's where there is one")
    ] = None,
    by: Annotated[str | None, typer.Option(help="the figure to rank by; what the runs optimized unless given")] = None,
) -> None:
    """Compare runs: a table here, and an html page, a csv and a json file in a folder."""
    from rich.console import Console

    from dlcpose.reports.comparison_page import command_of, table_rows, write_comparison
    from dlcpose.runs.comparison import comparison_of
    from dlcpose.structures.atomic_files import check_writable

    comparison = comparison_of(runs, by=by)
    title = runs[0].resolve().name if len(runs) == 1 else f"{len(comparison.runs)} runs"
    is_of_one_folder = len(runs) == 1 and comparison.runs[0].folder != runs[0]
    folder = output or (runs[0] if is_of_one_folder else Path()) / "comparison"
    check_writable(folder)
    write_comparison(folder, comparison, title)
    head, rows = table_rows(comparison)
    console, settings = Console(), len(comparison.columns)
    table = _table(head, rows, settings)
    if console.measure(table, options=console.options.update(width=WIDEST)).maximum > console.width:
        table = _table([_folded(heading) for heading in head], rows, settings)
    console.print(table, crop=False)
    if len(comparison.settings) > len(rows):
        say(f"{len(comparison.settings) - len(rows)} more settings are on the page")
    for run in comparison.runs:
        if run.status != "finished":
            say(f"not finished: {run.name}: {run.error or 'killed, or still running'}")
    if (best := comparison.best) is None:
        say(f"no run has figures: none is finished with {comparison.ranked_by}")
    else:
        say(f"{best.name} again: {command_of(best)}")
    say(folder / "comparison.html")


def _table(head: Sequence[Sequence[str]], rows: Sequence[Sequence[str]], settings: int) -> "Table":
    """The table for a screen; the first columns are settings, which a narrow terminal folds, while figures stay whole."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from dlcpose.visualization.terminal import plain

    table = Table(box=SIMPLE_HEAD, padding=0, collapse_padding=True, header_style="bold")
    for place, lines in enumerate(head):
        longest = max((len(row[place]) for row in rows), default=0)
        min_width = min(longest, NARROWEST) if place < settings else longest
        heading = Text("\n").join(map(plain, lines))
        table.add_column(heading, overflow="fold", min_width=min_width, vertical="bottom")
    for row in rows:
        table.add_row(*map(plain, row))
    return table


def _folded(heading: Sequence[str]) -> list[str]:
    """The lines of a heading cut between their words, where they are long."""
    lines: list[str] = []
    for line in heading:
        lines.append("")
        for word in re.findall(r"[^_.]*[_.]?", line):
            if lines[-1] and len(lines[-1] + word) > FOLDED:
                lines.append("")
            lines[-1] += word
    return lines
