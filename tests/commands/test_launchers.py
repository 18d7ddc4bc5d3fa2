"""Launchers side by side: two processes of one machine, and SLURM's as far as a machine without it can say."""

import json
import os
from pathlib import Path

import hydra
import pytest

from dlcpose.commands.entry import CONF
from tests.commands.shells import REPOSITORY, SMALL, TINY, python


@pytest.mark.parametrize("launcher", ["parallel", "submitit_local"])
def test_two_jobs_at_once(launcher: str, tmp_path: Path) -> None:
    plugin = {"parallel": "hydra_joblib_launcher", "submitit_local": "hydra_submitit_launcher"}[launcher]
    pytest.importorskip(f"hydra_plugins.{plugin}", reason="an extra: pip install 'dlcpose[sweep,cluster]'")
    command = ("-m", f"hydra/launcher={launcher}", "sweep.name=s", "seed=0,x", "evaluation.pictures=0")
    small = [override for override in SMALL if not override.startswith("evaluation")]
    answer = python(REPOSITORY / "train.py", *command, *small, *TINY, cwd=tmp_path)
    assert answer.err.splitlines()[-1] == (
        "dlcpose: 1 of 2 jobs failed: multirun/s/seed-x: seed: expected a whole number from 0 to below 2³², got 'x'."
    )
    assert "sweep multirun/s: 1 done, 1 failed\n" in answer.out
    entry = json.loads((tmp_path / "multirun" / "s" / "seed-0" / "run.json").read_text())
    assert (entry["status"], entry["epochs"], entry["choices"]["backbone"]) == ("finished", 1, "timm")


def test_the_script_that_slurm_would_get() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="an extra: pip install 'dlcpose[cluster]'")
    slurm = pytest.importorskip("submitit.slurm.slurm")
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose(
            "train", ["hydra/launcher=slurm", "hydra.launcher.partition=gpu"], return_hydra_config=True
        )
    asked = config.hydra.launcher
    script = slurm._make_sbatch_string(
        command="python -m submitit.core._submit",
        folder=os.devnull,
        map_count=40,
        time=asked.timeout_min,
        partition=asked.partition,
        ntasks_per_node=asked.tasks_per_node,
        **{
            name: asked[name]
            for name in ("nodes", "cpus_per_task", "gpus_per_node", "signal_delay_s", "array_parallelism")
        },
    )
    for line in ("--array=0-39%16", "--time=240", "--partition=gpu", "--gpus-per-node=1", "--signal=USR2@180"):
        assert f"#SBATCH {line}\n" in script
