"""`dlcpose compare`: compare the runs of a sweep, or any others."""

from pathlib import Path
from typing import Annotated

import typer

from dlcpose.cli.registry import command

LONGEST_COMMAND = 10_000  # characters
NARROWEST = 6  # characters of a setting's column


@command("compare")
def compare_command(
    runs: Annotated[list[Path], typer.Argument(help="run folders, or folders that hold them, such as a sweep's")],
    output: Annotated[
        Path | None, typer.Option(help="the folder to write; `comparison`, in the sweep's where there is one")
    ] = None,
    by: Annotated[str | None, typer.Option(help="the figure to rank by; what the runs optimized unless given")] = None,
) -> None:
    """Compare runs: a table here, and an html page, a csv and a json file in a folder."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from dlcpose.reports.comparison_page import command_of, table_rows, write_comparison
    from dlcpose.runs.comparison import comparison_of
    from dlcpose.structures.atomic_files import check_writable
    from dlcpose.structures.printable import printable
    from dlcpose.visualization.terminal import plain

    comparison = comparison_of(runs, by=by)
    title = runs[0].resolve().name if len(runs) == 1 else f"{len(comparison.runs)} runs"
    is_of_one_folder = len(runs) == 1 and comparison.runs[0].folder != runs[0]
    folder = output or (runs[0] if is_of_one_folder else Path()) / "comparison"
    check_writable(folder)
    write_comparison(folder, comparison, title)
    head, rows = table_rows(comparison)
    table = Table(box=SIMPLE_HEAD, padding=0, collapse_padding=True, header_style="bold")
    for place, heading in enumerate(head):  # in a narrow terminal headings and settings are folded, figures stay whole
        longest = max((len(row[place]) for row in rows), default=0)
        is_setting = place < len(comparison.columns)
        table.add_column(plain(heading), overflow="fold", min_width=min(longest, NARROWEST) if is_setting else longest)
    for row in rows:
        table.add_row(*map(plain, row))
    Console().print(table, crop=False)
    if len(comparison.settings) > len(rows):
        typer.echo(f"{len(comparison.settings) - len(rows)} more settings are on the page")
    for run in comparison.runs:
        if run.status != "finished":
            typer.echo(printable(f"not finished: {run.name}: {run.error or 'killed, or still running'}"))
    if (best := comparison.best) is None:
        typer.echo(printable(f"no run has figures: none is finished with {comparison.ranked_by}"))
    else:
        typer.echo(f"{printable(best.name)} again: {printable(command_of(best), max_length=LONGEST_COMMAND)}")
    typer.echo(folder / "comparison.html")
