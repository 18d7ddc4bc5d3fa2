"""Teachers, their smoothed ensemble and a student, through the command."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcpose.datasets.coco import CocoFrames
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.exporters.pose_file import read_pose_tracks
from dlcpose.visualization.video_file import write_video
from tests.shells import SMALL, TINY, Answer, reason, shell

FEW = (
    *("experiment=few_labels", *SMALL, *TINY, "unlabeled.videos=[cage.mp4]", "pseudo_labels.teachers=2"),
    *("pseudo_labels.frames=5", "pseudo_labels.min_score=0.0", "unlabeled.clips=2", "unlabeled.begin=0.0"),
    *("unlabeled.full=0.0", "trainer.precision=32-true", "trainer.accelerator=cpu"),
    *("callbacks=[checkpoint]", "logger=[]", "evaluation.pictures=0"),
)


def make_video(folder: Path) -> None:
    frames = SyntheticFrames(frames=16, videos=1, height=64, width=64, seconds_between_frames=0.04, seed=3)
    write_video(folder / "cage.mp4", (frames.read_image(index) for index in range(16)), fps=25)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    folder = tmp_path_factory.mktemp("few")
    make_video(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        answer = shell("train.py", *FEW, "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    return folder / "run", answer


def weights_in(run: Path, name: str = "best") -> dict[str, torch.Tensor]:
    content: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return dict(content["state_dict"])


def test_one_command_trains_teachers_and_their_student(trained: tuple[Path, Answer]) -> None:
    run, answer = trained
    said = [answer.out.index(each) for each in ("stage 1 of 3: teacher 1", "stage 2 of 3", "stage 3 of 3: pose")]
    assert said == sorted(said)
    assert answer.last_line.startswith(f"{run}: mean error ")
    labels = CocoFrames(run / "pseudo_labels" / "dataset")
    smoothed = read_pose_tracks(run / "pseudo_labels" / "smoothed" / "00_cage.poses.h5")
    assert 1 <= len(labels) <= 5
    for frame in labels.frames:
        torch.testing.assert_close(
            frame.keypoints_in_image[0], smoothed.keypoints_in_image[frame.frame_index, 0], rtol=0, atol=1e-3
        )
    split = json.loads((run / "split.json").read_text())
    assert split == json.loads((run / "teachers" / "2" / "split.json").read_text())
    assert not any("pseudo" in key for keys in split.values() for key in keys)
    first, second = weights_in(run / "teachers" / "1"), weights_in(run / "teachers" / "2")
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert (run / "evaluation" / "metrics.json").exists()
    assert (run / "teachers" / "1" / "evaluation" / "metrics.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["unlabeled=none", "~unlabeled.videos"], "pseudo_labels: they are made of videos"),
        (["model=bottom_up_resnet_18", "dataset.animals=2"], "unlabeled/losses=none"),
        pytest.param(["unlabeled.videos=[gone.mp4]"], "unlabeled.videos: gone.mp4", marks=pytest.mark.slow),
        pytest.param(["unlabeled.frames=40"], "unlabeled.frames", marks=pytest.mark.slow),
        pytest.param(["unlabeled.losses.pose_pca.explaned=0.9"], "explained", marks=pytest.mark.slow),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(arguments: list[str], said: str, here: Path) -> None:
    make_video(here)
    kept = [each for each in FEW if not ("~unlabeled.videos" in arguments and each.startswith("unlabeled."))]
    answer = shell("train.py", *kept, *(each for each in arguments if not each.startswith("~")))
    assert said in reason(answer)
    assert not list(here.rglob("*.ckpt"))


@pytest.mark.slow
def test_a_run_without_videos_is_what_it_was_and_the_first_teacher_is_that_run(
    trained: tuple[Path, Answer], here: Path
) -> None:
    shutil.copy(trained[0].parent / "cage.mp4", here)
    common = [each for each in FEW if not each.startswith(("experiment", "unlabeled", "pseudo_labels"))]
    assert shell("train.py", *common, "hydra.run.dir=plain").code == 0
    assert shell("train.py", *FEW, "unlabeled/losses=none", "hydra.run.dir=few").code == 0
    plain, teacher = weights_in(Path("plain")), weights_in(Path("few") / "teachers" / "1")
    for name, value in plain.items():
        torch.testing.assert_close(teacher[name], value, rtol=0, atol=0, msg=name)


@pytest.mark.slow
def test_a_run_that_was_stopped_between_its_stages_or_within_one_ends_as_the_other(
    trained: tuple[Path, Answer], here: Path
) -> None:
    run, _ = trained
    shutil.copy(trained[0].parent / "cage.mp4", here)  # encoded anew it might be another
    for name, gone in (
        ("teachers", ["teachers/2", "pseudo_labels", "checkpoints", "evaluation"]),
        ("predictions", ["pseudo_labels/dataset", "pseudo_labels/predictions/teacher_2", "checkpoints", "evaluation"]),
        ("student", ["checkpoints", "evaluation"]),
    ):
        again = Path(shutil.copytree(run, here / name))
        for part in gone:
            shutil.rmtree(again / part)
        record = json.loads((again / "run.json").read_text())
        (again / "run.json").write_text(json.dumps({**record, "status": "running"}))
        answer = shell("train.py", *FEW, f"hydra.run.dir={again}", "resume=last")
        assert answer.code == 0, answer.err
        assert weights_in(again).keys() == weights_in(run).keys()
        for key, value in weights_in(run).items():
            torch.testing.assert_close(weights_in(again)[key], value, rtol=0, atol=0, msg=f"{name}: {key}")


@pytest.mark.slow
def test_teachers_that_were_trained_elsewhere_serve_and_those_that_know_the_test_frames_do_not(
    trained: tuple[Path, Answer], here: Path
) -> None:
    shutil.copy(trained[0].parent / "cage.mp4", here)
    teachers = ",".join(str(trained[0] / "teachers" / each / "checkpoints" / "best.ckpt") for each in "12")
    given = ["pseudo_labels.teachers=0", f"pseudo_labels.checkpoints=[{teachers}]"]
    answer = shell("train.py", *FEW, *given, "hydra.run.dir=given")
    assert answer.code == 0, answer.err
    assert not (here / "given" / "teachers").exists()
    for name, value in weights_in(trained[0]).items():
        torch.testing.assert_close(weights_in(here / "given")[name], value, rtol=0, atol=0, msg=name)
    assert "validates or tests on" in reason(shell("train.py", *FEW, *given, "split=random", "split.seed=5"))
