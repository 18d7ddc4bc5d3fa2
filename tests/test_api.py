"""The package from Python: what its name offers, and that it does what the shell does."""

import json
import re
from pathlib import Path

import albumentations
import pytest

import dlcpose
from dlcpose.cli.render import render_command
from dlcpose.structures.errors import CheckpointError, ConfigError, InputError
from tests.shells import SMALL, TINY, Answer


def test_what_the_package_offers() -> None:
    assert dir(dlcpose) == ["DlcposeError", "PoseDataset", "Project", "available_models", "evaluate", "load", "train"]
    for name in dir(dlcpose):
        assert callable(getattr(dlcpose, name))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = dlcpose.trian  # type: ignore[attr-defined]


def test_models_by_name() -> None:
    assert {"resnet_18", "resnet_50", "hrnet_w32", "dekr_w32"} <= set(dlcpose.available_models())


def test_train_then_evaluate_then_predict(here: Path) -> None:
    run = dlcpose.train(*SMALL, *TINY, run_dir="run")  # a folder named from here
    assert run == here / "run"
    best = run / "checkpoints" / "best.ckpt"
    figures = dlcpose.evaluate(best, "evaluation.pictures=0", run_dir=here / "evaluated")
    written = json.loads((run / "evaluation" / "metrics.json").read_text())
    for name in ("mean_error_px", "pck@0.1", "oks_ap"):
        assert figures[name] == written[name]
    assert (here / "evaluated" / "evaluation" / "metrics.json").is_file()
    pictures = sorted((run / "evaluation" / "pictures").glob("*.jpg"))
    assert [prediction.key for prediction in dlcpose.load(best).predict(pictures)] == [str(path) for path in pictures]


def test_a_folder_is_made_where_none_is_given(here: Path) -> None:
    run = dlcpose.train(*SMALL, *TINY, "callbacks=[progress]", "+trainer.enable_checkpointing=false")
    assert run.parent == here / "outputs" / "python"
    assert (run / "metrics.csv").is_file()


def test_mistakes_are_raised(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"head\.deconvolutions"):
        dlcpose.train(*SMALL, "head.deconvolutions=-1", run_dir=here / "run")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        dlcpose.evaluate(here / "none.ckpt", run_dir=here / "run")
    with pytest.raises(ConfigError, match=r"dataset\.root must be given"):
        dlcpose.train("dataset=deeplabcut", run_dir=here / "run")


def test_unknown_names_raise_the_shells_message(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"model=resnet_19: no such option\. Nearest: resnet_18"):
        dlcpose.train("model=resnet_19", run_dir=here / "run")
    with pytest.raises(ConfigError, match=r"optimizer\.lrr: no such key in this config\. Nearest: optimizer\.lr"):
        dlcpose.train("optimizer.lrr=1", run_dir=here / "run")


@pytest.mark.parametrize(
    "override",
    ["model=resnet_18 seed=3", "model=resnet_18,", "optimizer.lr", "name=a=b", "unlabeled.videos=[a.mp4", "--debug"],
)
def test_an_override_that_cannot_be_read_is_named(here: Path, override: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(override)}: "):
        dlcpose.train("seed=1", override, run_dir=here / "run")


@pytest.mark.parametrize("override", ["seed=1,2", "seed=range(1,3)", "model=resnet_18,resnet_50"])
def test_several_values_are_refused_in_words_of_python(here: Path, override: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(override)}: expected one value, got several") as caught:
        dlcpose.train(override, run_dir=here / "run")
    assert "--multirun" not in str(caught.value)


@pytest.mark.parametrize("override", [["model=resnet_18"], {"model": "resnet_18"}, Path("x")])
def test_an_override_that_is_no_text_is_refused(here: Path, override: object) -> None:
    with pytest.raises(InputError, match=re.escape(repr(override))):
        dlcpose.train(override, run_dir=here / "run")
    with pytest.raises(InputError, match=re.escape(repr(override))):
        dlcpose.evaluate("best.ckpt", override, run_dir=here / "run")


def test_paths_with_odd_characters(trained: tuple[Path, Answer], here: Path) -> None:
    odd = here / "Ada's runs, of {May} = 1 $5"
    odd.mkdir()
    (odd / "best.ckpt").symlink_to(trained[0] / "checkpoints" / "best.ckpt")
    figures = dlcpose.evaluate(odd / "best.ckpt", "evaluation.pictures=0", run_dir=odd / "run")
    assert figures["images"] == 5


def test_a_project_and_its_data_set(here: Path) -> None:
    render_command(here / "project", frames=10, videos=1, height=64, width=64)
    project = dlcpose.Project(proj_root=here / "project")
    split = project.train_test_split(0.8)
    assert (len(split.train), len(split.test)) == (8, 2)
    turned = albumentations.Compose(
        [albumentations.HorizontalFlip(p=1.0)], keypoint_params=albumentations.KeypointParams(format="xy")
    )
    plain, mirrored = dlcpose.PoseDataset(project, mode="test"), dlcpose.PoseDataset(project, turned, mode="test")
    assert len(plain) == len(mirrored) == 2
    assert (plain[0].image[:, ::-1] == mirrored[0].image).all()
