"""Antialiased rendering of capsules, of which everything in a synthetic frame is made.

A capsule is the convex hull of two circles: a limb, a trunk, an ear, an eye, an occluding bar.
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
)  # share of the radius, and the height of a round body there


@dataclass(frozen=True)
class Capsules:
    """C capsules, later ones on top.

    starts_in_image, ends_in_image: (C, 2) pixels. radii: (C, 2) pixels at start and end, positive.
    colors: (C, 3) RGB, 0 to 255. opacities: (C,) in (0, 1]; below 1 it occludes nothing.
    levels: (C,), ascending: capsules of one level blend into each other, higher ones lie on top; infinite ones are flat.
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
    """A light: its direction as a unit vector in the image plane, its slant, and the darkness of shadows."""

    x: float
    y: float
    slant: float
    shadow: float


@dataclass(frozen=True)
class Layer:
    """A layer at (left, top) of a canvas: premultiplied colors (h, w, 3), alpha and shadow (h, w, 1) in [0, 1]."""

    left: int
    top: int
    colors: Canvas
    alpha: Canvas
    shadow: Canvas


def render(
    capsules: Capsules, size: tuple[int, int], light: Light, texture: Canvas, texture_to_image: Array
) -> Layer | None:
    """Capsules as a shaded, textured layer of an image of `size` (height, width); None where all lie outside.

    texture: (h, w) factors of brightness around 1, placed by texture_to_image (2, 3).
    """
    margin = 2 + int(0.35 * capsules.radii.max())  # the shadow extends beyond the shape
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


def composite(canvas: Canvas, layer: Layer | None) -> None:
    """Composite a layer and its shadow over a canvas, in place."""
    if layer is None:
        return
    height, width = layer.alpha.shape[:2]
    part = canvas[layer.top : layer.top + height, layer.left : layer.left + width]
    part *= (1 - layer.shadow) * (1 - layer.alpha)
    part += layer.colors


def measure(capsules: Capsules, size: tuple[int, int]) -> tuple[Floats, float]:
    """Box (4,) x1 y1 x2 y2 and area in px² of the capsules' union inside an image of `size`."""
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
    """Whether each point lies inside each capsule: (P, 2) -> (P, C) bool. Transparent capsules contain nothing."""
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
    """Colors times alpha with alpha (h, w, 4), 0 to 255, and the relief (h, w) in px, both without any jagged edge."""
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
    """Outline of each capsule, its radii scaled by `share`: (C, P, 2) in OpenCV's fixed-point pixels."""
    starts, ends, radii = capsules.starts_in_image, capsules.ends_in_image, capsules.radii * share
    # OpenCV also fills the pixels on the outline.
    radii = np.maximum(radii - 0.4 / scale, 0.3 / scale)
    axis = ends - starts
    length = np.linalg.norm(axis, axis=-1)
    is_inside = length <= np.abs(radii[:, 0] - radii[:, 1])  # one circle contains the other: only the larger is drawn
    if is_inside.any():
        larger = np.argmax(radii, axis=1)[:, None]
        centers = np.where(larger == 0, starts, ends)
        starts = np.where(is_inside[:, None], centers, starts)
        ends = np.where(is_inside[:, None], centers, ends)
        radii = np.where(is_inside[:, None], radii.max(axis=1, keepdims=True), radii)
        length = np.where(is_inside, 0.0, length)
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
    """left, top, right, bottom of the pixels around the capsules, clipped to the image."""
    low, high = _extent(capsules)
    left, top = np.maximum(np.floor(low).astype(int) - margin, 0).tolist()
    right, bottom = np.minimum(np.ceil(high).astype(int) + margin + 1, (size[1], size[0])).tolist()
    return left, top, right, bottom


def _supersampling(capsules: Capsules) -> int:
    """Factor of supersampling: larger for small shapes, where a pixel is a larger share of the shape."""
    low, high = _extent(capsules)
    side = float((high - low).max())
    return 4 if side < 160 else 3 if side < 320 else 2
