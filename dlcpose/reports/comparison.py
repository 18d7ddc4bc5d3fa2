"""Several runs beside each other: what they were set to, how good each setting is over its seeds, what it cost."""

import math
import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_COLUMNS = 12  # settings in a table; what differs besides is listed apart
SEED = "seed"
OTHERWISE = ("run_dir", "resume")  # differ from run to run and mean nothing; so does all below `sweep`
TEST_FIGURES = ("mean_error_px", "pck@0.1", "oks_ap", "box_ap")
COUNTS = ("false_negatives", "false_positives")  # of animals: shown where they differ
COSTS = ("minutes", "training_images_per_s", "peak_memory_mb", "parameters")
LOWER_IS_BETTER = ("_px", "loss", "false_negatives", "false_positives", "rmse", "minutes", "memory", "parameters")


@dataclass(frozen=True, eq=False)
class Run:
    """What is known of a run. figures: of its validation's best epoch (val/...) and of the test frames, by flat name.

    settings: by dotted key. choices: option of each config group. overrides, config_dir: as given. curves: (epoch,
    value) by name.
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


def command_again(overrides: Iterable[str], config_dir: str | None) -> str:
    """The command that makes a run again in a folder of its own, from what it was asked for."""
    kept = [override for override in overrides if not override.lstrip("+~").startswith(("sweep.", "resume="))]
    own = [] if config_dir is None else ["--config-dir", config_dir]
    return shlex.join(["python", "train.py", *own, *kept])


@dataclass(frozen=True)
class Spread:
    """A figure over the seeds of a setting. deviation: of the sample, NaN where there is one value."""

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
    """Runs in order, with what tells them apart. columns: dotted keys or names of groups; the seed is none of them.

    ranked_by: a figure, with its direction in `falls`. also: what differs besides, by key, and follows from the columns.
    importance: by column, and what it is. settings: best first; those without the figure last.
    """

    runs: tuple[Run, ...]
    columns: tuple[str, ...]
    settings: tuple[Setting, ...]
    ranked_by: str
    falls: bool
    figures: tuple[str, ...]
    also: Mapping[str, Sequence[Any]]
    importance: Mapping[str, float] = field(default_factory=dict)
    importance_note: str = ""

    def falls_for(self, name: str) -> bool:
        """Whether less of a figure is better."""
        return self.falls if name == self.ranked_by else lower_is_better(name)

    def row(self, run: Run) -> tuple[Any, ...]:
        """A run's values in the columns."""
        return tuple(value_of(run, column) for column in self.columns)


def compare(runs: Sequence[Run], *, by: str | None = None, falls: bool | None = None) -> Comparison:
    """Put runs beside each other, best setting first. by: the figure to rank by, their objective unless given.

    A figure of the validation set ranks them, where there is one: to choose by the test frames would flatter the choice.
    """
    columns, also = differing(runs)
    finished = [run for run in runs if run.status == "finished"]
    ranked_by = by or _objective(finished or runs)
    down = lower_is_better(ranked_by) if falls is None else falls
    settings = sorted(_settings(runs, columns), key=lambda setting: _rank(setting, ranked_by, down))
    shown = [ranked_by, *(name for name in (*TEST_FIGURES, *COUNTS) if _is_shown(name, finished))]
    places = {run.folder: place for place, setting in enumerate(settings) for run in setting.runs}
    ordered = sorted(runs, key=lambda run: (places[run.folder], _key(value_of(run, SEED))))
    made = Comparison(
        runs=tuple(ordered),
        columns=columns,
        settings=tuple(settings),
        ranked_by=ranked_by,
        falls=down,
        figures=tuple(dict.fromkeys(shown)),
        also=also,
    )
    return _with_effects(made)


def _is_shown(name: str, runs: Sequence[Run]) -> bool:
    values = {run.figures[name] for run in runs if math.isfinite(run.figures.get(name, math.nan))}
    return len(values) > (1 if name in COUNTS else 0)


def differing(runs: Sequence[Run]) -> tuple[tuple[str, ...], dict[str, list[Any]]]:
    """The fewest columns that tell runs apart, and all else that differs between them, with each run's value.

    What was given on the command line comes first; of the rest a column is made only where the columns before it do not
    already decide its value, as the choice of a model decides its backbone.
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
            continue  # of the seed, as that of the loader is
        known = [tuple(_key(values[column][place]) for column in columns) for place in range(len(runs))]
        if key in columns or len(columns) >= MOST_COLUMNS:
            continue
        if len({(*before, _key(value)) for before, value in zip(known, each, strict=True)}) > len(set(known)):
            columns.append(key)
    return tuple(columns), {key: each for key, each in values.items() if key not in columns}


def _is_a_setting(key: str) -> bool:
    return key not in (SEED, *OTHERWISE) and not key.startswith(("sweep.", "hydra"))


def _given(run: Run) -> list[str]:
    return [override.lstrip("+~").partition("=")[0] for override in run.overrides]


def value_of(run: Run, key: str) -> Any:
    """What a run was set to: of a group its option, None for what it has not."""
    return run.choices[key] if key in run.choices else run.settings.get(key)


def short_key(key: str) -> str:
    """The last part of a dotted key, or that before it where the last says nothing: backbone.name is the backbone."""
    before, _, last = key.rpartition(".")
    return before.rpartition(".")[2] if before and last == "name" else last


def _key(value: Any) -> tuple[str, Any]:
    """What sorts values of any kind, numbers by their size."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return ("", value) if is_number else (type(value).__name__, str(value))


def _settings(runs: Sequence[Run], columns: Sequence[str]) -> list[Setting]:
    together: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        together.setdefault(tuple(_key(value_of(run, column)) for column in columns), []).append(run)
    made = []
    for members in together.values():
        finished = [run for run in members if run.status == "finished"]
        made.append(
            Setting(
                values=tuple(value_of(members[0], column) for column in columns),
                runs=tuple(members),
                figures=_spreads([run.figures for run in finished]),
                costs=_spreads([run.costs for run in finished]),
            )
        )
    return made


def _spreads(each: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    names = dict.fromkeys(name for figures in each for name in figures)
    known = {name: [figures[name] for figures in each if math.isfinite(figures.get(name, math.nan))] for name in names}
    return {name: spread_of(values) for name, values in known.items() if values}


def spread_of(values: Iterable[float]) -> Spread:
    """Mean and deviation of the sample."""
    known = tuple(values)
    deviation = statistics.stdev(known) if len(known) > 1 else math.nan
    return Spread(known, statistics.fmean(known), deviation)


def _objective(runs: Sequence[Run]) -> str:
    """The figure that most runs were to optimise, or the first that they have."""
    named = [run.objectives[0] for run in runs if run.objectives]
    there = [name for run in runs for name in run.figures]
    wanted = [name for name in named if name in there] or [name for name in TEST_FIGURES if name in there] or named
    return max(wanted, key=wanted.count) if wanted else TEST_FIGURES[0]


def lower_is_better(name: str) -> bool:
    """Whether a figure is an error or a cost."""
    return any(part in name for part in LOWER_IS_BETTER)


def _rank(setting: Setting, name: str, falls: bool) -> float:
    if name not in setting.figures:
        return math.inf
    mean = setting.figures[name].mean
    return mean if falls else -mean


def _with_effects(made: Comparison) -> Comparison:
    """The share of a grid's variance that each column explains by itself, where several runs share its values."""
    from dataclasses import replace

    runs = [run for run in made.runs if run.status == "finished" and made.ranked_by in run.figures]
    shares = {}
    for column in made.columns:
        groups: dict[Any, list[float]] = {}
        for run in runs:
            groups.setdefault(_key(value_of(run, column)), []).append(run.figures[made.ranked_by])
        if len(groups) > 1 and 2 * len(groups) <= len(runs):
            shares[column] = explained_share(list(groups.values()))
    if not shares:
        return made
    note = "Share of the variance between runs that each setting explains by itself (η²)."
    return replace(made, importance=shares, importance_note=note)


def explained_share(groups: Sequence[Sequence[float]]) -> float:
    """η²: the variance between the means of groups as a share of all variance, in [0, 1]."""
    everything = [value for group in groups for value in group]
    middle = statistics.fmean(everything)
    whole = sum((value - middle) ** 2 for value in everything)
    between = sum(len(group) * (statistics.fmean(group) - middle) ** 2 for group in groups)
    return min(1.0, between / whole) if whole else 0.0
