"""Cache of decoded images in memory that all workers of a loader share, up to a limit."""

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcpose.datasets.base import LabeledFrames
from dlcpose.structures.sample import Image, PoseSample


class CachedFrames(LabeledFrames):
    """A data set whose images are decoded once and then read from memory that forked workers share.

    gigabytes: limit of that memory; frames beyond it are decoded each time. Memory is reserved at once but used only as
    frames are read. Where workers are not forked, each has a cache of its own.
    """

    def __init__(self, frames: LabeledFrames, indices: Sequence[int], gigabytes: float) -> None:
        self.source = frames
        self.skeleton, self.individuals = frames.skeleton, frames.individuals
        self.frames, self.stored_split, self.has_identities = frames.frames, frames.stored_split, frames.has_identities
        self.empty_is_label, self.pcutoff = frames.empty_is_label, frames.pcutoff
        self.starts: dict[int, int] = {}  # index of a frame -> first byte of its image
        size = 0
        for index in indices:
            needed = frames.frames[index].height * frames.frames[index].width * 3
            if size + needed > gigabytes * 2**30:
                break
            self.starts[index] = size
            size += needed
        self.size = size
        self._reserve()

    def _reserve(self) -> None:
        # An anonymous mapping is shared with children and does not count against a container's small /dev/shm.
        self.memory = mmap.mmap(-1, max(self.size, 1))
        self.is_filled = mmap.mmap(-1, max(len(self.frames), 1))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("memory", "is_filled")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._reserve()

    def read_image(self, index: int) -> Image:
        if index not in self.starts:
            return self.source[index].image
        frame = self.source.frames[index]
        shape = (frame.height, frame.width, 3)
        cached: Image = np.frombuffer(self.memory, np.uint8, int(np.prod(shape)), self.starts[index]).reshape(shape)
        if not self.is_filled[index]:
            image = self.source[index].image
            cached[:] = image
            # Set only after the image is complete; two workers that write the same image write the same bytes.
            self.is_filled[index] = 1
        cached.flags.writeable = False  # a change would be seen in all later epochs
        return cached

    def __getitem__(self, index: int) -> PoseSample:
        # The size was checked when the image was decoded.
        return PoseSample(labels=self.frames[index], image=self.read_image(index))
