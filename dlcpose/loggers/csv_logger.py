"""A CSV logger whose metrics.csv continues when a killed run is resumed."""

import csv
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers.csv_logs import CSVLogger, ExperimentWriter

from dlcpose.structures.atomic_files import atomic_path


class ContinuedCSVLogger(CSVLogger):
    """Lightning's CSVLogger, which deletes what it finds; this one keeps the rows of the steps before its first.

    A resumed run repeats the steps since its checkpoint: their earlier rows give way, so the file ends as that of a run
    that was never stopped. run_dir: of the run, where the file lies.
    """

    def __init__(self, run_dir: str | Path) -> None:
        super().__init__(run_dir, name="", version="")

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            Path(self.root_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = _ContinuedWriter(log_dir=self.log_dir)
        return self._experiment


class _ContinuedWriter(ExperimentWriter):
    begun = False

    def _check_log_dir_exists(self) -> None:
        """Nothing to check: existing rows are read when the first step is known."""

    def log_metrics(self, metrics_dict: dict[str, Any], step: int | None = None) -> None:
        if not self.begun:
            self.begun = True
            self._keep_rows_before(step or 0)
        super().log_metrics(metrics_dict, step)

    def save(self) -> None:
        """Append the rows since the last time. Raises OSError, with the file's name, where that fails."""
        try:
            super().save()
        except OSError as error:  # of a write, which says no file
            error.filename = error.filename or self.metrics_file_path
            raise

    def _keep_rows_before(self, step: int) -> None:
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or [])
            # A kill can tear the last row.
            kept = [row for row in reader if (row.get("step") or "").isdecimal() and int(row["step"]) < step]
        if not kept:
            path.unlink()
            return
        _write_whole(path, columns, kept)
        self.metrics_keys = columns

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        _write_whole(path, fieldnames, rows)


def _write_whole(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    """Write a table atomically: a run killed meanwhile keeps the rows it had."""
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(rows)
