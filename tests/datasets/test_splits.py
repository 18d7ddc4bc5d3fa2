import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.datasets import splits
from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.sample import Image, labels_of
from dlcpose.structures.skeleton import Skeleton

CONF = Path(__file__).parents[2] / "conf" / "split"


class Frames(LabeledFrames):
    """So many frames of each video; the first `empty` of each without an animal, numbers running backwards."""

    def __init__(
        self, videos: Mapping[str, int], empty: int = 0, stored: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self.skeleton, self.individuals, self.stored_split = Skeleton(("nose",)), (), stored
        self.frames = [
            labels_of(
                f"{video}/{number}",
                (9, 9),
                np.ones((int(number >= empty), 1, 2), np.float32),
                video=video,
                frame_index=number,
            )
            for video, count in videos.items()
            for number in reversed(range(count))
        ]

    def read_image(self, index: int) -> Image:
        raise AssertionError("a split reads no image")


counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(4, 30), min_size=1)
fractions = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.3])
seeds = st.integers(0, 5)


@given(counts, fractions, fractions, seeds, st.sampled_from([splits.block, splits.video, splits.random]))
def test_every_frame_is_in_one_set(
    videos: dict[str, int], val: float, test: float, seed: int, split: splits.Splitter
) -> None:
    data = Frames(videos)
    try:
        found = split(data, val=val, test=test, seed=seed)
    except DataError:
        return  # tried below
    keys = [*found.train, *found.val, *found.test]
    assert sorted(keys) == sorted(frame.key for frame in data.frames)
    assert (bool(found.val), bool(found.test)) == (val > 0, test > 0)
    assert found == split(data, val=val, test=test, seed=seed)


@given(counts, fractions, fractions)
def test_blocks_follow_each_other_in_time(videos: dict[str, int], val: float, test: float) -> None:
    try:
        found = splits.block(Frames(videos), val=val, test=test)
    except DataError:
        return
    for video, count in videos.items():
        numbers = [
            [int(key.split("/")[1]) for key in keys if key.startswith(f"{video}/")]
            for keys in (found.train, found.val, found.test)
        ]
        assert [number for part in numbers for number in part] == list(range(count))
        assert abs(len(numbers[1]) - val * count) <= 1
        assert abs(len(numbers[2]) - test * count) <= 1
    total = sum(videos.values())
    assert abs(len(found.val) - val * total) <= 0.5 + 1e-9  # what rounding leaves of a video goes to the next
    assert abs(len(found.test) - test * total) <= 0.5 + 1e-9


@given(counts, fractions, fractions, seeds)
def test_videos_stay_whole(videos: dict[str, int], val: float, test: float, seed: int) -> None:
    if len(videos) < 1 + (val > 0) + (test > 0):
        return
    found = splits.video(Frames(videos), val=val, test=test, seed=seed)
    of_sets = [{key.split("/")[0] for key in keys} for keys in (found.train, found.val, found.test)]
    assert sum(map(len, of_sets)) == len(videos)
    assert found.train


def test_seeds_differ() -> None:
    data = Frames(dict.fromkeys("abcdef", 5))
    for split in (splits.video, splits.random):
        assert len({split(data, seed=seed).test for seed in range(5)}) > 1


@pytest.mark.parametrize("name", ["openfield", "reaching", "flypair24", "flypair13"])
def test_block_is_the_split_of_the_shared_coco_files(shared_data: Path, name: str) -> None:
    (project,) = [path for path in shared_data.glob("*-20*") if path.name.lower().startswith(f"{name}-")]
    found = splits.block(DeepLabCutFrames(project), val=0.0, test=0.2)
    for part, keys in (("train", found.train), ("val", found.test)):
        images = json.loads((shared_data / "coco" / f"{name}_{part}.json").read_text())["images"]
        assert [image["file_name"] for image in images] == [f"{project.name}/{key}" for key in keys]
    if name == "openfield":
        assert (len(found.train), len(found.test)) == (93, 23)


def test_val_is_taken_before_test_and_leaves_test_alone(shared_data: Path) -> None:
    data = DeepLabCutFrames(shared_data / "openfield-Pranav-2018-10-30")
    found, without = splits.block(data, val=0.1, test=0.2), splits.block(data, val=0.0, test=0.2)
    assert found.test == without.test
    assert found.train + found.val == without.train
    assert (len(found.train), len(found.val), len(found.test)) == (81, 12, 23)


def test_random_warns_of_neighbors(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        splits.random(Frames({"": 20}))
        assert caplog.text == ""
        splits.random(Frames({"a": 20}))
    assert "splits block and video" in caplog.text


# --- the data's own split ---------------------------------------------------------------------------------------------


def keys(video: str, numbers: range) -> tuple[str, ...]:
    return tuple(f"{video}/{number}" for number in numbers)


def test_stored_takes_val_from_train_by_block() -> None:
    data = Frames({"a": 20, "b": 4}, stored={"train": keys("a", range(20)), "test": keys("b", range(4))})
    found = splits.stored(data, val=0.1)
    assert found.test == keys("b", range(4))
    assert (found.train, found.val) == (keys("a", range(18)), keys("a", range(18, 20)))
    assert splits.stored(data, val=0.0).train == keys("a", range(20))


def test_stored_takes_val_from_train_by_video() -> None:
    train = (*keys("a", range(4)), *keys("b", range(4)), *keys("c", range(2)))
    found = splits.stored(
        Frames({"a": 4, "b": 4, "c": 4}, stored={"train": train, "test": keys("c", range(2, 4))}), val=0.3
    )
    assert found.test == keys("c", range(2, 4))
    assert not {key[0] for key in found.train} & {key[0] for key in found.val}
    assert sorted(found.train + found.val) == sorted(train)


def test_stored_keeps_a_val_of_its_own() -> None:
    parts = {"train": keys("a", range(5)), "val": keys("a", range(5, 7)), "test": keys("a", range(7, 9))}
    found = splits.stored(Frames({"a": 9}, stored=parts))
    assert found.as_dict() == {part: list(of_part) for part, of_part in parts.items()}


def test_stored_needs_a_split_to_be_there() -> None:
    with pytest.raises(DataError, match="split=block"):
        splits.stored(Frames({"a": 9}))


# --- frames without labels --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", [splits.block, splits.video, splits.random, splits.stored])
def test_empty_frames_count_only_where_they_say_something(
    split: splits.Splitter, caplog: pytest.LogCaptureFixture
) -> None:
    videos = {"a": 10, "b": 10, "c": 10}
    stored = {"train": keys("a", range(10)), "test": keys("b", range(10)), "val": keys("c", range(10))}
    data = Frames(videos, empty=2, stored=stored)
    found = split(data)
    assert len(found.train + found.val + found.test) == 30
    data.empty_is_label = False
    with caplog.at_level(logging.WARNING):
        found = split(data)
    assert len(found.train + found.val + found.test) == 24
    assert "6 frames" in caplog.text


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", [splits.block, splits.video, splits.random])
@pytest.mark.parametrize(
    ("val", "test", "message"),
    [
        (-0.1, 0.2, r"Expected split\.val to be a fraction from 0 to below 1, got -0\.1"),
        (0.1, 1.0, r"Expected split\.test to be a fraction from 0 to below 1, got 1\.0"),
        (float("nan"), 0.1, r"Expected split\.val to be a fraction"),
        (0.5, 0.5, r"split\.val and split\.test to leave frames to train on, got 0\.5 \+ 0\.5"),
    ],
)
def test_fractions_that_leave_nothing(split: splits.Splitter, val: float, test: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        split(Frames({"a": 9, "b": 9, "c": 9}), val=val, test=test)


def test_a_set_that_comes_out_empty() -> None:
    with pytest.raises(DataError, match=r"split\.test"):
        splits.block(Frames({"a": 2}), val=0.0, test=0.2)
    with pytest.raises(DataError, match=r"split\.val"):
        splits.random(Frames({"a": 3}), val=0.1, test=0.4)
    with pytest.raises(DataError, match="train"):
        splits.block(Frames({"a": 1}), val=0.0, test=0.9)


def test_too_few_videos() -> None:
    with pytest.raises(DataError, match=r"3 videos.*2.*split=block"):
        splits.video(Frames({"a": 9, "b": 9}))
    assert splits.video(Frames({"a": 9, "b": 9}), val=0.0).test
    with pytest.raises(DataError, match="2 videos"):
        splits.video(Frames({"a": 9}), val=0.0)


@pytest.mark.parametrize("split", [splits.block, splits.video, splits.random])
def test_no_labels_at_all(split: splits.Splitter) -> None:
    with pytest.raises(DataError, match="9 frames"):
        split(Frames({"a": 9}, empty=9))


@pytest.mark.parametrize("name", ["block", "video", "random", "stored"])
def test_the_options_fit_the_functions(name: str) -> None:
    option = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert option.pop("_target_") == f"dlcpose.datasets.splits.{name}"
    assert option.pop("_partial_") is True
    assert option.pop("seed") == "${seed}"
    stored = {"train": keys("a", range(20)), "test": keys("b", range(20))}
    found = getattr(splits, name)(Frames(dict.fromkeys("abcd", 20), stored=stored), seed=1, **option)
    assert found.train
    assert found.val
    assert found.test


def test_few_frames_of_many_videos_come_to_the_fractions() -> None:
    found = splits.block(Frames({f"v{number:02d}": 4 for number in range(20)}))
    assert (len(found.train), len(found.val), len(found.test)) == (56, 8, 16)
    found = splits.block(Frames({f"v{number:02d}": 2 for number in range(10)}), val=0.1, test=0.2)
    assert (len(found.train), len(found.val), len(found.test)) == (14, 2, 4)


PARTS_OF_TEN = {"train": range(8), "test": range(8, 10)}


def test_a_stored_split_of_two_videos_gives_no_whole_video_to_val() -> None:
    of_each = {part: tuple(key for video in "ab" for key in keys(video, rows)) for part, rows in PARTS_OF_TEN.items()}
    found = splits.stored(Frames({"a": 10, "b": 10}, stored=of_each), val=0.1)
    assert (len(found.train), len(found.val), len(found.test)) == (14, 2, 4)


@pytest.mark.parametrize("split", [splits.block, splits.video, splits.random, splits.stored])
def test_few_training_frames_are_evenly_chosen_of_the_train_set_and_the_other_sets_stay(split: splits.Splitter) -> None:
    videos = dict.fromkeys("abcd", 25)
    keys = tuple(frame.key for frame in Frames(videos).frames)
    data = Frames(videos, stored={"train": keys[:80], "test": keys[80:]})
    whole, few = split(data, seed=1), split(data, seed=1, train_frames=7)
    assert (few.val, few.test) == (whole.val, whole.test)
    assert len(few.train) == 7
    assert [key for key in whole.train if key in few.train] == list(few.train)
    places = [whole.train.index(key) for key in few.train]
    assert np.ptp(np.diff(places)) <= 1
    assert split(data, seed=1, train_frames=len(whole.train)) == whole
    for count in (0, len(whole.train) + 1):
        with pytest.raises(ConfigError, match=r"split\.train_frames"):
            split(data, seed=1, train_frames=count)
