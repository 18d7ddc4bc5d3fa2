"""Random crops around animals: enlarged to the canvas, or of a fixed size that costs less to compute."""

from typing import Any

import albumentations
import cv2
import numpy as np
import numpy.typing as npt

from dlcpose.codecs.affine import Matrix, apply_affine, compose_affine, crop_matrix, resize_matrix

Point = npt.NDArray[np.float64]  # (2,) as x, y


class _CropAroundAnimal(albumentations.DualTransform):
    """What both crops share: an affine matrix, and where the animals are after the transforms before."""

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
    """

    class InitSchema(albumentations.DualTransform.InitSchema):
        """Types of the arguments, for albumentations."""

        share: tuple[float, float]

    def __init__(self, share: tuple[float, float] = (0.6, 1.0), p: float = 0.5) -> None:
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
    """Crops a part of fixed size at the canvas's scale: training sees fewer pixels, prediction the whole image.

    height, width: of the crop, or the canvas's where that is smaller. around: probability that it lies around an animal;
    else it lies anywhere, so that background is learned too. The animal's center lies in the crop's middle half.
    """

    class InitSchema(albumentations.DualTransform.InitSchema):
        """Types of the arguments, for albumentations."""

        height: int
        width: int
        around: float

    def __init__(self, height: int = 192, width: int = 192, around: float = 0.8, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.height, self.width, self.around = height, width, around

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """A random crop: its matrix, and its rows and columns."""
        height, width = params["shape"][:2]
        size = np.minimum((self.width, self.height), (width, height))
        max_first = np.array([width, height]) - size
        if self.random_generator.uniform() < self.around:
            within = self.random_generator.uniform(0.25, 0.75, size=2)
            first = np.clip(self._center_of_one(data, height, width) - within * size, 0, max_first)
        else:
            first = self.random_generator.uniform((0, 0), max_first + 1)
        left, top = np.minimum(first.astype(int), max_first)
        return {"matrix": crop_matrix(left, top), "crop": (top, top + size[1], left, left + size[0])}

    def apply(
        self, img: npt.NDArray[np.uint8], crop: tuple[int, int, int, int], **params: Any
    ) -> npt.NDArray[np.uint8]:
        """The crop of the image."""
        top, bottom, left, right = crop
        return np.ascontiguousarray(img[top:bottom, left:right])
