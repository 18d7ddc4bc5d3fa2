"""A mistake of the user's: one line on stderr, an exit code, and nothing half-written."""

import itertools
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import dlcpose
from dlcpose.config.models import multi_animal_models
from dlcpose.structures.errors import DlcposeError
from tests.datasets.dlc_projects import labels, ten_frames, write_project
from tests.shells import REPOSITORY, SHORT, SMALL, TINY, python, reason, shell

QUICK = ("datamodule.batch_size=2", "input.longest_side=64", *TINY)


NUMBERS = itertools.count()  # of runs: each has a folder of its own


def mistake(*overrides: str) -> str:
    """The message of a training from Python, which is the shell's line; Hydra's own main would compose it twice."""
    with pytest.raises(DlcposeError) as caught:
        dlcpose.train(*overrides, run_dir=f"run{next(NUMBERS)}")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def made(root: Path) -> Path:
    """A project of ten frames that trains: real pictures, points inside them."""
    write_project(root, {"cage": ten_frames() % 25})
    rng = np.random.default_rng(0)
    for number in range(10):
        picture = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        assert cv2.imwrite(str(root / f"labeled-data/cage/img{number:04d}.png"), picture)
    return root


def no_config(root: Path) -> None:
    (made(root) / "config.yaml").unlink()


def not_yaml(root: Path) -> None:
    (made(root) / "config.yaml").write_text("bodyparts: [nose, tail\nscorer: {")


def csv_lacks_a_column(root: Path) -> None:
    write_project(root, {"cage": ten_frames().iloc[:, :3]})


def image_missing(root: Path) -> None:
    (made(root) / "labeled-data/cage/img0003.png").unlink()


def image_without_a_head(root: Path) -> None:
    path = made(root) / "labeled-data/cage/img0003.png"
    path.write_bytes(path.read_bytes()[:10])


def image_truncated(root: Path) -> None:
    path = made(root) / "labeled-data/cage/img0003.png"
    path.write_bytes(path.read_bytes()[:60])


def all_points_missing(root: Path) -> None:
    write_project(root, {"cage": labels("cage", np.full((10, 4), np.nan))})


def no_images(root: Path) -> None:
    write_project(root, {})


def fine(root: Path) -> None:
    made(root)


@pytest.mark.parametrize(
    ("prepare", "overrides", "expected"),
    [
        (lambda root: None, (), ["mine", "folder"]),
        (no_config, (), ["mine", "config.yaml"]),
        (not_yaml, (), ["config.yaml", "yaml"]),
        (csv_lacks_a_column, (), ["CollectedData_Ada.csv", "tail", "y"]),
        (image_missing, (), ["img0003.png", "missing"]),
        (image_without_a_head, (), ["img0003.png"]),
        (image_truncated, (), ["img0003.png: expected an image, got 60 bytes that do not decode. Replace the file."]),
        (
            image_truncated,
            ("datamodule.workers=1",),
            ["img0003.png: expected an image, got 60 bytes that do not decode. Replace the file."],
        ),
        (all_points_missing, (), ["label"]),
        (no_images, (), ["mine"]),
        (fine, ("split.val=0.5", "split.test=0.5"), ["0.5 + 0.5 = 1", "leave frames to train on"]),
        (fine, ("split.val=0.48", "split.test=0.5"), ["no frames to train on (5 for validation, 5 to test)"]),
        (fine, ("split.test=3",), ["split.test", "fraction", "got 3"]),
        (fine, ("split=video",), ["needs at least 3 videos, got 1 (cage)", "split=block"]),
        (fine, ("split.val=0.01",), ["split.val=0.01 of 10 frames leaves the val set empty"]),
        (fine, ("split=stored",), ["no split of its own"]),
        (fine, ("dataset.scorer=Bob",), ["expected CollectedData_Bob.csv or .h5"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_data_that_cannot_be_trained_on(
    prepare: Callable[[Path], None], overrides: tuple[str, ...], expected: list[str], here: Path
) -> None:
    prepare(here / "mine")
    said = mistake("dataset=deeplabcut", "dataset.root=mine", *SHORT, *QUICK, *overrides)
    for part in expected:
        assert part in said
    assert not list(here.rglob("*evaluation*"))
    assert not list(here.rglob("*.partial"))
    assert not list(here.rglob("*.ckpt"))


def test_an_image_that_breaks_after_training_leaves_no_evaluation(here: Path) -> None:
    path = made(here / "mine") / "labeled-data/cage/img0009.png"  # a test frame
    path.write_bytes(path.read_bytes()[:60])
    answer = shell("train.py", "dataset=deeplabcut", "dataset.root=mine", *SHORT, *QUICK)
    assert "img0009.png: expected an image, got 60 bytes" in reason(answer)
    assert list(here.rglob("best.ckpt"))  # what was learned is not lost
    assert not list(here.rglob("*evaluation*"))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("trainer=gpu",), "trainer.accelerator=gpu: this machine has no GPU that torch can use. Take trainer=cpu"),
        (
            ("head.deconvolutions=-1",),
            "head.deconvolutions: expected at least 0, got -1",
        ),
        (("head.sigma=wide",), "head.sigma: expected float, got 'wide'."),
        (("+model.foo=1",), "model: nothing reads this key."),
        (("init_from=run/best.ckpt",), "init_from: expected keys of its own, got 'run/best.ckpt'."),
        (("evaluation=null",), "evaluation: expected keys of its own, got None."),
        (("datamodule=null",), "datamodule: expected keys of its own, got None."),
        (("callbacks.best=null",), "callbacks.best: expected a part with a _target_, got None."),
        (("logger.csv=false",), "logger.csv: expected a part with a _target_, got False."),
        (("run_dir=''",), "run_dir: expected a folder, got ''."),
        (("run_dir=null",), "run_dir: expected a folder, got None."),
        (("+evaluation.picture=1",), "evaluation.picture: nothing reads this key. Nearest: pictures."),
        (("+trainer.max_epoch=1",), "trainer.max_epoch: Trainer takes no such setting. Nearest: max_epochs"),
        (("trainer.precision=7",), "trainer: Precision 7 is invalid."),
        (("trainer.accelerator=abacus",), "trainer: "),
        (("optimizer.lr=-1",), "optimizer.lr: "),
        (("optimizer.weight_decay=inf",), "optimizer.weight_decay: "),
        (("datamodule.batch_size=0",), "datamodule.batch_size: expected at least 1, got 0"),
        (("datamodule.workers=-1",), "datamodule.workers: expected at least 0, got -1"),
        (("seed=-1",), "seed: expected a whole number from 0"),
        (("trust=mylab",), "trust: expected a list of packages, got 'mylab'. Write trust=[mylab]."),
        (("head._target_=os.system",), "head._target_: a config may not name os.system here."),
        (("head._target_=timm.models.os.system",), "head._target_: a config may not name timm.models.os.system here."),
        (
            ("head._target_=dlcpose.heads.heatmap.HeatmapHaed",),
            "head._target_: dlcpose.heads.heatmap has no HeatmapHaed. Nearest: HeatmapHead",
        ),
        (("backbone=timm", "backbone.name=convnext_tinny"), "backbone.name: timm "),
        (("backbone.checkpoint_path=none.pth",), "backbone.checkpoint_path: no such file: none.pth."),
        (("input=resize", "input.height=100"), "input: resize refuses its settings: Expected an input height"),
        (
            ("best.monitor=val/mean_eror_px",),
            "best.monitor: no epoch logs 'val/mean_eror_px'. Nearest: val/mean_error_px",
        ),
        (("optimized_metric=val/speed",), "optimized_metric: no epoch logs 'val/speed'."),
        (("optimized_metric=null",), "optimized_metric: expected a figure"),
        (("optimized_metric=[]",), "optimized_metric: expected a figure"),
        (
            ("scheduler=plateau", "scheduler.monitor=val/los"),
            "scheduler.monitor: no epoch logs 'val/los'. Nearest: val/loss",
        ),
        (
            ("callbacks=[early_stopping]", "callbacks.early_stopping.monitor=error"),
            "callbacks.early_stopping.monitor: no epoch logs 'error'.",
        ),
        (("best.mode=max",), "best.mode: no such key in this config."),
        (
            ("callbacks=[early_stopping]", "+callbacks.early_stopping.mode=max"),
            "callbacks.early_stopping.mode: val/mean_error_px is better when lower",
        ),
        (
            ("+callbacks.mine={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: val/oks_ap}",),
            "callbacks.mine.mode: val/oks_ap is better when higher",
        ),
        (("best.monitor=val/shift_x_px",), "callbacks.best.monitor: val/shift_x_px is better neither when higher nor"),
        (("callbacks=[early_stopping]", "split.val=0"), "callbacks.early_stopping.monitor: val/mean_error_px is a "),
        (("scheduler=plateau", "trainer.limit_val_batches=0"), "scheduler.monitor: val/loss is a figure of validation"),
        (
            ("scheduler=multistep", "scheduler.milestones=[95,80]"),
            "scheduler: multistep refuses its settings: expected ",
        ),
        (("dataset.frames=0",), "dataset.frames: expected at least 1, got 0."),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_configs_that_fit_no_sense(overrides: tuple[str, ...], expected: str, here: Path) -> None:
    if "trainer=gpu" in overrides and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert mistake(*SMALL, *overrides).startswith(expected)
    assert not list(here.rglob("checkpoints"))
    assert not list(here.rglob("*evaluation*"))


@pytest.mark.parametrize("split", ["val", "train"])
def test_a_term_of_the_loss_that_there_is_not_is_named_after_the_first_epoch(split: str, here: Path) -> None:
    assert mistake(*SMALL, *QUICK, f"best.monitor={split}/loss_nonsense") == (
        f"best.monitor: no epoch logs '{split}/loss_nonsense'. Nearest: {split}/loss, {split}/loss_heatmap."
    )


def test_mismatched_parts_are_reported_before_data_is_read(here: Path) -> None:
    nowhere = ("dataset=deeplabcut", "dataset.root=nowhere")
    assert mistake(*nowhere, "neck.level=7").startswith("neck.level=7:")
    assert "optimizer.lr" in mistake(*nowhere, "optimizer.lr=-1")
    assert "nowhere" in mistake(*nowhere, "name=other")


def test_a_model_of_one_animal_names_those_of_several(here: Path) -> None:
    assert mistake("model=resnet_50", "dataset.animals=2", *SMALL) == (
        "head: HeatmapHead predicts one animal, the data has up to 2 in an image. "
        f"Choose model={', '.join(multi_animal_models())}."
    )
    assert {"dekr_w32", "top_down_resnet_18"} <= set(multi_animal_models())
    assert not list(here.rglob("checkpoints"))


def test_an_output_folder_that_cannot_be(best: Path, here: Path) -> None:
    (here / "thesis.txt").write_text("")  # root may write anywhere, but in no file's inside
    for script, *arguments in (("train.py", *SMALL), ("evaluate.py", f"checkpoint={best}")):
        said = reason(shell(script, *arguments, "hydra.run.dir=thesis.txt/run"))
        assert said == "thesis.txt/run: Not a directory. Check the path, its permissions and the disk's room."
        said = reason(shell(script, *arguments, "run_dir=thesis.txt/run"))
        assert "thesis.txt/run: " in said
        assert "Not a directory" in said
    assert (here / "thesis.txt").read_text() == ""


class Anything:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os_system, ("touch stolen",)


def os_system(command: str) -> int:
    Path("stolen").touch()
    return 0


def test_a_checkpoint_of_something_else(here: Path) -> None:
    torch.save({"state_dict": {}}, here / "other.ckpt")
    torch.save({"dlcpose": {"format": 99, "versions": {"dlcpose": "9.0"}}}, here / "newer.ckpt")
    (here / "text.ckpt").write_text("hello")
    (here / "evil.ckpt").write_bytes(pickle.dumps({"dlcpose": Anything()}))
    (here / "empty.ckpt").touch()
    for name, expected in {
        "missing.ckpt": "missing.ckpt: no such checkpoint.",
        "other.ckpt": "other.ckpt: expected a .ckpt of a dlcpose run, got another program's checkpoint.",
        "newer.ckpt": "newer.ckpt: expected checkpoint format 1, got 99: it was written by dlcpose 9.0.",
        "text.ckpt": "text.ckpt: cannot be read as a checkpoint without running code",
        "evil.ckpt": "evil.ckpt: cannot be read as a checkpoint without running code",
        "empty.ckpt": "empty.ckpt: cannot be read as a checkpoint",
    }.items():
        with pytest.raises(DlcposeError, match=f"^{re.escape(expected)}"):
            dlcpose.evaluate(name, run_dir=f"run{next(NUMBERS)}")
        assert mistake(*SMALL, *TINY, f"resume={name}").startswith(expected)
    assert not list(here.rglob("evaluation"))
    assert not (here / "stolen").exists()


def test_a_torn_checkpoint(best: Path, here: Path) -> None:
    (here / "torn.ckpt").write_bytes(best.read_bytes()[:-100_000])
    assert reason(shell("evaluate.py", "checkpoint=torn.ckpt")).startswith("torn.ckpt: cannot be read as a checkpoint")


@pytest.mark.slow
def test_in_a_process_of_its_own_it_is_the_same(tmp_path: Path) -> None:
    image_truncated(tmp_path / "mine")
    arguments = ("dataset=deeplabcut", "dataset.root=mine", *SHORT, *QUICK, "datamodule.workers=1")
    answer = python(REPOSITORY / "train.py", *arguments, cwd=tmp_path)
    assert answer.code == 1
    assert reason(answer).endswith("img0003.png: expected an image, got 60 bytes that do not decode. Replace the file.")


@pytest.mark.parametrize(
    ("given", "expected"),
    [("nothere", "there is no nothere"), ("gone.png", "there is no gone.png"), ("a.mp4", "no image")],
)
def test_images_to_check_an_export_on_are_found_or_named(here: Path, given: str, expected: str) -> None:
    (here / "a.mp4").touch()
    arguments = ("--checkpoint", "best.ckpt", "--format", "onnx", "--output", "out.onnx", "--images", given)
    said = reason(shell("dlcpose/cli/app.py", "export", *arguments))
    assert "--images" in said
    assert expected in said
