import os
from pathlib import Path

from dlcpose.loggers.wandb_logger import WandbTracker


def tracker(folder: Path) -> WandbTracker:
    return WandbTracker(str(folder), "mine", project="dlcpose", offline=True)


def test_a_run_that_goes_on_in_its_folder_keeps_its_id(tmp_path: Path) -> None:
    assert tracker(tmp_path).version is None
    kept = ["offline-run-20260101_120000-abcd1234", "run-20260102_080000-efgh5678"]
    for seconds, name in enumerate(kept):
        (tmp_path / "wandb" / name).mkdir(parents=True)
        os.utime(tmp_path / "wandb" / name, (seconds, seconds))
    (tmp_path / "wandb" / "latest-run").symlink_to(kept[0])
    assert tracker(tmp_path).version == "efgh5678"


def test_offline_is_for_one_run_not_for_the_process(tmp_path: Path) -> None:
    before = dict(os.environ)
    made = tracker(tmp_path)
    assert made._wandb_init["mode"] == "offline"
    assert dict(os.environ) == before


def test_jobs_of_a_sweep_are_grouped(tmp_path: Path) -> None:
    made = WandbTracker(str(tmp_path), "seed-0", "rates", project="dlcpose", offline=True)
    assert (made._wandb_init["name"], made._wandb_init["group"]) == ("seed-0", "rates")
    assert tracker(tmp_path)._wandb_init["group"] is None


def test_wandb_has_nothing_to_warn_of(tmp_path: Path) -> None:
    assert "anonymous" not in tracker(tmp_path)._wandb_init  # a setting of Lightning's that wandb no longer knows
