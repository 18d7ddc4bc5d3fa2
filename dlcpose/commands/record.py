"""What a reader of a run folder wants to know of the run."""

import json
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlcpose.checkpoint import Description


def record_run(run_dir: Path, description: "Description") -> None:
    """What a reader of the folder wants to know of the run: its split, its command, its environment."""
    from dlcpose.checkpoint import versions

    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "split.json").write_text(json.dumps(description.split.as_dict(), indent=1))
    lines = [
        f"command: {shlex.join(sys.argv)}",
        f"git: {git_revision()}",
        f"machine: {platform.platform()}, {platform.processor() or platform.machine()}",
        *(f"{package}: {version}" for package, version in versions().items()),
    ]
    (run_dir / "environment.txt").write_text("\n".join(lines) + "\n")


def git_revision() -> str:
    """The revision of the code this runs from, and whether it was changed since; empty outside a checkout."""
    folder = Path(__file__).parents[2]
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
