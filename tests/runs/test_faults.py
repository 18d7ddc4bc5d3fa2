"""Each write, fsync and rename fails in turn: what was there stays whole, and the message names the file."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlcpose.exporters.pose_file import read_pose_tracks, write_pose_tracks
from dlcpose.exporters.pose_tables import write_tables
from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.reports.comparison_page import write_comparison
from dlcpose.reports.evaluation import write_evaluation
from dlcpose.runs.checkpoint_io import WholeFiles
from dlcpose.runs.comparison import comparison_of
from dlcpose.runs.run_json import begin_run, read_run_json, update_run_json
from dlcpose.structures.errors import DlcposeError
from tests.exporters.made_up_frames import MadeUpFrames
from tests.metrics.made_up import SKELETON, herd
from tests.reports.test_evaluation import INFOS
from tests.runs.made_up_faults import failing_disk
from tests.runs.made_up_sweeps import made_up_run
from tests.structures.made_up_tracks import made_up_tracks

MOST = 60  # faults tried for a command


def evaluation(folder: Path) -> Callable[[], object]:
    labels, predictions = herd(1, frames=2, most=1)
    frames = EvaluatedFrames(predictions, labels, SKELETON)
    data = MadeUpFrames(labels)
    more: dict[str, Any] = {"figures": {"images": 2}, "infos": INFOS, "title": "t", "pictures": 1}
    return lambda: write_evaluation(folder / "evaluation", data=data, indices=range(2), frames=frames, **more)


def comparison(folder: Path) -> Callable[[], object]:
    made_up_run(folder.parent / "runs" / "x", "resnet_18", 0.001, 0)
    compared = comparison_of([folder.parent / "runs"])
    return lambda: write_comparison(folder / "comparison", compared, "t")


def poses(folder: Path) -> Callable[[], object]:
    tracks = made_up_tracks(frames=3)
    return lambda: write_pose_tracks(folder / "cage.poses.h5", tracks)


def tables(folder: Path) -> Callable[[], object]:
    tracks = made_up_tracks(frames=3)
    formats = ("csv", "coco")  # whose bytes are the same each time
    return lambda: write_tables(tracks, folder, "cage", formats=formats, existing="replace")


def record(folder: Path) -> Callable[[], object]:
    return lambda: update_run_json(folder, status="finished", config={})


def checkpoint(folder: Path) -> Callable[[], object]:
    return lambda: WholeFiles(folder).save_checkpoint({"state_dict": {"a": torch.ones(3)}}, folder / "last.ckpt")


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "command", [pytest.param(evaluation, marks=pytest.mark.slow), comparison, poses, tables, record, checkpoint]
)
def test_each_write_fsync_and_rename_fails_in_turn(
    command: Callable[[Path], Callable[[], object]], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    write = command(folder)
    write()
    names = set(content_of(folder))
    before = content_of(folder)
    tried = 0
    for place in range(1, MOST):
        with failing_disk(folder, place) as disk:
            try:
                write()
            except (OSError, DlcposeError) as error:
                message = str(error)
                assert str(folder) in message, (disk.steps[-1], message)
                assert "\n" not in message
                tried += 1
        now = content_of(folder)
        assert set(now) == names, f"{disk.steps[place - 1 :][:1]} at {place} leaves {set(now) ^ names}"
        if command is not evaluation:  # pictures and times in it may differ
            assert all(now[name] in (before[name], *_others(write, folder, name)) for name in names)
        if len(disk.steps) < place:
            break
    else:
        assert command is evaluation  # many files
    assert tried >= 3  # what HDF5 itself writes is out of reach
    write()
    assert set(content_of(folder)) == names


def _others(write: Callable[[], object], folder: Path, name: str) -> list[bytes]:
    """What a whole file of this name may hold besides: the same command again."""
    write()
    return [(folder / name).read_bytes()]


def test_a_run_that_finds_no_room_as_it_begins_leaves_no_record(tmp_path: Path) -> None:
    folder, tried = tmp_path / "run", 0
    for place in range(1, MOST):
        shutil.rmtree(folder, ignore_errors=True)
        with failing_disk(tmp_path, place) as disk:
            try:
                begin_run({"run_dir": str(folder), "resume": None})
            except OSError as error:
                tried += 1
                message = str(error)
                assert str(folder) in message
                assert not folder.exists() or not list(folder.iterdir()), disk.steps[-1]
            else:
                assert read_run_json(folder)
        if len(disk.steps) < place:
            break
    assert tried >= 4


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    poses(tmp_path)()
    np.testing.assert_array_equal(
        read_pose_tracks(tmp_path / "cage.poses.h5").keypoints_in_image, made_up_tracks(frames=3).keypoints_in_image
    )
    record(tmp_path)()
    assert read_run_json(tmp_path) == {"status": "finished", "config": {}}
