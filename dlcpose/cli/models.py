"""`dlcpose models`: the named models, with what building each shows of it."""

import json
from dataclasses import asdict

from dlcpose.config.models import available_models, describe


def models_command(as_json: bool = False) -> None:
    """Print the table of models."""
    rows = [describe(name) for name in available_models()]
    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    # As narrow as it can be: names are there to be copied, and in 80 columns none may be cut.
    table = Table(box=SIMPLE_HEAD, padding=0)
    table.caption = f"for {rows[0].keypoints} keypoints; of top-down models GMACs are of one crop"
    headings = ("model", "pipeline", "animals", "weights\n(M)", "detector\n(M)", "GMACs", "input", "stride")
    for heading in headings:
        is_text = heading in ("model", "pipeline", "animals")
        table.add_column(heading, justify="left" if is_text else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.name,
            row.pipeline,
            row.animals,
            f"{row.parameters / 1e6:.2f}",
            f"{row.detector_parameters / 1e6:.2f}" if row.detector_parameters else "",
            f"{row.gmacs:.2f}",
            f"{row.input[1]}x{row.input[0]}",
            f"{row.stride:g}",
        )
    Console().print(table)
