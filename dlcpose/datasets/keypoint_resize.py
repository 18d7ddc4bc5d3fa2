"""Resizing as albumentations does it, with points that land where the image lands.

albumentations 2.0.8 takes a point x to x·s when it resizes: right for a frame whose zero is the image's corner, while
its images, and our points, count from the centre of the first pixel, where x becomes (x + 0.5)·s − 0.5. Measured with a
lit spot: 0.25 px off at s = 1.5, 0.75 px at s = 2.5. Here each resizing transform is put between two steps that
move the points to the corner's frame and back.
"""

from typing import Any

import albumentations
import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]  # (P, 5 or more): x, y and what albumentations keeps besides

WHOLE = (
    albumentations.Resize,
    albumentations.RandomScale,
    albumentations.LongestMaxSize,
    albumentations.SmallestMaxSize,
)
CUT = (
    albumentations.RandomSizedCrop,
    albumentations.RandomResizedCrop,
    albumentations.RandomSizedBBoxSafeCrop,
    albumentations.CropAndPad,
)


def about_corners(resizing: albumentations.DualTransform) -> list[albumentations.DualTransform]:
    """A transform that resizes, between the two steps."""
    back = ToCenterOfWhole(p=1.0) if isinstance(resizing, WHOLE) else ToCenter(p=1.0)
    return [ToCorner(p=1.0), resizing, back]


class ToCorner(albumentations.DualTransform):
    """Points from the frame of pixel centres to that of the image's corner; a last one marks the corner opposite."""

    def apply(self, img: npt.NDArray[np.uint8], **params: Any) -> npt.NDArray[np.uint8]:
        """The image as it is."""
        return img

    def apply_to_keypoints(self, keypoints: Points, **params: Any) -> Points:
        """(P, 5) -> (P + 1, 5)."""
        moved = np.concatenate([keypoints, keypoints[:1]])
        moved[:, :2] += 0.5
        moved[-1, :2] = params["shape"][1::-1]
        return moved


class ToCenter(albumentations.DualTransform):
    """The way back."""

    def apply(self, img: npt.NDArray[np.uint8], **params: Any) -> npt.NDArray[np.uint8]:
        """The image as it is."""
        return img

    def apply_to_keypoints(self, keypoints: Points, **params: Any) -> Points:
        """(P + 1, 5) -> (P, 5)."""
        moved = keypoints[:-1].copy()
        moved[:, :2] -= 0.5
        return moved


class ToCenterOfWhole(ToCenter):
    """The way back where nothing was cut off: the mark belongs in the corner of the image that came out.

    It may have been put beside it: sizes are whole pixels, and the scale that albumentations gives to points is not.
    """

    def apply_to_keypoints(self, keypoints: Points, **params: Any) -> Points:
        """(P + 1, 5) -> (P, 5)."""
        stretched = keypoints.copy()
        stretched[:, :2] *= np.asarray(params["shape"][1::-1], np.float32) / keypoints[-1, :2]
        return super().apply_to_keypoints(stretched, **params)
