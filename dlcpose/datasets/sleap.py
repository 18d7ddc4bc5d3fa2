"""Reader of SLEAP's labels: .slp files beside their videos, and .pkg.slp files with the images inside."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlcpose.datasets.base import IDENTITY_FLAG, LabeledFrames, stated_pcutoff
from dlcpose.datasets.label_checks import warn_of_labels
from dlcpose.datasets.readers import reader
from dlcpose.datasets.sleap_file import SleapFile, SleapFrame, SleapInstance, distinct_names, read_sleap_file
from dlcpose.datasets.sleap_images import FrameSource, find_frames
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import FrameLabels, Image, labels_of

logger = logging.getLogger(__name__)

ENDING = ".slp"


@reader("sleap")
class SleapFrames(LabeledFrames):
    """The frames that people labeled in SLEAP, and those marked as negative.

    root: the .slp or .pkg.slp file, or a folder with only one. videos: a folder to look for videos in, by their names,
    beside the place that the file states and the file's own folder. skeleton: its name, where animals of several are
    labeled. predictions: whether predicted animals count as labels in frames without labeled ones. tracks: whether a
    track is an individual; None takes them as such unless there are more than animals in a frame, as where tracking was
    cut to pieces; a file that dlcpose wrote says it itself. skip_missing: leave out frames whose video is gone instead
    of refusing the file. needs_images: False reads labels also where all images are gone; sizes are then those that the
    file states, or else the smallest that contain the labels. Points that SLEAP does not show are missing, whatever
    their coordinates are. Raises DataError, with the file and what to do, for a file that cannot be read.
    """

    opens = "a .slp or .pkg.slp file (SLEAP)"

    @classmethod
    def can_open(cls, path: Path) -> bool:
        """Whether a path is a .slp file, or a folder with one."""
        return path.suffix == ENDING or (path.is_dir() and any(path.glob(f"*{ENDING}")))

    @classmethod
    def open(cls, path: Path, *, follow_links: bool = False) -> "SleapFrames":
        """The labels of a file, also where its videos are gone; these may lie anywhere."""
        return cls(path, needs_images=False)

    def __init__(
        self,
        root: str | Path,
        *,
        videos: str | None = None,
        skeleton: str | None = None,
        predictions: bool = False,
        tracks: bool | None = None,
        skip_missing: bool = False,
        needs_images: bool = True,
    ) -> None:
        self.path = _only_file(Path(root))
        content = read_sleap_file(self.path)
        place = _chosen_skeleton(content, skeleton, predictions)
        self.skeleton = content.skeletons[place][1]
        labeled = _labeled(content, place, predictions)
        folder = None if videos is None else Path(videos)
        used = sorted({frame.video for frame in labeled})
        self._sources = {number: find_frames(content.videos[number], self.path, folder) for number in used}
        if needs_images:
            labeled = _with_images(labeled, self._sources, skip_missing)
        chosen = _individuals(content, labeled, tracks)
        self.individuals = distinct_names([content.tracks[track] for track in chosen])
        self.has_identities = bool(chosen) and bool(content.provenance.get(IDENTITY_FLAG, tracks or len(used) == 1))
        self.pcutoff = stated_pcutoff(content.provenance, f"{self.path}: provenance")
        self._places = [(frame.video, frame.frame_index) for frame in labeled]
        self._extents = {number: _extent(labeled, number) for number in used}
        self.frames = [self._frame(frame, chosen) for frame in labeled]
        if unknown := sum(self._sources[frame.video].size(frame.frame_index) is None for frame in labeled):
            logger.warning(
                "%s: %s of a size that is not known, since the video is not here: each is taken to be as large "
                "as the labels of its video reach.",
                self.path,
                counted(unknown, "frame is", "frames are"),
            )
        warn_of_labels(self.path, self.frames)

    def read_image(self, index: int) -> Image:
        """The image of frame `index`: (H, W, 3) uint8 RGB."""
        video, number = self._places[index]
        return self._sources[video].read(number)

    def image_file(self, index: int) -> Path | None:
        video, number = self._places[index]
        return self._sources[video].file(number)

    def _frame(self, frame: SleapFrame, tracks: Sequence[int]) -> FrameLabels:
        source = self._sources[frame.video]
        key, number = source.name(frame.frame_index)
        points = [each.points_in_image for each in frame.instances]
        identities = [tracks.index(each.track) if each.track in tracks else -1 for each in frame.instances]
        return labels_of(
            key,
            source.size(frame.frame_index) or self._extents[frame.video],
            np.stack(points) if points else np.zeros((0, len(self.skeleton), 2)),
            identities=np.array(identities, np.int64),
            video=source.video.name,
            frame_index=number,
        )


def _only_file(root: Path) -> Path:
    if not root.is_dir():
        return root
    files = sorted(root.glob(f"*{ENDING}"))
    if len(files) != 1:
        raise DataError(f"{root}: expected one .slp file, got {[path.name for path in files]}. Name one as root.")
    return files[0]


def _chosen_skeleton(content: SleapFile, name: str | None, predictions: bool) -> int:
    """The index of the named skeleton, or of the only one that animals are labeled with."""
    names = [each for each, _ in content.skeletons]
    if name is not None:
        if names.count(name) != 1:
            raise DataError(f"{content.path}: expected a skeleton {name!r}, got {names}. Set skeleton to one of them.")
        return names.index(name)
    animals = [each for frame in content.frames for each in frame.instances]
    used = sorted({each.skeleton for each in animals if predictions or not each.is_predicted})
    if len(used) > 1:
        raise DataError(
            f"{content.path}: animals of {len(used)} skeletons are labeled, so one must be named. "
            f"Set skeleton to one of {[names[place] for place in used]}."
        )
    if not used:
        hint = (
            f"It has {len(animals)} predicted ones: correct them in SLEAP, or train on them with dataset.predictions=true."
            if animals
            else "Label frames first."
        )
        raise DataError(f"{content.path}: expected animals labeled by a person, got none. {hint}")
    return used[0]


def _labeled(content: SleapFile, skeleton: int, predictions: bool) -> list[SleapFrame]:
    """Labeled and negative frames with their labeled animals, each frame once, in the order of videos and time."""
    by_place: dict[tuple[int, int], list[SleapFrame]] = {}
    for frame in content.frames:
        by_place.setdefault((frame.video, frame.frame_index), []).append(frame)
    labeled, blank = [], 0
    for (video, number), frames in sorted(by_place.items()):
        animals = [each for frame in frames for each in frame.instances if each.skeleton == skeleton]
        shown = [each for each in animals if not np.isnan(each.points_in_image).all()]
        blank += sum(not each.is_predicted for each in animals) - sum(not each.is_predicted for each in shown)
        chosen = _chosen_animals(shown, predictions)
        is_negative = any(frame.is_negative for frame in frames)
        if chosen or is_negative:
            labeled.append(SleapFrame(video, number, chosen, is_negative))
    if blank:
        logger.warning("%s: %s without a visible point left out.", content.path, counted(blank, "animal"))
    return labeled


def _chosen_animals(animals: Sequence[SleapInstance], predictions: bool) -> tuple[SleapInstance, ...]:
    """Those labeled by a person; where there are none, the predicted ones if `predictions` is true."""
    by_person = tuple(each for each in animals if not each.is_predicted)
    return by_person or (tuple(animals) if predictions else ())


def _with_images(frames: Sequence[SleapFrame], sources: dict[int, FrameSource], skip_missing: bool) -> list[SleapFrame]:
    """The frames whose image can be read. Raises DataError for the others, unless `skip_missing` leaves them out."""
    problems = [sources[frame.video].problem(frame.frame_index) for frame in frames]
    found = [frame for frame, problem in zip(frames, problems, strict=True) if problem is None]
    reasons = Counter(problem for problem in problems if problem is not None)
    if reasons and (not found or not skip_missing):
        others = f" ({len(reasons) - 1} more such problems.)" if len(reasons) > 1 else ""
        raise DataError(
            f"{next(iter(reasons))} {reasons.total()} of "
            f"{counted(len(frames), 'labeled frame has', 'labeled frames have')} no image; skip_missing=true "
            f"leaves them out.{others}"
        )
    for reason, count in reasons.items():
        logger.warning("%s left out. %s", counted(count, "frame is", "frames are"), reason)
    return found


def _individuals(content: SleapFile, frames: Sequence[SleapFrame], tracks: bool | None) -> list[int]:
    """The tracks that are individuals."""
    used = sorted({each.track for frame in frames for each in frame.instances if each.track >= 0})
    if tracks is None and IDENTITY_FLAG in content.provenance:  # written by dlcpose: its tracks are the individuals
        return list(range(len(content.tracks)))
    most = max((len(frame.instances) for frame in frames), default=0)
    if tracks is None and len(used) > most:
        logger.info(
            "%s: %s of up to %s in a frame, taken for no individuals.",
            content.path,
            counted(len(used), "track"),
            counted(most, "animal"),
        )
    return used if tracks or (tracks is None and len(used) <= most) else []


def _extent(frames: Sequence[SleapFrame], video: int) -> tuple[int, int]:
    """The smallest (height, width) that holds all labels of a video."""
    points = [each.points_in_image.reshape(-1, 2) for f in frames if f.video == video for each in f.instances]
    width, height = np.nanmax(np.concatenate([np.zeros((1, 2)), *points]), axis=0)
    return int(height) + 1, int(width) + 1
