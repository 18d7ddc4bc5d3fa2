"""Exact keypoints for albumentations' resizing transforms.

albumentations 2.0.8 maps a keypoint x to x·s when it resizes. That is right where the image's corner is at 0; in its
images, and for our keypoints, the center of the first pixel is at 0, so x becomes (x + 0.5)·s − 0.5. Measured with a lit
pixel, it is 0.25 px off at s = 1.5 and 0.75 px at s = 2.5. Here each resizing transform stands between two transforms
that move the keypoints into the corner's frame and back.
"""

from typing import Any

import albumentations
import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]  # (P, 5 or more): x, y and further columns of albumentations

RESIZING = (
    albumentations.Resize,
    albumentations.RandomScale,
    albumentations.LongestMaxSize,
    albumentations.SmallestMaxSize,
)
CROPPING = (
    albumentations.RandomSizedCrop,
    albumentations.RandomResizedCrop,
    albumentations.RandomSizedBBoxSafeCrop,
    albumentations.CropAndPad,
)


def with_exact_resize(resizing: albumentations.DualTransform) -> list[albumentations.DualTransform]:
    """A resizing transform between the two that correct its keypoints."""
    back = ToCenterOfWhole(p=1.0) if isinstance(resizing, RESIZING) else ToCenter(p=1.0)
    return [ToCorner(p=1.0), resizing, back]


class ToCorner(albumentations.DualTransform):
    """Moves the origin from the first pixel's center to the image's corner, and appends the opposite corner as a point."""

    def apply(self, img: npt.NDArray[np.uint8], **params: Any) -> npt.NDArray[np.uint8]:
        """The image, unchanged."""
        return img

    def apply_to_keypoints(self, keypoints: Points, **params: Any) -> Points:
        """(P, 5) -> (P + 1, 5)."""
        moved = np.concatenate([keypoints, keypoints[:1]])
        moved[:, :2] += 0.5
        moved[-1, :2] = params["shape"][1::-1]
        return moved


class ToCenter(albumentations.DualTransform):
    """Moves the origin back to the first pixel's center, and removes the appended point."""

    def apply(self, img: npt.NDArray[np.uint8], **params: Any) -> npt.NDArray[np.uint8]:
        """The image, unchanged."""
        return img

    def apply_to_keypoints(self, keypoints: Points, **params: Any) -> Points:
        """(P + 1, 5) -> (P, 5)."""
        moved = keypoints[:-1].copy()
        moved[:, :2] -= 0.5
        return moved


class ToCenterOfWhole(ToCenter):
    """The same where nothing is cropped: keypoints are scaled so that the appended point is the output's corner.

    albumentations scales keypoints by the exact factor, while the output's size is rounded to whole pixels.
    """

    def apply_to_keypoints(self, keypoints: Points, **params: Any) -> Points:
        """(P + 1, 5) -> (P, 5)."""
        stretched = keypoints.copy()
        stretched[:, :2] *= np.asarray(params["shape"][1::-1], np.float32) / keypoints[-1, :2]
        return super().apply_to_keypoints(stretched, **params)
