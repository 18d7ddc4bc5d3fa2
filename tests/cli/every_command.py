"""`python every_command.py FOLDER MODE`: every command of the programs, as a terminal of some kind runs it.

MODE: `ctrl-c` interrupts each at several moments, `closed` closes its output before it begins, `head` after its first line,
`plain` does neither. Each attempt is a process and a group of its own, forked from one in which torch is imported, because
importing takes longer than most commands. A line of JSON is printed for each attempt.
"""

import json
import os
import signal
import sys
import time
import traceback
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
# Some packages install a `tests` of their own, which would be found in place of a folder without __init__.
sys.modules["tests"] = types.ModuleType("tests")
sys.modules["tests"].__path__ = [str(ROOT / "tests")]

from load import SETTINGS  # noqa: E402

import dlcpose.cli.app  # noqa: E402
import dlcpose.cli.evaluate  # noqa: E402
import dlcpose.cli.train  # noqa: E402
import dlcpose.training.fit  # noqa: E402
from dlcpose.structures.atomic_files import TEMPORARY  # noqa: E402

MOMENTS = (0.15, 0.5, 0.85)  # of a command's opens of files
SECONDS = 300  # after which a process hangs
SMALL = (*SETTINGS, "debug=fast", "datamodule.min_steps=0", "dataset.frames=8", "evaluation.pictures=1")


def commands(made: Path, out: Path) -> dict[str, list[str]]:
    """Each command with its arguments: what is in `made` is there already, `out` is new."""
    best, poses, data = made / "run" / "checkpoints" / "best.ckpt", made / "poses", made / "project"
    video = data / "videos" / "rendered0.mp4"
    model = ["--checkpoint", best, "--trust", "load"]
    given = {
        "train": ["train", *SMALL, f"hydra.run.dir={out}"],
        "render": ["render", data if out == made else out, "--frames", 8, "--videos", 2, "--height", 32, "--width", 32],
        "predict": ["predict", video, *model, "--output", poses if out == made else out],
        "evaluate": ["evaluate", f"checkpoint={best}", "trust=[load]", f"hydra.run.dir={out}"],
        "predict images": ["predict", data / "labeled-data" / "rendered0", *model, "--output", out],
        "track": ["track", poses / "rendered0.poses.h5", "--output", out.parent / "a.poses.h5"],
        "filter": ["filter", poses / "rendered0.poses.h5", "--median", 3, "--output", out.parent / "a.poses.h5"],
        "tables": ["tables", poses / "rendered0.poses.h5", "--format", "csv", "--output", out],
        "import-poses": ["import-poses", made / "rendered0DLC_a.csv", "--video", video, "--output", out],
        "draw": ["draw", poses / "rendered0.poses.h5", "--output", out / "a.mp4"],
        "propose": ["propose", poses / "rendered0.poses.h5", "--frames", 2, "--output", out],
        "export": [
            "export",
            "--checkpoint",
            best,
            "--format",
            "torchscript",
            "--trust",
            "load",
            "--output",
            out / "model.pt",
        ],
        "preview": ["preview", *SMALL, "--output", out / "a.png"],
        "convert": ["convert", data, out, "--to", "coco"],
        "inspect": ["inspect", data, "--output", out / "a.png"],
        "compare": ["compare", made / "run", "--output", out],
    }
    return {name: [str(part) for part in parts] for name, parts in given.items()}


def run(arguments: list[str]) -> None:
    program, *rest = arguments
    if program in ("train", "evaluate"):
        sys.argv = [program, *rest]
        {"train": dlcpose.cli.train, "evaluate": dlcpose.cli.evaluate}[program].main()
    else:
        sys.argv = ["dlcpose", *arguments]
        dlcpose.cli.app.main()


def child(arguments: list[str], folder: Path, mode: str, stop_at: int) -> None:
    """What an attempt's process does; it never returns."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    err = os.open(folder / "err.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    out = os.open(folder / "out.txt", os.O_CREAT | os.O_WRONLY)
    os.dup2(err, 2)
    if mode == "closed":
        os.close(1)
        sys.stdout = None
    else:
        if mode != "head":
            os.dup2(out, 1)
        sys.stdout = os.fdopen(1, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors, closefd=False)
    opened = {"count": 0}

    def audited(event: str, given: tuple[object, ...]) -> None:
        if event == "open" and str(given[0]).startswith(str(folder.parent)):
            opened["count"] += 1
            if opened["count"] == stop_at:
                os.killpg(0, signal.SIGINT)

    sys.addaudithook(audited)
    code = 1
    try:
        run(arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        traceback.print_exc()
    os.write(err, f"\nopened {opened['count']}\n".encode())
    os._exit(code)


def attempt(name: str, arguments: list[str], folder: Path, mode: str, stop_at: int = 0) -> int:
    """Run a command and print what came of it; returns how often it opened files."""
    folder.mkdir(parents=True)
    sys.stdout.flush()
    read, write = os.pipe()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        if mode == "head":
            os.dup2(write, 1)
        os.close(write)
        child(arguments, folder, mode, stop_at)
    os.close(write)
    if mode == "head":
        os.read(read, 1)
    os.close(read)
    code = None
    while code is None and time.monotonic() - began < SECONDS:
        ended, status = os.waitpid(pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if ended else None
        time.sleep(0.02)
    left = code is None
    for _ in range(100):
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        left = True
        os.killpg(pid, signal.SIGKILL)
    err, _, count = (folder / "err.txt").read_text(errors="replace").rpartition("\nopened ")
    lies = [str(path) for path in folder.rglob("*") if TEMPORARY.fullmatch(path.name)]
    print(
        json.dumps(
            {"command": name, "stop_at": stop_at, "code": code, "err": err, "left": left, "lies": lies}
            | {"seconds": round(time.monotonic() - began, 1)}
        ),
        flush=True,
    )
    return int(count or 0)


def main() -> None:
    here, mode = Path(sys.argv[1]), sys.argv[2]
    made = here / "made"
    needed = commands(made, made)
    needed["train"][-1] = f"hydra.run.dir={made / 'run'}"
    for name in ("render", "train", "predict"):
        attempt(f"make {name}", needed[name], here / f"make-{name}", "plain")
    (made / "rendered0DLC_a.csv").write_text(
        "scorer,DLC_a,DLC_a,DLC_a\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\n0,1.0,2.0,0.5\n1,2.0,3.0,0.6\n"
    )
    for number, name in enumerate(commands(made, made)):
        if mode != "ctrl-c":
            folder = here / str(number)
            attempt(name, commands(made, folder / "out")[name], folder, mode)
            continue
        folder = here / f"{number}-straight"
        opens = attempt(name, commands(made, folder / "out")[name], folder, "plain")
        for moment in MOMENTS if opens else ():
            folder = here / f"{number}-{moment}"
            attempt(name, commands(made, folder / "out")[name], folder, "plain", max(1, int(moment * opens)))


if __name__ == "__main__":
    main()
