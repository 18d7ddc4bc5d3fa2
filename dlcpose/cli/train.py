"""`train.py` and `dlcpose-train`: compose an experiment from the shell, train it, evaluate it."""

from collections.abc import Sequence
from typing import Any

from dlcpose.callbacks.requeue import requeue_on_signal
from dlcpose.cli.hydra_main import run_hydra
from dlcpose.config.messages import fail
from dlcpose.runs.distributed import LEADER, follow_leader, is_follower
from dlcpose.runs.resume import resume_if_requeued
from dlcpose.runs.run_json import MetricValue, is_worker_process, optimized_metrics
from dlcpose.runs.sweep import check_objective, earlier_run, value_of
from dlcpose.structures.errors import ConfigError
from dlcpose.training.train import train, train_in_this_process


def main() -> None:
    """Train the experiment that the shell's overrides compose; of processes started together, one composes for all."""
    with requeue_on_signal(is_first=not is_worker_process()):
        try:
            follows = is_follower()
        except ConfigError as error:
            fail(str(error))
        if follows:
            follow_leader(train_in_this_process)
            return
        try:
            run_hydra("train", job)
        finally:
            LEADER.end()


def _in_short(names: Sequence[str], value: MetricValue) -> str:
    """Figures as a line shows them: `val/mean_error_px 3.162, val/oks_ap 0.9061`."""
    values = value if isinstance(value, Sequence) else (value,)
    return ", ".join(f"{name} {number:.4g}" for name, number in zip(names, values, strict=True))


def job(config: dict[str, Any]) -> MetricValue:
    """One run; in a sweep, finished jobs are skipped and killed ones resume."""
    done, config = earlier_run(resume_if_requeued(config))
    if done is None:
        value = train(config)
    else:
        value = value_of(done, config)
        print(f"done before, {_in_short(optimized_metrics(config), value)}: {config['run_dir']}", flush=True)
    if config["sweep"]["trial"] is not None:
        check_objective(config, value)
    return value
