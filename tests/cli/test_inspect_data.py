import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from dlcpose.cli.inspect_data import Inspection, find_swaps, inspect, inspect_command, open_data
from dlcpose.datasets.base import read_image_file
from dlcpose.datasets.coco import CocoFrames
from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import FrameLabels, labels_of
from dlcpose.structures.skeleton import Skeleton
from tests.datasets.dlc_projects import MULTI, labels, multi_columns, ten_frames, write_project

NAN = np.nan


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(inspect_command)
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    return result.exit_code, result.output


def test_counts_of_real_data(shared_data: Path) -> None:
    found = inspect(DeepLabCutFrames(shared_data / "Reaching-Mackenzie-2018-08-30"), None)
    assert (found.frames, found.empty, found.animals) == (55, 0, 55)
    assert found.videos == {"reachingvideo1": 55}
    assert found.sizes == {(747, 832): 40, (470, 640): 15}
    assert [(count.name, count.labelled, count.missing) for count in found.keypoints] == [
        ("Hand", 54, 1),
        ("Finger1", 54, 1),
        ("Tongue", 15, 40),
        ("Joystick1", 55, 0),
        ("Joystick2", 55, 0),
    ]
    assert found.findings == []


# Both were looked at: the labels are swapped in the published data.
@pytest.mark.parametrize(
    ("project", "image", "pairs"),
    [
        ("openfield-Pranav-2018-10-30", "img0102.png", {"leftear"}),
        ("flypair24-SLEAP-2024-12-20", "img0200.png", {"hindlegL1", "hindlegL2", "hindlegL3"}),
    ],
)
def test_swaps_in_the_real_labels_are_found(shared_data: Path, project: str, image: str, pairs: set[str]) -> None:
    data = DeepLabCutFrames(shared_data / project)
    swaps = find_swaps(data.frames, data.skeleton)
    assert {swap.left for swap in swaps if swap.key.endswith(image)} == pairs
    assert len({(swap.key, swap.animal) for swap in swaps}) < 0.05 * sum(map(len, data.frames))


SKELETON = Skeleton(("nose", "earL", "earR", "tail"), pairs=((1, 2),))
MOUSE = np.array([[30, 0], [20, -5], [20, 5], [-30, 0]], float)  # seen from above: x is ahead, its left is up


def herd(count: int, swapped: Sequence[int] = (), seed: int = 0) -> list[FrameLabels]:
    """One mouse in each frame, turned and placed anyhow."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        turn = rng.uniform(0, 2 * np.pi)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        points = (MOUSE + rng.normal(0, 0.5, MOUSE.shape)) @ matrix.T + rng.uniform(40, 200, 2)
        points = points[[0, 2, 1, 3]] if number in swapped else points
        frames.append(labels_of(str(number), (240, 240), points[None]))
    return frames


@pytest.mark.parametrize("swapped", [(), (3,), (0, 7, 19)])
def test_swaps_are_found_however_the_animal_lies(swapped: tuple[int, ...]) -> None:
    assert {int(swap.key) for swap in find_swaps(herd(30, swapped), SKELETON)} == set(swapped)


def test_where_the_sides_are_anyhow_nothing_is_suspected() -> None:
    assert find_swaps(herd(30, range(0, 30, 3)), SKELETON) == []  # a third: seen from both sides, not wrong
    assert find_swaps(herd(4, [1]), SKELETON) == []  # too few to know what is usual
    assert find_swaps([], SKELETON) == []
    assert find_swaps(herd(30, [1]), Skeleton(("a", "b", "c", "d"))) == []  # no pairs
    assert (
        find_swaps(herd(30, [1]), Skeleton(("a", "b", "c", "d"), pairs=((0, 3), (1, 2)))) == []
    )  # one point of a midline


def test_animals_without_the_ends_of_the_axis_are_judged_by_other_points() -> None:
    skeleton = Skeleton(("nose", "earL", "earR", "tail", "neck"), pairs=((1, 2),))
    frames = []
    for number, frame in enumerate(herd(40, [5, 30])):
        points = frame.keypoints_in_image[0]
        points = np.concatenate([points, points[:1] * 0.6 + points[3:] * 0.4])
        if number >= 20:
            points[3] = NAN
        frames.append(labels_of(frame.key, (240, 240), points[None]))
    assert {swap.key for swap in find_swaps(frames, skeleton)} == {"5", "30"}


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """Ten frames: two alike, one that does not decode, one point outside, two points in one place."""
    table = ten_frames() % 25
    table.iloc[2] = [100, 5, 6, 7]
    table.iloc[3] = [5, 5, 5, 5]
    table.iloc[4] = NAN
    root = write_project(tmp_path / "project", {"cage": table})
    for number in range(10):
        image = np.full((30, 40, 3), 10 * number if number != 6 else 50, np.uint8)
        assert cv2.imwrite(str(root / f"labeled-data/cage/img{number:04d}.png"), image)
    path = root / "labeled-data/cage/img0009.png"
    path.write_bytes(path.read_bytes()[:60])  # the head is whole, the pixels are gone
    return root


def test_what_looks_wrong_is_found(faulty: Path) -> None:
    found = inspect(open_data(faulty), None)
    assert (found.frames, found.empty, found.animals) == (10, 1, 9)
    assert found.duplicate_images == (("labeled-data/cage/img0005.png", "labeled-data/cage/img0006.png"),)
    assert found.duplicate_keypoints == (
        "labeled-data/cage/img0003.png: nose and tail of animal 0 are at the same place",
    )
    (unreadable,) = found.unreadable
    assert "img0009.png: expected an image, got 60 bytes that do not decode" in unreadable
    assert [(count.labelled, count.missing, count.out_of_frame) for count in found.keypoints] == [(9, 0, 1), (9, 0, 0)]
    assert len(found.findings) == 3


def test_the_arena_is_counted_apart(tmp_path: Path) -> None:
    values = [[*range(12), 20, 21], [*[NAN] * 12, 22, 23], [*range(12), NAN, NAN]]
    root = write_project(tmp_path, {"cage": labels("cage", values, multi_columns())}, MULTI)
    found: Inspection = inspect(DeepLabCutFrames(root), None)
    assert [(count.name, count.labelled, count.missing) for count in found.keypoints] == [
        *[(name, 4, 0) for name in ("nose", "earL", "earR")],
        ("door", 2, 1),
    ]


def test_the_command_prints_what_it_found(faulty: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures" / "sheet.png"
    code, output = run(str(faulty), "--out", str(out))
    assert code == 0
    for line in (
        "3 findings",
        "img0005.png, labeled-data/cage/img0006.png: the images are the same",
        "40x30 (10)",
        str(out),
    ):
        assert line in output
    assert [path.name for path in out.parent.iterdir()] == ["sheet.png"]
    height, width, _ = read_image_file(out).shape
    assert width >= 4 * 320
    assert height >= 3 * 240  # nine readable frames of 4:3 in rows of four


def test_the_command_says_what_is_wrong_with_the_path(tmp_path: Path) -> None:
    code, output = run(str(tmp_path / "nowhere"))
    assert (code, output) == (
        1,
        f"dlcpose: {tmp_path / 'nowhere'}: expected a data set, got nothing at this path. Correct the path.\n",
    )


def test_the_reader_is_guessed_from_the_path(shared_data: Path, tmp_path: Path) -> None:
    project = shared_data / "openfield-Pranav-2018-10-30"
    samples = shared_data / "format-samples/coco-keypoints"
    assert isinstance(open_data(project), DeepLabCutFrames)
    assert isinstance(open_data(project / "config.yaml"), DeepLabCutFrames)
    for path in (shared_data / "coco" / "reaching_val.json", samples / "fly", samples / "zebra" / "test_zebra.json"):
        data = open_data(path)
        assert isinstance(data, CocoFrames)
        assert data[0].image.any()
    with pytest.raises(DataError, match=r"expected a folder with config\.yaml .* got neither"):
        open_data(tmp_path)
    for name in ("a.json", "b.json"):
        shutil.copy(samples / "zebra" / "test_zebra.json", tmp_path / name)
    with pytest.raises(DataError, match=r"got \['a\.json', 'b\.json'\]\. Name one of them"):
        open_data(tmp_path)


def test_a_picture_of_real_data(shared_data: Path, tmp_path: Path) -> None:
    inspect(open_data(shared_data / "rodentpair15-SLEAP-2024-12-17"), tmp_path / "sheet.png")
    assert read_image_file(tmp_path / "sheet.png").any()
