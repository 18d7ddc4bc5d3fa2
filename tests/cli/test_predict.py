"""`dlcpose predict`, `dlcpose-predict` and `dlcpose predict-camera`, as a shell runs them."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import dlcpose
from dlcpose.cli import predict_camera
from dlcpose.cli.app import build_app
from dlcpose.cli.prediction_inputs import find_inputs
from dlcpose.datasets.camera import CameraFrame, CameraReader
from dlcpose.detectors.pose_files import read_poses
from dlcpose.exporters.pose_file import read_pose_tracks, read_provenance
from dlcpose.prediction import partial_results
from dlcpose.prediction.loaded_model import LoadedModel
from dlcpose.prediction.partial_results import PartialResults
from dlcpose.prediction.resumable import Outcome
from dlcpose.prediction.settings import PredictionSettings
from dlcpose.prediction.video import write_video_poses
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.tracking.corrections import Correction, Corrections, corrections_as_dict, tracks_digest
from tests.cli.test_app import dlcpose as run_dlcpose
from tests.datasets.numbered_videos import write_numbered
from tests.datasets.test_camera import sending
from tests.made_up_runs import checkpoint_of, frames_of, option, tiny_config
from tests.prediction.test_video import assert_same
from tests.shells import REPOSITORY, Answer, python, reason, shell

DATA = frames_of(8)
IMAGES = [DATA.read_image(index) for index in range(8)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of(tmp_path_factory.mktemp("run"))


def several_animals() -> dict[str, Any]:
    """The config of a model that finds several animals."""
    head = {**option("head", "part_affinity"), "channels": 16, "edges": option("head/edges", "all")}
    return tiny_config(head={**head, "heatmap_loss": option("loss", "binary_cross_entropy")})


def video(path: Path, frames: int = 10) -> Path:
    return write_numbered(path, frames, size=(64, 64), image_of=lambda number: IMAGES[number % 8])


@pytest.fixture
def predict(checkpoint: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def run(*arguments: str, by: Path = checkpoint) -> Answer:
        given = ("--checkpoint", str(by), "--device", "cpu")
        try:
            return run_dlcpose(capsys, monkeypatch, "predict", *arguments, *given)
        except pytest.fail.Exception:  # it ended without an exit code of its own
            return Answer(0, *capsys.readouterr())

    return run


def test_each_video_gets_a_file_beside_it(predict, here: Path, checkpoint: Path) -> None:
    video(here / "a.mp4")
    (here / "more").mkdir()
    video(here / "more" / "b.avi", 5)
    answer = predict("a.mp4", "more", "--batch-size", "4", "--precision", "32")
    assert answer.code == 0, answer.err
    assert "a.poses.h5: 10 frames" in answer.out
    for stage in ("decode", "prepare", "forward", "postprocess", "write"):
        assert re.search(rf"^  {stage} +\d+\.\d +\d+\.\d\d$", answer.out, re.MULTILINE)
    predictor = dlcpose.load(checkpoint, device="cpu")
    for name in ("a.mp4", "more/b.avi"):
        tracks = read_pose_tracks((here / name).with_suffix(".poses.h5"))
        assert_same(tracks, predictor.predict_video(name, batch_size=4, precision="32"))
    assert sorted(path.name for path in here.rglob("*")) == ["a.mp4", "a.poses.h5", "b.avi", "b.poses.h5", "more"]
    assert "there already" in predict("a.mp4", "--batch-size", "4", "--precision", "32").out


def test_settings_arrive(predict, here: Path) -> None:
    video(here / "a.mp4")
    part = ("--start", "1", "--stop", "9", "--step", "2", "--crop", "0,0,40,48", "--flip-test", "--precision", "bf16")
    answer = predict("*.mp4", "--output", "results/new", *part)
    assert answer.code == 0, answer.err
    path = here / "results" / "new" / "a.poses.h5"
    tracks, (_, provenance) = read_pose_tracks(path), read_provenance(path)
    assert tracks.frame_indices.tolist() == [1, 3, 5, 7]
    expected = {"start": 1, "stop": 9, "step": 2, "crop": [0, 0, 40, 48], "flip_test": True, "precision": "bf16"}
    assert {name: provenance.settings[name] for name in expected} == expected
    assert provenance.settings["chosen"]["precision"] == "bf16"


def test_tracks_and_tables_come_with_it(predict, here: Path) -> None:
    video(here / "a.mp4")
    answer = predict("a.mp4", "--track", "--animals", "1", "--format", "csv", "--for", "deeplabcut", "--output", "out")
    assert answer.code == 0, answer.err
    tracks = read_pose_tracks(here / "out" / "a.tracks.poses.h5")
    assert tracks.frame_indices.tolist() == list(range(10))
    assert len(tracks.individuals) == 1
    assert re.search(r"^  track +\d+\.\d +\d+\.\d\d$", answer.out, re.MULTILINE)
    written = [
        Path(line)
        for line in answer.out.splitlines()
        if line.endswith((".csv", "_filtered.h5")) or "deeplabcut" in line
    ]
    assert written
    assert all(path.exists() for path in written)
    answer = predict("a.mp4", "--animals", "1", "--output", "out")
    assert answer.code != 0
    assert "--track" in answer.err


def test_a_prediction_that_is_run_again_ends_with_its_tables(predict, here: Path) -> None:
    video(here / "a.mp4")
    given = ("a.mp4", "--track", "--animals", "1", "--format", "csv", "--format", "nwb", "--for", "sleap")
    assert predict(*given).code == 0
    tables = {path: path.read_bytes() for path in here.rglob("a.*") if not path.name.endswith((".mp4", ".poses.h5"))}
    assert len(tables) == 3
    answer = predict(*given)
    assert answer.code == 0, answer.err
    assert {path: path.read_bytes() for path in tables} == tables
    (here / "a.csv").write_text("my,own,notes\n")
    answer = predict(*given)
    assert answer.code == 1
    assert "a.csv: is there already" in answer.err
    assert (here / "a.csv").read_text() == "my,own,notes\n"
    assert predict(*given, "--overwrite").code == 0
    assert (here / "a.csv").read_bytes() == tables[here / "a.csv"]


def test_errors_of_several_videos_name_options(predict, here: Path) -> None:
    for name in ("b.mp4", "c.mp4"):
        video(here / name)
    assert "dlcpose: c.mp4: --start 30: the video has" in predict("b.mp4", "c.mp4", "--start", "30").err


def test_one_video_that_fails_does_not_stop_the_others(predict, here: Path) -> None:
    video(here / "b.mp4")
    (here / "a.mp4").write_text("no video")
    answer = predict("a.mp4", "b.mp4")
    assert answer.code == 1
    assert "a.mp4: cannot be read as a video" in answer.err
    assert "1 of 2 videos failed" in answer.err
    assert (here / "b.poses.h5").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("a.mp4", "--crop", "0,0,65,64"), "--crop 0,0,65,64: expected a part of the 64x64 frames"),
        (("a.mp4", "--crop", "0,0,64"), "--crop: expected four whole numbers"),
        (("a.mp4", "--batch-size", "all"), "--batch-size: expected a number"),
        (("a.mp4", "--precision", "8"), "--precision: expected one of 'auto', '32', 'bf16', 'fp16', got '8'"),
        (("a.mp4", "--stop", "3", "--start", "3"), "--stop: expected a frame number above --start 3"),
        (("a.mp4", "--start", "30"), "a.mp4: --start 30: the video has 10 frames"),
        (("a.mp4", "--detector-every", "2"), "--detector-every 2: BottomUp has no detector"),
        (("gone.mp4",), "gone.mp4: cannot be read"),
        (("gone*.mp4",), "gone*.mp4: no file matches"),
        (("cage**/*.mp4",), "cage**/*.mp4: "),  # a pattern since Python 3.13
        (("",), "VIDEO: expected a video, image, folder or pattern, got an empty text"),
        (("a.mp4", "--track", "--animals", "100000"), "--animals: expected 1 to 1000"),
        (("text.mp4",), "text.mp4: cannot be read as a video"),
        (("a.mp4", "--output", "text.mp4"), "text.mp4: nothing can be written into this folder"),
        (("image.png", "--step", "2"), "--step 2: images have no such setting"),
        (("image.png", "--track"), "--track: it is of videos"),
        (("image.png", "--track", "--animals", "2"), "--track: it is of videos"),
        (("image.png", "--format", "csv"), "--format: it is of videos"),
        (("image.png", "--for", "simba"), "--for: it is of videos"),
        (("a.mp4", "--format", "xls"), "--format: expected one of"),
        (("a.mp4", "--for", "excel"), "--for: expected one of"),
    ],
)
def test_a_mistake_is_one_line(predict, arguments: tuple[str, ...], expected: str, here: Path) -> None:
    video(here / "a.mp4")
    (here / "text.mp4").write_text("no video")
    cv2.imwrite("image.png", IMAGES[0])
    before = sorted(here.rglob("*"))
    assert reason(predict(*arguments)).startswith(expected)
    assert sorted(here.rglob("*")) == before


def test_images_of_a_folder_are_one_file(predict, here: Path, checkpoint: Path) -> None:
    (here / "photos").mkdir()
    for number, image in enumerate(IMAGES[:3]):
        cv2.imwrite(f"photos/{number}.png", image[..., ::-1])
    assert predict("photos").code == 0
    path = here / "photos" / "images.poses.json"
    predictor = dlcpose.load(checkpoint, device="cpu")
    stored = read_poses(path, predictor.skeleton)
    for number, alone in enumerate(predictor.predict(IMAGES[:3])):
        poses = stored.poses_of(f"{number}.png")
        np.testing.assert_allclose(poses[..., :2], alone.keypoints_in_image, atol=2e-3)
        np.testing.assert_allclose(poses[..., 2], alone.keypoint_scores, atol=2e-3)
    content = path.read_bytes()
    assert "photos/images.poses.json: there already" in predict("photos").out
    assert path.read_bytes() == content
    other = ("photos/images.poses.json: it holds poses of ", "--overwrite")
    for change in ("flip_test", "images"):
        if change == "images":
            cv2.imwrite("photos/2.png", IMAGES[5])
        refused = reason(predict("photos", *(["--flip-test"] if change == "flip_test" else [])))
        assert refused.startswith(f"{other[0]}{change.replace('flip_test', '--flip-test')}: ")
        assert other[1] in refused
    assert path.read_bytes() == content
    assert predict("photos", "--overwrite").code == 0


@pytest.mark.parametrize("damaged", ["0.png", "2.png"])
def test_an_image_that_cannot_be_read_does_not_stop_the_others(predict, here: Path, damaged: str) -> None:
    (here / "photos").mkdir()
    for number, image in enumerate(IMAGES[:4]):
        cv2.imwrite(f"photos/{number}.png", image[..., ::-1])
    (here / "photos" / damaged).write_bytes(b"")
    (here / "photos" / "gone.png").symlink_to("nowhere.png")
    answer = predict("photos")
    assert answer.code == 1
    assert f"photos/{damaged}: expected an image" in answer.err
    last = answer.err.splitlines()[-1]
    assert last.startswith("dlcpose: photos/images.poses.json: it lacks 2 of 5 images")
    poses = json.loads((here / "photos" / "images.poses.json").read_text())
    assert set(poses) == {"dlcpose", "0.png", "1.png", "2.png", "3.png"} - {damaged}
    again = predict("photos")  # what is missing is told each time
    assert (again.code, again.err.splitlines()) == (1, [last])
    (here / "photos" / "gone.png").unlink()
    cv2.imwrite(f"photos/{damaged}", IMAGES[4])
    assert predict("photos", "--overwrite").code == 0
    assert predict("photos").code == 0


def test_images_of_which_none_can_be_read_leave_no_result(predict, here: Path) -> None:
    (here / "photos").mkdir()
    (here / "photos" / "0.png").write_bytes(b"")
    answer = predict("photos")
    assert answer.code == 1
    assert reason(answer).startswith("photos/0.png: expected an image")
    assert not (here / "photos" / "images.poses.json").exists()


def test_poses_of_images_by_another_checkpoint_are_kept(
    predict, here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cv2.imwrite("image.png", IMAGES[0])
    assert predict("image.png").code == 0
    again = checkpoint_of(tmp_path_factory.mktemp("again"), data=frames_of(6))
    answer = predict("image.png", by=again)
    assert reason(answer).startswith("images.poses.json: it holds poses of checkpoint: ")
    (here / "images.poses.json").write_text('{"image.png": []}')  # of no known checkpoint
    assert "--overwrite" in reason(predict("image.png"))


def test_a_mixed_folder_is_gone_on_with(predict, here: Path) -> None:
    (here / "mix").mkdir()
    video(here / "mix" / "a.mp4")
    video(here / "mix" / "b.mp4")
    cv2.imwrite("mix/photo.png", IMAGES[0])
    assert predict("mix", "--format", "csv").code == 0  # the table is of the videos
    (here / "mix" / "b.poses.h5").unlink()
    answer = predict("mix")
    assert answer.code == 0, answer.err
    assert answer.out.count("there already") == 2
    assert (here / "mix" / "b.poses.h5").is_file()
    (here / "mix" / "b.poses.h5").unlink()
    (here / "mix" / "photo.png").write_text("no image")
    answer = predict("mix", "--overwrite")
    assert answer.code == 1
    assert "1 of 3 inputs failed" in answer.err
    assert (here / "mix" / "b.poses.h5").is_file()


def test_tables_that_need_tracks_are_refused_before_the_prediction(
    predict, here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    video(here / "a.mp4")
    several = checkpoint_of(tmp_path_factory.mktemp("several"), several_animals(), frames_of(4, animals=2))
    for given in (("--for", "simba"), ("--format", "sleap_analysis")):
        refused = reason(predict("a.mp4", *given, by=several))
        assert refused.startswith(f"{given[1]}: ")
        assert "--track" in refused
    assert [path.name for path in here.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"), "b.mp4: out of memory"),
        (MemoryError(), "b.mp4: out of memory"),
        (OSError(28, "No space left on device", "b.poses.partial"), "b.poses.partial: No space left on device"),
    ],
)
def test_one_video_without_room_does_not_stop_the_others(
    predict, here: Path, error: Exception, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        video(here / f"{name}.mp4", 4)
    write = write_video_poses

    def failing(model: LoadedModel, path: Path, *arguments: Any, **options: Any) -> Outcome:
        if path.name == "b.mp4":
            raise error
        return write(model, path, *arguments, **options)

    monkeypatch.setattr("dlcpose.prediction.video.write_video_poses", failing)
    answer = predict("a.mp4", "b.mp4", "c.mp4")
    assert answer.code == 1
    assert f"dlcpose: {expected}" in answer.err
    assert ("--batch-size" in answer.err) == ("memory" in expected)
    assert "1 of 3 videos failed" in answer.err
    assert (here / "c.poses.h5").is_file()
    assert reason(predict("b.mp4")).startswith(expected)


def test_a_bug_is_no_failure_of_a_video(predict, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> Outcome:
        raise RuntimeError("shape mismatch")

    for name in "ab":
        video(here / f"{name}.mp4", 4)
    monkeypatch.setattr("dlcpose.prediction.video.write_video_poses", failing)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        predict("a.mp4", "b.mp4")


def test_tracks_that_were_corrected_outlive_a_prediction(predict, here: Path, capsys, monkeypatch) -> None:
    video(here / "a.mp4")
    command, out = ("a.mp4", "--track", "--animals", "2"), here / "a.tracks.poses.h5"
    assert predict(*command).code == 0
    before = out.read_bytes()
    assert "a.tracks.poses.h5: there already" in predict(*command).out
    assert out.read_bytes() == before
    tracks = read_pose_tracks(out)
    decided = Corrections(tracks.video.fingerprint, tracks_digest(tracks), (Correction(3, 0, 1, "swap_from"),))
    (here / "c.json").write_text(json.dumps(corrections_as_dict(decided)))
    given = ("track", "a.poses.h5", "--animals", "2", "--corrections", "c.json")
    assert run_dlcpose(capsys, monkeypatch, *given).code == 0
    corrected = out.read_bytes()
    assert "there already, of the same poses and settings, with 1 manual correction" in predict(*command).out
    refused = reason(predict("a.mp4", "--track", "--animals", "1"))
    assert refused.startswith(
        "a.tracks.poses.h5: it holds tracks with 1 manual correction, of animals: 2 there, 1 here"
    )
    assert out.read_bytes() == corrected
    assert predict(*command, "--overwrite").code == 0
    assert read_provenance(out)[1].settings["tracking"]["corrections"] is None
    assert predict("a.mp4", "--track", "--animals", "1").code == 0  # nobody's work is in them
    assert len(read_pose_tracks(out).individuals) == 1


def test_inputs_are_found_once_and_each_has_its_own_result(here: Path) -> None:
    for name in ("a.mp4", "b.mov", "c.txt", "sub/a.mp4", "sub/p.png"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text("")
    found = find_inputs([".", "a.mp4", "*.mp4"], None)
    assert found.videos == {Path("a.mp4"): Path("a.poses.h5"), Path("b.mov"): Path("b.poses.h5")}
    assert find_inputs(["sub"], None).images == {Path("sub/images.poses.json"): [Path("sub/p.png")]}
    assert find_inputs(["odd.xyz"], Path("out")).videos == {Path("odd.xyz"): Path("out/odd.poses.h5")}
    with pytest.raises(ConfigError, match=r"a\.mp4 and sub/a\.mp4: both results would be out/a\.poses\.h5"):
        find_inputs([".", "sub"], Path("out"))
    (here / "none").mkdir()
    with pytest.raises(DataError, match="none: expected a folder with videos or images"):
        find_inputs(["none"], None)


def test_folders_and_patterns_mean_videos_and_images_only(here: Path) -> None:
    for name in ("v.mp4", "v.nwb", "v.poses.h5", "w_labeled.mp4", "old/v.mkv", "old/notes.txt"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text("")
    for names in (["."], ["v*", "w*"]):
        assert sorted(find_inputs(names, None).videos) == [Path("v.mp4"), Path("w_labeled.mp4")]
    assert set(find_inputs(["w_*", "o*"], Path("out")).videos) == {Path("w_labeled.mp4"), Path("old/v.mkv")}
    with pytest.raises(DataError, match=r"\*\.nwb: expected videos or images, got v\.nwb"):
        find_inputs(["*.nwb"], None)


def test_what_dlcpose_has_drawn_beside_the_videos_is_none_to_predict(
    here: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    video(here / "v.mp4")
    write_video_poses(
        dlcpose.load(checkpoint, device="cpu").model, here / "v.mp4", here / "v.poses.h5", PredictionSettings()
    )
    for sheet, drawn in (("sheet.png", "v_labeled.mp4"), ("sheet.JPG", "another.mp4")):
        command = ("draw", "v.poses.h5", "--output", drawn, "--sheet", sheet, "--stop", "3")
        assert run_dlcpose(capsys, monkeypatch, *command).code == 0
    for image in ("frame.png", "frame.jpg", "frame.tif"):
        cv2.imwrite(str(here / image), IMAGES[0])
    names = ["another.mp4", "sheet.JPG", "sheet.png", "v_labeled.mp4"]
    for given in (["."], ["v*", "a*", "*.[jptJPT]*"]):
        found = find_inputs(given, None)
        assert set(found.videos) == {Path("v.mp4")}
        assert [each.name for each in found.images[Path("images.poses.json")]] == [
            "frame.jpg",
            "frame.png",
            "frame.tif",
        ]
        assert sorted(line.partition(":")[0] for line in capsys.readouterr().err.splitlines()) == names
    found = find_inputs(["v_*", "v_labeled.mp4", "sheet.png"], Path("out"))
    assert set(found.videos) == {Path("v_labeled.mp4")}
    assert found.images == {Path("out/images.poses.json"): [Path("sheet.png")]}
    assert not capsys.readouterr().err
    with pytest.raises(DataError, match=r"v_labeled\.mp4: expected videos or images"):
        find_inputs(["v_*"], None)


# ------------------------------------------------------------------------------------------------------ kills, and launchers


def killed(checkpoint: Path, folder: Path, kills: int, frames: int) -> Answer:
    video(folder / "long.mp4", frames)
    script = REPOSITORY / "tests" / "cli" / "killed_prediction.py"
    given = ("long.mp4", "--checkpoint", checkpoint, "--device", "cpu", "--batch-size", "4", "--step", "2")
    answer = python(script, str(kills), "straight", "stopped", *given, cwd=folder)
    assert answer.code == 0, answer.out[-2000:] + answer.err[-4000:]
    ours, theirs = (read_pose_tracks(folder / each / "long.poses.h5") for each in ("stopped", "straight"))
    assert len(ours) == frames // 2
    assert_same(ours, theirs)
    assert [path.name for path in (folder / "stopped").iterdir()] == ["long.poses.h5"]
    return answer


@pytest.mark.slow  # processes of their own
def test_killed_at_any_moment_it_ends_with_the_same_table(checkpoint: Path, tmp_path: Path) -> None:
    kills = int(os.environ.get("DLCPOSE_KILLS", "4"))  # before a release: DLCPOSE_KILLS=10
    answer = killed(checkpoint, tmp_path, kills, 400)
    assert re.search(r"ended with -9, [1-9]\d* stretches", answer.out), answer.out  # in its midst, at least once


FAILED = ((0, r"gone\.mp4"), (1, r"bad\.mp4"))


@pytest.mark.slow
def test_many_videos_by_a_launcher(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="an extra: pip install 'dlcpose[sweep]'")
    for name in ("a.mp4", "b.mp4"):
        video(tmp_path / name)
    command = (
        *("-m", "dlcpose.cli.predict_sweep", "-m", "video=a.mp4,b.mp4", f"checkpoint={checkpoint}"),
        *("device=cpu", "precision=32", "hydra/launcher=parallel"),
    )
    answer = python(*command, cwd=tmp_path)
    assert answer.code == 0, answer.err
    tracks = [read_pose_tracks(tmp_path / f"{name}.poses.h5") for name in "ab"]
    assert [len(each) for each in tracks] == [10, 10]
    np.testing.assert_array_equal(tracks[0].keypoints_in_image, tracks[1].keypoints_in_image)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    answer = python(*(part.replace("video=a.mp4", "video=gone.mp4,bad.mp4,a.mp4") for part in command), cwd=tmp_path)
    assert answer.code == 1
    assert [re.search(rf"^job {job}: .*{name}", answer.err, re.MULTILINE) is not None for job, name in FAILED] == [
        True
    ] * 2
    assert re.search(r"^dlcpose: .*gone\.mp4", answer.err, re.MULTILINE)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("video=a.mp4",), "checkpoint must be given"),
        (("video=a.mp4", "checkpoint=x.ckpt", "start=first"), "start: expected a whole number, got 'first'"),
        (("video=a.mp4", "checkpoint=x.ckpt", "strt=1"), "strt: no such group or key. Nearest: start"),
        (("video=[a.mp4,b.png]", "checkpoint=x.ckpt"), "video=['a.mp4', 'b.png']: expected videos, got images"),
    ],
)
def test_a_mistake_in_the_config_is_one_line(overrides: tuple[str, ...], expected: str, here: Path) -> None:
    assert reason(shell("dlcpose/cli/predict_sweep.py", *overrides)).startswith(expected)


# ------------------------------------------------------------------------------------------------------------------- camera


def test_a_stream_is_predicted_frame_by_frame(
    checkpoint: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with sending(500, 50) as source:
        given = ("--checkpoint", str(checkpoint), "--device", "cpu", "--frames", "8")
        arguments = ("predict-camera", source, *given)
        try:
            answer = run_dlcpose(capsys, monkeypatch, *arguments)
        except pytest.fail.Exception:
            answer = Answer(0, *capsys.readouterr())
    assert answer.code == 0, answer.err
    assert re.search(r"camera\.poses\.h5: 8 frames, .*latency \d+ ms \(99 %: \d+ ms\), \d+ passed over", answer.out)
    tracks = read_pose_tracks(here / "camera.poses.h5")
    assert len(tracks) == 8
    assert (tracks.video.height, tracks.video.width) == (48, 80)
    assert json.dumps(tracks.frame_indices.tolist()) == json.dumps(sorted(set(tracks.frame_indices.tolist())))


SECRET = "rtsp://user:hush@10.0.0.5/live?token=hush"


@pytest.fixture
def camera(
    checkpoint: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Answer]:
    """Runs the command with a camera that sends some frames and then ends, by an error where there is one."""

    def run(frames: int, *arguments: str, ends_by: BaseException | None = None, source: str = SECRET) -> Answer:
        def sent(self: CameraReader) -> Iterator[CameraFrame]:
            for number in range(frames):
                yield CameraFrame(2 * number, number / 10, IMAGES[number % 8])
            if ends_by is not None:
                raise ends_by

        monkeypatch.setattr(CameraReader, "__iter__", sent)
        given = ("--checkpoint", str(checkpoint), "--device", "cpu", *arguments)
        try:
            return run_dlcpose(capsys, monkeypatch, "predict-camera", source, *given)
        except pytest.fail.Exception:
            return Answer(0, *capsys.readouterr())

    return run


@pytest.mark.parametrize("error", [DataError("no frame came for 10 s."), RuntimeError("out of memory")])
def test_what_a_camera_gave_is_kept_when_it_fails(
    camera: Callable[..., Answer], here: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    if isinstance(error, DataError):
        answer = camera(5, ends_by=error)
        assert answer.code == 1
        assert answer.err.endswith("no frame came for 10 s.\n")
    else:
        with pytest.raises(RuntimeError, match="out of memory"):
            camera(5, ends_by=error)
    tracks = read_pose_tracks(here / "camera.poses.h5")
    assert tracks.frame_indices.tolist() == [0, 2, 4, 6, 8]
    assert tracks.video.frames == 9
    assert [path.name for path in here.iterdir()] == ["camera.poses.h5"]


def test_one_animal_of_a_camera_counts_as_tracked(camera: Callable[..., Answer], here: Path) -> None:
    assert camera(3).code == 0
    assert read_pose_tracks(here / "camera.poses.h5").is_tracked


def test_a_camera_s_password_is_neither_stored_nor_printed(camera: Callable[..., Answer], here: Path) -> None:
    answer = camera(3)
    assert read_pose_tracks(here / "camera.poses.h5").video.path == "rtsp://10.0.0.5/live"
    assert b"hush" not in (here / "camera.poses.h5").read_bytes()
    assert "hush" not in answer.out + answer.err


def test_ctrl_c_ends_a_camera_and_before_its_first_frame_writes_nothing(
    camera: Callable[..., Answer], here: Path
) -> None:
    answer = camera(0, ends_by=KeyboardInterrupt())
    assert (answer.code, answer.out) == (130, "")
    assert "nothing is written" in answer.err
    assert not list(here.iterdir())
    assert camera(4, ends_by=KeyboardInterrupt()).code == 0
    assert len(read_pose_tracks(here / "camera.poses.h5")) == 4


def test_frames_of_a_killed_camera_session_are_saved_by_the_next(
    camera: Callable[..., Answer], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_results, "SECONDS", 0.0)
    monkeypatch.setattr(partial_results, "SHARE", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(PartialResults, "clear", lambda self: None)  # what a kill leaves
        patch.setattr(predict_camera, "_assemble", lambda partial, output: 0)
        camera(6)
    assert [path.name for path in here.iterdir()] == ["camera.camera.partial"]
    answer = camera(2)
    assert answer.code == 1
    assert "camera.poses.h5: now holds 6 frames of a session that was killed" in answer.err
    assert read_pose_tracks(here / "camera.poses.h5").frame_indices.tolist() == [0, 2, 4, 6, 8, 10]
    assert camera(2, "--overwrite").code == 0
    assert len(read_pose_tracks(here / "camera.poses.h5")) == 2
    assert [path.name for path in here.iterdir()] == ["camera.poses.h5"]


def test_a_camera_s_output_is_a_file_of_poses(camera: Callable[..., Answer]) -> None:
    answer = camera(1, "--output", "none.h5")
    assert answer.code == 1
    assert "--output" in answer.err


def test_a_camera_s_model_may_be_made_of_trusted_packages(
    camera: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {}

    def load(*_: object, **options: object) -> None:
        given.update(options)
        raise DataError("enough")

    monkeypatch.setattr("dlcpose.predict.load", load)
    assert camera(1, "--trust", "mylab").code == 1
    assert given["trust"] == ["mylab"]


def test_the_commands_are_listed() -> None:
    assert {"predict", "predict-camera"} <= {command.name for command in build_app().registered_commands}
