"""`dlcpose tables`: predicted poses in the field's formats, or as another tool takes them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcpose.cli.registry import command
from dlcpose.cli.say import say
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.printable import PRINTABLE_RECORDS

if TYPE_CHECKING:
    from dlcpose.exporters.pose_tables import Existing

FORMATS = "coco, csv, deeplabcut, deeplabcut_csv, movement, movement_0.17, nwb, parquet, sleap, sleap_analysis"
READERS = "anipose, bsoid, deeplabcut, moseq, movement, movement_0.17, nwb, simba, sleap"


@command("tables")
def tables_command(
    poses: Annotated[list[Path], typer.Argument(help="Files of poses: NAME.poses.h5.")],
    readers: Annotated[
        list[str] | None,
        typer.Option("--for", help=f"Write the files that this tool reads, into OUTPUT/TOOL: {READERS}."),
    ] = None,
    formats: Annotated[list[str] | None, typer.Option("--format", help=f"Write this format: {FORMATS}.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder to write to; beside each file of poses unless given.")] = (
        None
    ),
    name: Annotated[str | None, typer.Option(help="Start of the files' names; the video's name unless given.")] = None,
    scorer: Annotated[str | None, typer.Option(help="Name of the predictor, in DeepLabCut's tables.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there already.")] = False,
) -> None:
    """Write predicted poses as tables: row i is frame i, coordinates are pixels of the full frame."""
    if not readers and not formats:
        raise ConfigError("Name what to write with --format or --for; `dlcpose tables --help` lists them.")
    if scorer is not None:
        from dlcpose.exporters.pose_tables import check_scorer

        check_scorer(formats or (), readers or ())
    existing: Existing = "replace" if overwrite else "refuse"
    tables_of(poses, readers or (), formats or (), output=output, name=name, scorer=scorer, existing=existing)


def tables_of(
    poses: Sequence[Path],
    readers: Sequence[str],
    formats: Sequence[str],
    *,
    output: Path | None = None,
    name: str | None = None,
    scorer: str | None = None,
    existing: Existing = "keep",
) -> None:
    """Write the tables of files of poses and print their names; arguments as of the command and of `write_tables`."""
    from dlcpose.exporters.formats import DEFAULT_SCORER
    from dlcpose.exporters.pose_file import read_pose_tracks
    from dlcpose.exporters.pose_tables import write_tables

    places: dict[tuple[Path, str], Path] = {}
    for path in poses:  # all of them are read before the first table is written
        place = output or path.parent, Path(read_pose_tracks(path).video.path).stem if name is None else name
        if (other := places.setdefault(place, path)) is not path:
            raise DataError(
                f"{path}: its tables would have the names of those of {other}. Run the command for each, with --name."
            )
    for (folder, stem), path in places.items():
        tracks = read_pose_tracks(path)
        with _notes_printed():
            written = write_tables(
                tracks,
                folder,
                stem,
                formats=formats,
                readers=readers,
                scorer=DEFAULT_SCORER if scorer is None else scorer,
                existing=existing,
            )
        for table in written:
            say(table)


@contextmanager
def _notes_printed() -> Iterator[None]:
    """Print what the writers log, such as what a format has no place for."""
    log, handler = logging.getLogger("dlcpose.exporters"), logging.StreamHandler()
    handler.addFilter(PRINTABLE_RECORDS)
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False  # or warnings would be printed twice
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]
