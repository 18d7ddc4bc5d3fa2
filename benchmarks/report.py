"""What a benchmark gives: a row for each thing measured, as a table in the terminal and as JSON with machine and command.

    report = Report("What is measured, and beside what.", device="cpu")
    report.add({"model": "resnet_50", "images/s": 3.04, "share": 0.97})
    report.finish(arguments.json)

`python benchmarks/all.py` makes docs/benchmarks.md of such JSON. `python benchmarks/report.py FILE...` shows it as markdown.
"""

import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from dlcpose.structures.atomic_files import write_output
from dlcpose.structures.versions import versions

Row = Mapping[str, str | int | float]


class Report:
    """Rows of what was measured, shown as they come.

    title: what is measured, and beside what. device: `cpu` or `cuda`, on which it is. notes: what a reader must know.
    """

    def __init__(self, title: str, device: str = "cpu", *notes: str) -> None:
        self.title, self.device, self.notes = title, device, list(notes)
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Keep a row: values by the titles of their columns, units in the titles."""
        self.rows.append(row)
        print("  ".join(f"{name}: {as_text(value)}" for name, value in row.items()), flush=True)

    def finish(self, path: Path | None) -> None:
        """Show all rows as a table, and write them to `path` where one is given."""
        table = Table(*columns(self.rows), title=self.title)
        for row in self.rows:
            table.add_row(*cells(row, columns(self.rows)))
        Console(width=None if sys.stdout.isatty() else 200).print(table, *self.notes, sep="\n", markup=False)
        if path is not None:
            write_output(path, json.dumps(self.as_dict(), indent=1) + "\n")

    def as_dict(self) -> dict[str, Any]:
        """Everything, as it goes into the JSON."""
        return {
            "title": self.title,
            "command": command(),
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine(self.device),
            "rows": self.rows,
            "notes": self.notes,
        }


def command() -> str:
    """The command of this process, as it would be typed; paths by their last part, which is all that is of use elsewhere."""
    arguments = [Path(each).name if each.startswith(("/", "~")) else each for each in sys.argv[1:]]
    given = [each for each, before in zip(arguments, ["", *arguments], strict=False) if "--json" not in (each, before)]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *given])


def machine(device: str) -> dict[str, Any]:
    """What it was measured on, and with which versions."""
    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    return {"device": name, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "versions": versions()}


def processor() -> str:
    """The name of the processor, as far as the system says it."""
    if (listing := Path("/proc/cpuinfo")).exists():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def columns(rows: Iterable[Row]) -> list[str]:
    """The titles of all columns, in the order in which rows first have them."""
    return list(dict.fromkeys(name for row in rows for name in row))


def cells(row: Row, names: Iterable[str]) -> list[str]:
    """A row's values as text, empty where it has none."""
    return [as_text(row[name]) if name in row else "" for name in names]


def as_text(value: str | int | float) -> str:
    """A number with three significant digits, or all before the point; text as it is."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_markdown(report: Mapping[str, Any]) -> str:
    """A report's JSON as a section of a page."""
    names = columns(report["rows"])
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [" | ".join(cell.replace("|", "\\|") for cell in cells(row, names)) for row in report["rows"]]
    about, used = report["machine"], report["machine"]["versions"]
    where = f"{about['device']}, {about['cores']} cores, {about['threads']} threads; torch {used['torch']}, {report['date']}"
    table = "\n".join(f"| {line} |" for line in lines)
    notes = "".join(f"\n\n{note}" for note in report["notes"])
    return f"## {report['title']}\n\n`{report['command']}` ({where})\n\n{table}{notes}\n"


def main() -> None:
    """Show files as markdown."""
    for path in sys.argv[1:]:
        print(as_markdown(json.loads(Path(path).read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
