"""Random arena of a synthetic video: ground, walls, landmarks, clutter, occluders, light and coat colors."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from dlcpose.datasets.synthetic.rendering import Array, Canvas, Capsules, Light, composite, join, measure, render

LANDMARKS = (
    "corner_top_left",
    "corner_top_right",
    "corner_bottom_left",
    "corner_bottom_right",
    "feeder",
    "nest",
)
_LANDMARK_COLORS = ((225, 60, 60), (60, 110, 230), (240, 205, 40), (50, 180, 90), (240, 130, 30), (150, 80, 200))
_COATS = (
    (38, 36, 36),
    (82, 60, 44),
    (120, 92, 66),
    (168, 128, 84),
    (150, 148, 146),
    (228, 222, 212),
    (205, 172, 122),
    (96, 98, 104),
)
_SKIN = (222, 160, 148)
_STILL = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class Look:
    """Appearance of a video: the same in all frames and for all animals.

    palette: tint -> RGB (3,). fur and grain: (128, 128) brightness textures of animals and of objects. noise: standard
    deviation of the images' noise, of 255.
    """

    palette: Mapping[str, Array]
    ground: Array
    light: Light
    fur: Canvas
    grain: Canvas
    noise: float


def draw_look(rng: np.random.Generator) -> Look:
    """Random coat, ground and light of a video, with contrast between coat and ground."""
    coat = np.array(_COATS[rng.integers(len(_COATS))]) + rng.uniform(-8, 8, 3)
    brightness = rng.uniform(35, 215)
    while abs(brightness - coat.mean()) < 60:
        brightness = rng.uniform(35, 215)
    heading = rng.uniform(0, 2 * np.pi)
    light = Light(
        x=float(np.cos(heading)),
        y=float(np.sin(heading)),
        slant=float(rng.uniform(0.3, 0.9)),
        shadow=float(rng.uniform(0.15, 0.5)),
    )
    hooded = rng.random() < 0.3  # a head of another color, as of a hooded rat
    head = coat * rng.uniform(0.45, 0.65) if hooded else coat * rng.uniform(0.85, 1.1)
    palette = {
        "coat": coat,
        "head": head,
        "light": coat * 0.6 + 90,
        "skin": np.array(_SKIN) * rng.uniform(0.75, 1.0),
        "dark": np.full(3, 22.0) + 0.1 * coat,
        "eye": np.array([168, 36, 28]) * rng.uniform(0.7, 1.1),
        "wing": np.array([205, 210, 214]) * rng.uniform(0.85, 1.0),
    }
    return Look(
        palette={tint: np.clip(color, 0, 255) for tint, color in palette.items()},
        ground=brightness + rng.uniform(-14, 14, 3),
        light=light,
        fur=_texture(rng, strength=rng.uniform(0.06, 0.16), stretch=3.0),
        grain=_texture(rng, strength=0.06, stretch=1.0),
        noise=float(rng.uniform(1.0, 4.0)),
    )


def draw_ground(rng: np.random.Generator, size: tuple[int, int], look: Look, furniture: Capsules | None) -> Canvas:
    """The empty arena (height, width, 3): uneven light, bedding, clutter, and the furniture on top."""
    height, width = size
    canvas = np.empty((height, width, 3), np.float32)
    canvas[:] = look.ground
    slope = rng.uniform(-25, 25, 2)
    canvas += (np.linspace(-0.5, 0.5, width) * slope[0]).astype(np.float32)[None, :, None]
    canvas += (np.linspace(-0.5, 0.5, height) * slope[1]).astype(np.float32)[:, None, None]
    for cells, strength in ((5, rng.uniform(2, 14)), (24, rng.uniform(1, 7)), (64, rng.uniform(0, 6))):
        coarse = rng.normal(0, strength, (cells, cells)).astype(np.float32)
        canvas += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    flat = Light(look.light.x, look.light.y, 0.3 * look.light.slant, 0.5 * look.light.shadow)
    for objects in (_draw_clutter(rng, size, look), furniture):
        if objects is not None:
            composite(canvas, render(objects, size, flat, look.grain, _STILL))
    return canvas


def place_landmarks(rng: np.random.Generator, size: tuple[int, int]) -> Array:
    """Random places of the arena's corners and two objects, in the order of LANDMARKS: (6, 2) pixels."""
    height, width = size
    inset = rng.uniform(0.07, 0.14, (4, 2))
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (1 - 2 * inset) + inset
    objects = np.array([[rng.uniform(0.22, 0.45), rng.uniform(0.25, 0.75)], [rng.uniform(0.55, 0.78), 0]])
    objects[1, 1] = rng.uniform(0.25, 0.75)
    landmarks: Array = np.concatenate([corners, objects]) * (width - 1, height - 1)
    return landmarks


def build_furniture(landmarks_in_image: Array, size: tuple[int, int], marked: int, look: Look) -> Capsules:
    """The arena's walls, and a colored object on each of the first `marked` landmarks."""
    side = min(size)
    corners = landmarks_in_image[:4]
    border = np.clip(look.ground * (1.5 if look.ground.mean() < 110 else 0.6), 0, 255)
    walls = _capsules(corners[[0, 1, 3, 2]], corners[[1, 3, 2, 0]], 0.009 * side, np.tile(border, (4, 1)))
    if not marked:
        return walls
    points, colors = landmarks_in_image[:marked], np.array(_LANDMARK_COLORS[:marked], float)
    radii = np.where(np.arange(marked) < 4, 0.025, 0.05) * side
    discs = _capsules(points, points, radii, colors, 1.0)
    dots = _capsules(points, points, 0.3 * radii, np.full((marked, 3), 245.0), 2.0)
    return join([walls, discs, dots])


def scatter_occluders(rng: np.random.Generator, size: tuple[int, int], share: float) -> Capsules | None:
    """Random bars and plates above the animals that occlude a share of the image; None for a share of 0."""
    height, width = size
    occluders: list[Capsules] = []
    covered = 0.0
    while covered < share * height * width:
        angle, length = rng.uniform(0, np.pi), min(size) * rng.uniform(0.05, 0.4)
        half = np.array([np.cos(angle), np.sin(angle)]) * length / 2
        center = rng.uniform(0, 1, 2) * (width, height)
        color = np.clip(rng.uniform(30, 225) + rng.uniform(-45, 45, (1, 3)), 0, 255)
        radius = min(size) * rng.uniform(0.02, 0.06)
        occluders.append(_capsules((center - half)[None], (center + half)[None], radius, color, len(occluders)))
        covered = measure(join(occluders), size)[1]
    return join(occluders) if occluders else None


def identity_colors(individual: int) -> Array:
    """The two RGB colors (2, 3) of an individual's marks, of hues a golden angle apart."""
    hues = np.array([individual * 137.508, individual * 137.508 + 150 * (individual // 7)]) % 360
    hsv = np.stack([hues, np.full(2, 0.9), np.full(2, 1.0)], axis=-1).astype(np.float32)
    colors: Array = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0].astype(np.float64) * 245
    return colors


def _draw_clutter(rng: np.random.Generator, size: tuple[int, int], look: Look) -> Capsules | None:
    """Pellets, straws and stains that are no animals; None where there are none."""
    count = int(rng.integers(0, 9))
    if not count:
        return None
    side = min(size)
    centers = rng.uniform(0, 1, (count, 2)) * (size[1], size[0])
    angles = rng.uniform(0, np.pi, count)
    halves = np.stack([np.cos(angles), np.sin(angles)], -1) * rng.exponential(0.03 * side, (count, 1))
    radii = rng.uniform(0.006, 0.03, count) * side
    colors = np.clip(look.ground + rng.normal(0, 35, (count, 1)) + rng.normal(0, 12, (count, 3)), 0, 255)
    return _capsules(centers - halves, centers + halves, radii, colors)


def _capsules(starts: Array, ends: Array, radius: Array | float, colors: Array, level: float = 0.0) -> Capsules:
    """Opaque capsules of one radius each."""
    radii = np.broadcast_to(np.asarray(radius, float).reshape(-1, 1), (len(starts), 2))
    return Capsules(starts, ends, np.maximum(radii, 0.6), colors, np.ones(len(starts)), np.full(len(starts), level))


def _texture(rng: np.random.Generator, strength: float, stretch: float) -> Canvas:
    """A seamless brightness texture (128, 128); hairs lie along x."""
    noise = rng.standard_normal((128, 128)).astype(np.float32)
    padded = np.pad(noise, 16, mode="wrap")
    smooth = cv2.GaussianBlur(padded, (0, 0), sigmaX=0.7 * stretch, sigmaY=0.7)[16:-16, 16:-16]
    texture: Canvas = np.clip(1 + strength * smooth / smooth.std(), 0.5, 1.5).astype(np.float32)
    return texture
