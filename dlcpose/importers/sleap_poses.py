"""Predictions of SLEAP: a project (.slp) with predicted instances, with tracks or without."""

import math
from itertools import pairwise
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from dlcpose.datasets.hdf5_kinds import top_level_of
from dlcpose.datasets.sleap_file import SleapFile, SleapFrame, SleapInstance, distinct_names, read_sleap_file
from dlcpose.importers.pose_formats import ForeignPoses, check_size, pose_format
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import shown
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import column_names


def _can_read(path: Path) -> bool:
    return h5py.is_hdf5(path) and top_level_of(path).is_sleap_project


@pose_format("sleap", opens="a project of SLEAP with predicted instances (.slp)", can_read=_can_read)
def read_sleap(path: Path, is_tracked: bool | None) -> list[ForeignPoses]:
    """The poses of each video with predicted instances.

    An instance that a person placed takes the place of the prediction it was made from, or that has its track. Where there
    are tracks, each is a column, and instances without one are left out; else columns stand in the order of a frame.
    """
    content = read_sleap_file(path)
    predicted = {f.video for f in content.frames if any(each.is_predicted for each in f.instances)}
    if not predicted:
        raise DataError(
            f"{path}: expected predicted instances, got a person's labels. dataset=sleap and `dlcpose convert` read them."
        )
    return [_of_video(content, video, is_tracked) for video in sorted(predicted)]


def _of_video(content: SleapFile, video: int, is_tracked: bool | None) -> ForeignPoses:
    chosen: dict[int, list[SleapInstance]] = {}
    for frame in content.frames:
        if frame.video == video:
            chosen.setdefault(frame.frame_index, []).extend(_chosen(frame))
    place = _skeleton(content, video, chosen)
    most = max(len(animals) for animals in chosen.values())
    has_tracks = any(each.track >= 0 for animals in chosen.values() for each in animals)
    tracked = (has_tracks or most == 1) if is_tracked is None else is_tracked
    notes: list[str] = []
    if tracked and has_tracks:
        columns, names = _by_track(content, chosen, most, notes)
    else:
        columns = {number: dict(enumerate(animals)) for number, animals in chosen.items()}
        names = column_names(most, ())
    skeleton = content.skeletons[place][1]
    frames = _frames(chosen, content.path, len(names), len(skeleton))
    points = np.full((len(frames), len(names), len(skeleton), 2), np.nan)
    scores, of_animals = np.zeros(points.shape[:3]), np.zeros(points.shape[:2])
    row_of = {number: row for row, number in enumerate(frames.tolist())}
    for number, animals in columns.items():
        for column, each in animals.items():
            row = row_of[number]
            points[row, column], scores[row, column] = each.points_in_image, each.point_scores
            of_animals[row, column] = each.score if each.is_predicted else 1.0
    of = content.videos[video]
    return ForeignPoses(
        program="SLEAP",
        scorer=str(content.provenance.get("model_paths") or ""),
        video=of.files[0] if len(of.files) == 1 else of.name,
        skeleton=skeleton,
        individuals=names,
        is_tracked=tracked,
        frames=frames,
        points=points,
        scores=scores,
        animal_scores=of_animals,
        size=of.size,
        is_cropped=of.is_cropped,
        notes=tuple(notes),
    )


def _chosen(frame: SleapFrame) -> list[SleapInstance]:
    """The animals of a frame, those that a person placed first, without the predictions that these replace."""
    shown_ones = [each for each in frame.instances if not np.isnan(each.points_in_image).all()]
    by_person = [each for each in shown_ones if not each.is_predicted]
    replaced, tracks = {each.from_predicted for each in by_person}, {each.track for each in by_person} - {-1}
    kept = [
        each for each in shown_ones if each.is_predicted and each.number not in replaced and each.track not in tracks
    ]
    return [*by_person, *kept]


def _skeleton(content: SleapFile, video: int, chosen: dict[int, list[SleapInstance]]) -> int:
    """The place of the only skeleton that animals have."""
    used = sorted({each.skeleton for animals in chosen.values() for each in animals})
    if len(used) != 1:
        names = [content.skeletons[place][0] for place in used]
        name = content.videos[video].name
        got = f"those of {shown(names)}" if used else "none with a visible point"
        raise DataError(
            f"{content.path}: {name}: expected animals of one skeleton, got {got}. Save each in its own file."
        )
    return used[0]


def _by_track(
    content: SleapFile, chosen: dict[int, list[SleapInstance]], most: int, notes: list[str]
) -> tuple[dict[int, dict[int, SleapInstance]], tuple[str, ...]]:
    """The animals of each frame by the column of their track, and the names of the columns."""
    used = sorted({each.track for animals in chosen.values() for each in animals if each.track >= 0})
    column_of = {track: column for column, track in enumerate(used)}
    columns = {
        frame: {column_of[each.track]: each for each in reversed(animals) if each.track >= 0}
        for frame, animals in chosen.items()
    }
    without = sum(each.track < 0 for animals in chosen.values() for each in animals)
    doubled = sum(map(len, chosen.values())) - without - sum(map(len, columns.values()))
    if without:
        notes.append(
            f"{counted(without, 'instance')} without a track left out; --untracked takes all, for `dlcpose track`"
        )
    if doubled:
        notes.append(f"{counted(doubled, 'instance')} left out of a track that has another in the same frame")
    if len(used) > most:
        notes.append(
            f"{counted(len(used), 'track')} of at most {counted(most, 'animal')} at a time; --untracked and "
            "`dlcpose track` join them anew"
        )
    return columns, distinct_names([content.tracks[track] for track in used])


def _frames(chosen: dict[int, list[SleapInstance]], path: Path, animals: int, keypoints: int) -> npt.NDArray[np.int64]:
    """The frames that were predicted: SLEAP keeps none in which it found nothing, so those between count as such."""
    numbers = sorted(chosen)
    step = math.gcd(*(after - before for before, after in pairwise(numbers))) or 1
    check_size(path, (numbers[-1] - numbers[0]) // step + 1, animals, keypoints)
    return np.arange(numbers[0], numbers[-1] + 1, step, dtype=np.int64)
