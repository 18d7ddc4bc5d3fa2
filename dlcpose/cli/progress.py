"""A bar of what is done, in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlcpose.prediction.resumable import Progress
    from dlcpose.tracking.appearance import StageProgress


@contextmanager
def frames_shown(title: str) -> Iterator[Progress]:
    """A function of frames done and frames in all, which shows them with frames/s and the time left on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(
        TextColumn(title), *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(title, total=None, rate="")

        def shown(done: int, total: int | None) -> None:
            speed = progress.tasks[0].speed
            progress.update(task, completed=done, total=total, rate=f"{speed:.1f} frames/s" if speed else "")

        yield shown


@contextmanager
def stages_shown() -> Iterator[StageProgress]:
    """A function of a stage's name, what is done of it and what there is, which shows them on stderr; nothing before."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", visible=False)

        def shown(stage: str, done: int, total: int) -> None:
            if progress.tasks[0].description != stage:
                progress.reset(task, description=stage)
            progress.update(task, completed=done, total=total, visible=True)

        yield shown
