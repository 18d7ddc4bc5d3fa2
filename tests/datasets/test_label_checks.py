"""Left/right swaps in labels: found in made-up herds and in published data."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.datasets.label_checks import find_coinciding, find_swaps, warn_of_labels
from dlcpose.structures.sample import FrameLabels, labels_of
from dlcpose.structures.skeleton import Skeleton

NAN = np.nan


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


def test_labels_that_no_animal_has_are_told(caplog: pytest.LogCaptureFixture) -> None:
    apart, nothing = MOUSE + 100, np.full_like(MOUSE, NAN)
    one_place, one_point = (np.where(np.arange(4)[:, None] < count, MOUSE * 0 + 50, NAN) for count in (3, 1))  # (4, 2)
    frames = [
        labels_of("good", (240, 240), np.stack([apart, apart + 1, nothing, nothing])),
        labels_of("none", (240, 240), np.zeros((0, 4, 2))),
        labels_of("point", (240, 240), one_place[None]),
        labels_of("single keypoint", (240, 240), one_point[None]),
        labels_of("double", (240, 240), np.stack([apart, nothing, apart])),
        labels_of("outside", (240, 240), (MOUSE + 220)[None]),
    ]
    warn_of_labels("mice", frames[:2])
    assert not caplog.text
    warn_of_labels("mice", frames)
    said = [record.getMessage() for record in caplog.records]
    assert [line.removeprefix("mice: ").partition(" ")[0] for line in said] == ["3", "1", "1"]
    for text, expected in zip(said, ("outside of the image", "at one place", "of another"), strict=True):
        assert expected in text
    named = list(find_coinciding(frames, SKELETON))
    assert [line.partition(":")[0] for line in named] == ["point"] * 3 + ["double"]
