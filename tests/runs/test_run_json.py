"""run.json: what it says of a run that ends well, badly or not at all, and which folder it refuses."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.config.dotted_keys import flatten_config
from dlcpose.runs.recording import recorded
from dlcpose.runs.run_json import (
    WITHOUT_EFFECT,
    TakenError,
    begin_run,
    comparable_config,
    config_differences,
    effective_differences,
    find_run,
    is_worker_process,
    read_run_json,
    update_run_json,
)
from dlcpose.structures.errors import DataError

CONFIGS = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans() | st.none(),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=8,
).filter(lambda node: isinstance(node, dict))


def config_of(folder: Path, **changes: Any) -> dict[str, Any]:
    plain = {"run_dir": str(folder), "resume": None, "optimized_metric": "val/e", "sweep": {"name": None}, "seed": 0}
    return {**plain, "callbacks": {"dirpath": f"{folder}/checkpoints"}, **changes}


def test_a_run_that_ends_is_finished(tmp_path: Path) -> None:
    assert recorded(lambda config: 2.5)(config_of(tmp_path)) == 2.5
    entry = read_run_json(tmp_path)
    assert entry is not None
    assert (entry["status"], entry["optimized_metric"]) == ("finished", {"val/e": 2.5})
    assert entry["config"]["callbacks"] == {"dirpath": "<run>/checkpoints"}  # the folder may be moved
    assert 0 <= entry["seconds"] < 60


def test_several_objectives_and_what_was_never_measured(tmp_path: Path) -> None:
    config = config_of(tmp_path, optimized_metric=["val/e", "val/f"])
    assert recorded(lambda _: [1.0, float("nan")])(config)
    assert (read_run_json(tmp_path) or {})["optimized_metric"] == {"val/e": 1.0, "val/f": None}


def test_failed_run_records_its_error(tmp_path: Path) -> None:
    def failing(config: dict[str, Any]) -> float:
        raise ValueError("no\n  frames")

    with pytest.raises(ValueError, match="frames"):
        recorded(failing)(config_of(tmp_path))
    entry = read_run_json(tmp_path) or {}
    assert (entry["status"], entry["error"]) == ("failed", "no frames")


def test_a_run_that_is_stopped_stays_running_and_counts_its_time(tmp_path: Path) -> None:
    def stopped(config: dict[str, Any]) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recorded(stopped)(config_of(tmp_path))
    assert (read_run_json(tmp_path) or {})["status"] == "running"
    update_run_json(tmp_path, began=time.time() - 100)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    os.utime(tmp_path / "checkpoints" / "last.ckpt", (time.time() - 40, time.time() - 40))
    recorded(lambda _: 1.0)(config_of(tmp_path, resume="last"))
    assert (read_run_json(tmp_path) or {})["seconds"] == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "the folder holds a run of this config. Resume it with resume=last, give another folder"),
        (
            {"seed": 1, "optimized_metric": "val/f"},
            "another config (optimized_metric: 'val/e' there, 'val/f' here and 1 more)",
        ),
    ],
)
def test_a_second_run_in_a_folder_is_refused(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    recorded(lambda _: 1.0)(config_of(tmp_path))
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(TakenError) as raised:
        recorded(lambda _: 2.0)(config_of(tmp_path, **changes))
    assert str(raised.value).startswith(str(tmp_path))
    assert expected in str(raised.value)
    assert (tmp_path / "run.json").read_bytes() == before


def test_second_run_in_a_starting_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").touch()  # the other has made it, and not yet written
    with pytest.raises(TakenError, match="another run has just started in this folder"):
        begin_run(config_of(tmp_path))


@pytest.mark.parametrize("left", ["", '{"status": "runn', "\0" * 512])
def test_a_file_that_a_kill_has_torn_blocks_no_folder(left: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(left)
    os.utime(tmp_path / "run.json", (time.time() - 60, time.time() - 60))
    begin_run(config_of(tmp_path))
    assert (read_run_json(tmp_path) or {})["status"] == "running"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_run_json_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"of": "another program"}')
    os.utime(tmp_path / "run.json", (0, 0))
    with pytest.raises(TakenError):
        begin_run(config_of(tmp_path))
    assert (tmp_path / "run.json").read_text() == '{"of": "another program"}'
    assert len(list(tmp_path.iterdir())) == 1


def test_a_pipe_or_a_nested_list_in_place_of_it_is_no_hang(tmp_path: Path) -> None:
    for name, make in (("pipe", os.mkfifo), ("nested", lambda path: path.write_text("[" * 200_000))):
        folder = tmp_path / name
        folder.mkdir()
        make(folder / "run.json")
        os.utime(folder / "run.json", (0, 0))
        with pytest.raises(TakenError):
            begin_run(config_of(folder))


@pytest.mark.parametrize(
    "wrong",
    [
        *({"seconds": "x"}, {"seconds": [1]}, {"seconds": -1.0}, {"seconds": float("nan")}, {"seconds": 10**400}),
        *({"began": "x"}, {"began": None}, {"seconds_before": {}}),
    ],
)
def test_seconds_of_a_strangers_run_are_numbers(wrong: dict[str, Any], tmp_path: Path) -> None:
    recorded(lambda _: 1.0)(config_of(tmp_path))
    content = read_run_json(tmp_path) or {}
    if "seconds" not in wrong:
        del content["seconds"]  # as of a run that was killed
    (tmp_path / "run.json").write_text(json.dumps({**content, **wrong}))
    with pytest.raises(DataError, match=next(iter(wrong))):
        begin_run(config_of(tmp_path, resume="last"))


@pytest.mark.parametrize("left", [None, ""])
def test_of_many_that_start_at_once_one_wins(left: str | None, tmp_path: Path) -> None:
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        if left is not None:
            (folder / "run.json").write_text(left)
            os.utime(folder / "run.json", (0, 0))
        together = threading.Barrier(4)

        def start(seed: int, folder: Path = folder, together: threading.Barrier = together) -> bool:
            together.wait()
            try:
                begin_run(config_of(folder, seed=seed))
            except TakenError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            won = list(pool.map(start, range(4)))
        assert sum(won) == 1, won
        assert (read_run_json(folder) or {})["config"]["seed"] == won.index(True)
        assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_a_resumed_run_may_change_its_config(tmp_path: Path) -> None:
    recorded(lambda _: 1.0)(config_of(tmp_path))
    recorded(lambda _: 2.0)(config_of(tmp_path, resume="last", seed=3))
    assert (read_run_json(tmp_path) or {})["config"]["seed"] == 3


def test_a_helper_leaves_the_record_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert is_worker_process()
    assert recorded(lambda _: 1.0)(config_of(tmp_path)) == 1.0
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert not is_worker_process()


@given(CONFIGS, CONFIGS)
def test_configs_differ_where_their_values_do(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert config_differences(first, first) == {}
    assert bool(config_differences(first, second)) == (
        flatten_config(first) != flatten_config(second) and not _only_none(first, second)
    )
    swapped = {key: (there, here) for key, (here, there) in config_differences(second, first).items()}
    assert swapped == config_differences(first, second)


@pytest.mark.parametrize("key", WITHOUT_EFFECT)
def test_settings_of_the_machine_make_no_other_run(key: str) -> None:
    nested: Any = 1
    for name in reversed(key.split(".")):
        nested = {name: nested, "seed": 0}
    assert effective_differences(nested, {"seed": 0}).keys() <= {f"{key.rpartition('.')[0]}.seed"}
    assert effective_differences({f"{key}_too": 1}, {f"{key}_too": 2}) == {f"{key}_too": (1, 2)}


def _only_none(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether they differ in nothing but keys without a value."""
    ours, theirs = flatten_config(first), flatten_config(second)
    return all(ours.get(key) == theirs.get(key) for key in {*ours, *theirs})


def test_what_makes_a_run_another_is_not_where_it_lies(tmp_path: Path) -> None:
    here, there = config_of(tmp_path / "a"), config_of(tmp_path / "b", resume="last", sweep={"name": "s", "trial": 3})
    assert comparable_config(here) == comparable_config(there)


@pytest.mark.parametrize("name", ["mice", "val", 'q"uote', "ä尾", "b\\s"])
def test_only_paths_in_the_run_folder_move_with_it(name: str, tmp_path: Path) -> None:
    run_dir = tmp_path / name
    outside = {"root": f"{run_dir}-data", "of": [f"{run_dir}2/a.png"], "url": f"s3:/{run_dir}/x", "monitor": "val/e"}
    recorded(lambda _: 1.0)(config_of(run_dir, dataset={**outside, "inside": [f"{run_dir}/a.png", str(run_dir)]}))
    moved = run_dir.rename(tmp_path / "moved")
    found = find_run(moved / "checkpoints" / "best.ckpt")
    assert found is not None
    assert found.config["dataset"] == {**outside, "inside": [f"{moved}/a.png", str(moved)]}
    assert found.config["callbacks"] == {"dirpath": f"{moved}/checkpoints"}


def test_torn_or_foreign_records_are_none(tmp_path: Path) -> None:
    for text in ("", "{", "[]", '{"status": "finished"}'):
        (tmp_path / "run.json").write_text(text)
        assert read_run_json(tmp_path) is None
    assert read_run_json(tmp_path / "nowhere") is None
