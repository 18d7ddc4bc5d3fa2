"""A data set that counts how often each image is decoded, also by worker processes."""

import multiprocessing
from collections.abc import Sequence

import numpy as np

from dlcpose.datasets.base import LabeledFrames
from dlcpose.structures.sample import Image, labels_of
from dlcpose.structures.skeleton import Skeleton


class CountedFrames(LabeledFrames):
    """Frames of noise; the last may be smaller than its labels say."""

    def __init__(self, sizes: Sequence[tuple[int, int]], *, last_is_wrong: bool = False) -> None:
        self.skeleton, self.individuals = Skeleton(("nose", "tail")), ("one",)
        self.frames = [
            labels_of(f"frame {index}", size, np.full((1, 2, 2), index + 0.25, np.float32))
            for index, size in enumerate(sizes)
        ]
        self.last_is_wrong = last_is_wrong
        self.counts = multiprocessing.Array("i", len(sizes))

    def read_image(self, index: int) -> Image:
        with self.counts.get_lock():
            self.counts[index] += 1
        height, width = self.frames[index].height, self.frames[index].width
        if self.last_is_wrong and index == len(self) - 1:
            height -= 1
        return self.picture(index, height, width)

    @staticmethod
    def picture(index: int, height: int, width: int) -> Image:
        """What frame `index` shows."""
        return np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
