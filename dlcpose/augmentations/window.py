"""A closer look: a window around an animal, enlarged to the whole canvas."""

from typing import Any

import albumentations
import cv2
import numpy as np
import numpy.typing as npt

from dlcpose.codecs.affine import Matrix, apply_affine, compose, crop_matrix, resize_matrix


class AnimalWindow(albumentations.DualTransform):
    """Cuts a window of the canvas's shape around one animal and enlarges it to the canvas.

    share: smallest and largest side of the window, as a share of the canvas's side. p: how often.
    The animal's centre lies anywhere in the middle half of the window; the window stays within the canvas.
    """

    class InitSchema(albumentations.DualTransform.InitSchema):
        """What albumentations checks of the arguments."""

        share: tuple[float, float]

    def __init__(self, share: tuple[float, float] = (0.6, 1.0), p: float = 0.5) -> None:
        super().__init__(p=p)
        self.share = share

    @property
    def targets_as_params(self) -> list[str]:
        """What `augment` hands over besides image and points."""
        return ["animals"]

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Choose the window: its matrix from canvas to canvas."""
        height, width = params["shape"][:2]
        share = self.random_generator.uniform(*self.share)
        centre = self._centre(data["animals"], height, width)
        within = self.random_generator.uniform(0.25, 0.75, size=2)  # where in the window the centre comes to lie
        corner = centre - within * share * (width, height)
        corner = np.clip(corner, -0.5, (1 - share) * np.array([width, height]) - 0.5)  # edges of pixels, not centres
        cut = crop_matrix(corner[0] + 0.5, corner[1] + 0.5)
        return {"matrix": compose(resize_matrix(1 / share, 1 / share), cut)}

    def _centre(self, animals: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float64]:
        known = [points[~np.isnan(points).any(axis=1)] for points in animals]
        known = [points for points in known if len(points)]
        if not known:
            return np.asarray(self.random_generator.uniform(0, (width, height)), np.float64)
        chosen = known[self.random_generator.integers(len(known))]
        return np.asarray((chosen.min(axis=0) + chosen.max(axis=0)) / 2, np.float64)

    def apply(self, img: npt.NDArray[np.uint8], matrix: Matrix, **params: Any) -> npt.NDArray[np.uint8]:
        """The window of the image."""
        height, width = img.shape[:2]
        return np.asarray(cv2.warpAffine(img, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)

    def apply_to_keypoints(
        self, keypoints: npt.NDArray[np.float32], matrix: Matrix, **params: Any
    ) -> npt.NDArray[np.float32]:
        """The points, with what albumentations keeps in further columns."""
        moved = keypoints.copy()
        moved[:, :2] = apply_affine(matrix, keypoints[:, :2])
        return moved
