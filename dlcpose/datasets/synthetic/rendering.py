"""Solid shapes drawn to a fraction of a pixel: everything that a rendered frame shows is made of capsules.

A capsule is what two circles and their common tangents enclose: a limb, a trunk, an ear, an eye, a bar of cover.
"""

from dataclasses import dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt

from dlcpose.structures.sample import Floats

Array = npt.NDArray[np.float64]
Canvas = npt.NDArray[np.float32]  # (H, W, 3) RGB, 0 to 255

_SUBPIXEL_BITS = 6  # OpenCV takes points in 1/64 of a pixel of its canvas
_ARC = np.linspace(-1.0, 1.0, 10)  # points on each end of an outline
_RINGS = (
    (1.0, 0.3),
    (0.86, 0.64),
    (0.64, 0.88),
    (0.36, 1.0),
)  # share of the radius, and how high a round body stands there


@dataclass(frozen=True)
class Capsules:
    """C capsules, the later ones above the earlier.

    starts_in_image, ends_in_image: (C, 2) pixels. radii: (C, 2) pixels at start and end, positive.
    colours: (C, 3) RGB, 0 to 255. opacities: (C,) in (0, 1]: one that is not 1 hides nothing.
    levels: (C,), rising: capsules of one level melt into each other, those of a higher one lie on top; infinite ones
    are flat paint on what is below.
    """

    starts_in_image: Array
    ends_in_image: Array
    radii: Array
    colors: Array
    opacities: Array
    levels: Array

    def __len__(self) -> int:
        return len(self.radii)


@dataclass(frozen=True)
class Light:
    """Where light comes from: a unit vector in the image's plane, how slanted it falls, and how dark its shadows are."""

    x: float
    y: float
    slant: float
    shadow: float


@dataclass(frozen=True)
class Layer:
    """What is laid over a canvas at (left, top): colours times alpha (h, w, 3), alpha and shadow (h, w, 1) in [0, 1]."""

    left: int
    top: int
    colors: Canvas
    alpha: Canvas
    shadow: Canvas


def render(
    capsules: Capsules, size: tuple[int, int], light: Light, texture: Canvas, texture_to_image: Array
) -> Layer | None:
    """Capsules as a shaded, textured layer of an image of `size` (height, width); None where nothing lies inside.

    texture: (h, w) factors of brightness around 1, carried along by texture_to_image (2, 3).
    """
    margin = 2 + int(0.35 * capsules.radii.max())  # the shadow reaches beyond the shape
    left, top, right, bottom = _whole_pixels(capsules, size, margin)
    if left >= right or top >= bottom:
        return None
    width, height = right - left, bottom - top
    painted, relief = _paint(capsules, (left, top), (height, width))
    alpha = painted[..., 3:] / np.float32(255)
    shift = texture_to_image.copy()
    shift[:, 2] -= (left, top)
    brightness = _shade(relief, light, 0.14 * float(capsules.radii.max())) * cv2.warpAffine(
        texture, shift, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    return Layer(
        left=left,
        top=top,
        colors=painted[..., :3] * brightness[..., None],
        alpha=alpha,
        shadow=_cast_shadow(alpha[..., 0], light, 0.3 * float(capsules.radii.max()))[..., None],
    )


def lay_over(canvas: Canvas, layer: Layer | None) -> None:
    """Lay a layer and its shadow on a canvas, in place."""
    if layer is None:
        return
    height, width = layer.alpha.shape[:2]
    part = canvas[layer.top : layer.top + height, layer.left : layer.left + width]
    part *= (1 - layer.shadow) * (1 - layer.alpha)
    part += layer.colors


def measure(capsules: Capsules, size: tuple[int, int]) -> tuple[Floats, float]:
    """The box (4,) x1 y1 x2 y2 and the area in px² of what the capsules cover together inside an image of `size`."""
    low, high = _extent(capsules)
    limit = np.array([size[1], size[0]]) - 1.0
    box = np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)]).astype(np.float32)
    left, top, right, bottom = _whole_pixels(capsules, size, margin=1)
    if left >= right or top >= bottom:
        return box, 0.0
    scale = _supersampling(capsules)
    mask = np.zeros(((bottom - top) * scale, (right - left) * scale), np.uint8)
    for outline in _outlines(capsules, 1.0, (left, top), scale):
        cv2.fillConvexPoly(mask, outline, 1, shift=_SUBPIXEL_BITS)
    return box, cv2.countNonZero(mask) / scale**2


def contains(capsules: Capsules, points_in_image: Array) -> npt.NDArray[np.bool_]:
    """Whether each point lies inside each capsule: (P, 2) -> (P, C). See-through capsules contain nothing."""
    axis = capsules.ends_in_image - capsules.starts_in_image  # (C, 2)
    squared = np.maximum((axis**2).sum(axis=-1), 1e-12)
    away = points_in_image[:, None] - capsules.starts_in_image  # (P, C, 2)
    along = np.clip((away * axis).sum(axis=-1) / squared, 0, 1)  # (P, C)
    distance = np.linalg.norm(away - along[..., None] * axis, axis=-1)
    radius = capsules.radii[:, 0] + along * (capsules.radii[:, 1] - capsules.radii[:, 0])
    inside: npt.NDArray[np.bool_] = (distance < radius) & (capsules.opacities == 1)
    return inside


def join(parts: list[Capsules]) -> Capsules:
    """Several groups of capsules as one, the later groups above the earlier."""
    names = [field.name for field in fields(Capsules)]
    return Capsules(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _paint(capsules: Capsules, origin: tuple[int, int], size: tuple[int, int]) -> tuple[Canvas, Canvas]:
    """Colours times alpha with alpha (h, w, 4), 0 to 255, and the relief (h, w) in px, both without any jagged edge."""
    scale = _supersampling(capsules)
    large = (size[0] * scale, size[1] * scale)
    painted, relief = np.zeros((*large, 4), np.uint8), np.zeros(large, np.uint8)
    steps = 250 / capsules.radii.max()  # of the relief to a pixel: 8 bits are enough, and quick to draw
    rings = [_outlines(capsules, share, origin, scale) for share, _ in _RINGS]
    fills = np.concatenate([capsules.colors, np.full((len(capsules), 1), 255.0)], axis=1).tolist()
    tops = (capsules.radii.max(axis=1) * steps).tolist()
    for index, opacity in enumerate(capsules.opacities.tolist()):
        if opacity < 1:
            over = cv2.fillConvexPoly(painted.copy(), rings[0][index], fills[index], shift=_SUBPIXEL_BITS)
            painted = cv2.addWeighted(over, opacity, painted, 1 - opacity, 0)
        else:
            cv2.fillConvexPoly(painted, rings[0][index], fills[index], shift=_SUBPIXEL_BITS)
    for level in np.unique(capsules.levels[np.isfinite(capsules.levels)]):
        together = np.flatnonzero((capsules.levels == level) & (capsules.opacities == 1)).tolist()
        # All outer rings first, so that no joint between two limbs is left as a groove.
        for ring, (_, rise) in zip(rings, _RINGS, strict=True):
            for index in together:
                cv2.fillConvexPoly(relief, ring[index], rise * tops[index], shift=_SUBPIXEL_BITS)
    # Averaging whole cells keeps the law x' = (x + 0.5)·s − 0.5 that the outlines were scaled by.
    small = (size[1], size[0])
    painted = cv2.resize(painted, small, interpolation=cv2.INTER_AREA)
    relief = cv2.resize(relief, small, interpolation=cv2.INTER_AREA)
    return painted.astype(np.float32), relief.astype(np.float32) / np.float32(steps)


def _shade(relief: Canvas, light: Light, smoothness: float) -> Canvas:
    """Brightness (h, w) around 1 of a relief in slanting light (Lambert's law, with some light from everywhere)."""
    smooth = cv2.GaussianBlur(relief, (0, 0), max(0.8, smoothness))
    dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    facing = (1 - light.slant * (dx * light.x + dy * light.y)) / np.sqrt(1 + dx * dx + dy * dy)
    shaded: Canvas = np.clip(0.35 + 0.65 * facing, 0.35, 1.3).astype(np.float32)
    return shaded


def _cast_shadow(alpha: Canvas, light: Light, reach: float) -> Canvas:
    away = np.array([[1.0, 0.0, -light.x * reach * 0.6], [0.0, 1.0, -light.y * reach * 0.6]])
    moved = cv2.warpAffine(alpha, away, alpha.shape[::-1])
    shadow: Canvas = cv2.GaussianBlur(moved, (0, 0), max(0.6, 0.4 * reach)) * np.float32(light.shadow)
    return shadow


def _outlines(capsules: Capsules, share: float, origin: tuple[int, int], scale: int) -> npt.NDArray[np.int32]:
    """(C, P, 2) points around each capsule with a share of its radii, in OpenCV's fixed-point pixels."""
    starts, ends, radii = capsules.starts_in_image, capsules.ends_in_image, capsules.radii * share
    # OpenCV also fills the pixels that the outline itself runs through.
    radii = np.maximum(radii - 0.4 / scale, 0.3 / scale)
    axis = ends - starts
    length = np.linalg.norm(axis, axis=-1)
    swallowed = length <= np.abs(radii[:, 0] - radii[:, 1])  # one circle holds the other: only the larger is drawn
    if swallowed.any():
        larger = np.argmax(radii, axis=1)[:, None]
        centers = np.where(larger == 0, starts, ends)
        starts = np.where(swallowed[:, None], centers, starts)
        ends = np.where(swallowed[:, None], centers, ends)
        radii = np.where(swallowed[:, None], radii.max(axis=1, keepdims=True), radii)
        length = np.where(swallowed, 0.0, length)
    direction = np.arctan2(axis[:, 1], axis[:, 0])
    tangent = np.arccos(np.clip((radii[:, 0] - radii[:, 1]) / np.maximum(length, 1e-9), -1, 1))
    angles_of_end = direction[:, None] + tangent[:, None] * _ARC  # (C, P / 2)
    angles_of_start = direction[:, None] + np.pi + (np.pi - tangent)[:, None] * _ARC
    points = np.concatenate(
        [
            ends[:, None] + radii[:, 1, None, None] * np.stack([np.cos(angles_of_end), np.sin(angles_of_end)], -1),
            starts[:, None]
            + radii[:, 0, None, None] * np.stack([np.cos(angles_of_start), np.sin(angles_of_start)], -1),
        ],
        axis=1,
    )
    in_large = (points - origin + 0.5) * scale - 0.5
    fixed: npt.NDArray[np.int32] = np.round(in_large * 2**_SUBPIXEL_BITS).astype(np.int32)
    return fixed


def _extent(capsules: Capsules) -> tuple[Array, Array]:
    low = np.minimum(capsules.starts_in_image - capsules.radii[:, :1], capsules.ends_in_image - capsules.radii[:, 1:])
    high = np.maximum(capsules.starts_in_image + capsules.radii[:, :1], capsules.ends_in_image + capsules.radii[:, 1:])
    return low.min(axis=0), high.max(axis=0)


def _whole_pixels(capsules: Capsules, size: tuple[int, int], margin: int) -> tuple[int, int, int, int]:
    """left, top, right, bottom of the pixels around the capsules, inside the image."""
    low, high = _extent(capsules)
    left, top = np.maximum(np.floor(low).astype(int) - margin, 0).tolist()
    right, bottom = np.minimum(np.ceil(high).astype(int) + margin + 1, (size[1], size[0])).tolist()
    return left, top, right, bottom


def _supersampling(capsules: Capsules) -> int:
    """Small shapes are drawn larger: what counts is the error as a share of the shape, and the time."""
    low, high = _extent(capsules)
    side = float((high - low).max())
    return 4 if side < 160 else 3 if side < 320 else 2
