"""Augmentation chosen from the training labels: rotation, flips, scale and crops as the animals themselves vary."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import albumentations
import numpy as np

from dlcpose.augmentations.animal_crop import AnimalCrop
from dlcpose.augmentations.base import Augmentation, compose_transforms
from dlcpose.codecs.affine import apply_affine, place_on_canvas
from dlcpose.codecs.pose_variation import (
    Poses,
    evenly,
    facing_spread,
    is_labeled,
    mirror_distance,
    size_ratio,
    well_labeled_sizes,
)
from dlcpose.structures.augmentation import CLOSING, AugmentationPhase, AugmentationSchedule
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input, round_up
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.skeleton import Skeleton

MIN_FRAMES = 5  # with labels: fewer show a moment or two, from which nothing follows for the others
ALL_DIRECTIONS = 60.0  # degrees: animals with a wider spread of directions are seen from above, and may face any way
MIN_ROTATION = 10.0  # degrees: camera mounts differ a little from session to session
ROTATION_OF_UNKNOWN = 15.0  # degrees, where labels do not show which way an animal faces
MIRRORED = 1.5  # mirrored poses at up to this distance, as a multiple of the poses' own, are taken to occur
MIN_SCALE, MAX_SCALE = 1.15, 1.5  # the largest enlargement, whatever the sizes of the animals
CROP_MULTIPLE = 32  # px, which most backbones take
WORTH_CROPPING = 0.7  # of the canvas's pixels: a larger crop saves too little
MIN_CROP = 128  # px
LARGE = 0.95  # quantile of the animals' sizes
AROUND = 0.85  # of the crops, as against anywhere in the frame
FIRST_ROTATION, SECOND_ROTATION = 30.0, 90.0  # degrees, at most, in the first two phases
GROWING, GROWN = 0.15, 0.35  # shares of the run at which its second and third phase begin


@dataclass(frozen=True)
class AugmentationRanges:
    """How far geometry is varied.

    rotation: degrees either way. flip: whether left and right are swapped. scale: range of factors. crop: (height, width)
    of the part of the canvas around an animal that is trained on, None for all of it.
    """

    rotation: float
    flip: bool
    scale: tuple[float, float]
    crop: tuple[int, int] | None


class AutoAugmentation(Augmentation):
    """Chooses from the training labels, and lets the augmentation grow over the run.

    A fresh network first learns where keypoints are at all: rotations are small, then they grow to what the labels call
    for, flips join them once they have, and the last epochs see hardly any of it, as prediction sees none.

    From fewer than MIN_FRAMES labeled frames nothing is concluded: the choices are those that do least harm.

    rotation: degrees either way. flip: whether left and right are swapped. scale: range of factors. crop: side in px of
    the part of the canvas around an animal that is trained on, rounded up to what the backbone takes, 0 for all of it. None
    chooses each from the labels.
    Raises ConfigError for a rotation below 0, a scale that is no rising range of positive factors, and a negative crop.
    """

    def __init__(
        self,
        rotation: float | None = None,
        flip: bool | None = None,
        scale: tuple[float, float] | None = None,
        crop: int | None = None,
    ) -> None:
        if rotation is not None and not 0 <= rotation <= 180:
            raise ConfigError(f"augmentation.rotation: expected null or degrees from 0 to 180, got {rotation}.")
        if scale is not None and not (len(scale) == 2 and 0 < scale[0] <= scale[1]):
            raise ConfigError(f"augmentation.scale: expected null or [smallest, largest] factor, got {scale}.")
        if crop is not None and crop < 0:
            raise ConfigError(f"augmentation.crop: expected null, 0 or a side in pixels, got {crop}.")
        self.rotation, self.flip, self.scale, self.crop = rotation, flip, scale, crop

    def schedule(
        self, frames: Sequence[FrameLabels], skeleton: Skeleton, model_input: Input, *, may_crop: bool
    ) -> AugmentationSchedule:
        """Weak, growing, full, and closing phases of the ranges that the labels show."""
        ranges, choices = self.choose(frames, skeleton, model_input, may_crop=may_crop)
        return AugmentationSchedule(_phases(ranges), choices)

    def choose(
        self, frames: Sequence[FrameLabels], skeleton: Skeleton, model_input: Input, *, may_crop: bool
    ) -> tuple[AugmentationRanges, tuple[str, ...]]:
        """The ranges at full strength, and a line for each that says why."""
        frames = evenly(frames)
        animals = _animals_on_canvas(frames, model_input)
        poses = [_pose_set("animals", animals, skeleton.flip_order)]
        if skeleton.unique:  # the arena's keypoints show the camera's orientation as an animal's do
            arena = [frame.unique_in_image[None].astype(np.float64) for frame in frames]
            poses.append(_pose_set("the arena's keypoints", arena, skeleton.unique_flip_order))
        rotation, why_rotation = _given(self.rotation) or min(map(_rotation, poses), key=lambda chosen: chosen[0])
        flip, why_flip = _given(self.flip) or min(
            (_flip(each, rotation) for each in poses), key=lambda chosen: chosen[0]
        )
        scale, why_scale = _given(self.scale) or _scale(poses[0])
        crop, why_crop = self._crop(poses[0], scale[1], model_input, may_crop=may_crop)
        return AugmentationRanges(rotation, flip, scale, crop), (
            f"rotation up to {rotation:.0f} degrees: {why_rotation}",
            f"{'flip' if flip else 'no flip'}: {why_flip}",
            f"scale {scale[0]:.2f} to {scale[1]:.2f}: {why_scale}",
            f"{f'crops of {crop[1]}x{crop[0]}' if crop else 'whole frames'}: {why_crop}",
        )

    def _crop(
        self, animals: "_PoseSet", enlargement: float, model_input: Input, *, may_crop: bool
    ) -> tuple[tuple[int, int] | None, str]:
        canvas, multiple_of = model_input.canvas, model_input.multiple_of
        if canvas is None or not may_crop:
            if self.crop:
                raise ConfigError(
                    f"augmentation.crop={self.crop}: this model learns from whole frames alone. Take augmentation.crop=null."
                )
            return None, "this model learns from no parts of them"
        if self.crop is not None:
            if self.crop == 0:
                return None, "as given"
            side = round_up(self.crop, multiple_of)
            why = "as given" if side == self.crop else f"{self.crop} as given, to the next multiple of {multiple_of}"
            return (min(side, canvas[0]), min(side, canvas[1])), why
        if animals.too_few:
            return None, f"{animals.too_few} how large the animals are"
        sizes = well_labeled_sizes(animals.poses)
        large = float(np.quantile(sizes, LARGE))
        # An animal whose center lies in the middle half of the crop is all within it.
        side = round_up(max(MIN_CROP, 2 * large * enlargement), math.lcm(CROP_MULTIPLE, multiple_of))
        height, width = min(side, canvas[0]), min(side, canvas[1])
        why = f"animals of up to {large:.0f} px in an input of {canvas[1]}x{canvas[0]}"
        return (height, width) if height * width <= WORTH_CROPPING * canvas[0] * canvas[1] else None, why


@dataclass(frozen=True)
class _PoseSet:
    """Poses (P, K, 2) of one kind, and the keypoint at each place after left and right are swapped.

    frames: how many frames have a pose that shows something.
    """

    kind: str
    poses: Poses
    flip_order: tuple[int, ...]
    frames: int

    @property
    def too_few(self) -> str:
        """The beginning of a reason why nothing is concluded from these poses; empty where something can be."""
        if not self.frames:
            return "labels do not show"
        seen = counted(self.frames, "labeled frame does", "labeled frames do")
        return f"{seen} not show (at least {MIN_FRAMES} would)" if self.frames < MIN_FRAMES else ""


def _pose_set(kind: str, by_frame: Sequence[Poses], flip_order: tuple[int, ...]) -> _PoseSet:
    return _PoseSet(kind, np.concatenate(by_frame), flip_order, sum(map(is_labeled, by_frame)))


def _given(setting: Any) -> tuple[Any, str] | None:
    return None if setting is None else (setting, "as given")


def _animals_on_canvas(frames: Sequence[FrameLabels], model_input: Input) -> list[Poses]:
    """The animals of each frame, (N, K, 2) each."""
    return [
        apply_affine(place_on_canvas(model_input, (frame.height, frame.width))[0], frame.keypoints_in_image).astype(
            np.float64
        )
        for frame in frames
    ]


def _rotation(poses: _PoseSet) -> tuple[float, str]:
    if poses.too_few:
        return ROTATION_OF_UNKNOWN, f"{poses.too_few} which way {poses.kind} face"
    spread = facing_spread(poses.poses)
    if math.isnan(spread):
        return ROTATION_OF_UNKNOWN, f"labels do not show which way {poses.kind} face"
    if spread >= ALL_DIRECTIONS:
        kept = (
            f"90 % lie within {spread:.0f} degrees of their mean direction, and one way is below {ALL_DIRECTIONS:.0f}"
        )
        return 180.0, f"{poses.kind} may face any way: {kept}"
    return (
        max(MIN_ROTATION, float(math.ceil(spread))),
        f"{poses.kind} face one way, 90 % of them within {spread:.0f} degrees of it",
    )


def _flip(poses: _PoseSet, rotation: float) -> tuple[bool, str]:
    if poses.too_few:
        return False, f"{poses.too_few} whether {poses.kind} occur mirrored"
    distance = mirror_distance(poses.poses, poses.flip_order, rotation)
    if math.isnan(distance):
        return False, f"labels do not show whether {poses.kind} occur mirrored"
    if distance <= MIRRORED:
        return (
            True,
            f"{poses.kind}, mirrored with left and right swapped, lie as close to other poses ({distance:.1f} times)",
        )
    return (
        False,
        f"{poses.kind}, mirrored with left and right swapped, lie {distance:.1f} times as far from other poses",
    )


def _scale(animals: _PoseSet) -> tuple[tuple[float, float], str]:
    if animals.too_few:
        return (1 / MIN_SCALE, MIN_SCALE), f"{animals.too_few} how large the animals are"
    ratio = size_ratio(animals.poses)
    if math.isnan(ratio):
        return (1 / MIN_SCALE, MIN_SCALE), "labels do not show how large the animals are"
    factor = min(max(math.sqrt(ratio), MIN_SCALE), MAX_SCALE)
    return (1 / factor, factor), f"large animals are {ratio:.1f} times as large as small ones"


def _phases(ranges: AugmentationRanges) -> tuple[AugmentationPhase, ...]:
    # Left and right are learned from where they lie: flips cost a model that has just begun to far more than one that
    # finds the keypoints already.
    weak = min(ranges.rotation, FIRST_ROTATION)
    return (
        AugmentationPhase(0.0, _transform(ranges, weak, 0.5, flip=False)),
        AugmentationPhase(GROWING, _transform(ranges, min(ranges.rotation, SECOND_ROTATION), 0.7, flip=False)),
        AugmentationPhase(GROWN, _transform(ranges, ranges.rotation, 0.9, flip=ranges.flip)),
        AugmentationPhase(CLOSING, _transform(ranges, weak, 0.5, flip=ranges.flip)),
    )


def _transform(ranges: AugmentationRanges, rotation: float, p: float, *, flip: bool) -> albumentations.Compose:
    """One phase: geometry as far as it has grown, light and noise always alike."""
    steps: list[albumentations.BasicTransform] = [albumentations.HorizontalFlip(p=0.5)] if flip else []
    if ranges.crop is None:
        steps.append(
            albumentations.Affine(rotate=(-rotation, rotation), scale=ranges.scale, translate_percent=(-0.1, 0.1), p=p)
        )
    else:
        height, width = ranges.crop
        steps.append(AnimalCrop(height, width, AROUND, rotation=rotation, scale=ranges.scale, affine=p))
    steps += [
        albumentations.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
        albumentations.GaussNoise(std_range=(0.01, 0.05), p=0.2),
        albumentations.MotionBlur(blur_limit=(3, 5), p=0.15),
    ]
    return compose_transforms(steps)
