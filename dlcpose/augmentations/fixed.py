"""Augmentation by a list of transforms, the same for any data."""

from collections.abc import Iterator, Sequence
from typing import Any

import albumentations

from dlcpose.augmentations.animal_crop import AnimalCrop
from dlcpose.augmentations.base import Augmentation, compose_transforms
from dlcpose.structures.augmentation import AugmentationPhase, AugmentationSchedule
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input, round_up
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton


class FixedAugmentation(Augmentation):
    """The transforms of a list, one after the other.

    closing_share: the share of epochs, at the end of the run, with the weaker list `closing` in place of `transforms`
    (Ge et al. 2021, YOLOX, section 2.1).
    Raises ConfigError for a closing_share outside of [0, 1], or without `closing`.
    """

    def __init__(
        self,
        transforms: Sequence[albumentations.BasicTransform],
        closing: Sequence[albumentations.BasicTransform] | None = None,
        closing_share: float = 0.0,
    ) -> None:
        if not 0 <= closing_share <= 1:
            raise ConfigError(f"augmentation.closing_share: expected a share from 0 to 1, got {closing_share}.")
        if closing_share and closing is None:
            raise ConfigError(
                f"augmentation.closing_share={closing_share}, but augmentation.closing lists no transforms. "
                "List those of the last epochs there, or take closing_share=0."
            )
        phases = [AugmentationPhase(0.0, compose_transforms(transforms))]
        if closing_share and closing is not None:
            phases.append(AugmentationPhase(1 - closing_share, compose_transforms(closing)))
        self.phases = tuple(phases)

    def schedule(
        self, frames: Sequence[FrameLabels], skeleton: Skeleton, model_input: Input, *, may_crop: bool
    ) -> AugmentationSchedule:
        """The same for any frames. Raises ConfigError for crops of a size that the backbone does not take."""
        for phase in self.phases:
            for step in _steps(phase.transform):
                if isinstance(step, AnimalCrop):
                    _check_crop(step, model_input)
        return AugmentationSchedule(self.phases)


def _steps(transform: Any) -> Iterator[Any]:
    """All transforms within one, those within these too."""
    for step in getattr(transform, "transforms", ()):
        yield step
        yield from _steps(step)


def _check_crop(crop: AnimalCrop, model_input: Input) -> None:
    canvas = model_input.canvas or (crop.height, crop.width)
    for name, side, limit in (("height", crop.height, canvas[0]), ("width", crop.width, canvas[1])):
        cut = min(side, limit)
        if cut % model_input.multiple_of:
            raise ConfigError(
                f"augmentation: this backbone takes a {name} that is a multiple of {model_input.multiple_of}, an AnimalCrop "
                f"of the list cuts {cut} px. Take {name}: {round_up(cut, model_input.multiple_of)} there."
            )
