"""Labels that go from one format through another and back are the same, but for what was told as lost."""

import itertools
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.deeplabcut_config import ONLY_INDIVIDUAL
from dlcpose.datasets.readers import READERS, open_data
from dlcpose.exporters import label_contents as kinds
from dlcpose.exporters.label_formats import LABEL_FORMATS, find_format
from dlcpose.metrics.deeplabcut import DEFAULT_PCUTOFF
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import FrameLabels, labels_of
from dlcpose.structures.skeleton import Skeleton
from tests.exporters.label_sets import DrawnFrames, label_sets

OURS = ("deeplabcut", "coco", "sleap", "lightning_pose")
PAIRS = list(itertools.permutations(OURS, 2))
DRAWN = settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
# Names that make no kind are misspelled in `holds`.
KINDS = {value for name, value in vars(kinds).items() if name.isupper() and isinstance(value, str)}


def written(data: LabeledFrames, form: str, folder: Path, name: str) -> tuple[LabeledFrames, set[str]]:
    """The data as it is read from a format, and the kinds that were told as lost."""
    format = find_format(form)
    path = folder / f"{name}{'.pkg.slp' if form == 'sleap' else ''}"
    losses = {loss.kind for loss in format.losses(data, path)}
    format.write(data, path, fps=None)
    return READERS.load()[form].open(path), losses


def video_of(frame: FrameLabels, lost: set[str]) -> str:
    """The name of a frame's video, as far as formats keep it."""
    name = re.sub(r"_\d+x\d+$", "", frame.video) if kinds.MIXED in lost else frame.video
    return name.removesuffix(".mp4")


def labels_by_place(data: LabeledFrames, lost: set[str]) -> dict[Any, Any]:
    """For each frame its animals, as far as nothing of them was lost; videos by their name, animals in no order."""
    found: dict[Any, Any] = {}
    for frame in data.frames:
        if kinds.is_unlabeled(frame) and (kinds.EMPTY in lost or kinds.UNLABELED in lost):
            continue
        animals = []
        for points, seen, who in zip(frame.exact_keypoints, frame.visibility, frame.identities, strict=True):
            visibility = tuple((seen > 0) + (seen if kinds.HIDDEN not in lost else 0 * seen))
            name = data.individuals[who] if who >= 0 and kinds.INDIVIDUALS not in lost else ONLY_INDIVIDUAL
            animals.append((tuple(np.nan_to_num(points, nan=-1e9).ravel()), visibility, name))
        found[video_of(frame, lost), frame.frame_index] = sorted(animals, key=str)
    return found


def assert_same(before: LabeledFrames, after: LabeledFrames, lost: set[str]) -> None:
    assert after.skeleton.names == before.skeleton.names
    for kind, name in ((kinds.EDGES, "edges"), (kinds.PAIRS, "pairs"), (kinds.SIGMAS, "sigmas")):
        if kind not in lost:
            assert getattr(after.skeleton, name) == getattr(before.skeleton, name)
    one, other = labels_by_place(before, lost), labels_by_place(after, lost)
    assert one.keys() == other.keys()
    for place in one:
        assert len(one[place]) == len(other[place])
        for (points, seen, who), (their_points, their_seen, their_who) in zip(one[place], other[place], strict=True):
            np.testing.assert_allclose(their_points, points, rtol=0, atol=1e-6)
            assert their_seen == seen
            assert who == ONLY_INDIVIDUAL or their_who == who  # DeepLabCut's word for an animal without a name
    places = {(video_of(frame, lost), frame.frame_index): index for index, frame in enumerate(after.frames)}
    for index, frame in enumerate(before.frames):
        if (place := places.get((video_of(frame, lost), frame.frame_index))) is not None:
            np.testing.assert_array_equal(after[place].image, before.read_image(index))


def single(data: DrawnFrames) -> bool:
    return all(len(frame) < 2 for frame in data.frames)


def test_what_formats_hold_are_kinds_of_contents() -> None:
    assert set(OURS) <= set(LABEL_FORMATS.load())
    for form in OURS:
        held = LABEL_FORMATS.load()[form]._holds
        if not callable(held):
            assert held <= KINDS


@pytest.mark.parametrize("form", OURS)
@DRAWN
@given(data=label_sets())
def test_what_is_written_is_read(form: str, data: DrawnFrames) -> None:
    with TemporaryDirectory() as folder:
        if form == "lightning_pose" and not single(data):
            with pytest.raises(DataError, match=r"animals.*Lightning Pose"):
                written(data, form, Path(folder), "a")
            return
        back, lost = written(data, form, Path(folder), "a")
        assert_same(data, back, lost)
        if not {kinds.IDENTITIES, kinds.LOOSE} & lost and len(data.individuals) > 1:
            assert back.has_identities == data.has_identities
        if kinds.EMPTY not in lost and data.empty_is_label and any(not len(frame) for frame in data.frames):
            assert back.empty_is_label


@pytest.mark.parametrize("pcutoff", [None, 0.6, 0.35])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_the_pcutoff_of_a_project_is_kept_or_told(
    tmp_path: Path, first: str, second: str, pcutoff: float | None
) -> None:
    points = np.ones((1, 2, 2))
    data = DrawnFrames([labels_of("cage/1.png", (6, 8), points, video="cage", frame_index=1)], Skeleton(("a", "b")))
    data.pcutoff = pcutoff
    there, lost = written(data, first, tmp_path, "a")
    back, lost_there = written(there, second, tmp_path, "b")
    expected = DEFAULT_PCUTOFF if pcutoff is None else pcutoff
    kept = DEFAULT_PCUTOFF if back.pcutoff is None else back.pcutoff
    assert (kept == expected) == (kinds.PCUTOFF not in lost | lost_there)
    assert kinds.PCUTOFF not in lost or first == "lightning_pose"


@pytest.mark.parametrize("animals", [1, 2])
@pytest.mark.parametrize("form", OURS)
def test_animals_of_no_track_stay_so_or_it_is_told(tmp_path: Path, form: str, animals: int) -> None:
    frames = [
        labels_of(f"cage/{number}.png", (6, 8), np.ones((animals, 2, 2)), video="cage", frame_index=number)
        for number in (1, 2)
    ]
    data = DrawnFrames(frames, Skeleton(("a", "b")))
    if form == "lightning_pose" and animals > 1:
        return  # which refuses them
    back, lost = written(data, form, tmp_path, "a")
    of_several = animals > 1 or len(back.individuals) > 1
    has_tracks = of_several and any((frame.identities >= 0).any() for frame in back.frames)
    assert has_tracks == (kinds.UNTRACKED in lost)


def check_there_and_back(first: str, second: str, data: DrawnFrames) -> None:
    with TemporaryDirectory() as folder:
        here, _ = written(data, first, Path(folder), "a")
        there, lost = written(here, second, Path(folder), "b")
        back, lost_back = written(there, first, Path(folder), "c")
        assert_same(here, back, lost | lost_back)


@DRAWN
@given(pair=st.sampled_from(PAIRS), data=label_sets(most=1))
def test_there_and_back_is_the_same(pair: tuple[str, str], data: DrawnFrames) -> None:
    check_there_and_back(*pair, data)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), PAIRS)
@settings(DRAWN, max_examples=15)
@given(values=st.data())
def test_any_labels_go_there_and_back(first: str, second: str, values: st.DataObject) -> None:
    check_there_and_back(first, second, values.draw(label_sets(most=1 if "lightning_pose" in (first, second) else 3)))


REAL = {
    "openfield": "openfield-Pranav-2018-10-30",
    "reaching": "Reaching-Mackenzie-2018-08-30",
    "flypair24": "sleap/flypair24/centered_pair.slp",
    "rodentpair15": "rodentpair15-SLEAP-2024-12-17",
    "coco": "coco/flypair24_val.json",
}


@pytest.mark.slow
@pytest.mark.parametrize("form", OURS)
@pytest.mark.parametrize("name", REAL)
def test_real_labels_go_there_and_back(tmp_path: Path, shared_data: Path, name: str, form: str) -> None:
    data = open_data(shared_data / REAL[name])
    first = next(known for known, each in READERS.load().items() if isinstance(data, each))
    if form == "lightning_pose" and any(len(frame) > 1 for frame in data.frames):
        pytest.skip("Lightning Pose holds one animal")
    there, lost = written(data, form, tmp_path, "there")
    back, lost_back = written(there, first, tmp_path, "back")
    assert_same(data, there, lost)
    assert_same(data, back, lost | lost_back)
