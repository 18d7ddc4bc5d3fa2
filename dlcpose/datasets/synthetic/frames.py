"""Synthetic data set: rendered animals with exact labels, without files, the same for the same seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.synthetic import arena
from dlcpose.datasets.synthetic.bodies import Body, find_body
from dlcpose.datasets.synthetic.rendering import (
    Array,
    Canvas,
    Capsules,
    Layer,
    composite,
    contains,
    join,
    measure,
    render,
)
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.sample import FrameLabels, Image
from dlcpose.structures.skeleton import Skeleton

# Independent random streams: drawing more from one does not affect the others.
_FRAME, _LOOK, _GROUND, _LANDMARKS, _COVER, _ANIMAL, _ORDER = range(7)
MAX_FRAMES, MAX_SIDE, MAX_ANIMALS = 1_000_000, 16_384, 1_000  # beyond, the labels alone take hours
_MAX_BACKDROPS = 64  # videos whose empty arena is cached


@dataclass(frozen=True)
class _Animal:
    """One individual of a video: its body, and the sums of sines that its path and joints follow."""

    individual: int
    length: float  # px from nose to tail base
    girth: float
    stretch: Array  # (J,) factors of the limbs' lengths
    palette: Mapping[str, Array]
    circle: tuple[float, float, float]  # radius px, rotations per second (signed), phase: it keeps the animal walking
    drift: Array  # (2, 2, 3) for x and y: two sines' amplitude px, frequency Hz, phase
    sway: Array  # (2, J, 2) two sines' frequency Hz and phase for each joint


@dataclass(frozen=True)
class _Scene:
    """One video: its look, landmarks, occluders and animals, the lowest first."""

    look: arena.Look
    landmarks_in_image: Array  # (6, 2)
    has_arena: bool
    occluders: Capsules | None
    animals: tuple[_Animal, ...]


@dataclass(frozen=True)
class _Posed:
    """An animal in one frame."""

    animal: _Animal
    keypoints_in_image: Array  # (K, 2)
    capsules: Capsules
    fur_to_image: Array  # (2, 3)


class SyntheticFrames(LabeledFrames):
    """Frames of rendered animals seen from above, in videos with an arena, light and coat of their own.

    frames: their number, distributed over `videos` in turn, so that frame i does not depend on how many there are.
    height, width: px. animals: number in each video, or (min, max); animals beyond the minimum leave and return.
    coming_and_going: False gives each video a constant number between min and max. roam: animals that stay keep within
    this share of the image's sides around its center. skeleton: "quadruped", "mouse", "fly", or a mapping with joints and
    marks (`datasets.synthetic.bodies.Body`). occlusion: share of the image that is occluded. animal_length: from nose to
    tail base, as a share of the shorter side; by default 0.5 for one animal and less for more. identity_marks: paint each
    individual in colors of its own. unique_points: landmarks of the arena that are drawn and labeled, at most 6.
    seconds_between_frames: time between two frames of a video.

    Keypoints outside the image are missing; keypoints occluded by objects, other animals or the animal's own body have
    visibility 1. Boxes and areas are of the whole silhouette inside the image. Occluded landmarks are missing.
    `has_identities` follows identity_marks; identities are given in any case.
    Raises ConfigError for settings outside of their range.
    """

    def __init__(
        self,
        *,
        frames: int = 400,
        height: int = 128,
        width: int = 128,
        animals: int | Sequence[int] = 1,
        coming_and_going: bool = True,
        roam: float = 0.36,
        skeleton: str | Mapping[str, Any] = "quadruped",
        videos: int = 8,
        occlusion: float = 0.05,
        animal_length: float | None = None,
        identity_marks: bool = False,
        unique_points: int = 0,
        seconds_between_frames: float = 0.2,
        seed: int = 0,
    ) -> None:
        min_animals, max_animals = (animals, animals) if isinstance(animals, int) else _pair(animals)
        _check("frames", frames, frames >= 1, "at least 1")
        _check("frames", frames, frames <= MAX_FRAMES, f"at most {MAX_FRAMES}")
        _check("videos", videos, 1 <= videos <= MAX_FRAMES, f"1 to {MAX_FRAMES}")
        sides = (height, width)
        _check("height and width", sides, min(sides) >= 16 and max(sides) <= MAX_SIDE, f"16 to {MAX_SIDE} px each")
        _check("animals", animals, 0 <= min_animals <= max_animals, "a number from 0, or [min, max]")
        _check("animals", animals, max_animals <= MAX_ANIMALS, f"at most {MAX_ANIMALS}")
        _check("roam", roam, 0.2 <= roam <= 1, "a share from 0.2 to 1")
        _check("occlusion", occlusion, 0 <= occlusion <= 0.5, "a share from 0 to 0.5")
        _check("unique_points", unique_points, 0 <= unique_points <= len(arena.LANDMARKS), "0 to 6")
        _check("seconds_between_frames", seconds_between_frames, 0 < seconds_between_frames <= 1e6, "above 0, to 1e6")
        _check("animal_length", animal_length, animal_length is None or 0.05 <= animal_length <= 2, "0.05 to 2")
        _check("seed", seed, seed >= 0, "a number from 0")
        self._size, self._seed, self._seconds = (height, width), seed, seconds_between_frames
        self._body = find_body(skeleton)
        self._unique, self._identity_marks = unique_points, identity_marks
        unique = arena.LANDMARKS[:unique_points]
        self.skeleton = _with_landmarks(self._body.skeleton, unique)
        self.individuals = tuple(f"animal{number}" for number in range(1, max_animals + 1))
        self.has_identities = identity_marks
        share = animal_length or 0.5 / max(max_animals, 1) ** 0.35
        # In turn, so that every number occurs equally often.
        stays = [
            min_animals if coming_and_going else min_animals + video % (max_animals - min_animals + 1)
            for video in range(videos)
        ]
        self._scenes = tuple(
            self._draw_scene(
                video, (stay, max_animals if coming_and_going else stay), share * min(height, width), roam, occlusion
            )
            for video, stay in enumerate(stays)
        )
        self._backdrops: dict[int, tuple[Canvas, Layer | None]] = {}
        self.frames = tuple(self._label(index) for index in range(frames))

    def read_image(self, index: int) -> Image:
        """Frame `index`, rendered on demand: (H, W, 3) uint8 RGB."""
        video, _ = self._place_of(index)
        look = self._scenes[video].look
        ground, occluders = self._backdrop(video)
        canvas = ground.copy()
        for posed in self._pose(index):
            composite(canvas, render(posed.capsules, self._size, look.light, look.fur, posed.fur_to_image))
        composite(canvas, occluders)
        rng = self._rng(_FRAME, index)
        canvas *= np.float32(rng.uniform(0.96, 1.04))
        canvas += rng.standard_normal((*self._size, 1), dtype=np.float32) * np.float32(look.noise)
        image: Image = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
        return image

    def _label(self, index: int) -> FrameLabels:
        video, number = self._place_of(index)
        posed = self._pose(index)
        occluders = self._scenes[video].occluders
        keypoints = [animal.keypoints_in_image.copy() for animal in posed]
        visibility = []
        for rank, animal in enumerate(posed):
            above = [other.capsules for other in posed[rank + 1 :]] + ([occluders] if occluders is not None else [])
            occluded = (contains(animal.capsules, keypoints[rank]) & self._body.can_occlude).any(axis=-1)
            if above:
                occluded |= contains(join(above), keypoints[rank]).any(axis=-1)
            outside = self._outside(keypoints[rank])
            keypoints[rank][outside] = np.nan
            visibility.append(np.where(outside, 0, np.where(occluded, 1, 2)))
        measured = [measure(animal.capsules, self._size) for animal in posed]
        # In the order of the individuals, only those with a keypoint inside the image.
        order = sorted(range(len(posed)), key=lambda rank: posed[rank].animal.individual)
        order = [rank for rank in order if visibility[rank].any()]
        count, joints = len(order), len(self.skeleton)
        return FrameLabels(
            key=f"labeled-data/rendered{video}/img{number:04d}.png",
            height=self._size[0],
            width=self._size[1],
            keypoints_in_image=np.array([keypoints[rank] for rank in order], np.float32).reshape(count, joints, 2),
            visibility=np.array([visibility[rank] for rank in order], np.int64).reshape(count, joints),
            boxes_in_image=np.array([measured[rank][0] for rank in order], np.float32).reshape(count, 4),
            areas=np.array([measured[rank][1] for rank in order], np.float32),
            identities=np.array([posed[rank].animal.individual for rank in order], np.int64),
            unique_in_image=self._landmarks(video, posed),
            video=f"rendered{video}",
            frame_index=number,
        )

    def _landmarks(self, video: int, posed: Sequence[_Posed]) -> Any:
        """Landmarks (U, 2) px, NaN where occluded."""
        scene = self._scenes[video]
        points = scene.landmarks_in_image[: self._unique].copy()
        above = [animal.capsules for animal in posed] + ([scene.occluders] if scene.occluders is not None else [])
        if above and len(points):
            points[contains(join(above), points).any(axis=-1)] = np.nan
        return points.astype(np.float32)

    def _pose(self, index: int) -> list[_Posed]:
        """The animals of a frame, the lowest first."""
        video, number = self._place_of(index)
        return [_pose(self._body, animal, self._size, number * self._seconds) for animal in self._scenes[video].animals]

    def _outside(self, points_in_image: Array) -> Any:
        high = (self._size[1] - 1, self._size[0] - 1)
        return ((points_in_image < 0) | (points_in_image > high)).any(axis=-1)

    def _backdrop(self, video: int) -> tuple[Canvas, Layer | None]:
        if video not in self._backdrops:
            if len(self._backdrops) >= _MAX_BACKDROPS:
                self._backdrops.pop(next(iter(self._backdrops)))
            scene = self._scenes[video]
            furniture = None
            if scene.has_arena or self._unique:
                furniture = arena.build_furniture(scene.landmarks_in_image, self._size, self._unique, scene.look)
            ground = arena.draw_ground(self._rng(_GROUND, video), self._size, scene.look, furniture)
            occluders = scene.occluders
            layer = None
            if occluders is not None:
                layer = render(occluders, self._size, scene.look.light, scene.look.grain, np.eye(2, 3))
            self._backdrops[video] = ground, layer
        return self._backdrops[video]

    def _draw_scene(self, video: int, animals: tuple[int, int], length: float, roam: float, occlusion: float) -> _Scene:
        rng = self._rng(_LOOK, video)
        has_arena = bool(rng.random() < 0.5)
        look = arena.draw_look(rng)
        min_animals, max_animals = animals
        drawn = [
            _draw_animal(
                self._rng(_ANIMAL, video, individual),
                self._body,
                self._size,
                individual,
                length=length,
                palette=look.palette,
                marked=self._identity_marks,
                # Animals that leave and return walk far beyond the edge of the image.
                reach=roam if individual < min_animals else 1.0,
            )
            for individual in range(max_animals)
        ]
        return _Scene(
            look=look,
            landmarks_in_image=arena.place_landmarks(self._rng(_LANDMARKS, video), self._size),
            has_arena=has_arena,
            occluders=arena.scatter_occluders(self._rng(_COVER, video), self._size, occlusion),
            animals=tuple(drawn[rank] for rank in self._rng(_ORDER, video).permutation(max_animals)),
        )

    def _place_of(self, index: int) -> tuple[int, int]:
        """Video and number within it of frame `index`."""
        return index % len(self._scenes), index // len(self._scenes)

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *stream])


def _draw_animal(
    rng: np.random.Generator,
    body: Body,
    size: tuple[int, int],
    individual: int,
    *,
    length: float,
    palette: Mapping[str, Array],
    marked: bool,
    reach: float,
) -> _Animal:
    """A random individual whose root stays within `reach` (share of the sides) of the image's center."""
    joints = len(body.joints)
    brightness = rng.uniform(0.9, 1.1)
    colors = {tint: np.clip(color * brightness, 0, 255) for tint, color in palette.items()}
    if marked:
        first, second = arena.identity_colors(individual)
        colors |= {"coat": 0.35 * colors["coat"] + 0.65 * first, "light": second}
    radius = rng.uniform(0.12, 0.2) * min(size)
    room = reach * np.array([size[1], size[0]]) - radius
    drift = np.empty((2, 2, 3))
    drift[:, :, 0] = room[:, None] * (0.65, 0.35)
    drift[:, :, 1] = rng.uniform(0.02, 0.045, (2, 2))
    drift[:, :, 2] = rng.uniform(0, 2 * np.pi, (2, 2))
    return _Animal(
        individual=individual,
        length=length * rng.uniform(0.85, 1.15),
        girth=rng.uniform(0.88, 1.12),
        stretch=rng.uniform(0.93, 1.07, joints),
        palette=colors,
        circle=(radius, rng.choice([-1, 1]) * rng.uniform(0.1, 0.18), rng.uniform(0, 2 * np.pi)),
        drift=drift,
        sway=np.stack([rng.uniform(0.15, 0.9, (2, joints)), rng.uniform(0, 2 * np.pi, (2, joints))], axis=-1),
    )


def _pose(body: Body, animal: _Animal, size: tuple[int, int], seconds: float) -> _Posed:
    """An animal at a moment: it walks along a circle whose center drifts through the arena, and heads where it walks."""
    radius, turns, phase = animal.circle
    amplitude, frequency, start = np.moveaxis(animal.drift, -1, 0)  # (2, 2) each: x and y, two sines
    wave = 2 * np.pi * frequency * seconds + start
    x, y = (amplitude * np.sin(wave)).sum(axis=-1)
    speed_x, speed_y = (amplitude * 2 * np.pi * frequency * np.cos(wave)).sum(axis=-1)
    around = radius * np.exp(1j * (2 * np.pi * turns * seconds + phase))
    root = complex((size[1] - 1) / 2 + x, (size[0] - 1) / 2 + y) + around
    velocity = complex(speed_x, speed_y) + 2j * np.pi * turns * around
    forward = velocity / max(abs(velocity), 1e-9) * animal.length
    sines = np.sin(2 * np.pi * animal.sway[..., 0] * seconds + animal.sway[..., 1])  # (2, J)
    angles = body.swings * (0.7 * sines[0] + 0.5 * sines[1])
    points = body.place(root, forward, angles, animal.stretch)
    # The fur's texture moves with the animal, 100 texels along the animal's length.
    scale = max(animal.length / 100, 0.5)
    along = forward / abs(forward) * scale
    fur_to_image = np.array([[along.real, -along.imag, root.real], [along.imag, along.real, root.imag]])
    return _Posed(
        animal=animal,
        keypoints_in_image=points[list(body.keypoints)],
        capsules=body.dress(points, animal.length, animal.girth, animal.palette),
        fur_to_image=fur_to_image,
    )


def _with_landmarks(skeleton: Skeleton, unique: tuple[str, ...]) -> Skeleton:
    pairs = tuple((unique.index(left), unique.index(right)) for left, right in _sides(unique))
    return Skeleton(skeleton.names, skeleton.edges, skeleton.pairs, skeleton.sigmas, unique, pairs)


def _sides(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Pairs of left and right landmarks that are both among the names."""
    pairs = [(name, name.replace("left", "right")) for name in names if "left" in name]
    return [(left, right) for left, right in pairs if right in names]


def _pair(animals: Sequence[int]) -> tuple[int, int]:
    _check("animals", list(animals), len(animals) == 2, "a number from 0, or [min, max]")
    return int(animals[0]), int(animals[1])


def _check(name: str, got: Any, holds: bool, expected: str) -> None:
    if not holds:
        raise ConfigError(f"dataset.{name}: expected {expected}, got {got}. Correct it in the dataset's options.")
