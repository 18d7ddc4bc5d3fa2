"""Training from top to bottom: check a config, build what it describes, fit it, evaluate its best epoch."""

from typing import Any

from dlcpose.runs.distributed import LEADER, processes_needed, train_in_processes
from dlcpose.runs.recording import recorded
from dlcpose.runs.run_json import MetricValue
from dlcpose.structures.interrupts import stopped_at_once


@recorded
def train(config: dict[str, Any]) -> MetricValue:
    """Train and evaluate a composed config on its devices; all results are written to config["run_dir"].

    Returns the value of `optimized_metric`, for a sweep to optimize.
    """
    if count := processes_needed(config):
        value: MetricValue = train_in_processes(config, count, "dlcpose.training.worker")
        return value
    LEADER.hand_on(config)
    return train_in_this_process(config)


def train_in_this_process(config: dict[str, Any]) -> MetricValue:
    """What `train` does, in this process, which may be one of several that train together."""
    # torch is imported here, not above: a misspelled name in a config is reported before that.
    with stopped_at_once():
        from dlcpose.training.experiment import build_experiment
        from dlcpose.training.fit import fit_and_evaluate
        from dlcpose.training.libraries import quiet_libraries
        from dlcpose.training.validate import validate_config

    quiet_libraries()
    validate_config(config)
    experiment = build_experiment(config)
    return fit_and_evaluate(experiment)
