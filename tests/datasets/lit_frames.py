"""Frames with one bright spot, and where it is after whatever was done to them."""

import cv2
import numpy as np

from dlcpose.structures.sample import Image, PoseSample, labels_of


def lit(height: int, width: int, x: float, y: float, sigma: float = 3.0) -> Image:
    """A spot that fades like a Gaussian: its centroid is its place, to a hundredth of a pixel."""
    ys, xs = np.mgrid[:height, :width]
    spot = np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * sigma**2))
    return np.repeat((spot * 250).round().astype(np.uint8)[..., None], 3, axis=2)


def block(height: int, width: int, x: int, y: int) -> Image:
    """3x3 white pixels around (x, y) on black."""
    image = np.zeros((height, width, 3), np.uint8)
    image[y - 1 : y + 2, x - 1 : x + 2] = 255
    return image


def centroid(image: Image, floor: float = 0.3) -> np.ndarray:
    """(2,) the middle of the brightest spot's light; what is darker than `floor` of its peak does not count."""
    gray = image.astype(float).mean(axis=2)
    gray[gray < floor * gray.max()] = 0
    _, labels = cv2.connectedComponents((gray > 0).astype(np.uint8))
    gray[labels != labels[np.unravel_index(gray.argmax(), gray.shape)]] = 0
    ys, xs = np.mgrid[: gray.shape[0], : gray.shape[1]]
    return np.array([(xs * gray).sum(), (ys * gray).sum()]) / gray.sum()


def frame(image: Image, keypoints: np.ndarray, **labels: np.ndarray) -> PoseSample:
    """keypoints: (N, K, 2)."""
    return PoseSample(labels_of("a frame", image.shape[:2], np.asarray(keypoints, np.float32), **labels), image)
