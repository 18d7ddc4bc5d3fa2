"""Exact keypoints for albumentations' distortions, by inverting the map of the distortion.

albumentations 2.0.8 paints a spot at each keypoint and looks for it in the distorted image: accurate to a pixel or two
(1 px too far up on average, measured with a lit pixel), and keypoints outside the image or under another's spot are
lost. The distortion's map gives each pixel's place in the source image; here it is inverted by fixed-point iteration.
"""

from typing import Any

import albumentations
import numpy as np
import numpy.typing as npt
from scipy import ndimage

Points = npt.NDArray[np.float32]  # (P, 5 or more): x, y and further columns of albumentations
Map = npt.NDArray[np.float32]  # (H, W)

MAX_STEPS = 30  # each halves the distance, or better, where the distortion is smooth
TOLERANCE = 0.01  # px


class StoreKeypoints(albumentations.DualTransform):
    """Stores the keypoints, so that the next transform sees none, for `DistortKeypoints`."""

    points: Points

    def apply(self, img: npt.NDArray[np.uint8], **params: Any) -> npt.NDArray[np.uint8]:
        """The image, unchanged."""
        return img

    def apply_to_keypoints(self, keypoints: Points, **params: Any) -> Points:
        """(P, 5) -> (0, 5)."""
        self.points = keypoints
        return keypoints[:0]


class DistortKeypoints(albumentations.DualTransform):
    """Restores the stored keypoints, moved by the map of the distortion before it."""

    stored: StoreKeypoints
    distortion: albumentations.DualTransform

    def apply(self, img: npt.NDArray[np.uint8], **params: Any) -> npt.NDArray[np.uint8]:
        """The image, unchanged."""
        return img

    def apply_to_keypoints(self, keypoints: Points, **params: Any) -> Points:
        """(0, 5) -> (P, 5)."""
        moved, maps = self.stored.points.copy(), self.distortion.params
        if maps.get("map_x") is not None:
            moved[:, :2] = invert_distortion(maps["map_x"], maps["map_y"], moved[:, :2])
        return moved


def with_exact_distortion(distortion: albumentations.DualTransform) -> list[albumentations.DualTransform]:
    """A distortion between the two transforms that move its keypoints."""
    store, distort = StoreKeypoints(p=1.0), DistortKeypoints(p=1.0)
    distort.stored, distort.distortion = store, distortion
    return [store, distortion, distort]


def invert_distortion(map_x: Map, map_y: Map, points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The places in a distorted image of points of the source image: (P, 2) -> (P, 2) pixels.

    map_x, map_y: (H, W), for each pixel of the distorted image its place in the source. Outside the map, the shift at
    its nearest edge counts. Where the map folds, one of several solutions is returned.
    """
    height, width = map_x.shape
    shift_x = map_x.astype(np.float64) - np.arange(width)  # of a pixel's source
    shift_y = map_y.astype(np.float64) - np.arange(height)[:, None]
    targets = points.astype(np.float64)
    solutions, best = targets.copy(), np.full(len(targets), np.inf)
    guess, rate = targets.copy(), 1.0
    for _ in range(MAX_STEPS):
        at = guess[:, ::-1].T
        shift = np.stack([ndimage.map_coordinates(each, at, order=1, mode="nearest") for each in (shift_x, shift_y)])
        residuals = targets - guess - shift.T
        distance = np.hypot(*residuals.T)
        nearer = distance < best
        solutions[nearer], best[nearer] = guess[nearer], distance[nearer]
        if best.max(initial=0) < TOLERANCE:
            break
        rate = rate if nearer.all() else 0.5  # full steps overshoot where the map is steep
        guess = guess + rate * residuals
    return solutions
