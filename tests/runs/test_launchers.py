"""Launchers side by side: two processes of one machine, and SLURM's as far as a machine without it can say."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.shells import REPOSITORY, SMALL, TINY, python

pytestmark = pytest.mark.slow  # whole runs, each in processes of its own

PLUGINS = {"parallel": "joblib", "submitit_local": "submitit", "ray_local": "ray"}
# A part of the user's own, which notes the priority of the process that trains.
NOTING = """
import os
from pathlib import Path
from pytorch_lightning import Callback

class Priority(Callback):
    def on_fit_start(self, trainer, pipeline):
        Path(trainer.default_root_dir, "priority").write_text(str(os.nice(0)))
"""


@pytest.mark.parametrize("launcher", PLUGINS)
def test_jobs_side_by_side(launcher: str, tmp_path: Path) -> None:
    plugin = f"hydra_plugins.hydra_{PLUGINS[launcher]}_launcher"
    pytest.importorskip(plugin, reason="an extra: pip install 'dlcpose[sweep,cluster]'")
    (tmp_path / "noting.py").write_text(NOTING)
    noted = ("+callbacks.noting._target_=noting.Priority", "trust=[noting]")
    with TemporaryDirectory(prefix="ray") as short:  # sockets lie in it, whose paths have to be short
        answer = python(
            *(REPOSITORY / "train.py", "-m", f"hydra/launcher={launcher}", "sweep.name=s", "seed=0,1,x"),
            *(*SMALL, *TINY, *noted, *((f"+hydra.launcher.ray.init._temp_dir={short}",) if "ray" in launcher else ())),
            cwd=tmp_path,
            PYTHONPATH=os.pathsep.join((str(REPOSITORY), str(tmp_path))),
            RAY_AUTH_MODE="disabled",  # it would leave a token in the home folder
        )
    assert [line for line in answer.err.splitlines() if line.startswith("dlcpose: ")] == [
        "dlcpose: 1 of 3 jobs failed: multirun/s/seed-x: seed: expected a whole number from 0 to below 2³², got 'x'."
    ]
    assert "sweep multirun/s: 2 done, 1 failed\n" in answer.out
    for seed in (0, 1):
        run = tmp_path / "multirun" / "s" / f"seed-{seed}"
        entry = json.loads((run / "run.json").read_text())
        assert (entry["status"], entry["epochs"], entry["config"]["seed"]) == ("finished", 1, seed)
        assert entry["choices"]["backbone"] == "timm"
        assert (run / "priority").read_text() == str(os.nice(0))  # that of the command


# What a machine with SLURM has: sbatch, which here runs the script it is given once for each job of the array, and srun.
SBATCH = """#!/bin/sh
cp "$1" submitted.sh
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' submitted.sh)
(
    for task in $(seq 0 "$last"); do
        SLURM_JOB_ID=7 SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 \\
            SLURM_NTASKS=1 SLURM_NNODES=1 SLURM_JOB_NODELIST=here sh submitted.sh
    done
) >jobs.log 2>&1 &
echo "Submitted batch job 7"
"""
SRUN = """#!/bin/sh
while [ "$1" != "${1#-}" ]; do
    case "$1" in --output | --error) shift 2 ;; *) shift ;; esac
done
exec "$@"
"""


def test_jobs_of_slurm(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="an extra: pip install 'dlcpose[cluster]'")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, content in {"sbatch": SBATCH, "srun": SRUN, "sacct": "#!/bin/sh\n"}.items():
        (programs / name).write_text(content)
        (programs / name).chmod(0o755)
    answer = python(
        *(REPOSITORY / "train.py", "-m", "hydra/launcher=slurm", "hydra.launcher.partition=gpu", "sweep.name=s"),
        *("seed=-1,-2", *SMALL, *TINY),
        cwd=tmp_path,
        PATH=os.pathsep.join((str(programs), os.environ["PATH"])),
    )
    # Both got as far as the check of their seed, and what became of them came back.
    assert "sweep multirun/s: 0 done, 2 failed\n" in answer.out
    for seed in (-1, -2):
        assert f"failed: seed-{seed}: seed: expected a whole number from 0 to below 2³², got {seed}." in answer.out
    script = (tmp_path / "submitted.sh").read_text()
    directives = set(re.findall("^#SBATCH --(.*)$", script, re.MULTILINE))
    assert {"array=0-1%2", "time=240", "partition=gpu", "nodes=1", "ntasks-per-node=1"} <= directives
    assert {"gpus-per-node=1", "cpus-per-task=8", "mem=32GB", "signal=USR2@180", "open-mode=append"} <= directives
    assert f"{sys.executable} -u -m submitit.core._submit {tmp_path}" in script


@contextlib.contextmanager
def sweep_side_by_side(place: Path) -> Iterator[subprocess.Popen[str]]:
    """A sweep of two jobs without end, both of which have trained for an epoch; Ctrl-C reaches all of its processes."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="an extra: pip install 'dlcpose[sweep]'")
    heeds = "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.argv.pop(0); "
    long = (*SMALL, *TINY, "trainer.max_epochs=100000", "seed=0,1")
    run = f"{heeds}runpy.run_path(sys.argv[0], run_name='__main__')"  # a script's background ignores Ctrl-C
    sweep = subprocess.Popen(
        [
            *(sys.executable, "-c", run, REPOSITORY / "train.py"),
            *("-m", "hydra/launcher=parallel", "sweep.name=ended", *long),
        ],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 300
    while len(list(place.glob("multirun/ended/*/checkpoints/last.ckpt"))) < 2 and time.monotonic() < until:
        time.sleep(0.1)
        assert sweep.poll() is None
    yield sweep
    assert not list(place.glob("multirun/ended/*/evaluation"))


def test_processes_of_a_sweep_that_was_killed_end_too(tmp_path: Path) -> None:
    with sweep_side_by_side(tmp_path) as sweep:
        sweep.kill()
        sweep.communicate(timeout=60)  # returns as the last process ends that can write there
    assert sweep.returncode != 0


@pytest.mark.skipif(sys.platform == "win32", reason="there Ctrl-C reaches a console")
def test_a_sweep_that_is_interrupted_ends_in_one_line(tmp_path: Path) -> None:
    with sweep_side_by_side(tmp_path) as sweep:
        os.killpg(sweep.pid, signal.SIGINT)
        _, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert [line for line in err.splitlines() if line.strip()] == [
        "dlcpose: stopped. What was finished is kept, and nothing half-written."
    ]
