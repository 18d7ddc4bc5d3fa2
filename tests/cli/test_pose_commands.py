"""The commands that read a file of poses: filter, ensemble, draw, propose."""

import errno
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pandas as pd
import pytest
import sleap_io
import yaml
from click.testing import Result
from typer.testing import CliRunner

from dlcpose.cli import start
from dlcpose.cli.app import build_app
from dlcpose.datasets.video import video_info
from dlcpose.exporters.pose_file import Provenance, read_pose_tracks, read_provenance, write_pose_tracks
from dlcpose.postprocessing.ensemble import combine_members
from dlcpose.postprocessing.filter_tracks import Filters, filter_tracks
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.skeleton import Skeleton
from dlcpose.visualization.video import PoseDrawer
from dlcpose.visualization.video_file import write_video
from tests.datasets.dlc_projects import labels, write_project
from tests.structures.made_up_tracks import made_up_tracks

FRAMES = 60
MADE = Provenance(checkpoint="best.ckpt", settings={"precision": "32"}, versions={"torch": "2"})


@pytest.fixture
def cage(tmp_path: Path) -> Path:
    """A video of 64 x 48 whose frames grow brighter, with its poses beside it."""
    path = tmp_path / "cage.mp4"
    ramp = np.linspace(0, 120, 64)[None, :, None] + np.zeros((48, 64, 3))
    write_video(path, ((ramp + 2 * number).astype(np.uint8) for number in range(FRAMES)), fps=25)
    write_pose_tracks(tmp_path / "cage.poses.h5", poses_of(path), MADE)
    return path


def poses_of(video: Path, **options: Any) -> PoseTracks:
    return replace(made_up_tracks(frames=FRAMES, **options), video=video_info(video))


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(build_app(), [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_filter_writes_a_new_file_and_what_was_done(cage: Path) -> None:
    poses, out = cage.with_name("cage.poses.h5"), cage.with_name("smooth.poses.h5")
    before = poses.read_bytes()
    run(
        "filter",
        poses,
        "--cutoff",
        0.4,
        "--interpolate",
        5,
        "--median",
        5,
        "--savgol",
        "7,3",
        "--kalman",
        "--output",
        out,
    )
    filters = Filters(cutoff=0.4, interpolate=5, median=5, savgol=(7, 3), kalman=True)
    expected = filter_tracks(read_pose_tracks(poses), filters)
    np.testing.assert_array_equal(read_pose_tracks(out).keypoints_in_image, expected.keypoints_in_image)
    assert poses.read_bytes() == before
    run("filter", out, "--median", 3)
    _, again = read_provenance(cage.with_name("smooth_filtered.poses.h5"))
    assert again.checkpoint == "best.ckpt"
    assert [step["of"] for step in again.settings["postprocessing"]] == ["cage.poses.h5", "smooth.poses.h5"]
    assert again.settings["postprocessing"][0]["settings"] == {
        "cutoff": 0.4,
        "interpolate": 5,
        "median": 5,
        "savgol": [7, 3],
        "kalman": True,
    }


def test_a_history_of_another_kind_is_begun_anew(cage: Path) -> None:
    poses = cage.with_name("cage.poses.h5")
    write_pose_tracks(poses, poses_of(cage), replace(MADE, settings={"postprocessing": 5}))
    run("filter", poses, "--median", 3)
    _, made = read_provenance(cage.with_name("cage_filtered.poses.h5"))
    assert [step["step"] for step in made.settings["postprocessing"]] == ["filter"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--cutoff, --interpolate"),
        (("--cutoff", "2"), "--cutoff: "),
        (("--savgol", "7"), "--savgol: "),
        (("--savgol", "7,9"), "--savgol: "),
        (("--savgol", "a,b"), "--savgol: "),
        (("--median", "2"), "--median: "),
        (("--median", "3", "--output", "x.h5"), "--output"),
    ],
)
def test_filter_names_a_setting_that_makes_no_sense(cage: Path, arguments: tuple[str, ...], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        run("filter", cage.with_name("cage.poses.h5"), *arguments)


def test_filter_says_why_no_keypoint_is_left(cage: Path) -> None:
    assert "--cutoff" in run("filter", cage.with_name("cage.poses.h5"), "--cutoff", 1).output
    assert (
        "--cutoff"
        not in run(
            "filter", cage.with_name("cage.poses.h5"), "--cutoff", 0.1, "--output", cage.with_name("kept.poses.h5")
        ).output
    )


def test_no_command_writes_over_what_it_reads(cage: Path) -> None:
    poses = cage.with_name("cage.poses.h5")
    for command in (("filter", poses, "--median", 3), ("ensemble", poses, poses)):
        with pytest.raises(ConfigError, match="output"):
            run(*command, "--output", poses)
    with pytest.raises(ConfigError, match="output"):
        run("draw", poses, "--video", cage, "--output", cage)


def test_ensemble_keeps_spread_and_members(cage: Path) -> None:
    members = [poses_of(cage, seed=0), poses_of(cage, seed=0)]
    members[1] = replace(members[1], keypoints_in_image=members[1].keypoints_in_image + 1)
    paths = [cage.with_name(f"m{number}.poses.h5") for number in range(2)]
    for number, (path, member) in enumerate(zip(paths, members, strict=True)):
        write_pose_tracks(path, member, replace(MADE, checkpoint=f"{number}.ckpt"))
    out = cage.with_name("both.poses.h5")
    run("ensemble", *paths, "--statistic", "mean", "--output", out)
    combined, expected = read_pose_tracks(out), combine_members(members, statistic="mean")
    np.testing.assert_array_equal(combined.keypoints_in_image, expected.keypoints_in_image)
    assert combined.keypoint_spreads is not None
    np.testing.assert_array_equal(combined.keypoint_spreads, expected.keypoint_spreads)
    (step,) = read_provenance(out)[1].settings["postprocessing"]
    assert [member["checkpoint"] for member in step["settings"]["members"]] == ["0.ckpt", "1.ckpt"]
    run("filter", out, "--kalman", "--output", cage.with_name("eks.poses.h5"))
    assert read_pose_tracks(cage.with_name("eks.poses.h5")).keypoint_spreads is not None


@pytest.mark.parametrize(("width", "arguments"), [(2000, ("--scale", 16)), (20_000, ())])
def test_draw_refuses_pictures_that_no_video_holds(cage: Path, width: int, arguments: tuple[object, ...]) -> None:
    poses = cage.with_name("cage.poses.h5")
    tracks = poses_of(cage)
    write_pose_tracks(poses, replace(tracks, video=replace(tracks.video, width=width)), MADE)
    with pytest.raises(ConfigError, match=r"^--scale: .* Take --scale (8\.19|0\.81) or less"):
        run("draw", poses, *arguments)


def test_draw_refuses_pictures_in_which_nothing_can_be_seen(cage: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--scale: .* Take --scale 0\.34 or more"):
        run("draw", cage.with_name("cage.poses.h5"), "--scale", 0.3)
    run("draw", cage.with_name("cage.poses.h5"), "--scale", 0.34)


def test_an_ensemble_takes_no_member_twice(cage: Path) -> None:
    poses = cage.with_name("cage.poses.h5")
    copy, link, other = (cage.with_name(f"{name}.poses.h5") for name in ("copy", "link", "other"))
    made = replace(MADE, checkpoint_hash="ab")
    write_pose_tracks(poses, poses_of(cage), made)
    shutil.copy(poses, copy)
    link.symlink_to(poses)
    write_pose_tracks(other, poses_of(cage), replace(made, settings={"precision": "bf16"}))
    for again in (poses, copy, link):
        with pytest.raises(DataError, match=f"^{again}: expected poses of another checkpoint"):
            run("ensemble", poses, other, again, "--output", cage.with_name("e.poses.h5"))
    assert "2 members" in run("ensemble", poses, other).output


def test_draw_writes_a_video_for_the_browser_and_a_sheet(cage: Path) -> None:
    sheet = cage.with_name("sheet.png")
    result = run(
        "draw", cage.with_name("cage.poses.h5"), "--video", cage, "--sheet", sheet, "--start", 10, "--stop", 40
    )
    assert "30 frames" in result.output
    with av.open(str(cage.with_name("cage_labeled.mp4"))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert sum(1 for _ in container.decode(video=0)) == 30
    assert cv2.imread(str(sheet)) is not None


def test_draw_counts_the_keypoints_that_it_hides(cage: Path) -> None:
    poses = cage.with_name("cage.poses.h5")
    made = poses_of(cage)
    scores = np.where(made.keypoint_scores > 0, np.float32(0.2), 0)
    predicted = int((scores[10:20] > 0).sum()) + made.unique_scores[10:20].size
    write_pose_tracks(
        poses, replace(made, keypoint_scores=scores, unique_scores=np.full_like(made.unique_scores, 0.2)), MADE
    )
    drawn = ("draw", poses, "--start", 10, "--stop", 20, "--output", cage.with_name("drawn.mp4"))
    assert f"{predicted} of {predicted} keypoints not drawn: scores below --cutoff 0.3" in run(*drawn).output
    assert "--cutoff" not in run(*drawn[:-1], cage.with_name("all.mp4"), "--cutoff", 0.1).output


@pytest.mark.parametrize("sheet", [".", "sheet.webp"])
def test_draw_refuses_a_sheet_that_is_no_picture_before_it_draws(cage: Path, sheet: str) -> None:
    with pytest.raises(ConfigError, match="--sheet"):
        run("draw", cage.with_name("cage.poses.h5"), "--video", cage, "--sheet", sheet)
    assert not cage.with_name("cage_labeled.mp4").exists()


@pytest.mark.parametrize("path", ["", "/", "gone.mp4"])
def test_poses_of_a_video_without_a_place_ask_for_it(cage: Path, path: str) -> None:
    poses = cage.with_name("cage.poses.h5")
    tracks = poses_of(cage)
    write_pose_tracks(poses, replace(tracks, video=replace(tracks.video, path=path)), MADE)
    with pytest.raises(ConfigError, match="--video"):
        run("draw", poses)


def test_draw_and_propose_refuse_another_video(cage: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mp4"
    write_video(other, [np.full((48, 64, 3), 90, np.uint8)] * FRAMES, fps=25)
    for command in ("draw", "propose"):
        with pytest.raises(DataError, match=r"other\.mp4"):
            run(command, cage.with_name("cage.poses.h5"), "--video", other)


def test_draw_finds_a_video_that_was_moved_together_with_its_poses(cage: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    moved = [path.rename(tmp_path / "moved" / path.name) for path in (cage, cage.with_name("cage.poses.h5"))]
    assert f"{FRAMES} frames" in run("draw", moved[1]).output
    write_video(moved[0], [np.full((48, 64, 3), 90, np.uint8)] * FRAMES, fps=25)
    with pytest.raises(DataError, match=r"cage\.mp4"):
        run("draw", moved[1])
    moved[0].unlink()
    with pytest.raises(ConfigError, match="video"):
        run("draw", moved[1])


@pytest.mark.parametrize("command", ["draw", "propose"])
def test_a_camera_s_poses_have_no_video(cage: Path, command: str) -> None:
    poses = cage.with_name("cage.poses.h5")
    tracks = poses_of(cage)
    write_pose_tracks(poses, replace(tracks, video=replace(tracks.video, path="rtsp://10.0.0.5/live", fingerprint="")))
    for given in ((), ("--video", cage)):
        with pytest.raises(DataError, match=r"video file.*10\.0\.0\.5/live"):
            run(command, poses, *given)


def test_draw_without_poses_is_refused(cage: Path) -> None:
    with pytest.raises(DataError, match="frame 100"):
        run("draw", cage.with_name("cage.poses.h5"), "--video", cage, "--start", 100)
    with pytest.raises(ConfigError, match="stop"):
        run("draw", cage.with_name("cage.poses.h5"), "--video", cage, "--start", 10, "--stop", 10)


@pytest.mark.parametrize("diverse", ["images", "poses"])
def test_propose_writes_frames_of_the_video_for_deeplabcut_and_sleap(cage: Path, diverse: str) -> None:
    out = cage.with_name("cage_to_label")
    run("propose", cage.with_name("cage.poses.h5"), "--video", cage, "--frames", 8, "--diverse", diverse)
    table = pd.read_hdf(out / "labeled-data" / "cage" / "machinelabels-iter0.h5")
    numbers = [int(name[3:-4]) for _, _, name in table.index]
    assert len(set(numbers)) == 8
    for number in numbers:
        image = cv2.imread(str(out / "labeled-data" / "cage" / f"img{number:04d}.png"))
        assert image is not None
        assert image.mean() == pytest.approx(60 + 2 * number, abs=3)  # the frame of that number
    read_back = sleap_io.load_slp(str(out / "cage.slp"), open_videos=False)
    assert [frame.frame_idx for frame in read_back.labeled_frames] == numbers
    assert [suggestion.frame_idx for suggestion in read_back.suggestions] == numbers
    assert pd.read_csv(out / "frames.csv")["frame"].to_list() == numbers
    with pytest.raises(DataError, match=r"cage_to_label: .* Name another with --output, or empty it first\."):
        run("propose", cage.with_name("cage.poses.h5"), "--video", cage)


def with_project(cage: Path) -> Path:
    """A project that has labels of every frame but for the last fifteen."""
    names = [f"img{number:04d}.png" for number in range(FRAMES - 15)]
    project = write_project(cage.with_name("project"), {"cage": labels("cage", np.ones((len(names), 4)), images=names)})
    tracks = poses_of(cage, animals=1)
    tracks = replace(
        tracks,
        skeleton=Skeleton(("nose", "tail")),
        keypoints_in_image=tracks.keypoints_in_image[:, :, :2],
        keypoint_scores=tracks.keypoint_scores[:, :, :2],
    )
    write_pose_tracks(cage.with_name("cage.poses.h5"), tracks, MADE)
    return project


def test_propose_skips_labeled_frames_and_writes_into_the_project_only_with_the_option(cage: Path) -> None:
    project = with_project(cage)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    arguments = ("propose", cage.with_name("cage.poses.h5"), "--video", cage, "--frames", 10, "--project", project)
    assert "video_sets" not in run(*arguments).output
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    assert "config.yaml: video_sets does not name cage.mp4, so" in run(*arguments, "--into-project").output
    assert all(path.read_bytes() == content for path, content in before.items())
    new = pd.read_hdf(project / "labeled-data" / "cage" / "machinelabels-iter0.h5")
    numbers = [int(name[3:-4]) for _, _, name in new.index]
    assert len(numbers) == 10
    assert min(numbers) >= FRAMES - 15
    with pytest.raises(DataError, match="machinelabels"):
        run(*arguments, "--into-project")
    config = project / "config.yaml"  # as DeepLabCut's merge leaves it
    videos = {"C:\\videos\\cage.mp4": {"crop": "0, 64, 0, 48"}}
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "iteration": 1, "video_sets": videos}))
    assert "video_sets" not in run(*arguments[:5], 3, *arguments[6:], "--into-project").output
    again = pd.read_hdf(project / "labeled-data" / "cage" / "machinelabels-iter1.h5")
    assert set(again.index).isdisjoint(new.index)


def test_propose_leaves_no_images_in_a_project_when_the_disk_is_full(
    cage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = with_project(cage)
    before = sorted(project.rglob("*"))

    def full(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dlcpose.exporters.machine_labels.pandas_hdf5", full)
    arguments = ("propose", cage.with_name("cage.poses.h5"), "--frames", 3, "--project", project, "--into-project")
    with pytest.raises(OSError, match="No space left"):
        run(*arguments)
    assert sorted(project.rglob("*")) == before
    monkeypatch.undo()
    assert "3 frames to label" in run(*arguments).output


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_that_ends_a_command_leaves_no_unfinished_file(
    cage: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number = getattr(signal, name)
    before, handler = sorted(cage.parent.iterdir()), signal.signal(number, signal.SIG_DFL)
    monkeypatch.setattr(PoseDrawer, "draw", lambda *_, **__: os.kill(os.getpid(), number))
    monkeypatch.setattr("sys.argv", ["dlcpose", "draw", str(cage.with_name("cage.poses.h5"))])
    try:
        with pytest.raises(SystemExit) as end:
            start.dlcpose()
    finally:
        signal.signal(number, handler)
    assert end.value.code == 128 + number
    assert capsys.readouterr().err.startswith("dlcpose: stopped")
    assert sorted(cage.parent.iterdir()) == before


@pytest.mark.parametrize("linked", ["labeled-data/cage", "labeled-data", "labeled-data/cage/CollectedData_Ada.csv"])
def test_propose_writes_through_a_projects_links_only_where_that_is_said(cage: Path, linked: str) -> None:
    project, elsewhere = with_project(cage), cage.with_name("elsewhere")
    (project / linked).rename(elsewhere)
    (project / linked).symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    arguments = ("propose", cage.with_name("cage.poses.h5"), "--frames", 3, "--project", project, "--into-project")
    with pytest.raises(DataError, match="--follow-links"):
        run(*arguments)
    assert sorted(elsewhere.rglob("*")) == before
    run(*arguments, "--follow-links")
    assert (project / "labeled-data/cage/machinelabels.csv").exists()


def test_propose_reports_too_few_frames(cage: Path) -> None:
    project = with_project(cage)
    arguments = ("propose", cage.with_name("cage.poses.h5"), "--video", cage, "--project", project, "--into-project")
    assert "--frames 20" in run(*arguments).output
    (project / "labeled-data" / "cage" / "machinelabels-iter0.h5").unlink()
    with pytest.raises(DataError, match="already"):
        run(*arguments)


def test_propose_says_why_there_is_no_frame_to_choose(cage: Path) -> None:
    poses = cage.with_name("cage.poses.h5")
    nothing = replace(made_up_tracks(frame_indices=(), frames=FRAMES), video=video_info(cage))
    write_pose_tracks(poses, nothing, MADE)
    with pytest.raises(DataError, match="Predict") as caught:
        run("propose", poses, "--video", cage)
    assert "project" not in str(caught.value)
    project = with_project(cage)
    write_pose_tracks(poses, nothing, MADE)
    with pytest.raises(DataError, match="Predict") as caught:
        run("propose", poses, "--video", cage, "--project", project)
    assert "project" not in str(caught.value)


def test_propose_tells_no_times_and_no_reasons_that_there_are_not(cage: Path) -> None:
    poses = cage.with_name("cage.poses.h5")
    tracks = poses_of(cage)
    points, scores = np.full_like(tracks.keypoints_in_image, np.nan), 0 * tracks.keypoint_scores
    nobody = replace(
        tracks,
        keypoints_in_image=points,
        keypoint_scores=scores,
        scores=0 * tracks.scores,
        times=np.full(FRAMES, np.nan),
    )
    write_pose_tracks(poses, nobody, MADE)
    said = run("propose", poses, "--video", cage, "--frames", 2).output
    assert "low confidence" not in said
    assert "2 for diversity" in said
    text = cage.with_name("cage_to_label").joinpath("frames.csv").read_text()
    assert "nan" not in text
    assert pd.read_csv(cage.with_name("cage_to_label") / "frames.csv")["seconds"].isna().all()


@pytest.mark.parametrize(
    "arguments", [("--into-project",), ("--into-project", "--project", ".", "--output", "x"), ("--follow-links",)]
)
def test_propose_names_options_that_exclude_each_other(cage: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=f"^{arguments[0]}: expected"):
        run("propose", cage.with_name("cage.poses.h5"), "--video", cage, *arguments)
