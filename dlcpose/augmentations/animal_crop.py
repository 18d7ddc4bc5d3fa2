"""Random crops around animals: enlarged to the canvas, or of a fixed size, which cost less to compute."""

import math
from typing import Any

import albumentations
import cv2
import numpy as np
import numpy.typing as npt

from dlcpose.codecs.affine import Matrix, apply_affine, compose_affine, crop_matrix, resize_matrix
from dlcpose.structures.errors import ConfigError

Point = npt.NDArray[np.float64]  # (2,) as x, y


class _CropAroundAnimal(albumentations.DualTransform):
    """Base of both crops: an affine matrix, and the animals' places after the transforms before this one."""

    @property
    def targets_as_params(self) -> list[str]:
        """Further inputs of `get_params_dependent_on_data`: the keypoints so far, and the animal of each."""
        return ["keypoints", "owners"]

    def _center_of_one(self, data: dict[str, Any], height: int, width: int) -> Point:
        """The center of a random animal, or a random place where there is none."""
        owners = data["owners"]
        points = np.asarray(data["keypoints"], np.float64)[: len(owners), :2]
        within = ((points >= 0) & (points < (width, height))).all(axis=1)
        present = np.unique(owners[(owners >= 0) & within])
        if not len(present):
            return np.asarray(self.random_generator.uniform((0, 0), (width, height)), np.float64)
        of_one = points[(owners == self.random_generator.choice(present)) & within]
        return np.asarray((of_one.min(axis=0) + of_one.max(axis=0)) / 2, np.float64)

    def apply_to_keypoints(
        self, keypoints: npt.NDArray[np.float32], matrix: Matrix, **params: Any
    ) -> npt.NDArray[np.float32]:
        """The keypoints through the matrix; further columns of albumentations stay."""
        moved = keypoints.copy()
        moved[:, :2] = apply_affine(matrix, keypoints[:, :2])
        return moved


class AnimalResizedCrop(_CropAroundAnimal):
    """Crops a window of the canvas's shape around one animal and enlarges it to the canvas.

    share: range of the window's side, as a share of the canvas's. p: probability.
    The animal's center lies anywhere in the middle half of the window; the window stays within the canvas.
    Raises ConfigError for a share that is no rising range above 0, up to 1.
    """

    class InitSchema(albumentations.DualTransform.InitSchema):
        """Types of the arguments, for albumentations."""

        share: tuple[float, float]

    def __init__(self, share: tuple[float, float] = (0.6, 1.0), p: float = 0.5) -> None:
        if not 0 < share[0] <= share[1] <= 1:
            raise ConfigError(
                f"augmentation: AnimalResizedCrop takes as its share [smallest, largest] above 0, up to 1, got {share}."
            )
        super().__init__(p=p)
        self.share = share

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """A random window, as a matrix from canvas to canvas."""
        height, width = params["shape"][:2]
        share = self.random_generator.uniform(*self.share)
        center = self._center_of_one(data, height, width)
        within = self.random_generator.uniform(0.25, 0.75, size=2)  # place of the center in the window
        corner = center - within * share * (width, height)
        corner = np.clip(corner, -0.5, (1 - share) * np.array([width, height]) - 0.5)  # edges of pixels, not centers
        crop = crop_matrix(corner[0] + 0.5, corner[1] + 0.5)
        return {"matrix": compose_affine(resize_matrix(1 / share, 1 / share), crop)}

    def apply(self, img: npt.NDArray[np.uint8], matrix: Matrix, **params: Any) -> npt.NDArray[np.uint8]:
        """The enlarged window of the image."""
        height, width = img.shape[:2]
        return np.asarray(cv2.warpAffine(img, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)


class AnimalCrop(_CropAroundAnimal):
    """Crops a part of fixed size, rotated and scaled: training sees fewer pixels, prediction the whole image.

    height, width: of the crop, or the canvas's where that is smaller. around: probability that it lies around an animal;
    else it lies anywhere, so that background is learned too. The animal's center lies in the crop's middle half.
    rotation: at most so many degrees either way, about the crop's center. scale: range of factors by which what it shows is
    enlarged. affine: probability that a crop is rotated and scaled at all; others are the canvas's own pixels.
    Raises ConfigError for a height or width below 1, a rotation below 0, and a scale that is no rising range of positive
    factors.
    """

    class InitSchema(albumentations.DualTransform.InitSchema):
        """Types of the arguments, for albumentations."""

        height: int
        width: int
        around: float
        rotation: float
        scale: tuple[float, float]
        affine: float

    def __init__(
        self,
        height: int = 192,
        width: int = 192,
        around: float = 0.8,
        rotation: float = 0.0,
        scale: tuple[float, float] = (1.0, 1.0),
        affine: float = 0.0,
        p: float = 1.0,
    ) -> None:
        if min(height, width) < 1 or not rotation >= 0:
            raise ConfigError(
                "augmentation: AnimalCrop takes a height and a width from 1 px and a rotation from 0 degrees, got "
                f"{height}, {width} and {rotation}."
            )
        if not 0 < scale[0] <= scale[1] < math.inf:
            raise ConfigError(
                f"augmentation: AnimalCrop takes as its scale [smallest, largest] factor above 0, got {scale}."
            )
        super().__init__(p=p)
        self.height, self.width, self.around = height, width, around
        self.rotation, self.scale, self.affine = rotation, scale, affine

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """A random crop: the matrix to it, its (height, width), and whether it is the canvas's own pixels."""
        height, width = params["shape"][:2]
        size = np.minimum((self.width, self.height), (width, height))
        angle, scale, is_affine = 0.0, 1.0, self.random_generator.uniform() < self.affine
        if is_affine:
            angle = np.radians(self.random_generator.uniform(-self.rotation, self.rotation))
            scale = np.exp(self.random_generator.uniform(*np.log(self.scale)))
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        if self.random_generator.uniform() < self.around:
            shift = self.random_generator.uniform(-0.25, 0.25, size=2) * size  # of the animal from the crop's center
            center = self._center_of_one(data, height, width) - np.linalg.solve(turn, shift)
        else:
            center = self.random_generator.uniform((0, 0), (width, height))
        # As much of the canvas as can be: a crop reaches beyond it only where it is rotated, or shows more than there is.
        reach = np.minimum(size / scale, (width, height)) / 2
        center = np.clip(center, reach - 0.5, np.array([width, height]) - reach - 0.5)
        if not is_affine:
            center = np.round(center - (size - 1) / 2) + (size - 1) / 2  # whole pixels
        move = (size - 1) / 2 - turn @ center
        return {
            "matrix": np.column_stack([turn, move]),
            "size": (int(size[1]), int(size[0])),
            "is_affine": is_affine,
        }

    def apply(
        self,
        img: npt.NDArray[np.uint8],
        matrix: Matrix,
        size: tuple[int, int],
        is_affine: bool,
        **params: Any,
    ) -> npt.NDArray[np.uint8]:
        """The crop of the image; what lies beyond the canvas is black."""
        if is_affine:
            return np.asarray(cv2.warpAffine(img, matrix, size[::-1], flags=cv2.INTER_LINEAR), np.uint8)
        left, top = (-matrix[:, 2]).round().astype(int)
        return np.ascontiguousarray(img[top : top + size[0], left : left + size[1]])
