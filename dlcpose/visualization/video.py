"""Tracked poses drawn on the frames of their video: skeletons, trails, names, scores as opacity."""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dlcpose.codecs.affine import apply_affine, resize_matrix
from dlcpose.postprocessing.filters import interpolate_gaps
from dlcpose.postprocessing.time_axis import TimeAxis, time_axis
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.sample import Image
from dlcpose.visualization.drawn_mark import MARK
from dlcpose.visualization.labels import Color, draw_text, text_size
from dlcpose.visualization.pictures import (
    LIGHT,
    contact_sheet,
    crop_around,
    dot_radius,
    draw_line,
    draw_poses,
    keypoint_colors,
)
from dlcpose.visualization.video_file import write_browser_video

Array = npt.NDArray[Any]
MIN_SIDE = 640  # px: smaller videos are enlarged, by a whole number, until names and dots do not hide the animals
# Distinguishable with color blindness (after Okabe and Ito 2008), and light enough for dark fur.
PALETTE: tuple[Color, ...] = (
    (255, 165, 40),
    (86, 190, 255),
    (90, 220, 130),
    (245, 130, 200),
    (245, 235, 80),
    (175, 150, 255),
    (255, 110, 80),
    (70, 225, 215),
)
BRIDGED = 5  # rows without the keypoint that a trail follows, at most, that it goes on over


class PoseDrawer:
    """Draws the poses of any row of a table on the frame they are of.

    cutoff: keypoints with a lower score are hidden, but for those with a score of 0, which interpolation filled in: they are
    the faintest. trail: rows of an animal's path that are shown, fading. scale: enlargement; by default small videos are
    enlarged. Tracked animals have a color and their name each; of untracked ones only keypoints have colors, since a column
    is another animal in every frame.
    """

    def __init__(self, tracks: PoseTracks, *, cutoff: float = 0.0, trail: int = 0, scale: float | None = None) -> None:
        self.tracks, self.trail = tracks, trail
        longest = max(tracks.video.height, tracks.video.width)
        self.scale = max(1, int(np.ceil(MIN_SIDE / longest))) if scale is None else scale
        self.size = (max(1, round(tracks.video.width * self.scale)), max(1, round(tracks.video.height * self.scale)))
        self._to_picture = resize_matrix(self.size[0] / tracks.video.width, self.size[1] / tracks.video.height)
        self._shown, self._unique = _hide(tracks, cutoff)
        several = tracks.is_tracked and len(tracks.individuals) > 1
        self.colors = animal_colors(len(tracks.individuals)) if several else None
        self._radius = self._usual_radius()
        self._font = int(np.clip(self.size[1] / 34, 13, 26))
        axis = time_axis(tracks)
        self._paths, self._jumps = self._place(_paths(tracks, axis)), axis.jumps  # (T, N, 2), (T,)

    def draw(self, image: Image, row: int, *, caption: str = "") -> Image:
        """The frame of a row, (H, W, 3) uint8 RGB, with its poses: (H·s, W·s, 3)."""
        enlarged = self.scale > 1
        interpolation = cv2.INTER_CUBIC if enlarged else cv2.INTER_AREA
        picture = np.array(cv2.resize(image, self.size, interpolation=interpolation), np.uint8)
        poses = self.poses_in_picture(row)
        if self.tracks.is_tracked:
            self._draw_trails(picture, row)
        picture = draw_poses(
            picture,
            poses,
            self.tracks.skeleton,
            scores=self.tracks.keypoint_scores[row],
            unique_in_image=self._place(self._unique[row]),
            scale=1.0,
            animal_colors=self.colors,
            edge_color=LIGHT if self.colors is None else None,
            radius=self._radius,
        )
        if self.colors is not None:
            self._draw_names(picture, poses)
        if caption:
            size = max(12, self._font - 3)
            draw_text(picture, caption, (6, picture.shape[0] - size - 10), size=size, color=(225, 225, 225))
        return picture

    def poses_in_picture(self, row: int) -> Array:
        """The poses of a row that are shown, in pixels of the picture: (N, K, 2), NaN for what is hidden."""
        return self._place(self._shown[row])

    def _place(self, points_in_image: Array) -> Array:
        return apply_affine(self._to_picture, points_in_image.astype(np.float64))

    def _usual_radius(self) -> float:
        """One radius for the whole video: a dot that grows and shrinks with the pose catches the eye."""
        poses = self._shown[self.tracks.is_present]
        some = poses[:: max(1, len(poses) // 500)]
        return max(3.0, 0.6 * dot_radius(np.zeros((self.size[1], self.size[0], 0), np.uint8), self._place(some)))

    def _draw_trails(self, picture: Image, row: int) -> None:
        rows = slice(max(0, row - self.trail), row + 1)
        width = max(1, round(self._radius * 0.6))
        for animal in range(self._paths.shape[1]):
            path = self._paths[rows, animal]  # (R, 2)
            color = self.colors[animal] if self.colors is not None else PALETTE[0]
            for age, (start, end) in enumerate(pairwise(path[::-1])):
                if self._jumps[row - age]:  # nobody knows the way across frames that were not predicted
                    continue
                draw_line(picture, start, end, color, width, 0.85 * (1 - age / self.trail))

    def _draw_names(self, picture: Image, poses: Array) -> None:
        """Names above their animals; one that would lie on another's goes below its animal."""
        taken: list[tuple[int, int, int, int]] = []
        assert self.colors is not None
        for name, pose, color in zip(self.tracks.individuals, poses, self.colors, strict=True):
            known = pose[~np.isnan(pose).any(axis=-1)]
            if not len(known):
                continue
            # A tail or a wing stretched out would carry the name away from its animal.
            distances = np.linalg.norm(known - np.median(known, axis=0), axis=-1)
            body = known[distances <= np.quantile(distances, 0.9)]
            (left, top), (right, bottom) = body.min(axis=0), body.max(axis=0)
            width, height = text_size(name, self._font)
            x, gap = round((left + right - width) / 2), round(2 * self._radius) + 2
            above = (x, round(top) - height - gap)
            fits = above[1] >= 0 and not any(_overlap((*above, width, height), other) for other in taken)
            corner = above if fits else (x, round(bottom) + gap)
            taken.append((*corner, width, height))
            draw_text(picture, name, corner, size=self._font, color=color)


def animal_colors(count: int) -> list[Color]:
    """A color for each animal, in the order of the columns."""
    return list(PALETTE[:count]) if count <= len(PALETTE) else keypoint_colors(count)


def write_labeled_video(
    path: Path,
    drawer: PoseDrawer,
    frames: Iterable[tuple[int, Image]],
    *,
    seen: Callable[[int, Image], None] | None = None,
) -> int:
    """Write the frames that have a row, with their poses, as a video for the browser, and return how many there were.

    frames: numbers and images (H, W, 3) of the tracks' video, in order; those without a row are left out. The times of the
    frames are kept. seen: called with the row and picture of each frame. Raises DataError when no frame has a row.
    """
    tracks = drawer.tracks
    axis = time_axis(tracks)
    rows = {int(frame): row for row, frame in enumerate(tracks.frame_indices)}
    rate = 1 / float(np.median(np.diff(axis.seconds))) if len(axis) > 1 else 25.0

    def drawn() -> Iterator[tuple[float, Image]]:
        for frame, image in frames:
            if (row := rows.get(frame)) is None:
                continue
            picture = drawer.draw(image, row, caption=f"{frame}")
            if seen is not None:
                seen(row, picture)
            yield float(axis.seconds[row]), picture

    return write_browser_video(path, drawn(), fps=rate, comment=MARK)


class SheetOfFrames:
    """Collects some of the pictures of a video for a contact sheet, evenly spread over rows with an animal.

    Call it with a row and its picture, as `write_labeled_video` does with `seen`. Pictures are cut around their animals.
    """

    def __init__(self, drawer: PoseDrawer, rows: Array, *, count: int = 12) -> None:
        tracks = drawer.tracks
        occupied = rows[tracks.is_present[rows].any(axis=1)]
        candidates = occupied if len(occupied) else rows
        places = np.linspace(0, len(candidates) - 1, min(count, len(candidates))).round().astype(int)
        self._drawer, self._rows = drawer, {int(row) for row in candidates[places]}
        self._pictures: list[Image] = []
        self._captions: list[str] = []

    def __call__(self, row: int, picture: Image) -> None:
        if row not in self._rows:
            return
        tracks, poses = self._drawer.tracks, self._drawer.poses_in_picture(row)
        self._pictures.append(crop_around(picture, poses.reshape(-1, 2), margin=0.7, min_side=240)[0])
        seconds, frame = tracks.times[row], f"frame {tracks.frame_indices[row]}"
        self._captions.append(frame if np.isnan(seconds) else f"{frame}, {seconds:.2f} s")

    def picture(self, *, tile: int = 480) -> Image:
        """The sheet. Raises ValueError when no picture was collected."""
        return contact_sheet(self._pictures, self._captions, columns=4, tile=tile)


def _hide(tracks: PoseTracks, cutoff: float) -> tuple[Array, Array]:
    """Keypoints (T, N, K, 2) and unique keypoints (T, U, 2), NaN where the score is too low to be shown."""

    def shown(points: Array, scores: Array) -> Array:
        return np.where(((scores > 0) & (scores < cutoff))[..., None], np.nan, points)

    return (
        shown(tracks.keypoints_in_image, tracks.keypoint_scores),
        shown(tracks.unique_in_image, tracks.unique_scores),
    )


def _paths(tracks: PoseTracks, axis: TimeAxis) -> Array:
    """The path of each animal: (T, N, 2) pixels of the frame, NaN where unknown.

    It is the path of one keypoint, since the middle of those that are there jumps with each that comes or goes: of the one
    in the middle of the body, among those that are there nearly as often as any.
    """
    poses = tracks.keypoints_in_image[tracks.is_present].astype(np.float64)  # (P, K, 2)
    if not len(poses):
        return np.full((len(tracks), len(tracks.individuals), 2), np.nan)
    known = ~np.isnan(poses[..., 0])  # (P, K)
    middle = np.where(known[..., None], poses, 0).sum(axis=1) / known.sum(axis=1)[:, None]  # (P, 2)
    distances = np.where(known, np.linalg.norm(poses - middle[:, None], axis=-1), 0).sum(axis=0)  # (K,)
    counts = known.sum(axis=0)
    often = counts >= 0.9 * counts.max()
    chosen = int(np.where(often, distances / np.maximum(counts, 1), np.inf).argmin())
    return interpolate_gaps(tracks.keypoints_in_image[:, :, chosen], axis, max_frames=BRIDGED * axis.step)


def _overlap(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> bool:
    """Whether two boxes of x, y, width, height share a pixel."""
    across = first[0] < second[0] + second[2] and second[0] < first[0] + first[2]
    return across and first[1] < second[1] + second[3] and second[1] < first[1] + first[3]
