"""Figures of a checkpoint: the same as train's own, and the same as pycocotools finds in what was written."""

import contextlib
import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import dlcpose
from dlcpose.checkpoint import read_checkpoint
from dlcpose.cli.render import render_command
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.structures.errors import DataError, DlcposeError
from dlcpose.structures.split import Split
from dlcpose.tracking.evaluation import TrackingFigures
from dlcpose.training.evaluation import chosen_frames, print_result, refuse_split_settings, warn_of_learned
from tests.shells import Answer, reason, shell

Trained = tuple[Path, Answer]
OF_THE_MACHINE = {"images_per_s", "peak_memory_mb"}


def figures_in(run: Path) -> dict[str, float | None]:
    content: dict[str, float | None] = json.loads((run / "evaluation" / "metrics.json").read_text())
    return {name: value for name, value in content.items() if name not in OF_THE_MACHINE}


def newest_run(folder: Path) -> Path:
    (figures,) = (folder / "outputs" / "evaluate").glob("*/*/evaluation/metrics.json")
    return figures.parents[1]


def test_evaluating_again_gives_the_same_figures(trained: Trained, best: Path, here: Path) -> None:
    answer = shell("evaluate.py", f"checkpoint={best}")
    assert answer.code == 0, answer.err
    run = newest_run(here)
    assert figures_in(run) == figures_in(trained[0])
    for name in ("predictions.json", "labels.json", "per_keypoint.csv"):
        assert (run / "evaluation" / name).read_bytes() == (trained[0] / "evaluation" / name).read_bytes()
    assert answer.last_line.startswith(f"{run}: mean error ")
    assert len(list((run / "evaluation" / "pictures").iterdir())) == 5  # every test frame


@pytest.mark.parametrize("size", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_the_batch_size_changes_no_figure(trained: Trained, best: Path, here: Path, size: int) -> None:
    assert shell("evaluate.py", f"checkpoint={best}", f"batch_size={size}", "evaluation.pictures=0").code == 0
    ours, theirs = figures_in(newest_run(here)), figures_in(trained[0])
    for name, value in theirs.items():
        assert ours[name] == (value if value is None else pytest.approx(value, rel=1e-3, abs=1e-3)), name


def test_anyone_can_score_the_predictions_again(trained: Trained) -> None:
    folder = trained[0] / "evaluation"
    labels = json.loads((folder / "labels.json").read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(str(folder / "labels.json"))
        scored = COCOeval(gt, gt.loadRes(str(folder / "predictions.json")), "keypoints")
        scored.params.kpt_oks_sigmas = np.array(labels["categories"][0]["sigmas"])
        scored.params.areaRng, scored.params.areaRngLbl = [[0, 1e10]], ["all"]
        scored.evaluate()
        scored.accumulate()
    figures = figures_in(trained[0])
    assert figures["oks_ap"] == pytest.approx(float(scored.eval["precision"].mean()))
    assert figures["oks_ap50"] == pytest.approx(float(scored.eval["precision"][0].mean()))
    assert figures["oks_ar"] == pytest.approx(float(scored.eval["recall"].mean()))


def test_the_error_in_pixels_is_that_of_the_files(trained: Trained) -> None:
    folder = trained[0] / "evaluation"
    labels = {
        one["image_id"]: np.array(one["keypoints"]).reshape(-1, 3)
        for one in json.loads((folder / "labels.json").read_text())["annotations"]
    }
    found = json.loads((folder / "predictions.json").read_text())
    errors = np.concatenate(
        [
            np.hypot(*(np.array(one["keypoints"]).reshape(-1, 3) - labels[one["image_id"]])[:, :2].T)[
                labels[one["image_id"]][:, 2] > 0
            ]
            for one in found
        ]
    )
    assert len(found) == 5
    assert figures_in(trained[0])["mean_error_px"] == pytest.approx(errors.mean(), rel=1e-4)
    assert figures_in(trained[0])["rmse_px"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-4)
    with (folder / "per_keypoint.csv").open() as file:
        rows = list(csv.DictReader(file))
    counts = [int(row["labeled"]) for row in rows if row["keypoint"] in set(read_names(folder))]
    assert sum(counts) == len(errors)


def read_names(folder: Path) -> list[str]:
    names: list[str] = json.loads((folder / "labels.json").read_text())["categories"][0]["keypoints"]
    return names


def test_other_data_with_the_same_keypoints(best: Path, here: Path) -> None:
    render_command(here / "rendered", frames=6, format="coco", height=64, width=64, seed=9)
    answer = shell("evaluate.py", f"checkpoint={best}", "dataset=coco", f"dataset.root={here / 'rendered'}")
    assert answer.code == 0, answer.err
    assert figures_in(newest_run(here))["images"] == 6  # all of it, not the checkpoint's own test frames


def test_without_its_run_a_checkpoint_is_evaluated_on_what_is_chosen(best: Path, here: Path) -> None:
    # It names the data set that it was trained on, and nothing but a model is ever built from a checkpoint.
    moved = shutil.copy(best, here / "mouse.ckpt")
    assert reason(shell("evaluate.py", f"checkpoint={moved}")).startswith(
        f"dataset: {moved} lies in no folder of a run"
    )
    render_command(here / "rendered", frames=6, format="coco", height=64, width=64, seed=9)
    other = ("dataset=coco", f"dataset.root={here / 'rendered'}", "evaluation.pictures=0")
    assert shell("evaluate.py", f"checkpoint={moved}", *other).code == 0
    assert figures_in(newest_run(here))["images"] == 6


def test_the_data_set_is_the_runs_whatever_a_checkpoint_says(trained: Trained, best: Path, here: Path) -> None:
    run = here / "run"
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(trained[0] / "run.json", run)
    content = torch.load(best, weights_only=True)
    config = yaml.safe_load(content["dlcpose"]["config"])
    config["dataset"] = {"_target_": "dlcpose.datasets.coco.CocoFrames", "root": "/gone"}
    config["metric"] = {}
    content["dlcpose"]["config"] = yaml.safe_dump(config)
    torch.save(content, run / "checkpoints" / "best.ckpt")
    answer = shell("evaluate.py", f"checkpoint={run / 'checkpoints' / 'best.ckpt'}", "evaluation.pictures=0")
    assert answer.code == 0, answer.err
    assert figures_in(newest_run(here)) == figures_in(trained[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": None},
        {"dataset": 3},
        {"dataset": {"_target_": "os.system", "command": "touch mine"}},
        {"dataset": {"_target_": "dlcpose.datasets.synthetic.frames.SyntheticFrames", "frames": 10**9}},
        {"metric": {"x": 3}},
        {"metric": [1]},
        {"metric": {"x": {"_target_": "dlcpose.datasets.synthetic.frames.SyntheticFrames", "frames": 2}}},
        {"detector_stage": 3, "dataset": "a"},
    ],
)
@pytest.mark.parametrize("stage", ["", "detector"])
def test_a_run_json_of_somebody_elses_is_refused_in_one_line(
    trained: Trained, best: Path, here: Path, changes: dict[str, object], stage: str
) -> None:
    checkpoints = here / "run" / stage / "checkpoints"
    checkpoints.mkdir(parents=True)
    entry = json.loads((trained[0] / "run.json").read_text())
    (here / "run" / "run.json").write_text(json.dumps({**entry, "config": {**entry["config"], **changes}}))
    with pytest.raises(DlcposeError, match=next(iter({"dataset", "metric"} & set(changes)))) as refused:
        dlcpose.evaluate(shutil.copy(best, checkpoints), "evaluation.pictures=0")
    assert "\n" not in str(refused.value)
    assert not (here / "mine").exists()


@pytest.mark.parametrize("root", ["data", 2024, "~/mice"])
def test_a_relative_path_belongs_to_the_folder_where_the_run_began(
    trained: Trained, best: Path, here: Path, root: str | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(here / "lab"))
    render_command(here / "lab" / str(root).removeprefix("~/"), frames=6, format="coco", height=64, width=64, seed=9)
    (here / "run" / "checkpoints").mkdir(parents=True)
    shutil.copy(best, here / "run" / "checkpoints")
    entry = json.loads((trained[0] / "run.json").read_text())
    assert entry["working_folder"]
    entry["config"]["dataset"] = {"_target_": "dlcpose.datasets.coco.CocoFrames", "root": root}
    (here / "run" / "run.json").write_text(json.dumps({**entry, "working_folder": str(here / "lab")}))
    answer = shell("evaluate.py", "checkpoint=run/checkpoints/best.ckpt", "frames=all", "evaluation.pictures=0")
    assert answer.code == 0, answer.err
    assert figures_in(newest_run(here))["images"] == 6


def test_a_set_can_be_named(trained: Trained, best: Path, here: Path) -> None:
    assert shell("evaluate.py", f"checkpoint={best}", "frames=val", "evaluation.pictures=1").code == 0
    labels = json.loads((newest_run(here) / "evaluation" / "labels.json").read_text())
    assert {image["file_name"] for image in labels["images"]} == set(read_checkpoint(best).description.split.val)


def test_a_set_without_frames_names_those_that_have_some(best: Path) -> None:
    description = read_checkpoint(best).description
    without = replace(description, split=replace(description.split, test=()))
    data = SyntheticFrames(frames=4, height=32, width=32)
    with pytest.raises(DataError, match=r"^frames=test: .*frames=train or frames=val or frames=all"):
        chosen_frames(data, without, "test")
    elsewhere = replace(description, split=Split(train=("a",), val=("b",), test=("c",)))
    with pytest.raises(DataError, match=r"^frames=test: none of the 1 frame .*frames=all"):
        chosen_frames(data, elsewhere, "test")


@pytest.mark.parametrize("learned", [0, 1, 3])
def test_frames_that_the_model_was_trained_on_are_told(
    best: Path, caplog: pytest.LogCaptureFixture, learned: int
) -> None:
    data = SyntheticFrames(frames=4, height=32, width=32)
    keys = tuple(frame.key for frame in data.frames)
    description = replace(
        read_checkpoint(best).description, split=Split(("other", *keys[:learned]), keys[learned:], ())
    )
    warn_of_learned(data, range(4), description)
    assert ("frames=test" in caplog.text) == (learned > 0)
    assert not learned or f"{learned} of 4 frames trained on" in caplog.text


def test_a_shuffle_that_chooses_no_frames_is_refused(best: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SyntheticFrames, "split_settings", ("shuffle=2",))
    data, trained_here = SyntheticFrames(frames=4, height=32, width=32), read_checkpoint(best).description
    imported = replace(trained_here, split=Split((), (), ()))
    refuse_split_settings(data, imported, "test")  # which is that of the shuffle
    with pytest.raises(
        DlcposeError, match=r"^frames=all: shuffle=2 would have no effect.* Choose frames=test, or leave"
    ):
        refuse_split_settings(data, imported, "all")
    with pytest.raises(
        DlcposeError, match=r"^frames=test: shuffle=2 would have no effect.* own split\. Leave that out"
    ):
        refuse_split_settings(data, trained_here, "test")
    answer = shell("evaluate.py", f"checkpoint={best}", "dataset=synthetic", "dataset.frames=4")
    assert reason(answer).startswith("frames=all: shuffle=2 would have no effect, as all labeled frames are taken.")


def test_an_evaluation_with_a_mistake_leaves_nothing(best: Path, here: Path, shared_data: Path) -> None:
    answer = shell("evaluate.py", f"checkpoint={best}", "frames=tets")
    assert reason(answer) == "frames=tets: expected one of train, val, test, all."
    answer = shell("evaluate.py", f"checkpoint={best}", "frames=[val]")
    assert reason(answer) == "frames=['val']: expected one of train, val, test, all."
    answer = shell("evaluate.py", f"checkpoint={best}", "batch_size=0")
    assert reason(answer) == "batch_size: expected a whole number from 1, got 0."
    project = shared_data / "openfield-Pranav-2018-10-30"
    answer = shell("evaluate.py", f"checkpoint={best}", "dataset=deeplabcut", f"dataset.root={project}")
    said = reason(answer)
    assert "the data has snout, leftear, rightear, tailbase." in said
    assert not list(here.rglob("*evaluation*"))


def test_figures_of_tracks_are_printed_with_their_titles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_result({"hota": 0.9, "switches": 2.0, "clip_frames": 40.0}, {}, tmp_path)
    printed = capsys.readouterr().out.lower()
    assert all(TrackingFigures.figures[name].title.lower() in printed for name in ("hota", "switches", "clip_frames"))
