import pickle

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from dlcpose.datasets.cache import CachedFrames
from dlcpose.structures.errors import DataError
from tests.datasets.counted_frames import CountedFrames

SIZES = [(6, 8), (10, 4), (6, 8), (7, 7), (6, 8)]
BYTES = [height * width * 3 for height, width in SIZES]
ALL = range(len(SIZES))


class Sums(Dataset):
    """Pictures reduced to what a loader can stack."""

    def __init__(self, frames: CachedFrames) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> int:
        return int(self.frames[index].image.astype(int).sum())


def test_images_are_decoded_once_and_stay_what_they_are() -> None:
    source = CountedFrames(SIZES)
    cached = CachedFrames(source, ALL, 1.0)
    for _ in range(3):
        for index, (height, width) in enumerate(SIZES):
            np.testing.assert_array_equal(cached[index].image, source.picture(index, height, width))
            assert cached[index].labels is source.frames[index]
    assert list(source.counts) == [1] * len(SIZES)


@pytest.mark.parametrize("kept", range(len(SIZES) + 1))
def test_frames_beyond_the_bound_are_right_and_are_decoded_each_time(kept: int) -> None:
    source = CountedFrames(SIZES)
    cached = CachedFrames(source, ALL, sum(BYTES[:kept]) / 2**30)
    for _ in range(2):
        for index, (height, width) in enumerate(SIZES):
            np.testing.assert_array_equal(cached[index].image, source.picture(index, height, width))
    assert list(source.counts) == [1] * kept + [2] * (len(SIZES) - kept)
    assert len(cached.memory) == max(1, sum(BYTES[:kept]))


def test_only_read_frames_take_memory() -> None:
    cached = CachedFrames(CountedFrames(SIZES), [3, 1], 1.0)
    assert len(cached.memory) == BYTES[3] + BYTES[1]


def test_forked_workers_decode_for_each_other() -> None:
    source = CountedFrames(SIZES)
    loader = DataLoader(Sums(CachedFrames(source, ALL, 1.0)), num_workers=2, multiprocessing_context="fork")
    first, second = ([int(value) for value in loader] for _ in range(2))  # each pass starts new workers
    assert first == second
    assert first == [int(source.picture(index, *SIZES[index]).astype(int).sum()) for index in ALL]
    assert list(source.counts) == [1] * len(SIZES)


@pytest.mark.parametrize("gigabytes", [1.0, 0.0])
def test_an_image_that_does_not_belong_to_its_labels_is_refused(gigabytes: float) -> None:
    cached = CachedFrames(CountedFrames(SIZES, last_is_wrong=True), ALL, gigabytes)
    with pytest.raises(DataError, match=r"frame 4.*8x6.*8x5"):
        cached[4]


def test_what_lies_in_the_cache_cannot_be_drawn_into() -> None:
    cached = CachedFrames(CountedFrames(SIZES), ALL, 1.0)
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            cached[0].image[:] = 0


def test_it_is_the_data_set_it_holds() -> None:
    source = CountedFrames(SIZES)
    source.has_identities, source.empty_is_label, source.stored_split = True, False, {"train": ("a",), "test": ()}
    cached = CachedFrames(source, ALL, 1.0)
    for name in (
        "skeleton",
        "individuals",
        "frames",
        "stored_split",
        "has_identities",
        "empty_is_label",
        "max_animals",
    ):
        assert getattr(cached, name) == getattr(source, name), name
    assert len(cached) == len(source)


def test_a_copy_in_a_process_that_was_not_forked_fills_its_own() -> None:
    source = CountedFrames(SIZES)
    cached = CachedFrames(source, ALL, 1.0)
    expected = cached[1].image
    source.counts = [0] * len(SIZES)  # a lock does not travel by pickle
    traveled = pickle.loads(pickle.dumps(cached))
    traveled.source.counts = CountedFrames(SIZES).counts
    for _ in range(2):
        np.testing.assert_array_equal(traveled[1].image, expected)
    assert list(traveled.source.counts) == [0, 1, 0, 0, 0]
