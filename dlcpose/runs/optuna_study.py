"""An Optuna study that outlives its sweep: the same command resumes it.

Hydra's Optuna sweeper opens the study that is in the storage, and no more. Before it starts, this module checks that
the study is the same, counts the remaining trials, and queues those that were killed again.
"""

import contextlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from dlcpose.config.dotted_keys import flatten_config
from dlcpose.runs.run_json import NOT_COMPARED, TRIAL, effective_differences
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.interrupts import stopped_at_once

if TYPE_CHECKING:
    import optuna

    from dlcpose.metrics.figure_info import FigureInfo

KILLED = "killed"


def number_trial(config: DictConfig, trial: "optuna.trial.Trial") -> None:
    """Pass its trial's number to the job: the sweeper passes only the values that a trial has suggested.

    An interval of one number: samplers have nothing to learn from it, and leave it out.
    """
    trial.suggest_int(TRIAL, trial.number, trial.number)


def prepare_study(config: DictConfig, swept: Mapping[str, str]) -> list[str]:
    """What the command of a sweep needs: its directions, and what resumes its study.

    swept: the search space, key by key, as it was written. Raises ConfigError where the study in the storage had another
    search space, other metrics, directions or settings that are not searched, and for a direction in which a figure is
    worse.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(f"hydra/sweeper: Optuna cannot be imported ({error}). Install dlcpose[sweep].") from error

    sweeper, named = config.hydra.sweeper, config.optimized_metric
    metrics = [str(name) for name in named] if isinstance(named, ListConfig) else [str(named)]
    directions = _directions(sweeper, metrics, _figure_infos(config))
    directed = [] if sweeper.direction is not None else [f"hydra.sweeper.direction={_as_setting(directions, named)}"]
    optuna.logging.set_verbosity(logging.WARNING)
    try:
        study = _opened(sweeper, directions)
    except ModuleNotFoundError as error:
        raise ConfigError(f"hydra.sweeper.storage={sweeper.storage}: {error}. Install dlcpose[sweep].") from error
    except Exception as error:  # databases raise errors of many types
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"hydra.sweeper.storage={sweeper.storage}: the study cannot be opened ({type(error).__name__}: {reason}). "
            "Correct the address, or move the file away."
        ) from error
    if sweeper.storage is None:  # in-memory study: only its settings were checked, the sweeper creates its own
        return directed
    _check_same(study, dict(swept), metrics, directions, _fixed_settings(config, swept))
    again = _ask_again(study)
    done = len(study.trials) - sum(KILLED in trial.user_attrs for trial in study.trials) - again
    to_go = max(0, sweeper.n_trials - done)
    failed = _count_failed(study)
    if failed == done and failed and not to_go:  # the sweeper would ask for the best of none
        raise ConfigError(
            f"study {study.study_name}: {counted(failed, 'trial, which has', 'trials, all of which have')} failed, and "
            f"hydra.sweeper.n_trials={sweeper.n_trials} leaves none to go. Mend what error.txt in "
            "their folders says and raise it, or give another sweep.name."
        )
    failures = f" ({failed} of them failed)" if failed else ""
    print(
        f"study {study.study_name} in {sweeper.storage}: {counted(done, 'trial')} done{failures}, {to_go} to go",
        flush=True,
    )
    seed = OmegaConf.select(config, "hydra.sweeper.sampler.seed")
    # A sampler that began with the same seed again would suggest what it has suggested before.
    further = [f"hydra.sweeper.sampler.seed={seed + len(study.trials)}"] if seed is not None and study.trials else []
    return [*directed, f"hydra.sweeper.n_trials={to_go}", *further]


def _opened(sweeper: DictConfig, directions: list[str]) -> "optuna.study.Study":
    import optuna

    if sweeper.storage is not None:
        with contextlib.suppress(KeyError):  # there is none of this name
            return optuna.load_study(study_name=sweeper.study_name, storage=sweeper.storage)
    return optuna.create_study(study_name=sweeper.study_name, storage=sweeper.storage, directions=directions)


def _figure_infos(config: DictConfig) -> "Mapping[str, FigureInfo]":
    """The facts about the figures of a config's metrics."""
    with stopped_at_once():  # metrics import torch
        from dlcpose.instantiate import Instantiator
        from dlcpose.metrics.base import infos_of

    trust = config.trust if isinstance(config.trust, ListConfig) else ()  # each job says that it has to be a list
    instantiate = Instantiator(tuple(str(each) for each in trust))
    return infos_of(instantiate(OmegaConf.to_container(config.metric, resolve=True), "metric"))


def _directions(sweeper: DictConfig, metrics: list[str], infos: "Mapping[str, FigureInfo]") -> list[str]:
    """The direction of each objective: as its figure states it, else as it is given."""
    from dlcpose.metrics.figure_info import find_mode

    given, modes = sweeper.direction, [find_mode(name, infos) for name in metrics]
    stated = [None if mode is None else f"{mode}imize" for mode in modes]
    if given is None:
        if None in stated:
            raise ConfigError(
                f"optimized_metric: {metrics[stated.index(None)]} is no figure that states whether it is better when lower "
                "or higher. Correct its name, or say hydra.sweeper.direction=minimize or maximize, one for each figure."
            )
        return [str(each) for each in stated]
    directions = [str(each) for each in given] if isinstance(given, ListConfig) else [str(given)]
    directions = [each.rpartition(".")[2] for each in directions]  # Direction.minimize, or minimize
    if len(directions) != len(metrics):
        raise ConfigError(
            f"hydra.sweeper.direction: expected one for each optimized_metric ({', '.join(metrics)}), got "
            f"{', '.join(directions)}. Leave it out: it comes from the figures."
        )
    for name, direction, expected in zip(metrics, directions, stated, strict=True):
        if expected not in (None, direction):
            raise ConfigError(
                f"hydra.sweeper.direction: a sweep has to {expected} {name}, got {direction}. "
                "Leave it out: it comes from the figure."
            )
    return directions


def _as_setting(directions: list[str], named: Any) -> str:
    return f"[{','.join(directions)}]" if isinstance(named, ListConfig) else directions[0]


def _fixed_settings(config: DictConfig, swept: Mapping[str, str]) -> dict[str, Any]:
    """What all trials have in common, by dotted key; interpolations as they are written, since trials resolve them."""
    left_out = (*NOT_COMPARED, "hydra")
    kept = {str(key): node for key, node in OmegaConf.to_container(config).items() if key not in left_out}  # type: ignore[union-attr]
    return {
        key: value
        for key, value in flatten_config(kept).items()
        if not any(key == searched or key.startswith(f"{searched}.") for searched in swept)
    }


def _check_same(
    study: "optuna.study.Study",
    space: dict[str, str],
    metrics: list[str],
    directions: list[str],
    fixed: dict[str, Any],
) -> None:
    """Raises ConfigError where the study has another search space, objective or config; a new one records its own."""
    now: dict[str, Any] = {"space": space, "optimized_metric": metrics, "direction": directions, "fixed": fixed}
    before = study.user_attrs.get("dlcpose")
    if before is None and not study.trials:
        study.set_user_attr("dlcpose", now)
        return
    before = before or {**now, "direction": [each.name.lower() for each in study.directions]}
    out = "Give another sweep.name, or the search space that it was begun with."
    for what in ("optimized_metric", "direction"):
        if before[what] != now[what]:
            there, here = ", ".join(before[what]), ", ".join(now[what])
            raise ConfigError(f"study {study.study_name}: its {what} is {there}, this command's is {here}. {out}")
    for key in (*before["space"], *space):
        old, new = before["space"].get(key), space.get(key)
        if old != new:
            raise ConfigError(
                f"study {study.study_name}: its search space has {f'{key}={old}' if old else f'no {key}'}, this "
                f"command's has {f'{key}={new}' if new else f'no {key}'}. {out}"
            )
    differing = effective_differences(before.get("fixed", fixed), fixed)  # older studies have no record of it
    if differing:
        key, (there, here) = next(iter(differing.items()))
        others = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        raise ConfigError(
            f"study {study.study_name}: its trials have another config ({key}: {there!r} there, {here!r} here{others}), so "
            "that their figures cannot be compared. Give another sweep.name, or the settings that it was begun with."
        )


def _count_failed(study: "optuna.study.Study") -> int:
    """How many trials have failed by themselves; Optuna counts those that were killed as failed, too."""
    from optuna.trial import TrialState

    return sum(KILLED not in trial.user_attrs for trial in study.get_trials(states=(TrialState.FAIL,)))


def _ask_again(study: "optuna.study.Study") -> int:
    """Close the trials that a killed sweep has left open, and queue their values; returns how many are queued."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study._storage.set_trial_user_attr(trial._trial_id, KILLED, True)
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial({name: value for name, value in trial.params.items() if name != TRIAL})
    return len(study.get_trials(states=(TrialState.WAITING,)))
