"""Kinds of content of labeled frames beyond one animal's keypoints; each format states which kinds it can hold."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.codecs.oks import oks_areas
from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.deeplabcut_config import ONLY_INDIVIDUAL
from dlcpose.exporters.image_files import own_name
from dlcpose.metrics.deeplabcut import DEFAULT_PCUTOFF
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import FrameLabels, boxes_around
from dlcpose.structures.skeleton import DEFAULT_SIGMA, pairs_from_names

SEVERAL = "frames with several animals"
HIDDEN = "keypoints that are hidden"
ONLY_BOXES = "animals without a keypoint"
BOXES = "boxes"
AREAS = "areas"
IGNORED = "regions to ignore"
UNIQUE = "unique keypoints"
EMPTY = "frames labeled as empty"
UNLABELED = "frames without labels"
EDGES = "edges"
PAIRS = "left/right pairs that names do not tell"
SIGMAS = "OKS sigmas"
INDIVIDUALS = "names of individuals"
IDENTITIES = "individuals known to be the same animal throughout"
LOOSE = "notes that an individual may be another animal in other frames"
MIXED = "videos with frames of several sizes, which become one for each size"
SPLIT = "frames of a stored split"
NAMES = "names of images beyond a number"
PCUTOFF = "score that the project asks of a keypoint"
UNTRACKED = "animals of no track, which get that of an individual in each frame"


@dataclass(frozen=True)
class Content:
    """One kind of content in some data. kind: one of the above. count: of its items. which: the first ones, for messages."""

    kind: str
    count: int
    which: str

    def __str__(self) -> str:
        return f"{self.count} {self.kind} ({self.which})"


def contents_of(data: LabeledFrames) -> list[Content]:
    """The kinds of content in a data set."""
    found = [*_of_frames(data), *_of_skeleton(data), *_of_individuals(data), *_of_project(data)]
    return [Content(kind, len(which), _first(which)) for kind, which in found if which]


def _of_frames(data: LabeledFrames) -> Iterator[tuple[str, list[str]]]:
    frames = data.frames
    names = data.skeleton.names
    empty = [frame.key for frame in frames if is_unlabeled(frame)]
    yield SEVERAL, [frame.key for frame in frames if len(frame) > 1]
    yield HIDDEN, [f"{names[k]} in {frame.key}" for frame in frames for _, k in np.argwhere(frame.visibility == 1)]
    yield ONLY_BOXES, list(_animals(frames, lambda frame: (frame.visibility == 0).all(axis=1)))
    yield BOXES, list(_animals(frames, _own_boxes))
    yield AREAS, list(_animals(frames, _own_areas))
    yield IGNORED, [frame.key for frame in frames for _ in frame.ignored_in_image]
    yield (
        UNIQUE,
        [
            f"{data.skeleton.unique[place]} in {frame.key}"
            for frame in frames
            for place in np.flatnonzero(~np.isnan(frame.unique_in_image).any(axis=-1))
        ],
    )
    yield (EMPTY if data.empty_is_label else UNLABELED), empty
    yield NAMES, [frame.key for frame in frames if own_name(frame) and not _is_numbered(frame)]
    yield MIXED, _mixed_videos(frames)
    yield SPLIT, _stored_split(data)


def _of_skeleton(data: LabeledFrames) -> Iterator[tuple[str, list[str]]]:
    skeleton = data.skeleton
    names = skeleton.names
    by_name = {frozenset(pair) for pair in pairs_from_names(names)}
    own = {frozenset(pair) for pair in skeleton.pairs}
    yield EDGES, [f"{names[first]}-{names[second]}" for first, second in skeleton.edges]
    yield PAIRS, ["/".join(sorted(names[place] for place in pair)) for pair in own ^ by_name]
    yield SIGMAS, [f"{name} {sigma:g}" for name, sigma in zip(names, skeleton.sigmas, strict=True)
                   if sigma != DEFAULT_SIGMA]  # fmt: skip


def _of_individuals(data: LabeledFrames) -> Iterator[tuple[str, list[str]]]:
    # That name is DeepLabCut's for animals without one.
    yield INDIVIDUALS, [name for name in data.individuals if data.individuals != (ONLY_INDIVIDUAL,)]
    if len(data.individuals) > 1:
        yield (IDENTITIES if data.has_identities else LOOSE), list(data.individuals)
    if len(data.individuals) > 1 or any(len(frame) > 1 for frame in data.frames):  # else they are one and the same
        yield UNTRACKED, list(_animals(data.frames, lambda frame: frame.identities < 0))


def _of_project(data: LabeledFrames) -> Iterator[tuple[str, list[str]]]:
    yield PCUTOFF, [] if data.pcutoff in (None, DEFAULT_PCUTOFF) else [f"pcutoff {data.pcutoff:g}"]


def is_unlabeled(frame: FrameLabels) -> bool:
    """Whether nothing is labeled in a frame: no animal, and no unique keypoint."""
    return len(frame) == 0 and bool(np.isnan(frame.unique_in_image).any(axis=-1).all())


def _own_boxes(frame: FrameLabels) -> npt.NDArray[np.bool_]:
    """Which animals have a box other than that around their keypoints: (N,)."""
    around = boxes_around(frame.keypoints_in_image)
    are_there = ~np.isnan(frame.boxes_in_image).any(axis=1)
    return np.asarray(are_there & ~np.isclose(frame.boxes_in_image, around, atol=0.01).all(axis=1))


def _own_areas(frame: FrameLabels) -> npt.NDArray[np.bool_]:
    """Which animals have an area other than that of their keypoints: (N,)."""
    implied = oks_areas(np.full(len(frame), np.nan), frame.keypoints_in_image)
    return np.asarray(~np.isnan(frame.areas) & ~np.isclose(frame.areas, implied, rtol=1e-3))


def _is_numbered(frame: FrameLabels) -> bool:
    """Whether the name of a frame's image holds only the frame's number."""
    return re.fullmatch(rf"(img)?0*{frame.frame_index}\.\w+", own_name(frame)) is not None


def _animals(frames: Iterable[FrameLabels], are_meant: Callable[[FrameLabels], Any]) -> Iterator[str]:
    for frame in frames:
        for animal in np.flatnonzero(are_meant(frame)):
            yield f"animal {animal + 1} in {frame.key}"


def _mixed_videos(frames: Iterable[FrameLabels]) -> list[str]:
    sizes: dict[str, set[tuple[int, int]]] = {}
    for frame in frames:
        sizes.setdefault(frame.video, set()).add((frame.height, frame.width))
    return [video or "without a name" for video, of_video in sizes.items() if len(of_video) > 1]


def _stored_split(data: LabeledFrames) -> list[str]:
    try:
        split = data.stored_split
    except DataError:  # raised where the data is read
        return []
    return [f"{key} of {part}" for part, keys in (split or {}).items() for key in keys]


def _first(which: Sequence[str], most: int = 3) -> str:
    return ", ".join(which[:most]) + (", ..." if len(which) > most else "")
