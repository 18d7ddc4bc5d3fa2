"""What trackers are told of a run."""

import pytest

from dlcpose.runs.provenance import tracked_as


@pytest.mark.parametrize(
    ("sweep", "run_dir", "expected"),
    [
        (None, "/lab/outputs/mice/2026-01-01/12-00-00", ("mice", None)),
        ("rates", "/lab/multirun/rates/optimizer.lr-0.001__seed-0", ("optimizer.lr-0.001__seed-0", "rates")),
        ("rates", "/lab/multirun/rates/seed-0/detector", ("seed-0/detector", "rates")),  # its first stage
        ("rates", "/lab/outputs/mice/2026-01-01/12-00-00", ("mice", None)),  # a name, but no sweep
    ],
)
def test_jobs_of_a_sweep_go_by_their_folders(sweep: str | None, run_dir: str, expected: tuple[str, str | None]) -> None:
    assert tracked_as({"name": "mice", "sweep": {"name": sweep}, "run_dir": run_dir}) == expected
