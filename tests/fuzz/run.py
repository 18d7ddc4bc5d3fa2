"""Mutated files for each reader, in processes of their own: `python benchmarks/fuzz.py`.

Every input has to end in success or in a DlcposeError, within LIMIT_S seconds of the processor and LIMIT_MB of memory.
The same number gives the same input.
"""

import argparse
import contextlib
import json
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from dlcpose.structures.errors import DlcposeError
from tests.fuzz.targets import TARGETS

LIMIT_S, LIMIT_MB = 5, 1_000
WALL_S = 120  # without any progress: a reader that waits for something
CHUNK = 500  # inputs between two lines of the record of a run that may be ended and go on


def fuzz(name: str, inputs: int, folder: Path, first: int = 0) -> dict[str, Any]:
    """What came of mutated inputs for one reader: counts, the slowest, the largest, and what should not have been."""
    record = folder / f"{name}.jsonl"
    record.unlink(missing_ok=True)
    (folder / name).mkdir(parents=True)
    TARGETS[name](folder / name).read(folder / name)  # what is imported late is imported here, and the seeds are valid
    start, failures = first, list[dict[str, Any]]()
    while start < first + inputs:
        child = os.fork()
        if child == 0:
            try:
                _work(name, start, first + inputs, folder, record)
            except BaseException:  # else what called us would go on twice
                traceback.print_exc(file=sys.__stdout__)
            finally:
                os._exit(1)
        status = _wait(child, record)
        done = _done(record)
        assert done or status != 0, f"{record} is gone"
        start = (done[-1]["seed"] + 1) if done else start
        if status != 0:  # it ended within the input after the last that is on record
            failures.append({"seed": start, "what": f"the process ended by {_said(status)}"})
            start += 1
    lines = _done(record)
    failures += [line for line in lines if line["what"] not in ("read", "refused")]
    return {
        "reader": name,
        "inputs": inputs,
        "read": sum(line["what"] == "read" for line in lines),
        "refused": sum(line["what"] == "refused" for line in lines),
        "slowest_s": max((line["s"] for line in lines), default=0.0),
        "largest_mb": max((line["mb"] for line in lines), default=0.0),
        "failures": failures,
    }


def _work(name: str, start: int, end: int, folder: Path, record: Path) -> None:
    """Read mutated inputs in this process, and end it."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, also within a library
    place = Path(tempfile.mkdtemp(dir=folder)) / "x"
    target = TARGETS[name](_made(place))
    before = {path: path.read_bytes() for path in (place / file for file in target.files)}
    resting = _peak_mb()
    with record.open("a", encoding="utf-8", buffering=1) as out:
        for seed in range(start, end):
            line: dict[str, Any] = {"seed": seed, "what": "read"}
            path = target.corrupt(seed)
            spoilt = _peak_mb()  # what making the input took is not the reader's
            signal.setitimer(signal.ITIMER_PROF, 2 * LIMIT_S)
            began = time.process_time()
            try:
                target.read(place)
            except DlcposeError as error:
                line["what"] = "refused"
                if "\n" in str(error) or len(str(error)) > 3_000:
                    line |= {"what": "a message of several lines, or a long one", "message": str(error)[:300]}
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                line |= {
                    "what": type(error).__name__,
                    "message": str(error)[:300],
                    "where": f"{where.filename}:{where.lineno}",
                }
            line["s"] = round(time.process_time() - began, 3)
            signal.setitimer(signal.ITIMER_PROF, 0)
            line["mb"] = round(_peak_mb() - spoilt)
            if line["s"] > LIMIT_S or line["mb"] > LIMIT_MB:
                line["what"] += f", {line['s']} s, {line['mb']} MB"
            out.write(json.dumps(line) + "\n")
            _put_back(path, before[path])
            if _peak_mb() - resting > LIMIT_MB / 2:
                break  # the peak of a process does not fall: another one goes on
    shutil.rmtree(place.parent, ignore_errors=True)
    os._exit(0)


def _made(place: Path) -> Path:
    place.mkdir(parents=True)
    return place


def _put_back(path: Path, content: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    path.write_bytes(content)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _wait(child: int, record: Path) -> int:
    """The status a process ended with; one that makes no progress is ended."""
    size, since = -1, time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        now = record.stat().st_size if record.exists() else 0
        if now != size:
            size, since = now, time.monotonic()
        if time.monotonic() - since > WALL_S:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.05)


def _done(record: Path) -> list[dict[str, Any]]:
    if not record.exists():
        return []
    return [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def _said(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def main() -> None:
    """Fuzz the readers that the command names, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--record", type=Path, help="a file of what is done: the same command goes on from there")
    parser.add_argument("targets", nargs="*", default=list(TARGETS))
    given = parser.parse_args()
    for name in given.targets:
        began = time.monotonic()
        result = _in_chunks(name, range(given.first, given.first + given.inputs), given.record)
        failures = result.pop("failures")
        print(f"{json.dumps(result)} {time.monotonic() - began:.0f} s, {len(failures)} failures", flush=True)
        kinds: dict[str, list[Any]] = {}
        for failure in failures:
            kinds.setdefault(f"{failure['what']} {failure.get('where', '')}", []).append(failure)
        for kind, of_kind in kinds.items():
            print(f"  {len(of_kind)} x {kind}: seed {of_kind[0]['seed']}: {of_kind[0].get('message', '')}", flush=True)


def _in_chunks(name: str, seeds: range, record: Path | None) -> dict[str, Any]:
    """What came of a range of inputs, with what the record has already."""
    done = _done(record) if record is not None else []
    results = []
    for start in range(seeds.start, seeds.stop, CHUNK):
        inputs = min(CHUNK, seeds.stop - start)
        result = next((x for x in done if (x["reader"], x["first"], x["inputs"]) == (name, start, inputs)), None)
        if result is None:
            with tempfile.TemporaryDirectory() as folder:
                result = {"first": start} | fuzz(name, inputs, Path(folder), start)
            if record is not None:
                with record.open("a") as out:
                    out.write(json.dumps(result) + "\n")
        results.append(result)
    sums = {key: sum(each[key] for each in results) for key in ("inputs", "read", "refused")}
    worst = {key: max(each[key] for each in results) for key in ("slowest_s", "largest_mb")}
    failures = [failure for each in results for failure in each["failures"]]
    return {"reader": name} | sums | worst | {"failures": failures}
