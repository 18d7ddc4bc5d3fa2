"""Bending images along a map, as albumentations does it, with points that land where the image lands.

albumentations 2.0.8 finds a point's new place by looking for a painted spot in the bent image: to a pixel or two (1 px
too far up on average, measured with a lit spot), and points outside the image, or under another's spot, are lost. Here
the map itself is asked: it says for every pixel of the bent image where it came from, and is followed back.
"""

from typing import Any

import albumentations
import numpy as np
import numpy.typing as npt
from scipy import ndimage

Points = npt.NDArray[np.float32]  # (P, 5 or more): x, y and what albumentations keeps besides
Map = npt.NDArray[np.float32]  # (H, W)

STEPS = 30  # of following the map back; each halves what is left, or better, where the bending is gentle
REACHED = 0.01  # px


class Remember(albumentations.DualTransform):
    """Takes the points out of a transform's sight, until `Follow` brings them back."""

    points: Points

    def apply(self, img: npt.NDArray[np.uint8], **params: Any) -> npt.NDArray[np.uint8]:
        """The image as it is."""
        return img

    def apply_to_keypoints(self, keypoints: Points, **params: Any) -> Points:
        """(P, 5) -> (0, 5)."""
        self.points = keypoints
        return keypoints[:0]


class Follow(albumentations.DualTransform):
    """Puts remembered points where the map of the transform before it has taken the image."""

    before: Remember
    bending: albumentations.DualTransform

    def apply(self, img: npt.NDArray[np.uint8], **params: Any) -> npt.NDArray[np.uint8]:
        """The image as it is."""
        return img

    def apply_to_keypoints(self, keypoints: Points, **params: Any) -> Points:
        """(0, 5) -> (P, 5)."""
        moved, taken = self.before.points.copy(), self.bending.params
        if taken.get("map_x") is not None:
            moved[:, :2] = invert_distortion(taken["map_x"], taken["map_y"], moved[:, :2])
        return moved


def followed(bending: albumentations.DualTransform) -> list[albumentations.DualTransform]:
    """A transform that bends along a map, between the two steps that move the points in its place."""
    before, after = Remember(p=1.0), Follow(p=1.0)
    after.before, after.bending = before, bending
    return [before, bending, after]


def invert_distortion(map_x: Map, map_y: Map, points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Where points (P, 2) of the image come to lie in the one that was read from it along a map.

    Outside the map the shift at its nearest edge counts. Where the map folds, one of several places is given.
    """
    height, width = map_x.shape
    shift_x = map_x.astype(np.float64) - np.arange(width)  # of where a pixel comes from
    shift_y = map_y.astype(np.float64) - np.arange(height)[:, None]
    wanted = points.astype(np.float64)
    found, best = wanted.copy(), np.full(len(wanted), np.inf)
    place, pace = wanted.copy(), 1.0
    for _ in range(STEPS):
        at = place[:, ::-1].T
        shift = np.stack([ndimage.map_coordinates(each, at, order=1, mode="nearest") for each in (shift_x, shift_y)])
        false_negatives = wanted - place - shift.T
        distance = np.hypot(*false_negatives.T)
        nearer = distance < best
        found[nearer], best[nearer] = place[nearer], distance[nearer]
        if best.max(initial=0) < REACHED:
            break
        pace = pace if nearer.all() else 0.5  # a steep map is overshot at full pace
        place = place + pace * false_negatives
    return found
