"""Comparison of runs: the settings that differ, and the figures and costs of each setting over its seeds."""

import math
import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dlcpose.metrics.base import builtin_infos
from dlcpose.metrics.figure_info import RUN_FIGURES, FigureInfo, find_info, headline_names, is_described

MAX_COLUMNS = 12  # settings in a table; others that differ are listed below it
SEED = "seed"
NO_SETTINGS = ("run_dir", "resume")  # differ from run to run without meaning, as does everything below `sweep`
COSTS: Mapping[str, FigureInfo] = {
    "minutes": FigureInfo("time", "min", 1, False),
    "training_images_per_s": FigureInfo("training speed", "images/s", 1, True),
    "peak_memory_mb": FigureInfo("memory", "MB", 0, False),
    "parameters": FigureInfo("parameters", "M", 2, False, scale=1e-6),
}


@dataclass(frozen=True, eq=False)
class Run:
    """One run, read from its folder.

    figures: of the best validation epoch (val/...) and of the test frames, by flat name; infos: the facts about them.
    settings: by dotted key; a number that is not finite is a text. choices: option of each config group. overrides,
    config_dir: as given on the command line. costs: by the names of COSTS. curves: (epoch, value) by name. objectives:
    names of the figures to optimize.
    """

    name: str
    folder: Path
    status: str
    settings: Mapping[str, Any]
    choices: Mapping[str, str]
    overrides: tuple[str, ...]
    figures: Mapping[str, float]
    costs: Mapping[str, float]
    curves: Mapping[str, Sequence[tuple[float, float]]]
    objectives: tuple[str, ...]
    epochs: int | None = None
    pruned: int | None = None
    device: str = ""
    error: str = ""
    config_dir: str | None = None
    infos: Mapping[str, FigureInfo] = field(default_factory=dict)


def command_again(overrides: Iterable[str], config_dir: str | None) -> str:
    """The command that repeats a run in a new folder, from its overrides."""
    kept = [override for override in overrides if not override.lstrip("+~").startswith(("sweep.", "resume="))]
    own = [] if config_dir is None else ["--config-dir", config_dir]
    return shlex.join(["python", "train.py", *own, *kept])


@dataclass(frozen=True)
class Spread:
    """A figure over the seeds of a setting: values, mean, sample standard deviation (NaN of a single value)."""

    values: tuple[float, ...]
    mean: float
    deviation: float


@dataclass(frozen=True)
class Setting:
    """Runs that differ in nothing but their seed. values: one for each column of the comparison."""

    values: tuple[Any, ...]
    runs: tuple[Run, ...]
    figures: Mapping[str, Spread]
    costs: Mapping[str, Spread]


@dataclass(frozen=True)
class Comparison:
    """Runs, best setting first, with the columns in which their settings differ.

    columns: dotted keys or names of groups, never the seed. settings: best first; those without the figure last.
    ranked_by: the figure that ranks them. figures: those of the table. infos: facts about figures. also: other keys that
    differ, with each run's value. importance: of each column, explained in importance_note.
    """

    runs: tuple[Run, ...]
    columns: tuple[str, ...]
    settings: tuple[Setting, ...]
    ranked_by: str
    figures: tuple[str, ...]
    infos: Mapping[str, FigureInfo]
    also: Mapping[str, Sequence[Any]]
    importance: Mapping[str, float] = field(default_factory=dict)
    importance_note: str = ""

    def info(self, name: str) -> FigureInfo:
        """The facts about a figure."""
        return find_info(name, self.infos)

    def is_lower_better(self, name: str) -> bool:
        """The direction of a figure."""
        return self.info(name).higher_is_better is False

    @property
    def best(self) -> Run | None:
        """The first finished run of the best setting; None where no finished run has the figure that ranks them."""
        runs = [run for setting in self.settings for run in setting.runs if run.status == "finished"]
        return next((run for run in runs if math.isfinite(run.figures.get(self.ranked_by, math.nan))), None)

    def row(self, run: Run) -> tuple[Any, ...]:
        """A run's values in the columns."""
        return tuple(value_of(run, column) for column in self.columns)


def compare(runs: Sequence[Run], *, by: str | None = None) -> Comparison:
    """The comparison of runs, best setting first.

    by: the figure to rank by, their objective unless given. A validation figure ranks them where there is one: to choose
    by the test frames would flatter the choice.
    """
    columns, also = differing(runs)
    finished = [run for run in runs if run.status == "finished"]
    infos = _infos_of(runs)
    ranked_by = by or _objective(finished or runs, infos)
    lower_is_better = find_info(ranked_by, infos).higher_is_better is False
    settings = sorted(_settings(runs, columns), key=lambda setting: _rank(setting, ranked_by, lower_is_better))
    shown = [ranked_by, *(name for name in _headlines(finished, infos) if _is_shown(name, finished, infos))]
    places = {run.folder: place for place, setting in enumerate(settings) for run in setting.runs}
    ordered = sorted(runs, key=lambda run: (places[run.folder], _key(value_of(run, SEED))))
    comparison = Comparison(
        runs=tuple(ordered),
        columns=columns,
        settings=tuple(settings),
        ranked_by=ranked_by,
        figures=tuple(dict.fromkeys(shown)),
        infos=infos,
        also=also,
    )
    return _with_effects(comparison)


def _infos_of(runs: Sequence[Run]) -> dict[str, FigureInfo]:
    """The facts about all figures of some runs; from this package's metrics where a run does not state its own."""
    infos = {key: info for run in runs for key, info in run.infos.items()}
    names = {name for run in runs for name in (*run.figures, *run.objectives)}
    if infos and all(is_described(name, infos) for name in names):
        return infos
    return infos | {key: info for key, info in builtin_infos().items() if key not in infos}


def _headlines(runs: Sequence[Run], infos: Mapping[str, FigureInfo]) -> list[str]:
    """The headline figures of the test frames."""
    names = dict.fromkeys(name for run in runs for name in run.figures)
    return [name for name in headline_names(names, infos) if name not in RUN_FIGURES]


def _is_shown(name: str, runs: Sequence[Run], infos: Mapping[str, FigureInfo]) -> bool:
    """Whether a figure is defined; one that counts is shown only where runs differ in it."""
    values = {run.figures[name] for run in runs if math.isfinite(run.figures.get(name, math.nan))}
    return len(values) > (1 if find_info(name, infos).is_count else 0)


def differing(runs: Sequence[Run]) -> tuple[tuple[str, ...], dict[str, list[Any]]]:
    """The columns in which runs differ, and the other keys that differ between them, with each run's value.

    Keys given on the command line come first. Another key becomes a column only where the columns before it do not
    determine its value already, as the choice of a model determines its backbone.
    """
    given = [key for run in runs for key in _given(run)]
    choices = [key for run in runs for key in run.choices]
    keys = [key for run in runs for key in run.settings]
    values = {key: [value_of(run, key) for run in runs] for key in dict.fromkeys([*given, *choices, *keys])}
    values = {key: each for key, each in values.items() if _is_a_setting(key) and any(v != each[0] for v in each)}
    columns = [key for key in dict.fromkeys(given) if key in values]
    seeds = [_key(value_of(run, SEED)) for run in runs]
    for key, each in values.items():
        if len({*zip(seeds, map(_key, each), strict=True)}) == len(set(seeds)) > 1:
            continue  # determined by the seed, as the seed of the loader is
        known = [tuple(_key(values[column][place]) for column in columns) for place in range(len(runs))]
        if key in columns or len(columns) >= MAX_COLUMNS:
            continue
        if len({(*before, _key(value)) for before, value in zip(known, each, strict=True)}) > len(set(known)):
            columns.append(key)
    return tuple(columns), {key: each for key, each in values.items() if key not in columns}


def _is_a_setting(key: str) -> bool:
    return key not in (SEED, *NO_SETTINGS) and not key.startswith(("sweep.", "hydra"))


def _given(run: Run) -> list[str]:
    return [override.lstrip("+~").partition("=")[0] for override in run.overrides]


def value_of(run: Run, key: str) -> Any:
    """A run's value of a dotted key, or its option of a group; None where it has neither."""
    return run.choices[key] if key in run.choices else run.settings.get(key)


def short_key(key: str) -> str:
    """The last part of a dotted key, or the one before it where the last is `name`: backbone.name is the backbone."""
    before, _, last = key.rpartition(".")
    return before.rpartition(".")[2] if before and last == "name" else last


def _key(value: Any) -> tuple[str, Any]:
    """A sort key for values of any kind, numbers by their size."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return ("", value) if is_number else (type(value).__name__, str(value))


def _settings(runs: Sequence[Run], columns: Sequence[str]) -> list[Setting]:
    together: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        together.setdefault(tuple(_key(value_of(run, column)) for column in columns), []).append(run)
    settings = []
    for members in together.values():
        finished = [run for run in members if run.status == "finished"]
        settings.append(
            Setting(
                values=tuple(value_of(members[0], column) for column in columns),
                runs=tuple(members),
                figures=_spreads([run.figures for run in finished]),
                costs=_spreads([run.costs for run in finished]),
            )
        )
    return settings


def _spreads(each: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    names = dict.fromkeys(name for figures in each for name in figures)
    known = {name: [figures[name] for figures in each if math.isfinite(figures.get(name, math.nan))] for name in names}
    return {name: spread_of(values) for name, values in known.items() if values}


def spread_of(values: Iterable[float]) -> Spread:
    """Mean and sample standard deviation."""
    known = tuple(values)
    deviation = statistics.stdev(known) if len(known) > 1 else math.nan
    return Spread(known, statistics.fmean(known), deviation)


def _objective(runs: Sequence[Run], infos: Mapping[str, FigureInfo]) -> str:
    """The figure that most runs optimized; without any, the first headline figure."""
    objectives = [run.objectives[0] for run in runs if run.objectives]
    known = {name for run in runs for name in run.figures}
    candidates = [name for name in objectives if name in known] or _headlines(runs, infos)[:1] or objectives
    return max(candidates, key=candidates.count) if candidates else next(iter(infos))


def _rank(setting: Setting, name: str, lower_is_better: bool) -> float:
    if name not in setting.figures:
        return math.inf
    mean = setting.figures[name].mean
    return mean if lower_is_better else -mean


def _with_effects(comparison: Comparison) -> Comparison:
    """The comparison with the share of variance that each column explains by itself, where runs share its values."""
    runs = [run for run in comparison.runs if run.status == "finished" and comparison.ranked_by in run.figures]
    shares = {}
    for column in comparison.columns:
        groups: dict[Any, list[float]] = {}
        for run in runs:
            groups.setdefault(_key(value_of(run, column)), []).append(run.figures[comparison.ranked_by])
        if len(groups) > 1 and 2 * len(groups) <= len(runs):
            shares[column] = explained_share(list(groups.values()))
    if not shares:
        return comparison
    note = "Share of the variance between runs that each setting explains by itself (η²)."
    return replace(comparison, importance=shares, importance_note=note)


def explained_share(groups: Sequence[Sequence[float]]) -> float:
    """η², the variance between the means of groups as a share of the total variance: in [0, 1]."""
    largest = max(abs(value) for group in groups for value in group) or 1.0
    groups = [[value / largest for value in group] for group in groups]  # the square of a diverged run's may overflow
    everything = [value for group in groups for value in group]
    middle = statistics.fmean(everything)
    whole = sum((value - middle) ** 2 for value in everything)
    between = sum(len(group) * (statistics.fmean(group) - middle) ** 2 for group in groups)
    return min(1.0, between / whole) if whole else 0.0
