"""Decoded images kept in memory, once for all worker processes of a loader, within a bound."""

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcpose.datasets.base import LabelledFrames
from dlcpose.structures.sample import Image, PoseSample


class CachedFrames(LabelledFrames):
    """A data set whose images are decoded once and then read from memory that all forked workers share.

    gigabytes: bound of that memory; frames that no longer fit are decoded each time. Memory is reserved at once but
    used only as frames are read. Where processes do not share memory by forking, each keeps its own copy.
    """

    def __init__(self, frames: LabelledFrames, indices: Sequence[int], gigabytes: float) -> None:
        self.source = frames
        self.skeleton, self.individuals = frames.skeleton, frames.individuals
        self.frames, self.stored_split, self.has_identities = frames.frames, frames.stored_split, frames.has_identities
        self.empty_is_label = frames.empty_is_label
        self.places: dict[int, int] = {}  # index of a frame -> first byte of its image
        size = 0
        for index in indices:
            needed = frames.frames[index].height * frames.frames[index].width * 3
            if size + needed > gigabytes * 2**30:
                break
            self.places[index] = size
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
        if index not in self.places:
            return self.source[index].image
        frame = self.source.frames[index]
        shape = (frame.height, frame.width, 3)
        kept: Image = np.frombuffer(self.memory, np.uint8, int(np.prod(shape)), self.places[index]).reshape(shape)
        if not self.is_filled[index]:
            image = self.source[index].image
            kept[:] = image
            # Marked only after the image is whole; two workers filling the same place write the same bytes.
            self.is_filled[index] = 1
        kept.flags.writeable = False  # what is drawn into it would be seen in every later epoch
        return kept

    def __getitem__(self, index: int) -> PoseSample:
        # Sizes were compared when the image was decoded.
        return PoseSample(labels=self.frames[index], image=self.read_image(index))
