"""Run the benchmarks that this machine allows, one after the other, and make docs/benchmarks.md of their figures.

    python benchmarks/all.py                                      # on the CPU: half an hour, on an otherwise idle machine
    python benchmarks/all.py --device cuda
    python benchmarks/all.py --only assembly composition          # the others' figures stay as they are
    python benchmarks/all.py --data FOLDER --deeplabcut ~/deeplabcut/bin/python --sleap-nn ~/sleap-nn/bin/python

FOLDER holds the data sets that round_trips and time_to_accuracy read, by the names that they have where they are published.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from report import as_markdown

from dlcpose.structures.atomic_files import write_output

HERE = Path(__file__).parent
FIGURES, PAGE = HERE.parent / "docs" / "benchmarks.json", HERE.parent / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

What `python benchmarks/all.py` measured, from docs/benchmarks.json: each table in one run of one command, side by side,
with the machine it ran on. Ratios within a table carry over to other machines, seconds and rates do not.
"""


class Run(NamedTuple):
    """A benchmark with its arguments. data: below --data, of what it reads, its first word an option or nothing."""

    script: str
    arguments: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    data: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """By which its figures are kept: of the script and of what it is called with."""
        return " ".join((self.script, *self.arguments))


LABELS = ("openfield-Pranav-2018-10-30", "Reaching-Mackenzie-2018-08-30", "flypair24-SLEAP-2024-12-20")
RUNS = (
    Run("composition"),
    Run("assembly"),
    Run("assembly", ("--device", "cuda"), ("cuda",)),
    Run("dekr_step"),
    Run("dekr_step", ("--full", "--device", "cuda"), ("cuda",)),
    Run("training_rate", ("--rounds", "3", "--steps", "8")),
    *(
        Run("training_rate", (f"model={model}", "--rounds", "3", "trainer=gpu"), ("cuda",))
        for model in ("resnet_50", "hrnet_w32", "top_down_hrnet_w32")
    ),
    Run("video", ("--batch", "2", "--batches", "4")),
    Run("video", ("--batch", "2", "--batches", "4", "--precision", "bf16")),
    Run("video", ("--model", "top_down_resnet_50", "--batch", "4")),
    Run("video", ("--batch", "32", "--precision", "bf16", "--device", "cuda"), ("cuda",)),
    Run("video", ("--memory", "200", "2000", "20000")),
    Run("filters"),
    Run("tracking", ("--minutes", "2")),
    Run("large_sets"),
    Run("analyze_videos", data=("--root", LABELS[0])),
    Run("round_trips", data=LABELS),
    Run("time_to_accuracy", ("trainer=cpu",), data=("--root", LABELS[0])),
    Run("time_to_accuracy", ("trainer=gpu",), ("cuda",), data=("--root", LABELS[0])),
    *(
        Run("time_to_accuracy", (f"model={model}", "trainer=cpu", *theirs), data=("--root", LABELS[2]))
        for model, theirs in (
            ("top_down_resnet_18", ("--net", "top_down_resnet_50", "--method", "topdown")),
            ("bottom_up_resnet_18", ("--net", "resnet_50", "--method", "bottomup")),
            ("dekr_w18", ("--net", "dekr_w18", "--method", "bottomup")),
        )
    ),
)
# Benchmarks that compare with another tool, by the option that names a Python which has it.
COMPARED = {"--deeplabcut": ("time_to_accuracy", "analyze_videos"), "--sleap-nn": ("time_to_accuracy",)}


def command_of(run: Run, data: Path | None, others: Mapping[str, Path | None]) -> list[str] | None:
    """What is run, None where the data or the Python that it needs are not named. others: those, by their option."""
    command = [sys.executable, str(HERE / f"{run.script}.py"), *run.arguments]
    if (run.data and data is None) or (run.script == "analyze_videos" and others["--deeplabcut"] is None):
        return None
    command += [each if each.startswith("--") else str(Path(data or ".") / each) for each in run.data]
    for option, python in others.items():
        if python is not None and run.script in COMPARED[option]:
            command += [option, str(python)]
    return command


def measured(command: list[str]) -> dict[str, Any]:
    """The figures of one benchmark."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        subprocess.run([*command, "--json", str(path)], check=True)
        figures: dict[str, Any] = json.loads(path.read_text())
        return figures


def page_of(figures: dict[str, Any]) -> str:
    """The page, from the figures by their runs' names."""
    return "\n".join([INTRODUCTION, *(as_markdown(figures[run.name]) for run in RUNS if run.name in figures)])


def main() -> None:
    """Measure, and write the page after each benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--only", nargs="+", choices=sorted({run.script for run in RUNS}), help="of the benchmarks, these"
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="of the data sets; without it those are left out")
    parser.add_argument("--deeplabcut", type=Path, help="a Python that has deeplabcut 3, to compare with")
    parser.add_argument("--sleap-nn", type=Path, help="a Python that has sleap-nn, to compare with")
    arguments = parser.parse_args()
    others = {"--deeplabcut": arguments.deeplabcut, "--sleap-nn": arguments.sleap_nn}
    figures: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    failed = []
    for run in RUNS:
        if arguments.device not in run.devices or (arguments.only and run.script not in arguments.only):
            continue
        command = command_of(run, arguments.data, others)
        if command is None:
            print(
                f"{run.name}: left out, it reads data (--data FOLDER) or runs DeepLabCut (--deeplabcut PYTHON)",
                flush=True,
            )
            continue
        print(f"\n{run.name}", flush=True)
        try:
            figures[run.name] = measured(command)
        except subprocess.CalledProcessError:
            failed.append(run.name)
            continue
        write_output(FIGURES, json.dumps(figures, indent=1) + "\n")
        write_output(PAGE, page_of(figures))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
