"""`dlcpose import-poses`: predictions of other programs, then the other commands on what it wrote."""

import shutil
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sleap_io

from dlcpose.datasets.video import VideoReader, video_info
from dlcpose.exporters.formats import TableTarget, table_formats
from dlcpose.exporters.pose_file import read_pose_tracks, read_provenance
from dlcpose.exporters.pose_tables import whole_poses
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.visualization.video_file import write_video
from tests.cli.test_app import dlcpose
from tests.importers.foreign_tables import SCORER, deeplabcut_table, saved
from tests.shells import Answer, reason
from tests.tracking.noisy_poses import noisy_poses, rendered_frames, rendered_ground_truth

FRAMES, SIDE = 24, 64
SCENE = {"animals": 2, "frames": FRAMES, "height": SIDE, "width": SIDE}


class Shell:
    """Runs commands in a folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.folder, self._capsys, self._patch = folder, capsys, patch

    def __call__(self, *arguments: object) -> Answer:
        return dlcpose(self._capsys, self._patch, *map(str, arguments))

    def done(self, *arguments: object) -> str:
        answer = self(*arguments)
        assert answer.code == 0, answer.err
        return answer.out


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "cage.mp4"
    data = rendered_frames(**SCENE)
    write_video(path, (data.read_image(index) for index in range(FRAMES)), fps=25)
    return path


@pytest.fixture
def run(film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell in a folder with cage.mp4."""
    shutil.copy(film, tmp_path / "cage.mp4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dlcpose.tracking.appearance.STEPS", 10)
    return Shell(tmp_path, capsys, monkeypatch)


@pytest.fixture(scope="module")
def untracked() -> PoseTracks:
    return noisy_poses(rendered_ground_truth(**SCENE)).poses


def deeplabcut_file(folder: Path, tracks: PoseTracks, ending: str = ".h5") -> Path:
    """As DeepLabCut writes untracked poses: absent animals are -1."""
    owners = [(who, name) for who in tracks.individuals for name in tracks.skeleton.names]
    columns = [(SCORER, *owner, coord) for owner in owners for coord in ("x", "y", "likelihood")]
    values = np.concatenate([tracks.keypoints_in_image, tracks.keypoint_scores[..., None]], axis=-1).astype(float)
    values[~tracks.is_present] = -1
    names = ["scorer", "individuals", "bodyparts", "coords"]
    table = pd.DataFrame(values.reshape(len(tracks), -1), columns=pd.MultiIndex.from_tuples(columns, names=names))
    return saved(table, folder / f"cage{SCORER}{ending}")


@pytest.mark.parametrize("ending", [".h5", ".csv", ".slp"])
def test_what_was_imported_is_tracked_filtered_drawn_and_converted(
    ending: str, run: Shell, untracked: PoseTracks
) -> None:
    if ending == ".slp":
        (source,) = table_formats()["sleap"].write(whole_poses(untracked), TableTarget(run.folder, "a"))
        labels = sleap_io.load_slp(str(source))
        labels.videos[0].replace_filename("/nowhere/cage.mp4", open=False)
        sleap_io.save_slp(labels, str(source), embed=False, verbose=False)
    else:
        source = deeplabcut_file(run.folder, untracked, ending)
    said = run.done("import-poses", source)
    assert "untracked animals" in said
    tracks = read_pose_tracks("cage.poses.h5")
    assert tracks.video == video_info(Path("cage.mp4").absolute())
    np.testing.assert_array_equal(tracks.times, [frame.time for frame in VideoReader("cage.mp4")])
    count = len(tracks.individuals)  # a .slp has no empty columns
    in_any_order = np.sort(untracked.keypoints_in_image, axis=1)[:, :count]  # NaN last
    np.testing.assert_allclose(np.sort(tracks.gapless().keypoints_in_image, axis=1), in_any_order, rtol=1e-6)
    origin = read_provenance("cage.poses.h5")[1].settings["imported"]
    assert origin["file"] == source.name
    assert len(origin["sha256"]) == 64

    assert "2 tracks of 2 animals" in run.done("track", "cage.poses.h5", "--animals", 2, "--review", "review.html")
    assert read_provenance("cage.tracks.poses.h5")[1].settings["imported"] == origin
    run.done("filter", "cage.tracks.poses.h5", "--median", 3)
    run.done("draw", "cage.tracks_filtered.poses.h5", "--sheet", "sheet.png")
    out = run.done("tables", "cage.tracks.poses.h5", "--for", "deeplabcut", "--for", "sleap", "--output", "t")
    again = [Path(line) for line in out.splitlines() if not line.endswith(".csv")]
    for table in again:
        run.done("import-poses", table, "--video", ".", "--output", table.suffix[1:])
        back, ours = read_pose_tracks(f"{table.suffix[1:]}/cage.poses.h5"), read_pose_tracks("cage.tracks.poses.h5")
        assert (back.individuals, back.is_tracked) == (ours.individuals, True)
        np.testing.assert_array_equal(back.gapless().keypoints_in_image, ours.keypoints_in_image)
    run.done("propose", "cage.poses.h5", "--frames", 2, "--output", "labels")


def test_what_lies_in_the_way_is_kept(run: Shell) -> None:
    table = saved(deeplabcut_table(range(FRAMES)), run.folder / f"cage{SCORER}.h5")
    run.done("import-poses", table)
    before = Path("cage.poses.h5").read_bytes()
    assert "--overwrite replaces it" in reason(run("import-poses", table))
    saved(deeplabcut_table(range(FRAMES), seed=1), table)
    assert "is there already" in reason(run("import-poses", table))
    assert Path("cage.poses.h5").read_bytes() == before
    run.done("import-poses", table, "--overwrite")
    assert Path("cage.poses.h5").read_bytes() != before


def test_two_tables_of_one_video_do_not_overwrite_each_other(run: Shell) -> None:
    tables = [saved(deeplabcut_table(range(3)), run.folder / f"cage{SCORER}{end}") for end in (".h5", "_filtered.h5")]
    assert "would have the name of those of" in reason(run("import-poses", *tables))


def test_without_a_video_the_size_is_asked_for_and_what_shows_frames_refuses(run: Shell) -> None:
    Path("cage.mp4").unlink()
    table = saved(deeplabcut_table(range(30)), run.folder / f"cage{SCORER}.h5")
    assert "--size WIDTHxHEIGHT" in reason(run("import-poses", table))
    assert "without its video" in run.done("import-poses", table, "--size", "64x48", "--fps", 10)
    tracks = read_pose_tracks("cage.poses.h5")
    assert (tracks.video.width, tracks.video.height, tracks.video.frames) == (64, 48, 30)
    np.testing.assert_allclose(tracks.times, np.arange(30) / 10)
    for command in (["draw"], ["propose", "--frames", "2"], ["track", "--animals", "1", "--review", "a.html"]):
        assert "imported without their video" in reason(run(*command, "cage.poses.h5"))
    run.done("track", "cage.poses.h5", "--animals", 1)
    run.done("filter", "cage.poses.h5", "--kalman")
    run.done("tables", "cage.poses.h5", "--format", "csv", "--format", "coco", "--format", "sleap")


def test_a_frame_far_off_takes_no_memory_and_is_tracked(run: Shell) -> None:
    Path("cage.mp4").unlink()
    table = deeplabcut_table(range(30))
    table.index = pd.Index([*range(29), 10**8])
    saved(table, run.folder / f"cage{SCORER}.h5")
    tracemalloc.start()
    run.done("import-poses", f"cage{SCORER}.h5", "--size", "64x48", "--fps", 10)
    np.testing.assert_allclose(read_pose_tracks("cage.poses.h5").times[-1], 10**7)
    run.done("track", "cage.poses.h5", "--animals", 1)
    assert tracemalloc.get_traced_memory()[1] < 2**28  # a number for each frame of the video takes three times as much
    tracemalloc.stop()


def test_a_video_is_found_by_its_name_alone(run: Shell) -> None:
    shutil.copy("cage.mp4", "cage2.mp4")
    table = saved(deeplabcut_table(range(FRAMES)), run.folder / f"cage2{SCORER}_filtered.csv")
    assert "cage2.mp4" in run.done("import-poses", table)
    shutil.copy("cage.mp4", "cage2.avi")
    assert "any of cage2.avi, cage2.mp4" in reason(run("import-poses", table, "--overwrite"))
    Path("videos").mkdir()
    shutil.move("cage2.avi", "videos/cage2.avi")
    assert "videos/cage2.avi" in run.done("import-poses", table, "--overwrite", "--video", "videos")


def test_poses_of_another_video_are_refused(run: Shell) -> None:
    longer = saved(deeplabcut_table(range(60)), run.folder / f"cage{SCORER}.h5")
    assert "poses of frame 59, but" in reason(run("import-poses", longer))
    one_more = saved(deeplabcut_table(range(FRAMES + 1)), run.folder / f"cage{SCORER}.h5")
    assert f"go on to frame {FRAMES}, but the video has {FRAMES}" in run.done("import-poses", one_more)
    tracks = read_pose_tracks("cage.poses.h5")
    assert np.isfinite(tracks.times).sum() == FRAMES


def test_keypoints_outside_the_frames_are_told(run: Shell) -> None:
    table = deeplabcut_table(range(FRAMES)) + 30
    table.loc[:, table.columns.get_level_values("coords") == "likelihood"] = 0.5
    path = saved(table, run.folder / f"cage{SCORER}.h5")
    assert "lie outside the frames of 64x64 px" in run.done("import-poses", path)


def test_a_part_of_the_frame_has_an_offset(run: Shell) -> None:
    table = deeplabcut_table(range(FRAMES))
    run.done("import-poses", saved(table, run.folder / f"cage{SCORER}.h5"), "--offset", "3,5")
    tracks = read_pose_tracks("cage.poses.h5")
    nose = table.to_numpy()[:, :2]
    np.testing.assert_allclose(tracks.keypoints_in_image[:, 0, 0], nose + np.array([3, 5]), rtol=1e-6)
    assert read_provenance("cage.poses.h5")[1].settings["imported"]["offset"] == [3, 5]


def test_edges_come_from_the_project(run: Shell) -> None:
    Path("project").mkdir()
    Path("project/config.yaml").write_text(
        "Task: t\nscorer: s\nbodyparts: [nose, left ear, right ear, tail]\nskeleton: [[nose, left ear], [nose, tail]]\n",
        encoding="utf-8",
    )
    table = saved(deeplabcut_table(range(FRAMES)), run.folder / f"cage{SCORER}.h5")
    run.done("import-poses", table, "--project", "project")
    assert read_pose_tracks("cage.poses.h5").skeleton.edges == ((0, 1),)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--video", "none.mp4"], "there is no video or folder"),
        (["--offset", "3"], "--offset: expected X,Y"),
        (["--offset", "nan,1"], "--offset: expected X,Y"),
        (["--size", "64"], "--size: expected WIDTHxHEIGHT"),
        (["--size", "64x64"], "the video is there"),
        (["--fps", "0"], "--fps: expected"),
        (["--project", "none"], "expected the folder of a DeepLabCut project"),
        (["more.h5", "--video", "cage.mp4"], "a folder with the videos of 2 tables"),
    ],
)
def test_mistaken_options_are_refused_in_one_line(arguments: list[str], says: str, run: Shell) -> None:
    table = saved(deeplabcut_table(range(FRAMES)), run.folder / f"cage{SCORER}.h5")
    assert says in reason(run("import-poses", table, *arguments))
    assert not Path("cage.poses.h5").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="names have no control characters")
def test_a_name_of_a_file_does_not_act_on_the_terminal(run: Shell) -> None:
    name = "cage\x1b[2J\nforged"
    poses = saved(deeplabcut_table(range(FRAMES)), run.folder / f"{name}{SCORER}.h5")
    Path("cage.mp4").rename(f"{name}.mp4")
    said = run.done("import-poses", poses)
    assert said.startswith(f"{run.folder}/cage\\x1b[2J\\nforged.poses.h5: 24 frames")
    assert read_pose_tracks(f"{name}.poses.h5").video.path


def test_the_path_in_a_slp_leads_nowhere_else(run: Shell) -> None:
    """The name of the file of poses is a part of a path, whatever the video is called."""
    labels = sleap_io.load_slp(str(table_of_one_animal(run.folder)))
    labels.videos[0].replace_filename("/nowhere/..", open=False)
    sleap_io.save_slp(labels, "b.slp", embed=False, verbose=False)
    run.done("import-poses", "b.slp", "--output", "out")
    assert [path.parent for path in run.folder.rglob("*.poses.h5")] == [run.folder / "out"]


def table_of_one_animal(folder: Path) -> Path:
    from tests.structures.made_up_tracks import made_up_tracks

    (path,) = table_formats()["sleap"].write(whole_poses(made_up_tracks(animals=1)), TableTarget(folder, "a"))
    return path
