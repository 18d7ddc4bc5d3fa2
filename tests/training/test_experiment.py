"""What `train.py` leaves, and that the same seed leaves the same."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

import dlcpose
from dlcpose.checkpoint import read_checkpoint
from dlcpose.config.compose import compose
from dlcpose.datasets.base import read_image_file
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.instantiate import Instantiator
from dlcpose.metrics.base import EvaluatedFrames, figures_of
from dlcpose.metrics.deeplabcut import DeepLabCutFigures
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.structures.errors import ConfigError
from dlcpose.training.trainer import build_trainer
from tests.datasets.dlc_projects import SINGLE, ten_frames, write_project
from tests.shells import SHORT, SMALL, TINY, Answer, reason, shell

Trained = tuple[Path, Answer]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path).weights


def same_weights(first: Path, second: Path) -> bool:
    ours, theirs = weights(first), weights(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def epochs(path: Path) -> set[int]:
    with path.open(encoding="utf-8") as file:
        return {int(row["epoch"]) for row in csv.DictReader(file) if row["epoch"]}


def test_a_run_folder_holds_all_it_should_and_no_more(trained: Trained) -> None:
    run, _ = trained
    assert {path.name for path in run.iterdir()} == {
        *(".hydra", "checkpoints", "metrics.csv", "evaluation", "environment.txt", "split.json"),
        "augmentation.txt",
        *("learning_curve.png", "pictures", "train.log", "run.json"),
    }
    assert {path.name for path in (run / ".hydra").iterdir()} == {"config.yaml", "hydra.yaml", "overrides.yaml"}
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert {path.name for path in (run / "evaluation").iterdir()} == {
        *(
            "metrics.json",
            "metrics_info.json",
            "per_keypoint.csv",
            "predictions.json",
            "labels.json",
            "report.html",
            "pictures",
            "worst.png",
        ),
    }
    assert [path.name for path in (run / "pictures").iterdir()] == ["epoch_0001.jpg"]
    assert len(list((run / "evaluation" / "pictures").glob("*.jpg"))) == 2  # evaluation.pictures=2
    for picture in [*run.rglob("*.png"), *run.rglob("*.jpg")]:
        assert read_image_file(picture).std() > 0


def test_run_json_describes_the_run(trained: Trained) -> None:
    run, answer = trained
    lines = (run / "environment.txt").read_text().splitlines()
    assert lines[0].startswith("command: ")
    assert "dataset.frames=24" in lines[0]
    assert f"torch: {torch.__version__.partition('+')[0]}" in (run / "environment.txt").read_text()
    split = json.loads((run / "split.json").read_text())
    assert {name: len(keys) for name, keys in split.items()} == {"train": 17, "val": 2, "test": 5}
    for said in ("frames: 17 train, 2 val, 5 test", "effective batch 8", "learning rate 0.001", " on CPU", "epoch 1/1"):
        assert said in answer.out


def test_last_line_has_the_folder_and_headline_figures(trained: Trained) -> None:
    run, answer = trained
    figures = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert answer.last_line == (
        f"{run}: mean error {figures['mean_error_px']:.2f} px, PCK@0.1 {figures['pck@0.1']:.3f}, "
        f"OKS AP {figures['oks_ap']:.3f}"
    )


def test_libraries_say_nothing_beside_it(trained: Trained) -> None:
    _, answer = trained
    loggers = set(
        re.findall(r"\[([a-z_]+)[\w.]*\]\[[A-Z]+\]", answer.out + answer.err)
    )  # as Hydra names them in a line
    assert loggers <= {"dlcpose"}


def test_figures_are_flat_and_all_there(trained: Trained) -> None:
    figures = json.loads((trained[0] / "evaluation" / "metrics.json").read_text())
    design = (
        *("mean_error_px", "mean_error_px@0.6", "rmse_px", "pck@0.05", "pck@0.1", "oks_ap", "oks_ap50", "oks_ar"),
        *("dlc_rmse", "dlc_map", "false_negatives", "false_positives", "images", "images_per_s", "peak_memory_mb"),
    )
    assert set(design) <= figures.keys()
    assert all(value is None or isinstance(value, int | float) for value in figures.values())
    assert figures["images"] == 5


def test_the_best_epoch_is_chosen_by_the_validation_set(trained: Trained) -> None:
    run, _ = trained
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    watching = [state for name, state in content["callbacks"].items() if "BestCheckpoint" in name]
    assert "val/mean_error_px" in [state["monitor"] for state in watching]


def test_the_checkpoint_predicts_without_hydra_or_data(best: Path) -> None:
    image = SyntheticFrames(frames=1, height=64, width=64).read_image(0)
    (prediction,) = dlcpose.load(best).predict([image])
    assert prediction.keypoints_in_image.shape == (1, 15, 2)


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dlcpose.train(*SMALL, *TINY, "trainer.max_epochs=2", run_dir=tmp_path_factory.mktemp("two"))


def test_the_same_seed_gives_the_same_run(two_epochs: Path, here: Path) -> None:
    again = dlcpose.train(*SMALL, *TINY, "trainer.max_epochs=2", run_dir=here / "again")
    assert (again / "metrics.csv").read_bytes() == (two_epochs / "metrics.csv").read_bytes()
    assert same_weights(again / "checkpoints" / "last.ckpt", two_epochs / "checkpoints" / "last.ckpt")


@pytest.mark.slow
def test_another_seed_gives_another(two_epochs: Path, here: Path) -> None:
    other = dlcpose.train(*SMALL, *TINY, "trainer.max_epochs=2", "seed=1", run_dir=here / "other")
    assert (other / "metrics.csv").read_bytes() != (two_epochs / "metrics.csv").read_bytes()
    assert not same_weights(other / "checkpoints" / "last.ckpt", two_epochs / "checkpoints" / "last.ckpt")


@pytest.mark.slow  # as tests/datasets/test_datamodule.py
def test_workers_change_nothing(two_epochs: Path, here: Path) -> None:
    overrides = [override for override in SMALL if not override.startswith("datamodule.workers")]
    with_two = dlcpose.train(
        *overrides, *TINY, "trainer.max_epochs=2", "datamodule.workers=2", run_dir=here / "workers"
    )
    assert (with_two / "metrics.csv").read_bytes() == (two_epochs / "metrics.csv").read_bytes()
    assert same_weights(with_two / "checkpoints" / "last.ckpt", two_epochs / "checkpoints" / "last.ckpt")


def test_without_validation_frames_the_last_epoch_is_kept(here: Path) -> None:
    answer = shell("train.py", *SMALL, *TINY, "split.val=0", "split.test=0")
    assert answer.code == 0, answer.err
    assert "validation: none, so no epoch is the best by val/mean_error_px: the last one is kept" in answer.out
    assert "HINT" not in answer.out + answer.err
    assert "across ranks is zero" not in answer.out + answer.err
    assert [path.name for path in here.rglob("*.ckpt")] == ["last.ckpt"]


def test_a_run_that_ends_early_says_why(here: Path) -> None:
    stopping = ("callbacks=[checkpoint,early_stopping]", "callbacks.early_stopping.patience=2", "trainer.max_epochs=4")
    answer = shell("train.py", *SMALL, *TINY, *stopping, "best.monitor=val/mean_error_px@0.6", "split.test=0")
    assert answer.code == 0, answer.err
    assert "early stopping: ended after epoch 2: val/mean_error_px@0.6 was NaN in the last 2 validations" in answer.out


@pytest.mark.parametrize(
    ("overrides", "mode"),
    [
        (("model=resnet_18", "best.monitor=val/oks_ap"), "max"),
        (("model=bottom_up_resnet_18", "best.monitor=val/mean_error_px"), "min"),
        (("model=bottom_up_resnet_18", "best.monitor=val/loss_heatmap"), "min"),
    ],
)
def test_the_best_of_a_figure_is_what_the_figure_says(overrides: tuple[str, ...], mode: str, here: Path) -> None:
    config = compose(["callbacks=[default,early_stopping]", *overrides], run_dir=str(here))
    trainer = build_trainer(config, Instantiator())
    of_figure = [each for each in trainer.callbacks if getattr(each, "monitor", None) == config["best"]["monitor"]]
    assert len(of_figure) == 3  # best.ckpt, the watch for a collapse, and early stopping
    assert {each.mode for each in of_figure} == {mode}


def test_a_resumed_run_keeps_its_split_and_goes_on_counting(two_epochs: Path, here: Path) -> None:
    last = two_epochs / "checkpoints" / "last.ckpt"
    longer = (*SMALL, *TINY, "trainer.max_epochs=3", f"resume={last}")
    with pytest.raises(ConfigError, match="split"):
        dlcpose.train(*longer, "split=random", run_dir=here / "other")
    resumed = dlcpose.train(*longer, run_dir=here / "on")
    assert (resumed / "split.json").read_bytes() == (two_epochs / "split.json").read_bytes()
    assert epochs(two_epochs / "metrics.csv") == {0, 1}
    assert epochs(resumed / "metrics.csv") == {2}
    assert (
        read_checkpoint(resumed / "checkpoints" / "last.ckpt").description.split
        == read_checkpoint(last).description.split
    )
    assert not same_weights(resumed / "checkpoints" / "last.ckpt", last)


def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    two_epochs: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = PoseEstimator.training_step

    def killed(pipeline: PoseEstimator, batch: object, index: int) -> torch.Tensor:
        if (pipeline.current_epoch, index) == (1, 1):
            raise RuntimeError("killed")
        return step(pipeline, batch, index)  # type: ignore[arg-type]

    overrides = (*SMALL, *TINY, "trainer.max_epochs=2", "name=killed")
    with monkeypatch.context() as patched:
        patched.setattr(PoseEstimator, "training_step", killed)
        with pytest.raises(RuntimeError, match="killed"):
            shell("train.py", *overrides, "hydra.run.dir=outputs/killed/day/first")
    answer = shell("train.py", *overrides, "resume=last")
    assert answer.code == 0, answer.err
    (resumed,) = (here / "outputs" / "killed").glob("*/*")
    assert resumed.name == "first"  # it goes on in its own folder
    assert (resumed / "metrics.csv").read_bytes() == (two_epochs / "metrics.csv").read_bytes()
    for name in ("last.ckpt", "best.ckpt"):
        assert same_weights(resumed / "checkpoints" / name, two_epochs / "checkpoints" / name)


@pytest.mark.slow
def test_resuming_does_not_forget_a_better_epoch(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = (*SMALL, *TINY, "name=better")
    assert shell("train.py", *overrides, "trainer.max_epochs=1").code == 0
    (run,) = (here / "outputs" / "better").glob("*/*")
    best = (run / "checkpoints" / "best.ckpt").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(
            "dlcpose.pipelines.base.figures_of",
            lambda *given: {name: value + 1e3 for name, value in figures_of(*given).items()},
        )
        answer = shell("train.py", *overrides, "trainer.max_epochs=2", "resume=last")
    assert answer.code == 0, answer.err
    assert epochs(run / "metrics.csv") == {0, 1}
    assert (run / "checkpoints" / "best.ckpt").read_bytes() == best


@pytest.mark.slow
def test_a_folder_given_for_a_resumed_run_is_its_own(two_epochs: Path, here: Path) -> None:
    folder = here / "outputs" / "resnet_18" / "day"
    shutil.copytree(two_epochs, folder / "first")
    answer = shell(
        "train.py", *SMALL, *TINY, "trainer.max_epochs=3", "resume=last", f"hydra.run.dir={folder / 'second'}"
    )
    assert answer.code == 0, answer.err
    assert epochs(folder / "second" / "metrics.csv") == {2}


def test_resuming_where_nothing_was_left_or_frames_are_gone_is_refused(two_epochs: Path, here: Path) -> None:
    assert "resume=last: no run below" in reason(shell("train.py", *SMALL, *TINY, "resume=last", "name=new"))
    last = two_epochs / "checkpoints" / "last.ckpt"
    answer = shell("train.py", *SMALL, *TINY, f"resume={last}", "dataset.frames=20")
    assert "4 frames of that run are no longer in the data, such as labeled-data/rendered" in reason(answer)


def test_all_figures_of_a_project_have_its_pcutoff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = write_project(tmp_path / "project", {"cage": ten_frames() % 25 + 1}, {**SINGLE, "pcutoff": 0.3})
    asked: list[float | None] = []
    figures = DeepLabCutFigures.__call__

    def recorded(self: DeepLabCutFigures, frames: EvaluatedFrames) -> dict[str, float]:
        asked.extend([frames.pcutoff] * bool(frames.labels))
        return figures(self, frames)

    monkeypatch.setattr(DeepLabCutFigures, "__call__", recorded)
    dlcpose.train(*SHORT, *TINY, "dataset=deeplabcut", f"dataset.root={project}", run_dir=tmp_path / "run")
    assert len(asked) > 1  # of validation, and of the evaluation that follows
    assert set(asked) == {0.3}


def test_half_precision_on_a_cpu_is_bf16(here: Path) -> None:
    answer = shell("train.py", *SMALL, *TINY, "trainer.accelerator=cpu", "trainer.precision=16-mixed")
    assert answer.code == 0, answer.err
    assert ", bf16-mixed on CPU, " in answer.out  # torch has no float16 to train in there


def test_detector_with_one_frame_is_refused(here: Path) -> None:
    one = ("model=detection", "detector=ssdlite", "datamodule.batch_size=1", "trainer.limit_train_batches=1")
    said = reason(shell("train.py", *SMALL, *one))
    assert said.startswith("datamodule.batch_size=1: a layer of this model normalizes over its batch")
    assert said.endswith("Take datamodule.batch_size=2 or more.")


@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer=cpu", "trainer.precision=32-true"],
        pytest.param(["trainer=default", "trainer.accelerator=cpu"], marks=pytest.mark.slow),
    ],
)
def test_trainers_by_name(overrides: list[str], here: Path) -> None:
    short = ("trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1")
    answer = shell("train.py", *SMALL, *TINY, *overrides, *short)
    assert answer.code == 0, answer.err
    expected = "32-true on CPU" if "trainer=cpu" in overrides else " on CPU"
    assert expected in answer.out


@pytest.mark.slow  # as tests/runs/test_sweep.py
def test_a_swept_run_is_a_folder_for_each_job(here: Path) -> None:
    quick = ("callbacks=[progress]", "+trainer.enable_checkpointing=false", "datamodule.batch_size=2")
    answer = shell("train.py", "-m", "model=resnet_18,dekr_w18", "seed=0,1", *SMALL, *TINY[:2], *quick)
    assert answer.code == 0, answer.err
    (sweep,) = (here / "multirun").glob("*/*")
    jobs = sorted(folder for folder in sweep.iterdir() if folder.is_dir())
    assert [job.name for job in jobs] == ["0", "1", "2", "3"]
    chosen = [(job / ".hydra" / "overrides.yaml").read_text() for job in jobs]
    pairs = [("resnet_18", 0), ("resnet_18", 1), ("dekr_w18", 0), ("dekr_w18", 1)]
    for job, text, (model, seed) in zip(jobs, chosen, pairs, strict=True):
        assert f"- model={model}\n" in text
        assert f"- seed={seed}\n" in text
        assert (job / "metrics.csv").stat().st_size > 0
    tables = {(job / "metrics.csv").read_bytes() for job in jobs}
    assert len(tables) == 4


@pytest.mark.slow
def test_parts_of_a_named_model_are_replaced_by_the_shell(here: Path) -> None:
    quick = ("trainer.limit_train_batches=1", "datamodule.batch_size=2")
    answer = shell("train.py", "model=dekr_w32", "backbone=hrnet_w18", "optimizer.lr=5e-4", *SMALL, *quick)
    assert answer.code == 0, answer.err
    (run,) = (here / "outputs" / "dekr_w32").glob("*/*")
    config = read_checkpoint(run / "checkpoints" / "best.ckpt").description.config
    assert (config["backbone"]["name"], config["optimizer"]["lr"]) == ("hrnet_w18", 5e-4)
    assert config["head"]["_target_"] == "dlcpose.heads.dekr.DekrHead"
    assert "learning rate 0.0005" in answer.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "project"),
    [("openfield", "openfield-Pranav-2018-10-30"), ("reaching", "Reaching-Mackenzie-2018-08-30")],
)
def test_single_animal_experiments_on_real_data(experiment: str, project: str, shared_data: Path, here: Path) -> None:
    quick = ("input.longest_side=64", "+trainer.limit_test_batches=1", *TINY)
    answer = shell("train.py", f"experiment={experiment}", f"dataset.root={shared_data / project}", *SHORT, *quick)
    assert answer.code == 0, answer.err
    (run,) = (here / "outputs" / experiment).glob("*/*")
    split = json.loads((run / "split.json").read_text())
    frames = sum(len(keys) for keys in split.values())
    assert len(split["test"]) == round(0.2 * frames)
    # The end of the video: neighbors of a frame to train on are never tested.
    assert min(split["test"]) > max(split["train"])


@pytest.mark.slow
def test_the_top_down_experiment_on_real_animals(shared_data: Path, here: Path) -> None:
    root = shared_data / "flypair24-SLEAP-2024-12-20"
    tiny = ("detector.backbone.name=test_resnet", "detector.longest_side=96", "detector.training.epochs=1")
    crops = ("input.height=64", "input.width=64", "datamodule.batch_size=2", *TINY)
    overrides = ("experiment=flypair24_top_down", f"dataset.root={root}", *SHORT, "trainer.max_epochs=1", *tiny, *crops)
    answer = shell("train.py", *overrides)
    assert answer.code == 0, answer.err
    (run,) = (here / "outputs" / "flypair24_top_down").glob("*/*")
    figures = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert (figures["images"], figures["animals"]) == (14, 28)
    assert {"box_ap", "true_boxes/oks_ap", "true_boxes/mean_error_px"} <= set(figures)
