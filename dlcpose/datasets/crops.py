"""From a labelled frame to what a model is shown: placed on its canvas, then augmented, labels and image together."""

import copy
from dataclasses import replace

import albumentations
import cv2
import numpy as np
import numpy.typing as npt

from dlcpose.codecs.affine import Matrix, apply_affine, compose, fit_affine, invert_affine, place_on_canvas
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.sample import Floats, Image, PoseCrop, PoseSample
from dlcpose.structures.skeleton import Skeleton


def whole(sample: PoseSample) -> PoseCrop:
    """The frame as it is: the crop is the image."""
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


def on_canvas(sample: PoseSample, model_input: Input) -> PoseCrop:
    """The frame scaled and padded to a model's input, without chance."""
    image_to_canvas, scaled, canvas = place_on_canvas(model_input, sample.image.shape[:2])
    return _moved(whole(sample), image_to_canvas, resize_onto(sample.image, scaled, canvas))


def resize_onto(image: Image, scaled: tuple[int, int], canvas: tuple[int, int]) -> Image:
    """An image brought to `scaled` (height, width), in the top-left corner of a black canvas of (height, width)."""
    if image.shape[:2] != scaled:
        shrinks = scaled[0] < image.shape[0]
        size = (scaled[1], scaled[0])
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    below, right = canvas[0] - scaled[0], canvas[1] - scaled[1]
    return np.pad(image, ((0, below), (0, right), (0, 0))) if below or right else image


def keeping_points(transform: albumentations.Compose) -> albumentations.Compose:
    """A copy of a transform that keeps every point, also those it hides or moves out of the frame.

    Raises ConfigError when the transform is not made for points as x, y.
    """
    processor = transform.processors.get("keypoints")
    if processor is None or processor.params.format != "xy":
        raise ConfigError(
            'The transform moves no keypoints. Build it as Compose([...], keypoint_params=KeypointParams(format="xy")).'
        )
    kept = copy.deepcopy(transform)
    kept.processors["keypoints"].params.remove_invisible = False
    return kept


def augment(crop: PoseCrop, transform: albumentations.Compose, skeleton: Skeleton, seed: int | None = None) -> PoseCrop:
    """A crop through an albumentations transform made by `keeping_points`, labels and image together.

    Left and right are swapped by the skeleton's pairs whenever the transform mirrors. crop_to_image is exact where the
    transform is affine, else its best affine likeness. With a seed, the same seed gives the same crop.
    """
    if seed is not None:
        transform.set_random_seed(seed)
    height, width = crop.image.shape[:2]
    frame = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], np.float32)
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
    return _mirrored(moved, skeleton) if np.linalg.det(crop_to_augmented[:, :2]) < 0 else moved


def _transformed(
    transform: albumentations.Compose, crop: PoseCrop, points: Floats
) -> tuple[Image, npt.NDArray[np.float32]]:
    """The image and points (P, 2) through a transform; NaN stays NaN, which albumentations itself cannot carry.

    The animals' keypoints go along under `animals`, for transforms that look where the animals are.
    """
    missing = np.asarray(np.isnan(points).any(axis=1))
    numbers = np.where(missing[:, None], np.float32(0), points)
    result = transform(image=crop.image, keypoints=numbers, animals=crop.keypoints_in_crop)
    moved = np.asarray(result["keypoints"], np.float32)[:, :2]
    if len(moved) != len(points):
        raise ConfigError(
            f"The transform dropped {len(points) - len(moved)} of {len(points)} points: pass it through keeping_points."
        )
    moved[missing] = np.nan
    return np.ascontiguousarray(result["image"]), moved


def _moved(crop: PoseCrop, crop_to_new: Matrix, image: Image) -> PoseCrop:
    """A crop's labels through a matrix, with the image that belongs there."""
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
        crop_to_image=compose(crop.crop_to_image, invert_affine(crop_to_new)),
    )


def _around(corners: Floats) -> Floats:
    """The upright box around each four corners: (N, 4, 2) -> (N, 4)."""
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def _mirrored(crop: PoseCrop, skeleton: Skeleton) -> PoseCrop:
    """Left and right change names, as they do in a mirror."""
    order, unique_order = list(skeleton.flip_order), list(skeleton.unique_flip_order)
    return replace(
        crop,
        keypoints_in_crop=crop.keypoints_in_crop[:, order],
        visibility=crop.visibility[:, order],
        unique_in_crop=crop.unique_in_crop[unique_order],
    )
