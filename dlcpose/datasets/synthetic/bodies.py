"""Bodies of synthetic animals, seen from above: a kinematic tree of joints, with body parts and marks drawn on it.

Lengths are shares of the animal's length from nose to tail base. Forward is toward the head, left is the animal's own
left.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.datasets.synthetic.rendering import Array, Capsules
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton, pairs_from_names

TRANSPARENT = {"wing": 0.45}  # opacity of transparent tints; all others are opaque
PAINT = float("inf")  # the level of marks, which are flat
TINTS = ("coat", "skin", "dark", "eye", "wing", "head", "light")


@dataclass(frozen=True)
class Joint:
    """A joint at (forward, left) of its parent, in the parent's own frame; the root has the parent "".

    radius: of the body at this joint; 0 draws nothing. base: radius at the parent's end of the limb that joins them;
    without it only a disc is drawn at the joint. swing: amplitude of its rotation about the parent, radians. level:
    higher ones are drawn on top. labeled: whether it is a keypoint. tint: one of TINTS.
    """

    name: str
    parent: str = ""
    forward: float = 0.0
    left: float = 0.0
    radius: float = 0.0
    base: float | None = None
    swing: float = 0.0
    level: int = 0
    labeled: bool = True
    tint: str = "coat"


@dataclass(frozen=True)
class Mark:
    """A disc painted on a joint at (forward, left) in the joint's frame: an eye, the inside of an ear."""

    joint: str
    forward: float = 0.0
    left: float = 0.0
    radius: float = 0.02
    tint: str = "dark"


@dataclass(frozen=True)
class Body:
    """The body of one kind of animal. The first joint is the root, every other one comes after its parent.

    Raises ConfigError for an unknown parent, joint or tint, a repeated name, no labeled joint, or nothing visible.
    """

    joints: tuple[Joint, ...]
    marks: tuple[Mark, ...] = ()

    def __post_init__(self) -> None:
        _check(self)

    @cached_property
    def skeleton(self) -> Skeleton:
        """The labeled joints as keypoints; an edge joins each to its nearest labeled ancestor."""
        names = tuple(joint.name for joint in self.joints if joint.labeled)
        edges = []
        for joint in self.joints:
            ancestor = self._parent(joint)
            while ancestor is not None and not ancestor.labeled:
                ancestor = self._parent(ancestor)
            if joint.labeled and ancestor is not None:
                edges.append((names.index(ancestor.name), names.index(joint.name)))
        return Skeleton(names=names, edges=tuple(edges), pairs=pairs_from_names(names))

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Index of each joint's parent, -1 for the root: (J,)."""
        place = {joint.name: index for index, joint in enumerate(self.joints)}
        return tuple(place[joint.parent] if joint.parent else -1 for joint in self.joints)

    @cached_property
    def keypoints(self) -> tuple[int, ...]:
        """Indices of the labeled joints: (K,)."""
        return tuple(index for index, joint in enumerate(self.joints) if joint.labeled)

    @cached_property
    def swings(self) -> Array:
        """Amplitude of each joint's rotation: (J,) radians."""
        return np.array([joint.swing for joint in self.joints])

    @cached_property
    def parts(self) -> tuple[tuple[int, int, float, float, str, float], ...]:
        """The drawn parts, bottom first: start and end as indices of joints, then marks; radii, tint, level."""
        drawn = [(index, joint) for index, joint in enumerate(self.joints) if joint.radius > 0]
        parts: list[tuple[int, int, float, float, str, float]] = []
        for index, joint in sorted(drawn, key=lambda item: item[1].level):
            start = index if joint.base is None else self.parents[index]
            base = joint.radius if joint.base is None else joint.base
            parts.append((start, index, base, joint.radius, joint.tint, joint.level))
        for index, mark in enumerate(self.marks, start=len(self.joints)):
            parts.append((index, index, mark.radius, mark.radius, mark.tint, PAINT))
        return tuple(parts)

    @cached_property
    def can_occlude(self) -> npt.NDArray[np.bool_]:
        """Whether a part lies above a keypoint that it does not belong to: (K, C) bool. Marks and wings occlude nothing."""
        table = np.zeros((len(self.keypoints), len(self.parts)), np.bool_)
        for row, joint in enumerate(self.keypoints):
            shown = max((c for c, (_, end, *_) in enumerate(self.parts) if end == joint), default=-1)
            near = {joint, self.parents[joint]}
            for column, (start, end, _, _, tint, _) in enumerate(self.parts):
                is_limb = end < len(self.joints) and tint not in TRANSPARENT
                table[row, column] = is_limb and column > shown and not near & {start, end}
        return table

    def place(self, root: complex, forward: complex, angles: Array, stretch: Array) -> Array:
        """Places of joints and marks in the image: (J + M, 2) pixels.

        root: the root's x + iy in the image. forward: the root's forward direction times the animal's length, px.
        angles: (J,) radians by which each joint turns. stretch: (J,) factors of the limbs' lengths.
        """
        turns = np.exp(1j * angles).tolist()
        frames: list[complex] = []
        points: list[complex] = []
        for joint, parent, turn, factor in zip(self.joints, self.parents, turns, stretch.tolist(), strict=True):
            frame = (forward if parent < 0 else frames[parent]) * turn
            # y points down, so that left is forward rotated by -90 degrees: times -i.
            offset = frame * complex(joint.forward, -joint.left) * factor
            frames.append(frame)
            points.append((root if parent < 0 else points[parent]) + offset)
        place = {joint.name: index for index, joint in enumerate(self.joints)}
        for mark in self.marks:
            index = place[mark.joint]
            points.append(points[index] + frames[index] * complex(mark.forward, -mark.left))
        flat = np.array(points)
        return np.stack([flat.real, flat.imag], axis=-1)

    def dress(self, points_in_image: Array, length: float, girth: float, palette: Mapping[str, Array]) -> Capsules:
        """The parts as capsules for places (J + M, 2) of joints and marks; girth scales radii, palette gives the colors."""
        starts, ends, bases, radii, tints, levels = zip(*self.parts, strict=True)
        return Capsules(
            starts_in_image=points_in_image[list(starts)],
            ends_in_image=points_in_image[list(ends)],
            radii=np.stack([bases, radii], axis=-1) * length * girth,
            colors=np.stack([palette[tint] for tint in tints]),
            opacities=np.array([TRANSPARENT.get(tint, 1.0) for tint in tints]),
            levels=np.array(levels, np.float64),
        )

    def _parent(self, joint: Joint) -> Joint | None:
        return next((other for other in self.joints if other.name == joint.parent), None)


def find_body(skeleton: str | Mapping[str, Any]) -> Body:
    """A built-in body by its name, or one described as {joints: [{name, parent, forward, ...}], marks: [...]}.

    Raises ConfigError for an unknown name or field.
    """
    if isinstance(skeleton, str):
        if skeleton not in BODIES:
            raise ConfigError(
                f"dataset.skeleton: expected one of {', '.join(sorted(BODIES))}, or a mapping with joints, "
                f"got {skeleton!r}."
            )
        return BODIES[skeleton]
    try:
        joints = tuple(Joint(**joint) for joint in skeleton["joints"])
        return Body(joints, tuple(Mark(**mark) for mark in skeleton.get("marks", ())))
    except (KeyError, TypeError) as error:
        raise ConfigError(
            f"dataset.skeleton: expected a mapping with joints (and marks) whose fields are those of Joint and Mark, "
            f"got one that does not fit: {error}."
        ) from error


def _check(body: Body) -> None:
    names = [joint.name for joint in body.joints]
    if not any(joint.labeled for joint in body.joints) or len(set(names)) < len(names):
        raise ConfigError(f"An animal needs labeled joints, each with its own name, got {names}.")
    if not any(joint.radius > 0 for joint in body.joints):
        raise ConfigError("An animal needs at least one joint with a radius above 0, or nothing of it can be seen.")
    for index, joint in enumerate(body.joints):
        if joint.parent not in (names[:index] or [""]):
            raise ConfigError(
                f"Joint {joint.name!r}: expected as parent one of the joints before it, {names[:index]}, "
                f"got {joint.parent!r}."
            )
    for mark in body.marks:
        if mark.joint not in names or mark.radius <= 0:
            raise ConfigError(f"A mark needs a radius above 0 and one of the joints {names}, got {mark}.")
    tints = {joint.tint for joint in body.joints} | {mark.tint for mark in body.marks}
    if unknown := tints - set(TINTS):
        raise ConfigError(f"Expected tints among {', '.join(TINTS)}, got {', '.join(sorted(unknown))}.")


def _both(*lefts: Joint) -> tuple[Joint, ...]:
    """Joints of the left side (left_...) and their mirror images on the right (right_...)."""
    flipped = []
    for joint in lefts:
        parent = joint.parent.replace("left_", "right_")
        mirrored = {**vars(joint), "name": joint.name.replace("left_", "right_"), "parent": parent, "left": -joint.left}
        flipped.append(Joint(**mirrored))
    return (*lefts, *flipped)


def _eyes(joint: str, forward: float, left: float, radius: float, tint: str = "dark") -> tuple[Mark, Mark]:
    return Mark(joint, forward, left, radius, tint), Mark(joint, forward, -left, radius, tint)


def _quadruped() -> Body:
    return Body(
        joints=(
            Joint("back", radius=0.13, level=3),
            Joint("neck", "back", 0.27, radius=0.10, base=0.13, swing=0.18, level=3),
            Joint("head", "neck", 0.17, radius=0.10, base=0.085, swing=0.35, level=3, tint="head", labeled=False),
            Joint("nose", "head", 0.15, radius=0.035, base=0.075, level=3, tint="head"),
            *_both(Joint("left_ear", "head", -0.05, 0.115, radius=0.022, base=0.055, level=5, tint="coat")),
            Joint("hips", "back", -0.26, radius=0.115, base=0.12, swing=0.18, level=3, labeled=False),
            Joint("tail_base", "hips", -0.13, radius=0.045, base=0.09, level=2),
            Joint("tail_middle", "tail_base", -0.16, radius=0.05, base=0.04, swing=0.5, level=1, labeled=False),
            Joint("tail_tip", "tail_middle", -0.15, radius=0.02, base=0.05, swing=0.4, level=1, tint="light"),
            *_both(
                Joint("left_shoulder", "neck", -0.05, 0.08, labeled=False),
                Joint("left_elbow", "left_shoulder", 0.03, 0.15, radius=0.036, base=0.055, swing=0.4, level=1),
                Joint("left_forepaw", "left_elbow", 0.15, 0.03, radius=0.034, base=0.03, swing=0.5, tint="light"),
                Joint("left_hip", "hips", 0.02, 0.07, labeled=False),
                Joint("left_knee", "left_hip", 0.04, 0.17, radius=0.038, base=0.07, swing=0.4, level=1),
                Joint("left_hindpaw", "left_knee", -0.15, 0.05, radius=0.034, base=0.03, swing=0.5, tint="light"),
            ),
        ),
        marks=(*_eyes("head", 0.05, 0.065, 0.016), Mark("nose", 0.005, 0.0, 0.026)),
    )


def _mouse() -> Body:
    return Body(
        joints=(
            Joint("back", radius=0.20, level=3),
            Joint("shoulders", "back", 0.22, radius=0.14, base=0.19, swing=0.2, level=3, labeled=False),
            Joint("head", "shoulders", 0.16, radius=0.11, base=0.12, swing=0.3, level=3, labeled=False, tint="head"),
            Joint("snout", "head", 0.15, radius=0.03, base=0.10, level=3, tint="head"),
            *_both(Joint("left_ear", "head", -0.03, 0.115, radius=0.07, level=5)),
            Joint("hips", "back", -0.20, radius=0.19, base=0.20, swing=0.2, level=3, labeled=False),
            Joint("tail_base", "hips", -0.22, radius=0.04, base=0.12, level=2),
            Joint("tail_first", "tail_base", -0.22, radius=0.027, base=0.035, swing=0.35, tint="skin", labeled=False),
            Joint("tail_second", "tail_first", -0.22, radius=0.022, base=0.027, swing=0.4, tint="skin", labeled=False),
            Joint("tail_tip", "tail_second", -0.20, radius=0.014, base=0.022, swing=0.4, tint="skin"),
            *_both(
                Joint("left_shoulder", "shoulders", 0.03, 0.08, labeled=False),
                Joint("left_forepaw", "left_shoulder", 0.10, 0.13, radius=0.034, base=0.05, swing=0.6, tint="skin"),
                Joint("left_hip", "hips", 0.02, 0.12, labeled=False),
                Joint("left_hindpaw", "left_hip", 0.09, 0.15, radius=0.042, base=0.06, swing=0.6, tint="skin"),
            ),
        ),
        marks=(
            Mark("left_ear", 0.01, 0.005, 0.042, "skin"),
            Mark("right_ear", 0.01, -0.005, 0.042, "skin"),
            *_eyes("head", 0.065, 0.062, 0.02),
            Mark("snout", 0.01, 0.0, 0.022, "skin"),
        ),
    )


def _fly() -> Body:
    legs = (
        ("fore", (0.12, 0.09), (0.15, 0.15), (0.17, -0.02)),
        ("mid", (0.0, 0.12), (0.06, 0.24), (-0.06, 0.17)),
        ("hind", (-0.10, 0.10), (-0.08, 0.24), (-0.27, 0.05)),
    )
    left_legs = []
    for name, hip, knee, tip in legs:
        left_legs += [
            Joint(f"left_{name}_hip", "thorax", *hip, labeled=False),
            Joint(f"left_{name}_knee", f"left_{name}_hip", *knee, 0.02, 0.03, swing=0.25, tint="dark", labeled=False),
            Joint(f"left_{name}_leg", f"left_{name}_knee", *tip, 0.016, 0.02, swing=0.45, tint="dark"),
        ]
    wing = Joint("left_wing", "left_wing_root", -0.62, 0.16, radius=0.09, base=0.04, swing=0.22, level=3, tint="wing")
    return Body(
        joints=(
            Joint("thorax", radius=0.15, level=2),
            Joint("head", "thorax", 0.25, radius=0.12, base=0.05, swing=0.12, level=2, tint="head"),
            *_both(Joint("left_eye", "head", 0.02, 0.105, radius=0.065, level=2, tint="eye")),
            Joint("abdomen", "thorax", -0.27, radius=0.15, base=0.12, swing=0.1, level=1, labeled=False),
            Joint("abdomen_tip", "abdomen", -0.26, radius=0.05, base=0.14, swing=0.15, level=1, tint="dark"),
            *_both(Joint("left_wing_root", "thorax", -0.06, 0.08, labeled=False), wing),
            *_both(*left_legs),
        ),
        marks=(Mark("abdomen", 0.02, 0.0, 0.03), Mark("abdomen", -0.1, 0.0, 0.035)),
    )


BODIES: Mapping[str, Body] = {"quadruped": _quadruped(), "mouse": _mouse(), "fly": _fly()}
