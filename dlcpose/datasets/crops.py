"""Crops for a model: frames resized onto its canvas and augmented, image and labels together."""

import copy
import random
from dataclasses import replace
from typing import Any

import albumentations
import cv2
import numpy as np
import numpy.typing as npt
import torch
from albumentations.augmentations.geometric.distortion import BaseDistortion
from albumentations.core.composition import BaseCompose

from dlcpose.codecs.affine import Matrix, apply_affine, compose_affine, fit_affine, invert_affine, place_on_canvas
from dlcpose.datasets.keypoint_distortion import with_exact_distortion
from dlcpose.datasets.keypoint_resize import CROPPING, RESIZING, with_exact_resize
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.sample import Floats, Image, Integers, PoseCrop, PoseSample
from dlcpose.structures.skeleton import Skeleton

FRAME_POINTS = 4  # corners of the crop, transformed with its points to estimate the affine matrix


def whole(sample: PoseSample) -> PoseCrop:
    """The whole frame as a crop, unchanged."""
    labels = sample.labels
    return PoseCrop(
        key=labels.key,
        image=sample.image,
        keypoints_in_crop=labels.keypoints_in_image,
        visibility=labels.visibility,
        boxes_in_crop=labels.boxes_in_image,
        areas=labels.areas,
        identities=labels.identities,
        unique_in_crop=labels.unique_in_image,
        crop_to_image=np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    )


def fit_to_canvas(sample: PoseSample, model_input: Input) -> PoseCrop:
    """The frame resized and padded to a model's input, without augmentation."""
    image_to_canvas, scaled, canvas = place_on_canvas(model_input, sample.image.shape[:2])
    moved = _moved(whole(sample), image_to_canvas, resize_onto(sample.image, scaled, canvas))
    return replace(moved, shown=scaled)


def resize_onto(image: Image, scaled: tuple[int, int], canvas: tuple[int, int]) -> Image:
    """An image resized to `scaled` (height, width), in the top-left corner of a black canvas of (height, width)."""
    # Shrinking and enlarging apart: for one axis each at once, OpenCV's INTER_AREA shifts the image by 0.3 px.
    shrunk = (min(scaled[0], image.shape[0]), min(scaled[1], image.shape[1]))
    for size, interpolation in ((shrunk, cv2.INTER_AREA), (scaled, cv2.INTER_LINEAR)):
        if image.shape[:2] != size:
            image = cv2.resize(image, size[::-1], interpolation=interpolation)
    below, right = canvas[0] - scaled[0], canvas[1] - scaled[1]
    return np.pad(image, ((0, below), (0, right), (0, 0))) if below or right else image


def keep_keypoints(transform: albumentations.Compose) -> albumentations.Compose:
    """A copy of a transform that returns every keypoint, also those that it occludes or moves out of the frame.

    Transforms that resize or distort move keypoints exactly with the image, where albumentations alone is off by up to
    two pixels. Other targets that the transform was built for (boxes, labels) are dropped.
    Raises ConfigError when the transform has no keypoint_params of format xy.
    """
    processor = transform.processors.get("keypoints") if isinstance(transform, albumentations.Compose) else None
    if processor is None or processor.params.format != "xy":
        raise ConfigError(
            'The transform has no keypoints. Build it as Compose([...], keypoint_params=KeypointParams(format="xy")).'
        )
    return albumentations.Compose(
        [_exact(step) for step in copy.deepcopy(list(transform.transforms))],
        keypoint_params=albumentations.KeypointParams(format="xy", remove_invisible=False),
        p=transform.p,
    )


def _exact(transform: Any) -> Any:
    """The transform, or composition, with exact keypoints. Modifies its argument."""
    if isinstance(transform, BaseCompose):
        transform.transforms = [_exact(inner) for inner in transform.transforms]
        return transform
    if isinstance(transform, (*RESIZING, *CROPPING)):
        steps = with_exact_resize(transform)
    elif isinstance(transform, BaseDistortion):
        steps = with_exact_distortion(transform)
    else:
        return transform
    probability, transform.p = transform.p, 1.0
    return albumentations.Sequential(steps, p=probability)


def augment(crop: PoseCrop, transform: albumentations.Compose, skeleton: Skeleton, seed: int | None = None) -> PoseCrop:
    """A crop through an albumentations transform made by `keep_keypoints`, image and labels together.

    Left and right keypoints are swapped by the skeleton's pairs where the transform mirrors. crop_to_image is exact for
    affine transforms, else the best affine fit. The same seed gives the same crop; without one it comes from torch's
    generator, of which each worker of a loader has its own.
    """
    _seed(transform, int(torch.randint(2**31, ())) if seed is None else seed)
    height, width = crop.image.shape[:2]
    frame = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float32)
    corners = crop.boxes_in_crop[:, [[0, 1], [2, 1], [0, 3], [2, 3]]]  # (N, 4, 2)
    parts = [frame, crop.keypoints_in_crop.reshape(-1, 2), crop.unique_in_crop, corners.reshape(-1, 2)]
    image, points = _transformed(transform, crop, np.concatenate(parts))
    moved_frame, keypoints, unique, moved_corners = np.split(points, np.cumsum([len(part) for part in parts])[:-1])
    crop_to_augmented = fit_affine(frame, moved_frame)
    moved = replace(
        _moved(crop, crop_to_augmented, image),
        keypoints_in_crop=keypoints.reshape(crop.keypoints_in_crop.shape),
        unique_in_crop=unique,
        boxes_in_crop=_around(moved_corners.reshape(corners.shape)),
    )
    return _flipped(moved, skeleton) if np.linalg.det(crop_to_augmented[:, :2]) < 0 else moved


def _seed(transform: albumentations.Compose, seed: int) -> None:
    # One stream for all steps: set_random_seed gives each step its own stream of the same seed, so that probabilities,
    # and angle and scale, would be correlated.
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))


def _transformed(
    transform: albumentations.Compose, crop: PoseCrop, points: Floats
) -> tuple[Image, npt.NDArray[np.float32]]:
    """The image and points (P, 2) through a transform; NaN, which albumentations cannot handle, stays NaN.

    `owners`, the animal of each point, is passed along for transforms that need to know where animals are.
    """
    missing = np.asarray(np.isnan(points).any(axis=1))
    numbers = np.where(missing[:, None], np.float32(0), points)
    image = np.require(crop.image, requirements="W")  # a copy where it is the read-only cache
    result = transform(image=image, keypoints=numbers, owners=_owners(crop, missing))
    moved = np.asarray(result["keypoints"], np.float32)[:, :2]
    if len(moved) != len(points):
        raise ConfigError(
            f"The transform dropped {len(points) - len(moved)} of {len(points)} points: pass it through keep_keypoints."
        )
    moved[missing] = np.nan
    return np.ascontiguousarray(_checked_image(result["image"])), moved


def _checked_image(image: Any) -> Image:
    """The image that a transform made. Raises ConfigError where it is none: normalized pixels would wrap around as uint8."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ConfigError(
            f"The transform makes {tuple(image.shape)} {image.dtype} of an image. Expected (H, W, 3) uint8: leave out "
            "Normalize, ToFloat, ToTensorV2 and the like, models normalize images themselves."
        )
    return image


def _owners(crop: PoseCrop, missing: npt.NDArray[np.bool_]) -> Integers:
    """The animal of each point that `augment` transforms, −1 for points that are no animal's keypoint: (P,)."""
    animals, keypoints = crop.visibility.shape
    owners = np.full(len(missing), -1, np.int64)
    owners[FRAME_POINTS : FRAME_POINTS + animals * keypoints] = np.repeat(np.arange(animals), keypoints)
    owners[missing] = -1
    return owners


def _moved(crop: PoseCrop, crop_to_new: Matrix, image: Image) -> PoseCrop:
    """A crop's labels through a matrix, with the image already transformed."""
    corners = crop.boxes_in_crop[:, [[0, 1], [2, 1], [0, 3], [2, 3]]]
    return PoseCrop(
        key=crop.key,
        image=image,
        keypoints_in_crop=apply_affine(crop_to_new, crop.keypoints_in_crop),
        visibility=crop.visibility,
        boxes_in_crop=_around(apply_affine(crop_to_new, corners)),
        areas=(crop.areas * abs(np.linalg.det(crop_to_new[:, :2]))).astype(np.float32),
        identities=crop.identities,
        unique_in_crop=apply_affine(crop_to_new, crop.unique_in_crop),
        crop_to_image=compose_affine(crop.crop_to_image, invert_affine(crop_to_new)),
    )


def _around(corners: Floats) -> Floats:
    """The axis-aligned box around each four corners: (N, 4, 2) -> (N, 4)."""
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def _flipped(crop: PoseCrop, skeleton: Skeleton) -> PoseCrop:
    """The crop with left and right keypoints swapped."""
    order, unique_order = list(skeleton.flip_order), list(skeleton.unique_flip_order)
    return replace(
        crop,
        keypoints_in_crop=crop.keypoints_in_crop[:, order],
        visibility=crop.visibility[:, order],
        unique_in_crop=crop.unique_in_crop[unique_order],
    )
