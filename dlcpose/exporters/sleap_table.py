"""Predictions as SLEAP's own files, written by sleap-io: .slp, and the analysis h5 that scripts read."""

import json
from pathlib import Path
from typing import Any

from dlcpose.exporters.formats import TableTarget, check_individuals, provenance, table_format
from dlcpose.structures.atomic_files import atomic_output, check_room
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.skeleton import Skeleton

LEAVES_OUT = ("unique keypoints", "times", "boxes", "identities")


def _check(tracks: PoseTracks) -> None:
    check_individuals(tracks, "sleap")


def _check_analysis(tracks: PoseTracks) -> None:
    check_individuals(tracks, "sleap_analysis")
    if not tracks.is_present.any():
        raise DataError(
            f"{tracks.video.path}: SLEAP's analysis file holds tracks with an animal in a frame at least, got none. "
            "Write sleap or csv instead."
        )


@table_format("sleap", suffix=".slp", leaves_out=LEAVES_OUT, check_poses=_check, names_scorer=False)
def write_sleap(tracks: PoseTracks, target: TableTarget) -> list[Path]:
    """Write `{video}.predictions.slp`; animals have tracks where these poses are tracked."""
    path = target.path(".predictions.slp")
    with atomic_output(path) as partial:
        save_slp(sleap_labels(tracks), partial)
    return [path]


@table_format(
    "sleap_analysis",
    suffix=".h5",
    needs_tracks=True,
    leaves_out=LEAVES_OUT,
    check_poses=_check_analysis,
    names_scorer=False,
)
def write_sleap_analysis(tracks: PoseTracks, target: TableTarget) -> list[Path]:
    """Write `{video}.analysis.h5` with a column for every frame of the video, in SLEAP's (Matlab's) order of axes.

    As in SLEAP, an individual that is in no frame has no track.
    """
    import sleap_io

    path = target.path(".analysis.h5")
    with atomic_output(path) as partial:
        sleap_io.save_analysis_h5(sleap_labels(tracks), str(partial))
    return [path]


def save_slp(labels: Any, path: Path) -> None:
    """Write sleap-io's Labels to a path where nothing is. Raises OSError where there is no room for them."""
    import sleap_io

    animals = sum(len(frame.instances) for frame in labels.labeled_frames)
    points = sum(len(instance.points) for frame in labels.labeled_frames for instance in frame.instances)
    names = sum(len(json.dumps(video.backend_metadata, default=str)) for video in labels.videos)
    # Ample, since sleap-io writes to the disk at once, where HDF5 crashes without room: 60 bytes a point, say.
    check_room(path, 2**20 + 200 * (len(labels.labeled_frames) + animals + points) + 4 * names)
    sleap_io.save_slp(labels, str(path), embed=False, verbose=False)


def sleap_skeleton(skeleton: Skeleton) -> Any:
    """The animals' skeleton as sleap-io's, with edges and symmetries."""
    import sleap_io

    names = skeleton.names
    return sleap_io.Skeleton(
        nodes=list(names),
        edges=[(names[first], names[second]) for first, second in skeleton.edges],
        symmetries=[(names[left], names[right]) for left, right in skeleton.pairs],
        name="animal",
    )


def sleap_labels(tracks: PoseTracks) -> Any:
    """The poses as sleap-io's Labels: a PredictedInstance for every animal in a frame, missing keypoints NaN."""
    import sleap_io

    skeleton, video = sleap_skeleton(tracks.skeleton), tracks.video
    # Described, not opened: poses can be written where the video is not.
    file = sleap_io.Video(filename=video.path, open_backend=False)
    file.backend_metadata = {
        "type": "MediaVideo",
        "shape": (len(tracks), video.height, video.width, 3),
        "grayscale": False,
        **({"fps": video.fps} if video.fps > 0 else {}),
    }
    tracks_by_column = [sleap_io.Track(name) for name in tracks.individuals] if tracks.is_tracked else []
    frames = []
    for index, is_present in enumerate(tracks.is_present):
        instances = [
            sleap_io.PredictedInstance.from_numpy(
                tracks.keypoints_in_image[index, column],
                skeleton=skeleton,
                point_scores=tracks.keypoint_scores[index, column],
                score=float(tracks.scores[index, column]),
                track=tracks_by_column[column] if tracks_by_column else None,
            )
            for column in is_present.nonzero()[0]
        ]
        if instances:
            frames.append(sleap_io.LabeledFrame(video=file, frame_idx=index, instances=instances))
    return sleap_io.Labels(
        frames, videos=[file], skeletons=[skeleton], tracks=tracks_by_column, provenance=provenance(tracks)
    )
