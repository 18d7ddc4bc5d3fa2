"""Signals that end a command, also while modules are imported."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dlcpose.structures.interrupts import ended_like_ctrl_c, received, stopped_at_once
from tests.shells import REPOSITORY

# A module that catches whatever is raised while it is imported, as some do.
GREEDY = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)
except BaseException:
    pass
"""
IMPORTING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background has it ignored
from dlcpose.structures.interrupts import ended_like_ctrl_c, stopped_at_once
with ended_like_ctrl_c(), stopped_at_once():
    import greedy
print("went on")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_is_not_lost_in_a_module_that_catches_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "greedy.py").write_text(GREEDY.replace("SIGINT", name))
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tmp_path}"}
    command = [sys.executable, "-c", IMPORTING]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert (done.returncode, done.stdout, done.stderr) == (
        128 + getattr(signal, name),
        "",
        "dlcpose: stopped.\n",
    )


# The same where a command has begun, which has unfinished files to remove.
LATE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from dlcpose.structures.interrupts import ended_like_ctrl_c, received
with ended_like_ctrl_c():
    try:
        import greedy
        for _ in range(100):
            __import__("time").sleep(0.1)
        print("went on")
    except KeyboardInterrupt:
        print("removed", received().name, greedy.is_whole)
"""
SLOW = """
import os, signal, time
is_whole = False
try:
    for _ in range(1):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
    is_whole = True
except BaseException:
    pass
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize(
    ("name", "times", "code", "out", "err"),
    [
        ("SIGINT", 1, 0, "removed SIGINT True\n", ""),
        ("SIGTERM", 1, 0, "removed SIGTERM True\n", ""),
        ("SIGINT", 2, 130, "", "dlcpose: stopped.\n"),
    ],
)
def test_an_interrupt_waits_for_the_end_of_an_import_and_a_second_does_not(
    name: str, times: int, code: int, out: str, err: str, tmp_path: Path
) -> None:
    slow = SLOW.replace("SIGINT", name).replace("range(1)", f"range({times})")
    (tmp_path / "greedy.py").write_text(slow)
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tmp_path}"}
    command = [sys.executable, "-c", LATE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


def test_what_is_imported_before_interrupts_are_heeded_is_little() -> None:
    command = [sys.executable, "-S", "-c", "import sys, dlcpose.cli.start; print(*sys.modules)"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=600)
    assert not {"typing", "re", "subprocess", "numpy", "typer"} & {*done.stdout.split()}


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_that_end_a_command_are_interrupts(name: str) -> None:
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with ended_like_ctrl_c():
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
            assert received() == number
            child = os.fork()
            if not child:
                os.kill(os.getpid(), number)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + number
        assert signal.getsignal(number) == signal.SIG_DFL
        with ended_like_ctrl_c():
            assert received() == signal.SIGINT  # an earlier command's is forgotten
        signal.signal(number, signal.SIG_IGN)
        with ended_like_ctrl_c():
            assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_what_others_do_with_it_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopped_at_once():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with stopped_at_once():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_a_thread_nothing_is_set() -> None:
    failed = []

    def body() -> None:
        try:
            with stopped_at_once():
                pass
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert not failed


CHILD = """
import os, time
from dlcpose.structures.interrupts import end_with
end_with(os.getppid())
print("follows", flush=True)
time.sleep(60)
"""
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


@pytest.mark.skipif(sys.platform == "win32", reason="a process keeps the number of a parent that has ended")
def test_a_process_ends_with_its_parent() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", PARENT], **pipes) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        parent.kill()
        parent.communicate(timeout=30)  # returns as the last process ends that can write there
