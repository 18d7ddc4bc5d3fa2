"""Read the folders of runs, and compare the runs."""

import csv
import logging
import math
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dlcpose.config.dotted_keys import flatten_config
from dlcpose.config.folders import METRICS
from dlcpose.metrics.figure_info import FigureInfo
from dlcpose.reports.comparison import Comparison, Run, compare
from dlcpose.runs.run_json import FILE, TRIAL, read_run_json
from dlcpose.structures.checked_values import Fields, is_number
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import check_file, is_file, read_json, read_yaml, reading
from dlcpose.structures.errors import ConfigError, DataError, explain_os_errors
from dlcpose.structures.natural_order import natural_key

INFOS = METRICS.with_name("metrics_info.json")
MAX_BYTES = 2**27  # of a file of figures
MAX_COST = 1e15
MAX_FIGURE, MAX_EPOCH = 1e300, 1e9  # differences of figures are finite
MIN_TRIALS = 10  # of a study, below which importances mean nothing


def comparison_of(folders: Sequence[Path], *, by: str | None = None) -> Comparison:
    """The comparison of all runs in some folders. Raises DataError where there are none, ConfigError for an unknown `by`."""
    found = [run for folder in folders for run in run_folders(folder)]
    found = list({folder.resolve(): folder for folder in found}.values())
    if not found:
        raise DataError(
            f"{', '.join(map(str, folders))}: no run. Expected folders of runs, which hold run.json or {METRICS}, or a "
            "folder that holds such."
        )
    runs = [read_run(folder, name) for folder, name in zip(found, short_names(found), strict=True)]
    runs = _in_order_of_trials(runs)
    known = sorted({name for run in runs for name in run.figures})
    if by is not None and by not in known:
        raise ConfigError(f"--by {by}: no run has this figure. There are: {', '.join(known) or 'none'}.")
    comparison = compare(runs, by=by)
    for study in sorted({folder.parent / "study.db" for folder in found}):
        if is_file(study) and by is None:
            comparison = _with_importance(comparison, study)
    return comparison


def _in_order_of_trials(runs: Sequence[Run]) -> list[Run]:
    """Runs with the trials of each study in their order: of equally good ones the first is the best, to Optuna as well."""
    sweeps = {parent: place for place, parent in enumerate(dict.fromkeys(run.folder.parent for run in runs))}
    return sorted(runs, key=lambda run: (sweeps[run.folder.parent], _trial(run)))


def _trial(run: Run) -> int:
    """The number of a run's trial; 0 where it is of no study."""
    numbers = [text.removeprefix(f"{TRIAL}=") for text in run.overrides if text.startswith(f"{TRIAL}=")]
    return next((int(number) for number in numbers if re.fullmatch("[0-9]{1,9}", number)), 0)


@explain_os_errors()
def run_folders(folder: Path) -> list[Path]:
    """The runs in a folder: itself, or those anywhere below; what lies within a run belongs to it.

    Folders to which links lead back are looked into once.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Give run folders, or folders that hold them.")
    found, visited = list[Path](), set[tuple[int, int]]()
    waiting = [folder]  # no recursion: a folder may lie a thousand folders deep
    while waiting:
        place = waiting.pop()
        if read_run_json(place) is not None or (place / METRICS).exists():
            found.append(place)
        elif (own := ((facts := place.stat()).st_dev, facts.st_ino)) not in visited:
            visited.add(own)
            below = (entry for entry in place.iterdir() if entry.is_dir() and not entry.name.startswith("."))
            waiting += sorted(below, key=lambda entry: natural_key(entry.name), reverse=True)  # the last is taken first
    return found


def short_names(folders: Sequence[Path]) -> list[str]:
    """The paths of folders without the part that all have in common."""
    parts = [folder.resolve().parts for folder in folders]
    if len(parts) == 1:
        return [parts[0][-1]]
    depth = 0
    while all(len(each) > depth + 1 for each in parts) and len({each[depth] for each in parts}) == 1:
        depth += 1
    return ["/".join(each[depth:]) for each in parts]


def read_run(folder: Path, name: str) -> Run:
    """Read a run from its folder; without run.json, from the config that Hydra wrote."""
    entry = Fields(read_run_json(folder) or _entry_from_hydra(folder), str(folder / FILE))
    figures = _figures(Fields(_content(folder / METRICS), str(folder / METRICS)))
    figures |= _figures(entry.mapping("optimized_metric"))
    names = [name for name in ("training_images_per_s", "parameters") if entry.has(name)]
    costs = {name: entry.number(name, minimum=0, maximum=MAX_COST) for name in names}
    if entry.content.get("seconds"):
        costs["minutes"] = entry.number("seconds", minimum=0, maximum=MAX_COST) / 60
    costs |= {"peak_memory_mb": figures["peak_memory_mb"]} if "peak_memory_mb" in figures else {}
    config, status = entry.mapping("config"), entry.text("status", "")
    named = config.content.get("optimized_metric") or ()
    with reading(folder / FILE):
        settings = {key: _finite(value) for key, value in flatten_config(config.content).items()}
    return Run(
        name=name,
        folder=folder,
        status={"running": "unfinished"}.get(status, status),
        settings=settings,
        choices={str(key): value for key, value in entry.mapping("choices").content.items() if isinstance(value, str)},
        overrides=entry.texts("overrides"),
        figures=figures,
        costs=costs,
        curves=_curves(folder / "metrics.csv"),
        objectives=config.texts("optimized_metric") if isinstance(named, list) else (str(named),) if named else (),
        epochs=entry.whole("epochs") if entry.has("epochs") else None,
        pruned=entry.whole("pruned") if entry.has("pruned") else None,
        device=entry.text("device", ""),
        error=entry.text("error", ""),
        config_dir=entry.text("config_dir") if entry.has("config_dir") else None,
        infos=_infos(entry.content.get("metrics_info")) | _infos(_content(folder / INFOS)),
    )


def _figures(stated: Fields) -> dict[str, float]:
    """The figures among the values of a file. Raises DataError for one that no axis has room for."""
    names = [name for name, value in stated.content.items() if is_number(value)]
    return {str(name): stated.number(name, minimum=-MAX_FIGURE, maximum=MAX_FIGURE) for name in names}


def _finite(value: Any) -> Any:
    """A setting with texts for numbers that are not finite: they have no place on an axis, and NaN is unlike itself."""
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    is_infinite = isinstance(value, int | float) and not isinstance(value, bool) and not is_number(value)
    return str(value) if is_infinite else value


def _entry_from_hydra(folder: Path) -> dict[str, Any]:
    """A run's entry from Hydra's own files; interpolations are not resolved."""

    def content(name: str) -> Any:
        try:
            return read_yaml(folder / ".hydra" / name)
        except DataError:
            return None

    config, overrides = content("config.yaml"), content("overrides.yaml")
    return {
        "status": "finished",
        "config": config if isinstance(config, dict) else {},
        "overrides": overrides if isinstance(overrides, list) else [],
        "config_dir": _own_options(content("hydra.yaml")),
    }


def _own_options(hydra: Any) -> str | None:
    """The folder of `--config-dir`, from Hydra's own files."""
    try:
        sources = hydra["hydra"]["runtime"]["config_sources"]
        return next((str(source["path"]) for source in sources if source["provider"] == "command-line"), None)
    except (KeyError, TypeError):
        return None


def _content(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where there is no such file, or it is torn."""
    try:
        content = read_json(path, max_bytes=MAX_BYTES)
    except DataError:
        return {}
    return content if isinstance(content, dict) else {}


def _infos(stated: Any) -> dict[str, FigureInfo]:
    """The facts that a run's metrics stated about their figures, without test frames in its run.json alone."""
    try:
        return {str(name): FigureInfo.from_dict(info) for name, info in stated.items()}
    except (ValueError, AttributeError, TypeError, KeyError):
        return {}


def _curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """The series of a metrics.csv over its epochs: of several values in an epoch, the last."""
    series: dict[str, dict[float, float]] = {}
    try:
        check_file(path, max_bytes=MAX_BYTES)
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for name, text in row.items():
                    if name and name.startswith(("train/", "val/")) and text and row.get("epoch"):
                        epoch, value = float(row["epoch"]), float(text)
                        if not 0 <= epoch <= MAX_EPOCH or MAX_FIGURE < abs(value) < math.inf:
                            raise ValueError(f"{value} in epoch {epoch}")
                        series.setdefault(name, {})[epoch] = value
    except (DataError, OSError, ValueError, TypeError, csv.Error):
        return {}
    return {name: sorted(line.items()) for name, line in series.items()}


def _has_programs(database: Path) -> bool:
    """Whether reading a database may compute something, maybe without end: Optuna makes tables and indices alone."""
    with closing(sqlite3.connect(f"file:{quote(str(database.resolve()))}?mode=ro", uri=True)) as opened:
        kinds = opened.execute("select distinct type from sqlite_master").fetchall()
    return any(kind not in ("table", "index") for (kind,) in kinds)


def _with_importance(comparison: Comparison, study_file: Path) -> Comparison:
    """The comparison with Optuna's importances of a study with one objective, where it and scikit-learn are installed.

    Its default, fANOVA, does not work with numpy 2.
    """
    try:
        import optuna
        from optuna.importance import MeanDecreaseImpurityImportanceEvaluator, get_param_importances

        optuna.logging.set_verbosity(logging.ERROR)
        # Read only: Optuna would make its tables in any database, also in one that a link leads to.
        storage = f"sqlite:///file:{quote(str(study_file.resolve()))}?mode=ro&uri=true"
        if _has_programs(study_file):
            return comparison
        (summary,) = optuna.get_all_study_summaries(storage)
        study = optuna.load_study(study_name=summary.study_name, storage=storage)
        finished = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
        if len(finished) < MIN_TRIALS or len(study.directions) > 1:
            return comparison
        names = [key for key in finished[0].params if key in comparison.columns]
        shares = get_param_importances(study, evaluator=MeanDecreaseImpurityImportanceEvaluator(seed=0), params=names)
    except Exception:  # the extra is not installed, or the file is no study: SQLAlchemy raises errors of many types
        return comparison
    note = (
        f"Importance for {comparison.ranked_by}, by Optuna from a random forest over {counted(len(finished), 'trial')}."
    )
    shares = {name: float(share) for name, share in shares.items() if math.isfinite(share)}
    return replace(comparison, importance=shares, importance_note=note) if shares else comparison
