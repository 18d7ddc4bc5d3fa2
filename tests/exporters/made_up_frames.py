"""A data set of made-up frames with flat images."""

from collections.abc import Sequence

import numpy as np

from dlcpose.datasets.base import LabeledFrames
from dlcpose.structures.sample import FrameLabels, Image
from dlcpose.structures.skeleton import Skeleton
from tests.metrics.made_up import SKELETON


class MadeUpFrames(LabeledFrames):
    individuals = ("Anna", "Bo")

    def __init__(self, frames: Sequence[FrameLabels], skeleton: Skeleton = SKELETON) -> None:
        self.frames, self.skeleton = frames, skeleton

    def read_image(self, index: int) -> Image:
        return np.full((self.frames[index].height, self.frames[index].width, 3), 90, np.uint8)
