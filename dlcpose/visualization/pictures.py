"""Draw poses on images: predictions as dots, labels as rings, errors as lines between them; and contact sheets."""

import io
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageDraw
from PIL.PngImagePlugin import PngInfo

from dlcpose.codecs.affine import apply_affine, resize_matrix
from dlcpose.codecs.matching import MAX_DISTANCE, match_animals
from dlcpose.structures.atomic_files import check_writable, write_atomic
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.printable import printable
from dlcpose.structures.sample import Image
from dlcpose.structures.skeleton import Skeleton
from dlcpose.visualization.drawn_mark import MARK
from dlcpose.visualization.labels import Color, load_font

Array = npt.NDArray[Any]
MIN_SIDE = 800  # px: smaller images are enlarged so that dots do not cover the animal
MIN_OPACITY = 0.25  # of a keypoint with score 0
SHIFT = 4  # cv2 draws to 1/16 of a pixel
SUFFIXES = (".png", ".jpg", ".jpeg")
DARK, LIGHT, PAPER, INK = (20, 20, 20), (235, 235, 235), (250, 250, 250), (45, 45, 45)


def draw_poses(
    image: Image,
    keypoints_in_image: Array,
    skeleton: Skeleton,
    *,
    scores: Array | None = None,
    labels_in_image: Array | None = None,
    unique_in_image: Array | None = None,
    unique_labels_in_image: Array | None = None,
    boxes_in_image: Array | None = None,
    box_scores: Array | None = None,
    scale: float | None = None,
    animal_colors: Sequence[Color] | None = None,
    edge_color: Color | None = None,
    radius: float | None = None,
) -> Image:
    """A copy of the image with predicted poses and boxes, and labels where given.

    image: (H, W, 3) uint8. keypoints_in_image: (M, K, 2), NaN draws nothing. scores: (M, K) in [0, 1], drawn as opacity.
    labels_in_image: (N, K, 2), rings of the same colors; a line joins each to its matched prediction.
    unique_in_image, unique_labels_in_image: (U, 2), unique keypoints, as squares.
    boxes_in_image: (M, 4) x1 y1 x2 y2 of the predicted animals, NaN draws nothing. box_scores: (M,) in [0, 1], as opacity.
    scale: of the image; by default small images are enlarged. animal_colors: M, for dots and lines of one color for each
    animal. edge_color: one for the lines of all animals. radius: of a dot, in pixels of the picture; by default what suits
    the animals' size.
    Returns (H·s, W·s, 3) uint8.
    """
    longest = max(image.shape[:2])
    scale = max(1.0, MIN_SIDE / longest) if scale is None else scale
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    picture = _resize(image, size)
    image_to_picture = resize_matrix(size[0] / image.shape[1], size[1] / image.shape[0])

    def place(points: Array | None, count: int) -> Array:
        return np.zeros((0, count, 2)) if points is None else apply_affine(image_to_picture, np.asarray(points, float))

    pred = place(keypoints_in_image, len(skeleton))  # (M, K, 2)
    gt = place(labels_in_image, len(skeleton))  # (N, K, 2)
    opacity = np.ones(pred.shape[:2]) if scores is None else np.clip(np.nan_to_num(scores), 0, 1)
    pen = _Pen(picture, radius=radius or dot_radius(picture, gt if len(gt) else pred))
    colors = keypoint_colors(len(skeleton))
    edge_colors = [edge_color] * len(pred) if edge_color else animal_colors or _animal_colors(len(pred))
    for animal, color in zip(pred, edge_colors, strict=True):
        pen.edges(animal, skeleton.edges, color)
    corners = None if boxes_in_image is None else np.asarray(boxes_in_image).reshape(-1, 2, 2)  # (M, 2, 2)
    pen.boxes(place(corners, 2), box_scores)
    for m, n in _match(pred, gt):
        pen.errors(pred[m], gt[n], colors)
    for animal in gt:
        pen.rings(animal, colors)
    for m, (animal, visible) in enumerate(zip(pred, opacity, strict=True)):
        pen.dots(animal, [animal_colors[m]] * len(skeleton) if animal_colors else colors, visible)
    pen.squares(place(unique_labels_in_image, 0), place(unique_in_image, 0))
    return picture


def keypoint_colors(count: int) -> list[Color]:
    """RGB of each keypoint, in the order of the skeleton: hues at equal steps, of equal lightness.

    Of more than ten, every other one is paler, since neighboring hues alone are then too similar.
    """
    hues = np.linspace(20, 20 + 360 * (count - 1) / max(count, 3), count)
    return [
        _from_oklch(0.86 if count > 10 and k % 2 else 0.74, 0.11 if count > 10 and k % 2 else 0.17, hue)
        for k, hue in enumerate(hues)
    ]


def crop_around(
    image: Image, points_in_image: Array, *, margin: float = 0.4, min_side: int = 96
) -> tuple[Image, Array]:
    """A square crop of an image around points, and its top left corner (2,), to show a small animal closely.

    points_in_image: (P, 2), NaN do not count. margin: on each side, as a share of the box around the points. min_side:
    pixels. Where the square does not fit into the image, or there are no points, the whole image is returned.
    """
    height, width = image.shape[:2]
    known = points_in_image[~np.isnan(points_in_image).any(axis=-1)]
    known = known[((known >= 0) & (known < (width, height))).all(axis=-1)]
    if not len(known):
        return image, np.zeros(2)
    low, high = known.min(axis=0), known.max(axis=0)
    side = round(max(min_side, float((high - low).max()) * (1 + 2 * margin)))
    if side > min(height, width):
        return image, np.zeros(2)
    corner = np.clip(np.round((low + high - side) / 2), 0, (width - side, height - side)).astype(int)
    left, top = corner
    return np.ascontiguousarray(image[top : top + side, left : left + side]), corner.astype(float)


def add_legend(picture: Image, skeleton: Skeleton) -> Image:
    """The picture above a legend of its colors, dots and rings."""
    font = load_font(15)
    entries: list[tuple[str, Color | None]] = [("prediction", None), ("label", None)]
    entries += list(zip(map(printable, skeleton.names), keypoint_colors(len(skeleton)), strict=True))
    places: list[tuple[int, int]] = []
    x, y = 12, 8
    for name, _ in entries:
        width = 26 + round(font.getlength(name))
        if x > 12 and x + width > picture.shape[1] - 8:
            x, y = 12, y + 22
        places.append((x, y))
        x += width + 12
    strip = PillowImage.new("RGB", (picture.shape[1], y + 30), PAPER)
    pencil = ImageDraw.Draw(strip)
    for (name, _), (x, y) in zip(entries, places, strict=True):
        pencil.text((x + 18, y + 9), name, INK, font, anchor="lm")
    drawn = np.array(strip)
    for (_, color), (x, y), index in zip(entries, places, range(len(entries)), strict=True):
        middle = _fixed(np.array([x + 6, y + 10]))
        thickness = 2 if index == 1 else cv2.FILLED
        cv2.circle(drawn, middle, 5 << SHIFT, color or INK, thickness, cv2.LINE_AA, SHIFT)
    return np.concatenate([picture, drawn])


def contact_sheet(images: Sequence[Image], captions: Sequence[str], *, columns: int = 4, tile: int = 320) -> Image:
    """Images side by side, each scaled into `tile` x `tile` pixels over its caption. Raises ValueError without images.

    Of a caption too long for its tile the end is shown, since file names of frames differ there.
    """
    if not images or len(images) != len(captions):
        raise ValueError(f"Expected images with a caption each, got {len(images)} and {len(captions)}.")
    columns, gap, line = min(columns, len(images)), 10, 26
    shrunk = [_fit(image, tile) for image in images]
    rows = [shrunk[i : i + columns] for i in range(0, len(shrunk), columns)]
    heights = [max(image.shape[0] for image in row) + line + gap for row in rows]
    sheet = np.full((sum(heights) + gap, columns * (tile + gap) + gap, 3), PAPER[0], np.uint8)
    corners = []
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            top, left = gap + sum(heights[:r]), gap + c * (tile + gap)
            left_of_image = left + (tile - image.shape[1]) // 2
            sheet[top : top + image.shape[0], left_of_image : left_of_image + image.shape[1]] = image
            corners.append((left_of_image, top + image.shape[0] + line // 2))
    drawn = PillowImage.fromarray(sheet)
    pencil, font = ImageDraw.Draw(drawn), load_font(14)
    for corner, caption in zip(corners, captions, strict=True):
        pencil.text(corner, _shorten(printable(caption), tile, font), INK, font, anchor="lm")
    return np.array(drawn)


def check_picture_output(path: Path, setting: str) -> None:
    """Raises ConfigError for a name that does not end like a picture, DataError where it cannot be written.

    setting: the one that names it.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{setting}: expected a name that ends in {', '.join(SUFFIXES)}, got {str(path)!r}.")
    check_writable(path.parent, setting)


def write_picture(path: Path, image: Image) -> None:
    """Write a drawing (H, W, 3) uint8 RGB atomically, as PNG or JPEG by its name's ending, with MARK as its comment.

    Raises ValueError for another ending, OSError where it cannot be written.
    """
    write_atomic(path, encoded(image, path.suffix.lower(), comment=MARK))


def encoded(image: Image, suffix: str, *, comment: str = "") -> bytes:
    """An RGB image as the bytes of a file. suffix: one of SUFFIXES; raises ValueError for another."""
    if suffix not in SUFFIXES:
        raise ValueError(f"expected one of {', '.join(SUFFIXES)}, got {suffix!r}")
    content, text = io.BytesIO(), PngInfo()
    picture = PillowImage.fromarray(image)
    if suffix == ".png":
        if comment:
            text.add_text("Comment", comment)
        picture.save(content, "PNG", pnginfo=text, compress_level=1)  # the usual 6 takes three times as long
    else:
        # Colors at full resolution: dots and lines are a few pixels wide, and their color is what tells keypoints apart.
        picture.save(content, "JPEG", quality=90, subsampling="4:4:4", comment=comment)
    return content.getvalue()


class _Pen:
    """Draws on one picture, in its pixels; NaN draws nothing."""

    def __init__(self, picture: Image, radius: float) -> None:
        self.picture, self.radius = picture, radius
        self.line = max(1, round(radius / 2.7))

    def edges(self, animal: Array, edges: Iterable[tuple[int, int]], color: Color) -> None:
        for first, second in edges:
            if not np.isnan(animal[[first, second]]).any():
                draw_line(self.picture, animal[first], animal[second], color, self.line, 0.55)

    def boxes(self, corners: Array, scores: Array | None) -> None:
        visible_scores = np.ones(len(corners)) if scores is None else np.clip(np.nan_to_num(scores), 0, 1)
        for box, color, visible in zip(corners, _animal_colors(len(corners)), visible_scores, strict=True):
            strength = MIN_OPACITY + (1 - MIN_OPACITY) * float(visible)
            self._outline(box, DARK, self.line + 2, 0.6 * strength)
            self._outline(box, color, self.line, strength)

    def errors(self, pred: Array, gt: Array, colors: Sequence[Color]) -> None:
        for there, here, color in zip(pred, gt, colors, strict=True):
            if not np.isnan([there, here]).any() and np.hypot(*(there - here)) > self.radius:
                draw_line(self.picture, there, here, DARK, self.line + 2, 0.6)
                draw_line(self.picture, there, here, color, self.line, 1.0)

    def rings(self, animal: Array, colors: Sequence[Color]) -> None:
        for point, color in zip(animal, colors, strict=True):
            self._circle(point, self.radius * 1.7, DARK, self.line + 2, 0.45)
            self._circle(point, self.radius * 1.7, color, self.line, 1.0)

    def dots(self, animal: Array, colors: Sequence[Color], opacity: Array) -> None:
        for point, color, visible in zip(animal, colors, opacity, strict=True):
            strength = MIN_OPACITY + (1 - MIN_OPACITY) * float(visible)
            self._circle(point, self.radius + 1, DARK, cv2.FILLED, 0.8 * strength)
            self._circle(point, self.radius, color, cv2.FILLED, strength)

    def squares(self, gt: Array, pred: Array) -> None:
        for points, thickness in ((gt.reshape(-1, 2), self.line), (pred.reshape(-1, 2), cv2.FILLED)):
            half = self.radius * (0.9 if thickness == cv2.FILLED else 1.6)
            for point in points[~np.isnan(points).any(axis=-1)]:
                cv2.rectangle(
                    self.picture, _fixed(point - half), _fixed(point + half), LIGHT, thickness, cv2.LINE_AA, SHIFT
                )

    def _outline(self, box: Array, color: Color, thickness: int, opacity: float) -> None:
        (left, top), (right, bottom) = box
        around = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
        for start, end in itertools.pairwise(around):
            draw_line(self.picture, start, end, color, thickness, opacity)

    def _circle(self, point: Array, radius: float, color: Color, thickness: int, opacity: float) -> None:
        window, corner = _window(self.picture, point[None], radius + abs(thickness) + 2)
        if not window.size:
            return
        layer = window.copy()
        cv2.circle(layer, _fixed(point - corner), round(radius * 2**SHIFT), color, thickness, cv2.LINE_AA, SHIFT)
        _blend(window, layer, opacity)


def draw_line(picture: Image, start: Array, end: Array, color: Color, thickness: int, opacity: float) -> None:
    """Draw a line into a picture, between points (2,) of it; NaN draws nothing."""
    window, corner = _window(picture, np.stack([start, end]), thickness + 2)
    if not window.size:
        return
    layer = window.copy()
    cv2.line(layer, _fixed(start - corner), _fixed(end - corner), color, thickness, cv2.LINE_AA, SHIFT)
    _blend(window, layer, opacity)


def _window(picture: Image, points: Array, margin: float) -> tuple[Image, Array]:
    """The part of a picture around a stroke, and its corner: blending the whole would be slow."""
    if np.isnan(points).any():
        return picture[:0], np.zeros(2)
    low = np.clip(np.floor(points.min(axis=0) - margin), 0, picture.shape[1::-1]).astype(int)
    high = np.clip(np.ceil(points.max(axis=0) + margin) + 1, 0, picture.shape[1::-1]).astype(int)
    return picture[low[1] : high[1], low[0] : high[0]], low


def _blend(window: Image, layer: Image, opacity: float) -> None:
    window[:] = cv2.addWeighted(layer, opacity, window, 1 - opacity, 0)


def _match(pred: Array, gt: Array) -> list[tuple[int, int]]:
    return match_animals(pred, gt, max_distance=None if len(pred) <= 1 and len(gt) <= 1 else MAX_DISTANCE)


def dot_radius(picture: Image, animals: Array) -> float:
    """The radius of dots in pixels of a picture (H, W, ...): visible without covering a small animal.

    animals: (N, K, 2) in pixels of the picture, NaN for missing keypoints; those with fewer than two have no size.
    """
    radius = max(picture.shape[:2]) / 130
    known = animals[(~np.isnan(animals).any(axis=-1)).sum(axis=1) > 1]
    if len(known):
        radius = min(radius, float(np.median((np.nanmax(known, axis=1) - np.nanmin(known, axis=1)).max(axis=-1))) / 22)
    return float(max(2.0, radius))


def _animal_colors(count: int) -> list[Color]:
    return [LIGHT] if count == 1 else [_rgb(mpl.colormaps["Set2"](i % 8)) for i in range(count)]


def _rgb(color: Iterable[float]) -> Color:
    red, green, blue = (round(255 * part) for part in list(color)[:3])
    return red, green, blue


def _from_oklch(lightness: float, chroma: float, hue: float) -> Color:
    """sRGB of a color in the perceptually uniform OKLCH space, clipped. hue: degrees."""
    a, b = chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))
    cones = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
    )
    linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    light = np.clip(linear @ (cones @ (lightness, a, b)) ** 3, 0, 1)
    return _rgb(np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


def _fixed(point: Array) -> tuple[int, int]:
    """A point in the fixed-point numbers of OpenCV's `shift`, clipped far outside the image."""
    x, y = np.clip(np.round(point * 2**SHIFT), -(2**20), 2**20)
    return int(x), int(y)


def _fit(image: Image, tile: int) -> Image:
    scale = tile / max(image.shape[:2])
    return _resize(image, (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))))


def _resize(image: Image, size: tuple[int, int]) -> Image:
    """A copy in another (width, height)."""
    enlarged = size[0] > image.shape[1]
    return np.array(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if enlarged else cv2.INTER_AREA), np.uint8)


def _shorten(text: str, width: int, font: Any) -> str:
    """A text cut to a width: what follows ` · `, else all of it, loses its beginning, since frames differ at the end of
    their names.
    """
    if font.getlength(text) <= width:
        return text
    kept, dot, name = text.rpartition(" · ")
    while len(name) > 1 and font.getlength(f"{kept}{dot}…{name}") > width:
        name = name[1:]
    if dot and len(name) == 1:
        return _shorten(kept, width, font)
    return f"{kept}{dot}…{name}"
