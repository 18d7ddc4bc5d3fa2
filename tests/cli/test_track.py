"""`dlcpose track`, as a user runs it."""

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.datasets.video import fingerprint
from dlcpose.exporters.pose_file import Provenance, read_pose_tracks, read_provenance, write_pose_tracks
from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo
from dlcpose.tracking.corrections import Correction, Corrections, corrections_as_dict, tracks_digest
from dlcpose.tracking.result import SwapCandidate
from dlcpose.tracking.track import in_columns
from dlcpose.visualization.video_file import write_video
from tests.cli.test_app import dlcpose
from tests.shells import reason
from tests.tracking.noisy_poses import Noise, noisy_poses, rendered_ground_truth
from tests.tracking.test_review import content_of

FRAMES, ANIMALS, SIDE = 90, 3, 96
Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def cage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cage.mp4 and cage.poses.h5, its untracked poses."""
    folder = tmp_path_factory.mktemp("cage")
    size = {"height": SIDE, "width": SIDE}
    data = SyntheticFrames(
        frames=FRAMES, animals=ANIMALS, skeleton="mouse", videos=1, coming_and_going=False, roam=0.46,
        occlusion=0.0, animal_length=0.22, seconds_between_frames=0.04, **size,
    )  # fmt: skip
    video = folder / "cage.mp4"
    write_video(video, (data.read_image(index) for index in range(FRAMES)), fps=25)
    poses = noisy_poses(rendered_ground_truth(animals=ANIMALS, frames=FRAMES, **size)).poses
    info = VideoInfo(str(video), fingerprint(video), SIDE, SIDE, FRAMES, 25.0)
    write_pose_tracks(folder / "cage.poses.h5", replace(poses, video=info), Provenance(checkpoint="best.ckpt"))
    return folder


@pytest.fixture(autouse=True)
def _learn_shortly(monkeypatch: Patch) -> None:
    """What is learned of the appearance is a matter of tests/tracking/test_appearance.py."""
    monkeypatch.setattr("dlcpose.tracking.appearance.STEPS", 10)


def tracks_in(folder: Path) -> PoseTracks:
    return read_pose_tracks(folder / "cage.tracks.poses.h5")


def test_poses_become_tracks_in_a_file_beside_them(cage: Path, capsys: Capture, monkeypatch: Patch) -> None:
    answer = dlcpose(capsys, monkeypatch, "track", str(cage / "cage.poses.h5"), "--animals", "3")
    assert answer.code == 0, answer.err
    assert "likely swaps" in answer.out
    tracks = tracks_in(cage)
    assert tracks.is_tracked
    assert len(tracks.individuals) == 3
    provenance = read_provenance(cage / "cage.tracks.poses.h5")[1]
    assert provenance.checkpoint == "best.ckpt"
    assert provenance.settings["tracking"]["animals"] == 3
    assert provenance.seconds["track"] > 0


@pytest.mark.parametrize(
    ("video", "arguments", "used", "said"),
    [
        ("there", (), True, False),
        ("gone", (), False, True),
        ("another", (), False, True),
        ("gone", ("--no-appearance",), False, False),
        ("there", ("--no-appearance",), False, False),
    ],
)
def test_appearance_counts_where_joins_are_doubtful_and_the_video_is_there(
    cage: Path, tmp_path: Path, capsys: Capture, monkeypatch: Patch,
    video: str, arguments: tuple[str, ...], used: bool, said: bool,
) -> None:  # fmt: skip
    info = replace(read_pose_tracks(cage / "cage.poses.h5").video, path="/gone/cage.mp4")
    truth = rendered_ground_truth(animals=ANIMALS, frames=FRAMES, height=SIDE, width=SIDE)
    poses = noisy_poses(truth, Noise(missing_runs=0.03)).poses  # who comes back is doubtful
    write_pose_tracks(tmp_path / "cage.poses.h5", replace(poses, video=info), Provenance())
    if video != "gone":  # beside the poses
        shutil.copy(cage / "cage.mp4", tmp_path)
    if video == "another":
        with (tmp_path / "cage.mp4").open("ab") as file:
            file.write(b"0")
    command = ("track", str(tmp_path / "cage.poses.h5"), "--animals", "3", *arguments)
    answer = dlcpose(capsys, monkeypatch, *command)
    assert answer.code == 0, answer.err
    assert ("without the animals' appearance" in answer.out) == said
    tracking = read_provenance(tmp_path / "cage.tracks.poses.h5")[1].settings["tracking"]
    assert tracking["used_appearance"] is used


def test_learning_the_appearance_is_shown_in_a_terminal(cage: Path, capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # by which rich takes a pipe for a terminal
    arguments = ("track", str(cage / "cage.poses.h5"), "--animals", "3", "--appearance")
    assert "appearance: " in dlcpose(capsys, monkeypatch, *arguments).err
    monkeypatch.delenv("FORCE_COLOR")
    assert "appearance: " not in dlcpose(capsys, monkeypatch, *arguments).err


def test_a_review_that_cannot_be_written_is_told_before_tracking(
    cage: Path, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    out = tmp_path / "new.poses.h5"
    options = ("--output", str(out), "--review", str(cage / "cage.mp4" / "review.html"))
    assert "--review" in reason(dlcpose(capsys, monkeypatch, "track", str(cage / "cage.poses.h5"), *options))
    assert not out.exists()


def test_a_video_that_nobody_would_have_looked_at_is_not_missed(
    cage: Path, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    poses = read_pose_tracks(cage / "cage.poses.h5")
    alone = in_columns(poses, np.zeros((len(poses), 1), np.int64))  # nothing to be exchanged with
    moved = replace(alone, is_tracked=False, video=replace(poses.video, path="/gone/cage.mp4"))
    write_pose_tracks(tmp_path / "cage.poses.h5", moved, Provenance())
    answer = dlcpose(capsys, monkeypatch, "track", str(tmp_path / "cage.poses.h5"))
    assert answer.code == 0, answer.err
    assert "0 likely swaps" in answer.out
    assert "appearance" not in answer.out


def test_a_review_page_is_written_and_corrections_are_replayed(cage: Path, capsys: Capture, monkeypatch: Patch) -> None:
    poses = str(cage / "cage.poses.h5")
    answer = dlcpose(capsys, monkeypatch, "track", poses, "--animals", "3", "--review", str(cage / "review.html"))
    assert answer.code == 0, answer.err
    has_swaps = ": 0 likely swaps to review" not in answer.out
    assert ("<canvas" in (cage / "review.html").read_text()) == has_swaps
    before = tracks_in(cage)
    corrections = Corrections(
        before.video.fingerprint, tracks_digest(before), (Correction(30, 0, 2, "swap_between", 60),)
    )
    (cage / "corrections.json").write_text(json.dumps(corrections_as_dict(corrections)))
    answer = dlcpose(
        capsys, monkeypatch, "track", poses, "--animals", "3", "--corrections", str(cage / "corrections.json")
    )
    assert answer.code == 0, answer.err
    after = tracks_in(cage)
    np.testing.assert_array_equal(after.keypoints_in_image[30:60, [2, 1, 0]], before.keypoints_in_image[30:60])
    np.testing.assert_array_equal(after.keypoints_in_image[:30], before.keypoints_in_image[:30])
    np.testing.assert_array_equal(after.keypoints_in_image[60:], before.keypoints_in_image[60:])


def test_no_output_takes_the_place_of_an_input(cage: Path, tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    """Neither of the poses, nor of the video that they name, nor of what is given besides."""
    for name in ("cage.mp4", "cage.poses.h5"):
        shutil.copy(cage / name, tmp_path)
    (tmp_path / "cage.html").symlink_to(cage / "cage.mp4")
    (tmp_path / "video.poses.h5").symlink_to(cage / "cage.mp4")
    (tmp_path / "corrections.poses.h5").write_text("{}")
    poses, video = str(tmp_path / "cage.poses.h5"), str(tmp_path / "cage.mp4")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for arguments, option in (
        (("--output", video), "--output"),
        (("--output", str(tmp_path / "video.poses.h5")), "--output"),  # the video that the poses name
        (
            (
                "--output",
                str(tmp_path / "corrections.poses.h5"),
                "--corrections",
                str(tmp_path / "corrections.poses.h5"),
            ),
            "--output",
        ),
        (("--output", str(tmp_path / "tracks.h5")), "--output"),
        (("--review", video), "--review"),
        (("--review", str(tmp_path / "cage.html")), "--review"),
    ):
        assert reason(dlcpose(capsys, monkeypatch, "track", poses, *arguments)).startswith(f"{option}: expected a n")
    # Before a model is read, where the video would be followed.
    for name in ("cage.mp4", "best.ckpt"):
        arguments = (video, "--conditional", str(tmp_path / "best.ckpt"), "--output", str(tmp_path / name))
        assert reason(dlcpose(capsys, monkeypatch, "track", *arguments)).startswith("--output: expected a name")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_corrected_tracks_are_replaced_only_where_that_is_said(
    cage: Path, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    poses, out, given = str(cage / "cage.poses.h5"), tmp_path / "cage.tracks.poses.h5", tmp_path / "c.json"
    command = ("track", poses, "--animals", "3", "--output", str(out))
    assert dlcpose(capsys, monkeypatch, *command).code == 0
    tracks = read_pose_tracks(out)
    assert read_provenance(out)[1].settings["tracking"]["corrections"] is None
    decisions = (Correction(30, 0, 2, "swap_between", 60), Correction(40, 0, 1, "keep"))
    content = corrections_as_dict(Corrections(tracks.video.fingerprint, tracks_digest(tracks), decisions))
    given.write_text(json.dumps(content))
    review = ("--corrections", str(given), "--review", str(tmp_path / "r.html"))
    answer = dlcpose(capsys, monkeypatch, *command, *review)
    assert answer.code == 0, answer.err
    assert "2 manual corrections: 1 swapped, 1 kept" in answer.out
    tracking = read_provenance(out)[1].settings["tracking"]
    assert tracking["corrections"] == {"file": "c.json", "sha256": sha256(given.read_bytes()).hexdigest(), "count": 2}
    assert tracking["used_appearance"] is False
    page = content_of((tmp_path / "r.html").read_text())
    assert len([each for each in (*page["decisions"], *page["others"]) if each]) == 2
    corrected = out.read_bytes()
    refused = reason(dlcpose(capsys, monkeypatch, *command))
    assert refused.startswith(f"{out}: it holds tracks with 2 manual corrections")
    assert "--corrections" in refused
    assert "--overwrite" in refused
    assert out.read_bytes() == corrected
    assert dlcpose(capsys, monkeypatch, *command, "--corrections", str(given)).code == 0
    assert dlcpose(capsys, monkeypatch, *command, "--overwrite").code == 0
    np.testing.assert_array_equal(read_pose_tracks(out).keypoints_in_image, tracks.keypoints_in_image)


def test_mistakes_are_one_line_each(cage: Path, capsys: Capture, monkeypatch: Patch) -> None:
    poses = str(cage / "cage.poses.h5")
    (cage / "cage.tracks.poses.h5").unlink(missing_ok=True)
    other = cage / "other.mp4"
    other.write_bytes((cage / "cage.mp4").read_bytes() + b"\0")
    foreign = Corrections("0" * 32, "0" * 32, ())
    (cage / "foreign.json").write_text(json.dumps(corrections_as_dict(foreign)))
    for arguments, named in (
        ((poses, "--video", str(other)), "other.mp4"),
        ((poses, "--video", str(cage / "none.mp4")), "none.mp4"),
        ((poses, "--corrections", str(cage / "foreign.json")), "0" * 32),
        ((poses, "--corrections", str(cage / "none.json")), "none.json"),
        ((poses, "--output", poses), "--output"),
        ((str(cage / "cage.mp4"),), "cage.mp4"),
        ((poses, "--min-score", "1"), "--min-score"),
        ((poses, "--appearance", "--seed", str(2**64)), "seed"),
    ):
        assert named in reason(dlcpose(capsys, monkeypatch, "track", *arguments))


def test_names_of_likely_swaps_do_not_act_on_the_terminal(
    cage: Path, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    poses = read_pose_tracks(cage / "cage.poses.h5")
    names = tuple(f"\x1b[2J{number}\n" for number in range(len(poses.individuals)))
    write_pose_tracks(tmp_path / "a.poses.h5", replace(poses, individuals=names))
    swap = SwapCandidate(frame=5, a=0, b=1, margin=1.0, from_frame=4, to_frame=6)
    monkeypatch.setattr("dlcpose.tracking.result.swap_candidates", lambda *_: [swap])
    answer = dlcpose(capsys, monkeypatch, "track", str(tmp_path / "a.poses.h5"), "--no-appearance")
    assert answer.code == 0, answer.err
    assert "frame 5: \\x1b[2J0\\n, \\x1b[2J1\\n, margin" in answer.out


def test_a_video_that_was_moved_has_to_be_named(
    cage: Path, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    poses = read_pose_tracks(cage / "cage.poses.h5")
    write_pose_tracks(tmp_path / "cage.poses.h5", replace(poses, video=replace(poses.video, path="/gone/cage.mp4")))
    arguments = ("track", str(tmp_path / "cage.poses.h5"), "--review", str(tmp_path / "r.html"))
    assert "--video" in reason(dlcpose(capsys, monkeypatch, *arguments))
    assert dlcpose(capsys, monkeypatch, *arguments, "--video", str(cage / "cage.mp4")).code == 0
    assert (tmp_path / "r.html").exists()


def test_a_seed_is_refused_where_nothing_is_learned(cage: Path, capsys: Capture, monkeypatch: Patch) -> None:
    answer = dlcpose(capsys, monkeypatch, "track", str(cage / "cage.poses.h5"), "--no-appearance", "--seed", "3")
    assert reason(answer).startswith("--seed: ")


def test_a_video_is_refused_where_nothing_is_made_of_it(cage: Path, capsys: Capture, monkeypatch: Patch) -> None:
    arguments = ("track", str(cage / "cage.poses.h5"), "--no-appearance", "--video", str(cage / "cage.mp4"))
    assert reason(dlcpose(capsys, monkeypatch, *arguments)).startswith("--video: ")
