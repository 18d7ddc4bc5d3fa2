"""A bottom-up model and one conditioned on its poses, one after the other, through the commands."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import dlcpose
from dlcpose.checkpoint import read_checkpoint, restore
from dlcpose.cli.app import build_app
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.datasets.video import VideoReader
from dlcpose.exporters.pose_file import read_pose_tracks, read_provenance
from dlcpose.instantiate import Instantiator
from dlcpose.prediction.batch_norm_folding import fold_batch_norms
from dlcpose.prediction.resumable import Outcome
from dlcpose.structures.errors import CheckpointError, ConfigError, DataError, Stopped
from dlcpose.visualization.video_file import write_video
from tests.shells import SMALL, TINY, Answer, reason, shell

# Two steps make nobody sure of anything: whatever is found counts.
BOTTOM_UP = (
    *("model=bottom_up_resnet_18", "dataset.animals=2", *SMALL, *TINY),
    *("head.threshold=0.0001", "head.min_affinity=-10", "head.max_animals=4"),
)
CONDITIONAL = (
    *("model=ctd_prenet_hrnet_w32", "input.height=128", "input.width=128", "pipeline.crops.threshold=0.0", "neck=fpn"),
    *("dataset.animals=2", *SMALL, *TINY),
)


def trained(folder: Path, name: str, *overrides: str) -> tuple[Path, Answer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        answer = shell("train.py", f"name={name}", *overrides)
    assert answer.code == 0, answer.err
    (run,) = (folder / "outputs" / name).glob("*/*")
    return run, answer


@pytest.fixture(scope="module")
def bottom_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("first"), "bottom_up", *BOTTOM_UP)[0]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, bottom_up: Path) -> tuple[Path, Answer]:
    """A run whose conditions, also those it learns from, are the bottom-up model's."""
    source = ("detector=pose_boxes", f"detector.checkpoint={best(bottom_up)}", "condition=predicted")
    return trained(tmp_path_factory.mktemp("second"), "conditional_top_down", *CONDITIONAL, *source)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned from labels with errors, and knows no other model."""
    return trained(tmp_path_factory.mktemp("alone"), "conditional_top_down", *CONDITIONAL)[0]


def best(run: Path) -> Path:
    return run / "checkpoints" / "best.ckpt"


def figures_in(run: Path) -> dict[str, float | None]:
    content: dict[str, float | None] = json.loads((run / "evaluation" / "metrics.json").read_text())
    return content


def image(number: int = 0) -> np.ndarray:
    return SyntheticFrames(frames=number + 1, animals=2, height=64, width=64).read_image(number)


def test_the_bottom_up_model_s_own_figures_stand_beside(both: tuple[Path, Answer], bottom_up: Path) -> None:
    ours, theirs = figures_in(both[0]), figures_in(bottom_up)
    of_the_machine = {"images_per_s", "peak_memory_mb"}
    assert "around poses of a model" in both[1].out
    assert {"oks_ap", "conditions/oks_ap", "conditions/false_negatives"} <= set(ours)
    for name in set(theirs) - of_the_machine:
        assert ours.get(f"conditions/{name}") == theirs[name], name


def test_the_checkpoint_alone_predicts_where_the_other_is_not(both: tuple[Path, Answer], tmp_path: Path) -> None:
    moved = Path(shutil.copy(best(both[0]), tmp_path / "moved.ckpt"))
    content = torch.load(moved, weights_only=True)
    assert any(name.startswith("detector.bottom_up.") for name in content["state_dict"])
    content["dlcpose"]["config"] = content["dlcpose"]["config"].replace(".ckpt", ".gone")  # as on another machine
    torch.save(content, moved)
    predictor = dlcpose.load(moved, device="cpu")
    (poses,) = predictor.predict([image()])
    (conditions,) = predictor.stream_labeled(
        [SyntheticFrames(frames=1, animals=2, height=64, width=64)[0]], 1, predictor.pipeline.predict_conditions
    )
    assert 1 <= len(poses) <= len(conditions[0])
    assert np.isfinite(poses.keypoints_in_image).all()
    assert ((poses.scores >= 0) & (poses.scores <= 1)).all()


@pytest.mark.slow
def test_conditions_can_be_had_later(alone: Path, bottom_up: Path, both: tuple[Path, Answer]) -> None:
    with pytest.raises(ConfigError, match="conditions="):
        dlcpose.load(best(alone), device="cpu").predict([image()])
    (poses,) = dlcpose.load(best(alone), device="cpu", conditions=best(bottom_up)).predict([image()])
    assert len(poses) >= 1
    # The pose part is the checkpoint's own, whoever asks.
    given = dlcpose.load(best(alone), device="cpu", conditions=best(bottom_up)).pipeline.state_dict()
    checkpoint = read_checkpoint(best(alone))
    own = restore(checkpoint, Instantiator())
    assert all(torch.equal(own.state_dict()[name], value) for name, value in checkpoint.weights.items())
    fold_batch_norms(own)
    pose_part = {name: value for name, value in own.state_dict().items() if not name.startswith("detector.")}
    assert all(torch.equal(given[name], value) for name, value in pose_part.items())
    with pytest.raises(ConfigError, match="conditions"):
        dlcpose.load(best(bottom_up), device="cpu", conditions=best(bottom_up))


@pytest.mark.slow
def test_evaluating_with_a_model_or_its_stored_predictions_is_the_same(
    alone: Path, bottom_up: Path, here: Path
) -> None:
    stored = bottom_up / "evaluation" / "predictions.json"
    answers = [
        shell("evaluate.py", f"checkpoint={best(alone)}", "evaluation.pictures=0", "detector=pose_boxes", source)
        for source in (f"detector.checkpoint={best(bottom_up)}", f"detector.predictions={stored}")
    ]
    assert [answer.code for answer in answers] == [0, 0], answers[1].err
    first, second = (figures_in(run) for run in sorted((here / "outputs" / "evaluate").glob("*/*")))
    for name in ("conditions/oks_ap", "conditions/mean_error_px", "conditions/false_negatives", "conditions/images"):
        assert first[name] == pytest.approx(second[name], abs=1e-3), name


@pytest.mark.slow
def test_mistakes_are_reported_in_one_line(alone: Path, bottom_up: Path, here: Path) -> None:
    answer = shell("train.py", *CONDITIONAL, "detector=pose_boxes")
    assert reason(answer).startswith("detector: ")
    other = shell(
        "train.py",
        *CONDITIONAL,
        "detector=pose_boxes",
        f"detector.checkpoint={best(bottom_up)}",
        "dataset.skeleton=fly",
    )
    assert reason(other).startswith("detector.checkpoint: ")
    gone = shell("train.py", *CONDITIONAL, "detector=pose_boxes", "detector.checkpoint=gone.ckpt")
    assert "gone.ckpt: no such checkpoint" in reason(gone)
    assert not list((here / "outputs").rglob("*.ckpt"))


def test_a_video_is_tracked_by_conditioning(both: tuple[Path, Answer], tmp_path: Path) -> None:
    video = tmp_path / "animals.mp4"
    write_video(video, [image(0)] * 3, fps=10)
    checkpoint = best(both[0])
    command = ["track", str(video), "--conditional", str(checkpoint), "--device", "cpu", "--max-lost", "1"]
    done = CliRunner().invoke(build_app(), [*command, "--min-score", "0"])
    assert done.exit_code == 0, done.output
    tracks = read_pose_tracks(tmp_path / "animals.tracks.poses.h5")
    assert tracks.is_tracked
    assert tracks.frame_indices.tolist() == [0, 1, 2]
    following = read_provenance(tmp_path / "animals.tracks.poses.h5")[1].settings["following"]
    predictor = dlcpose.load(checkpoint, device="cpu")
    chosen = {"max_lost": 1, "min_score": 0.0, "precision": following["precision"]}
    tracked = list(predictor.follow((frame.image for frame in VideoReader(video)), **chosen))
    assert sum(len(each.prediction) for each in tracked) > 0
    for frame, each in enumerate(tracked):  # column i is track i
        np.testing.assert_array_equal(np.flatnonzero(tracks.is_present[frame]), np.sort(each.track_ids))
        for keypoints, track in zip(each.prediction.keypoints_in_image, each.track_ids.tolist(), strict=True):
            np.testing.assert_array_equal(tracks.keypoints_in_image[frame, track], keypoints)
    assert following["max_lost"] == 1
    for other in (["--video", str(video), "--animals", "2"], ["--review", "page.html"]):
        assert isinstance(CliRunner().invoke(build_app(), [*command, *other]).exception, ConfigError)
    assert isinstance(CliRunner().invoke(build_app(), ["track", str(video), "--max-lost", "1"]).exception, ConfigError)


@pytest.mark.slow
def test_followed_animals_are_never_more_than_there_are(both: tuple[Path, Answer], tmp_path: Path) -> None:
    video = tmp_path / "animals.mp4"
    write_video(video, [image(0)] * 4, fps=10)
    command = ["track", str(video), "--conditional", str(best(both[0])), "--device", "cpu", "--min-score", "0"]
    review = tmp_path / "review.html"
    done = CliRunner().invoke(build_app(), [*command, "--animals", "2", "--review", str(review)])
    assert done.exit_code == 0, done.output
    tracks = read_pose_tracks(tmp_path / "animals.tracks.poses.h5")
    assert tracks.is_tracked
    assert len(tracks.individuals) == 2
    assert tracks.is_present.any()
    assert review.exists()
    settings = read_provenance(tmp_path / "animals.tracks.poses.h5")[1].settings
    assert settings["tracking"]["animals"] == 2
    assert settings["following"]["min_score"] == 0
    for path in ("animals.tracks.poses.h5", "animals.followed.poses.h5", "review.html"):
        (tmp_path / path).unlink()
    (tmp_path / "file").write_text("")
    for late in (["--corrections", "none.json"], ["--review", str(tmp_path / "file" / "review.html")]):  # said at once
        assert isinstance(CliRunner().invoke(build_app(), [*command, "--animals", "2", *late]).exception, DataError)
    assert not list(tmp_path.glob("*.h5"))


@pytest.mark.slow
def test_following_that_was_stopped_goes_on_and_ends_with_the_same_table(
    both: tuple[Path, Answer], tmp_path: Path
) -> None:
    video = tmp_path / "animals.mp4"
    write_video(video, [image(number) for number in range(4)], fps=10)

    def follow(output: str, stop_after: int | None = None, **settings: Any) -> Outcome:
        def shown(done: int, total: int | None) -> None:
            if done == stop_after:
                raise KeyboardInterrupt

        predictor = dlcpose.load(best(both[0]), device="cpu")
        return predictor.follow_video(video, tmp_path / output, progress=shown, min_score=0.0, **settings)

    follow("straight.poses.h5")
    for number in (1, 3):
        with pytest.raises(Stopped, match=f"first {number} frame"):
            follow("stopped.poses.h5", stop_after=number)
    with pytest.raises(DataError, match="max_lost"):
        follow("stopped.poses.h5", max_lost=1)
    assert follow("stopped.poses.h5").frames == 4
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
        *("animals.mp4", "stopped.poses.h5", "straight.poses.h5")
    ]
    straight, stopped = (read_pose_tracks(tmp_path / f"{name}.poses.h5") for name in ("straight", "stopped"))
    assert straight.is_present.any(axis=1).all()
    for name in ("keypoints_in_image", "keypoint_scores", "scores", "times"):
        np.testing.assert_array_equal(getattr(stopped, name), getattr(straight, name))
    assert follow("stopped.poses.h5").was_there
    assert follow("stopped.poses.h5", max_lost=5, detect_every=1).was_there  # as they are by default
    with pytest.raises(DataError, match="max_lost"):
        follow("stopped.poses.h5", max_lost=1)
    assert not follow("stopped.poses.h5", max_lost=1, overwrite=True).was_there


@pytest.mark.slow
def test_a_video_is_followed_once_and_its_animals_are_joined_as_often_as_one_likes(
    both: tuple[Path, Answer], tmp_path: Path
) -> None:
    video = tmp_path / "animals.mp4"
    write_video(video, [image(0)] * 4, fps=10)
    command = ["track", str(video), "--conditional", str(best(both[0])), "--device", "cpu", "--min-score", "0"]
    assert CliRunner().invoke(build_app(), [*command, "--animals", "2"]).exit_code == 0
    tracks, followed = tmp_path / "animals.tracks.poses.h5", tmp_path / "animals.followed.poses.h5"
    first = read_pose_tracks(tracks)
    for again in ([*command, "--animals", "2"], ["track", str(followed), "--animals", "2"]):
        tracks.unlink()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dlcpose.predict.load", None)  # nothing is to be predicted
            done = CliRunner().invoke(build_app(), again)
        assert done.exit_code == 0, done.output
        np.testing.assert_array_equal(read_pose_tracks(tracks).keypoints_in_image, first.keypoints_in_image)
    other = [*command, "--animals", "2", "--max-lost", "1"]
    refused = CliRunner().invoke(build_app(), other)
    assert isinstance(refused.exception, DataError)
    assert "--overwrite" in str(refused.exception)
    assert "--output" in str(refused.exception)  # either of the two helps
    elsewhere = tmp_path / "short.tracks.poses.h5"
    assert CliRunner().invoke(build_app(), [*other, "--output", str(elsewhere)]).exit_code == 0
    assert (tmp_path / "short.followed.poses.h5").exists()
    assert CliRunner().invoke(build_app(), [*other, "--overwrite"]).exit_code == 0
    for name in ("animals.mp4", "animals.followed.h5"):
        refused = CliRunner().invoke(build_app(), [*command, "--output", str(tmp_path / name)])
        assert isinstance(refused.exception, ConfigError)
    assert isinstance(CliRunner().invoke(build_app(), [*command, "--seed", "1"]).exception, ConfigError)


@pytest.mark.slow
def test_what_cannot_be_followed_is_said(
    bottom_up: Path, alone: Path, both: tuple[Path, Answer], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="follow: BottomUp"):
        dlcpose.load(best(bottom_up), device="cpu").follow([image()])
    with pytest.raises(ConfigError, match="conditions="):
        dlcpose.load(best(alone), device="cpu").follow([image()])
    (tmp_path / "text.mp4").write_text("no video")
    failed = CliRunner().invoke(build_app(), ["track", str(tmp_path / "text.mp4"), "--conditional", str(best(both[0]))])
    assert isinstance(failed.exception, DataError)
    assert "cannot be read as a video after 0 frames" in str(failed.exception)
    assert not list(tmp_path.glob("*.h5"))


@pytest.mark.slow
def test_missing_conditions_file_of_a_checkpoint_is_reported(alone: Path, tmp_path: Path) -> None:
    predictor = dlcpose.load(best(alone), device="cpu", conditions=tmp_path / "gone.json")
    with pytest.raises(DataError, match=r"gone\.json: cannot be read"):
        predictor.predict([image()])
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        dlcpose.load(best(alone), device="cpu", conditions=tmp_path / "gone.ckpt")
