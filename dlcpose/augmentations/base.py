"""Base class of augmentations: from the training labels to a schedule of random transforms."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import albumentations

from dlcpose.structures.augmentation import AugmentationSchedule
from dlcpose.structures.input import Input
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton


class Augmentation(ABC):
    """What training frames go through at random; an option of `augmentation=`."""

    @abstractmethod
    def schedule(
        self, frames: Sequence[FrameLabels], skeleton: Skeleton, model_input: Input, *, may_crop: bool
    ) -> AugmentationSchedule:
        """The transforms of a run on these training frames.

        model_input: what frames are resized to before they are transformed. may_crop: whether the model learns from
        parts of that canvas as well. Raises ConfigError for settings that do not fit the data.
        """


def compose_transforms(transforms: Sequence[albumentations.BasicTransform]) -> albumentations.Compose:
    """One transform of several, that moves keypoints too."""
    return albumentations.Compose(
        list(transforms), keypoint_params=albumentations.KeypointParams(format="xy", remove_invisible=False)
    )
