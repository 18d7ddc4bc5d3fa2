"""The rows of a resumed run are those of one that was never stopped."""

import csv
from pathlib import Path

import pandas as pd
import pytest

from dlcpose.loggers.csv_logger import ContinuedCSVLogger


def logged(folder: Path, rows: list[tuple[int, dict[str, float]]]) -> bytes:
    logger = ContinuedCSVLogger(folder)
    for step, metrics in rows:
        logger.log_metrics(metrics, step)
    logger.save()
    return (folder / "metrics.csv").read_bytes()


ROWS: list[tuple[int, dict[str, float]]] = [
    *((0, {"lr": 1e-3}), (1, {"loss": 0.5}), (1, {"error": 7.25})),
    *((2, {"lr": 5e-4}), (3, {"loss": 0.25}), (3, {"error": 3.0, "late": 1.0})),
]


@pytest.mark.parametrize("stopped_after", range(1, len(ROWS) + 1))
@pytest.mark.parametrize("resumed_at", [0, 3])
def test_stopped_anywhere_and_resumed_it_ends_the_same(tmp_path: Path, stopped_after: int, resumed_at: int) -> None:
    straight = logged(tmp_path / "straight", ROWS)
    logged(tmp_path / "stopped", ROWS[:stopped_after])
    if stopped_after < resumed_at:
        pytest.skip("nothing was saved there to resume from")
    assert logged(tmp_path / "stopped", ROWS[resumed_at:]) == straight


def test_a_torn_last_row_gives_way(tmp_path: Path) -> None:
    straight = logged(tmp_path / "straight", ROWS)
    whole = logged(tmp_path / "torn", ROWS[:4])
    (tmp_path / "torn" / "metrics.csv").write_bytes(whole[:-3])
    assert logged(tmp_path / "torn", ROWS[3:]) == straight


def test_killed_as_a_column_is_added_it_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = logged(tmp_path / "killed", ROWS[:2])

    def killed(*given: object) -> None:
        raise SystemExit

    monkeypatch.setattr(csv.DictWriter, "writeheader", killed)
    with pytest.raises(SystemExit):
        logged(tmp_path / "killed", ROWS[1:3])
    monkeypatch.undo()
    assert (tmp_path / "killed" / "metrics.csv").read_bytes() == before
    assert logged(tmp_path / "killed", ROWS[1:]) == logged(tmp_path / "straight", ROWS)


def test_a_fresh_run_keeps_nothing_of_another(tmp_path: Path) -> None:
    logged(tmp_path, ROWS)
    logged(tmp_path, [(0, {"loss": 9.0})])
    assert pd.read_csv(tmp_path / "metrics.csv").to_dict("records") == [{"loss": 9.0, "step": 0}]
