"""Small label sets of every kind, drawn by hypothesis."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from dlcpose.datasets.base import LabeledFrames
from dlcpose.structures.sample import FrameLabels, Image, labels_of
from dlcpose.structures.skeleton import Skeleton

SIZE = (6, 8)
NAMES = ("nose", "left ear", "right ear", "tail, base")


class DrawnFrames(LabeledFrames):
    """Labels of a test with images of one color each."""

    def __init__(
        self,
        frames: Sequence[FrameLabels],
        skeleton: Skeleton,
        individuals: tuple[str, ...] = (),
        *,
        empty_is_label: bool = True,
        has_identities: bool = False,
    ) -> None:
        self.frames, self.skeleton, self.individuals = frames, skeleton, individuals
        self.empty_is_label, self.has_identities = empty_is_label, has_identities

    def read_image(self, index: int) -> Image:
        frame = self.frames[index]
        return np.full((frame.height, frame.width, 3), (index * 11 % 256, 200, 30), np.uint8)


coordinates = st.one_of(st.floats(-3, 12), st.floats(0, 5000), st.integers(0, 8).map(float))


@st.composite
def frame_labels(draw: Any, keypoints: int, individuals: int, most: int, video: str, number: int) -> FrameLabels:
    count = draw(st.integers(0, most))
    points = np.array(
        draw(st.lists(coordinates, min_size=2 * count * keypoints, max_size=2 * count * keypoints)), float
    )
    points = points.reshape(count, keypoints, 2)
    seen = st.lists(st.sampled_from([0, 1, 2, 2]), min_size=keypoints, max_size=keypoints).filter(any)
    visibility = np.array([draw(seen) for _ in range(count)], np.int64).reshape(count, keypoints)
    who = (
        draw(st.permutations(range(individuals)))[:count]
        if individuals >= count and draw(st.booleans())
        else [-1] * count
    )
    return labels_of(
        f"labeled-data/{video}/img{number:04d}.png",
        SIZE,
        np.where(visibility[..., None] > 0, points, np.nan),
        visibility=visibility,
        identities=np.array(who, np.int64),
        video=video,
        frame_index=number,
    )


@st.composite
def label_sets(draw: Any, most: int = 3) -> DrawnFrames:
    """Up to two videos of up to three frames with up to `most` animals, at least one of them labeled."""
    names = NAMES[: draw(st.integers(1, 4))]
    edges = (
        draw(st.lists(st.sampled_from([(0, k) for k in range(1, len(names))]), unique=True)) if len(names) > 1 else []
    )
    pairs = ((1, 2),) if len(names) > 2 else ()
    individuals = tuple(draw(st.lists(st.sampled_from(["ann", "bob", "7"]), unique=True, max_size=most)))
    frames = [
        draw(frame_labels(len(names), len(individuals), most, video, number))
        for video in draw(st.sampled_from([["cage"], ["cage", "pen.2"]]))
        for number in sorted(draw(st.sets(st.integers(0, 20000), min_size=1, max_size=3)))
    ]
    if not any(len(frame) for frame in frames):
        frames[0] = labels_of(
            frames[0].key,
            SIZE,
            np.full((1, len(names), 2), 1.1),
            video=frames[0].video,
            frame_index=frames[0].frame_index,
        )
    return DrawnFrames(
        frames,
        Skeleton(names, tuple(edges), pairs),
        individuals,
        empty_is_label=draw(st.booleans()),
        has_identities=draw(st.booleans()),
    )
