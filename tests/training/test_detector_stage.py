"""A detector and its poses, one after the other, through the commands."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dlcpose
from dlcpose.config.compose import compose
from dlcpose.datasets.base import read_image_file
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.structures.errors import ConfigError
from dlcpose.training.detector_stage import detector_config
from tests.shells import SMALL, TINY, Answer, python, reason, shell

TINY_DETECTOR = (
    *("backbone@detector.backbone=timm", "detector.backbone.name=test_resnet"),
    *("detector.neck.channels=16", "detector.channels=16"),
    *("detector.threshold=0.0", "detector.max_animals=3"),  # two steps make it sure of nothing
)
TOP_DOWN = ("model=top_down_resnet_18", "dataset.animals=2", "pipeline.crops.threshold=0.0", *SMALL, *TINY)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """A run that trains both."""
    folder = tmp_path_factory.mktemp("both")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        answer = shell("train.py", *TOP_DOWN, *TINY_DETECTOR)
    assert answer.code == 0, answer.err
    (run,) = (folder / "outputs" / "top_down_resnet_18").glob("*/*")
    return run, answer


def only_run(name: str) -> Path:
    (run,) = (Path("outputs") / name).glob("*/*")
    return run


def figures_in(run: Path) -> dict[str, float | None]:
    content: dict[str, float | None] = json.loads((run / "evaluation" / "metrics.json").read_text())
    return content


def weights_in(run: Path) -> dict[str, torch.Tensor]:
    content: dict[str, Any] = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    return dict(content["state_dict"])


def test_one_command_trains_both(both: tuple[Path, Answer]) -> None:
    run, answer = both
    assert answer.out.index("stage 1 of 2: detector") < answer.out.index("stage 2 of 2: pose")
    assert answer.last_line.startswith(f"{run}: mean error ")
    assert ", box AP " in answer.last_line
    alone, figures = figures_in(run / "detector"), figures_in(run)
    assert {"box_ap", "box_ap50"} <= set(alone)
    assert "oks_ap" not in alone
    assert {"mean_error_px", "oks_ap", "box_ap", "true_boxes/mean_error_px", "true_boxes/oks_ap"} <= set(figures)
    assert figures["true_boxes/animals"] == figures["animals"]
    assert "true_boxes/box_ap" not in figures
    header = (run / "metrics.csv").read_text().split("\n")[0]
    assert {"val/mean_error_px", "val/oks_ap", "val/loss"} <= set(header.split(","))
    assert "val/box_ap" in (run / "detector" / "metrics.csv").read_text().split("\n")[0]
    detector, whole = weights_in(run / "detector"), weights_in(run)
    assert detector
    assert all(torch.equal(whole[name], value) for name, value in detector.items())
    assert set(whole) - set(detector)


@pytest.mark.parametrize(
    ("of_detector", "of_poses", "expected"),
    [(0.33, 27, 9), (0.33, 1, 1), (1.0, 27, 27), (None, 27, 27), (40, 27, 40), (0.33, -1, -1), (0.33, None, None)],
)
def test_epochs_of_the_detector_are_a_number_or_a_share(
    of_detector: float | None, of_poses: int | None, expected: int | None
) -> None:
    config = compose(
        [f"detector.training.epochs={'null' if of_detector is None else of_detector}", "model=top_down_resnet_18"]
    )
    config["trainer"]["max_epochs"] = of_poses
    assert detector_config(config)["trainer"]["max_epochs"] == expected


@pytest.mark.slow  # as tests/training/test_evaluation.py
def test_evaluating_again_gives_the_same_figures(both: tuple[Path, Answer], here: Path) -> None:
    best = both[0] / "checkpoints" / "best.ckpt"
    assert shell("evaluate.py", f"checkpoint={best}", "evaluation.pictures=0").code == 0
    ours, theirs = figures_in(only_run("evaluate")), figures_in(both[0])
    of_the_machine = {"images_per_s", "peak_memory_mb"}
    assert set(ours) == set(theirs)
    assert {name: ours[name] for name in set(ours) - of_the_machine} == {
        name: theirs[name] for name in set(theirs) - of_the_machine
    }


def test_the_detectors_own_checkpoint_is_evaluated_by_its_metrics(both: tuple[Path, Answer], here: Path) -> None:
    best = both[0] / "detector" / "checkpoints" / "best.ckpt"
    assert shell("evaluate.py", f"checkpoint={best}", "evaluation.pictures=0").code == 0
    ours = figures_in(only_run("evaluate"))
    assert ours["box_ap"] == pytest.approx(figures_in(both[0])["box_ap"])
    assert "oks_ap" not in ours


PREDICT = """
import sys, numpy, dlcpose
(poses,) = dlcpose.load(sys.argv[1], device="cpu").predict([sys.argv[2]])
numpy.savez(sys.argv[3], poses=poses.keypoints_in_image, boxes=poses.boxes_in_image, scores=poses.scores)
"""


@pytest.mark.slow  # as one of each family in tests/test_every_model.py
def test_the_checkpoint_alone_predicts_in_a_fresh_process(both: tuple[Path, Answer], here: Path) -> None:
    from dlcpose.visualization.pictures import write_picture

    best = Path(shutil.copy(both[0] / "checkpoints" / "best.ckpt", here / "moved.ckpt"))
    image = SyntheticFrames(frames=1, animals=2, height=64, width=64).read_image(0)
    write_picture(here / "frame.png", image)
    answer = python("-c", PREDICT, best, here / "frame.png", here / "found.npz", cwd=here)
    assert answer.code == 0, answer.err
    found = np.load(here / "found.npz")
    (poses,) = dlcpose.load(best, device="cpu").predict([read_image_file(here / "frame.png")])
    assert len(poses) >= 1
    np.testing.assert_allclose(found["poses"], poses.keypoints_in_image, atol=1e-3)
    np.testing.assert_allclose(found["boxes"], poses.boxes_in_image, atol=1e-3)
    assert np.isfinite(found["boxes"]).all()
    assert ((found["scores"] >= 0) & (found["scores"] <= 1)).all()


@pytest.mark.slow
def test_a_detector_trained_elsewhere_is_taken_as_it_is(both: tuple[Path, Answer], here: Path) -> None:
    best = both[0] / "detector" / "checkpoints" / "best.ckpt"
    answer = shell("train.py", *TOP_DOWN, *TINY_DETECTOR, f"detector.checkpoint={best}")
    assert answer.code == 0, answer.err
    run = only_run("top_down_resnet_18")
    assert not (run / "detector").exists()
    # The poses are trained as they are behind a detector of the run's own.
    ours, theirs = weights_in(run), weights_in(both[0])
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=0, msg=name)


@pytest.mark.slow
def test_true_boxes_need_no_detector_and_do_not_predict(here: Path) -> None:
    answer = shell("train.py", *TOP_DOWN, "detector=ground_truth")
    assert answer.code == 0, answer.err
    run = only_run("top_down_resnet_18")
    assert not (run / "detector").exists()
    figures = figures_in(run)
    assert figures["box_ap"] == pytest.approx(1)
    assert not any(name.startswith("true_boxes/") for name in figures)
    predictor = dlcpose.load(run / "checkpoints" / "best.ckpt", device="cpu")
    with pytest.raises(ConfigError, match="detector=ground_truth"):
        predictor.predict([np.zeros((64, 64, 3), np.uint8)])


@pytest.mark.slow  # as tests/pipelines/test_detection.py
def test_a_detector_is_trained_alone(here: Path) -> None:
    answer = shell("train.py", "model=detection", "detector=centernet", "dataset.animals=2", *SMALL, *TINY_DETECTOR)
    assert answer.code == 0, answer.err
    run = only_run("detection")
    assert ": box AP " in answer.last_line
    assert set(weights_in(run))
    assert all(name.startswith("detector.") for name in weights_in(run))
    answer = shell("evaluate.py", f"checkpoint={run / 'checkpoints' / 'best.ckpt'}", "evaluation.pictures=0")
    assert answer.code == 0, answer.err
    assert figures_in(only_run("evaluate"))["box_ap"] == figures_in(run)["box_ap"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model=top_down_resnet_18", "detector=none"], "detector: TopDown"),
        (["model=resnet_18", "detector=centernet"], "detector: BottomUp"),
        (["model=detection", "detector=ground_truth"], "detector: GroundTruthDetector"),
        (["model=top_down_resnet_18", "detector.checkpoint=gone.ckpt"], "detector.checkpoint: no such file: gone.ckpt"),
        (["model=top_down_resnet_18", "head=dekr"], "head: DekrHead"),
        (["model=top_down_resnet_18", "pipeline.crops.margn=0.1"], "Nearest: pipeline.crops.margin"),
        (["model=top_down_resnet_18", "detector_stage=none"], "detector_stage: CenterNetDetector"),
        (["model=top_down_resnet_18", "+detector_stage.seed=1"], "detector_stage.seed"),
        (["model=top_down_resnet_18", "detector_stage.best.monitor=val/oks_ap"], "detector_stage.best.monitor"),
        (["model=top_down_resnet_18", "input.height=100"], "multiple of 32"),
        (["model=top_down_resnet_18", "detector.training.lr=0.0"], "optimizer.lr"),
        (["model=detection", "best.monitor=val/oks_ap"], "no epoch logs 'val/oks_ap'. Nearest: val/box_ap"),
    ],
)
def test_mistakes_are_reported_before_training(arguments: list[str], said: str, here: Path) -> None:
    answer = shell("train.py", *arguments, *SMALL)
    assert said in reason(answer)
    assert not list(here.rglob("*.ckpt"))


OWN_DETECTOR = '''
"""One box of learned size in the middle of each frame: all that a detector must be, and no setting beside the box rule."""

import torch
from torch import Tensor, nn

from dlcpose.detectors.base import Boxes, BoxRule, Detector
from dlcpose.structures.batch import PoseBatch


class MiddleBox(Detector):
    def __init__(self, boxes: BoxRule) -> None:
        super().__init__(boxes)
        self.share = nn.Parameter(torch.tensor(0.5))  # of the frame's sides

    def _boxes(self, batch: PoseBatch) -> Tensor:
        sizes = self.share.new_tensor(batch.own_sizes).flip(1)  # (B, 2) as width, height
        return torch.cat([sizes * (1 - self.share), sizes * (1 + self.share)], dim=1) / 2

    def losses(self, batch: PoseBatch) -> dict[str, Tensor]:
        return {"distance": (self._boxes(batch)[:, None] - self.gt_boxes(batch)).abs().nanmean()}

    def detect(self, batch: PoseBatch) -> list[Boxes]:
        return [Boxes(box[None], box.new_ones(1)) for box in self._boxes(batch).detach()]
'''


@pytest.mark.slow  # as tests/test_docs_extending.py
def test_a_detector_of_the_users_own_is_trained_without_settings_of_ours(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "middle_box.py").write_text(OWN_DETECTOR)
    (here / "lab" / "detector").mkdir(parents=True)
    (here / "lab" / "detector" / "middle.yaml").write_text(
        "defaults: [{/detector/boxes@boxes: around_keypoints}, _self_]\n_target_: middle_box.MiddleBox\n"
    )
    monkeypatch.syspath_prepend(here)
    own = ("--config-dir", "lab", "detector=middle", "trust=[middle_box]", "detector_stage.optimizer.lr=0.05")
    answer = shell("train.py", *TOP_DOWN, *own)
    assert answer.code == 0, answer.err
    run = only_run("top_down_resnet_18")
    assert weights_in(run)["detector.share"] != 0.5
    assert weights_in(run / "detector")["detector.share"] == weights_in(run)["detector.share"]
    assert "learning rate 0.05" in answer.out.split("stage 2 of 2")[0]
