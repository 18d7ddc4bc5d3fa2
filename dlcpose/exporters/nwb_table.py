"""Predictions as NWB files with the ndx-pose extension: one file for each individual, as NWB has one subject a file."""

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcpose.exporters.formats import TableTarget, check_individuals, provenance, table_format
from dlcpose.exporters.individual_files import individual_parts, one_individual
from dlcpose.structures.atomic_files import write_output
from dlcpose.structures.data_files import as_utf8
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks

if TYPE_CHECKING:
    from pynwb import NWBFile

REFERENCE_FRAME = (
    "(x, y) in pixels of the full, upright frame, x to the right and y down; "
    "the center of the top-left pixel is at (0, 0)."
)
FORBIDDEN = "/:"  # in the name of an NWB object


def _check(tracks: PoseTracks) -> None:
    """Raise DataError without animals or times, for names that NWB does not allow, or for files of the same name."""
    check_individuals(tracks, "nwb")
    if not np.isfinite(tracks.times).all():
        raise DataError(
            f"{tracks.video.path}: NWB needs the time of every frame, got none. Write csv or parquet instead."
        )
    if wrong := [name for name in tracks.skeleton.names if not name or set(FORBIDDEN) & set(name)]:
        raise DataError(
            f"{tracks.video.path}: NWB needs names without any of {FORBIDDEN}, got {wrong}. Rename the keypoints."
        )
    individual_parts(tracks)


@table_format(
    "nwb",
    suffix=".nwb",
    needs=("pynwb", "ndx_pose"),
    extra="nwb",
    needs_tracks=True,
    leaves_out=("unique keypoints", "boxes", "scores of the animals", "identities"),
    check_poses=_check,
)
def write_nwb(tracks: PoseTracks, target: TableTarget) -> list[Path]:
    """Write `{video}[_{individual}].nwb` for each individual: PoseEstimation and Skeletons in the module `behavior`.

    Timestamps are times of presentation. session_start_time, which NWB demands and a video does not tell, is when the
    file was written.
    """
    written = []
    for place, part in enumerate(individual_parts(tracks)):
        path = target.path(f"{'_' if part else ''}{part}.nwb")
        file = nwb_file(one_individual(tracks, place), as_utf8(path.stem), target.scorer)
        write_output(path, _in_memory(file))
        written.append(path)
    return written


def nwb_file(tracks: PoseTracks, identifier: str, scorer: str) -> "NWBFile":
    """The poses of one individual as an NWB file in memory."""
    import pynwb
    from ndx_pose import PoseEstimation, Skeleton, Skeletons

    about, (individual,) = provenance(tracks), tracks.individuals
    file = pynwb.NWBFile(
        session_description=f"Predicted poses of {individual} in {Path(tracks.video.path).name}; the start time is when "
        "this file was written.",
        identifier=identifier,
        session_start_time=datetime.now(UTC),
        notes="; ".join(f"{name}: {value}" for name, value in about.items()),
    )
    file.subject = pynwb.file.Subject(subject_id=individual)
    names, edges = tracks.skeleton.names, tracks.skeleton.edges
    skeleton = Skeleton(
        name="animal", nodes=list(names), edges=np.array(edges, np.uint8).reshape(-1, 2), subject=file.subject
    )
    video = _source_video(tracks)
    file.add_acquisition(video)
    behavior = file.create_processing_module(name="behavior", description="Poses predicted in a video.")
    behavior.add(Skeletons(skeletons=[skeleton]))
    behavior.add(
        PoseEstimation(
            name="PoseEstimation",  # the only name that other readers look for
            pose_estimation_series=_series(tracks),
            description=f"Poses by dlcpose in {tracks.video.path}, fingerprint {tracks.video.fingerprint}.",
            scorer=scorer,
            source_software="dlcpose",
            source_software_version=about["version"],
            skeleton=skeleton,
            source_video=video,
        )
    )
    return file


def _in_memory(file: "NWBFile") -> memoryview:
    """The bytes of an NWB file."""
    import h5py  # type: ignore[import-untyped]
    from pynwb import NWBHDF5IO

    content = io.BytesIO()
    with h5py.File(content, "w") as h5, NWBHDF5IO(file=h5, mode="w") as writer:
        writer.write(file)
    return content.getbuffer()


def _series(tracks: PoseTracks) -> list[Any]:
    """A series for each keypoint; all share the timestamps of the first."""
    from ndx_pose import PoseEstimationSeries

    series: list[Any] = []
    for place, name in enumerate(tracks.skeleton.names):
        series.append(
            PoseEstimationSeries(
                name=name,
                description=f"Place of {name} in every frame, NaN where it was not detected.",
                data=tracks.keypoints_in_image[:, 0, place],
                unit="pixels",
                reference_frame=REFERENCE_FRAME,
                timestamps=series[0] if series else tracks.times,
                confidence=tracks.keypoint_scores[:, 0, place],
                confidence_definition="Score of the keypoint, 0 to 1; 0 where it was not detected.",
            )
        )
    return series


def _source_video(tracks: PoseTracks) -> Any:
    from pynwb.image import ImageSeries

    return ImageSeries(
        name="source_video",
        description="The video the poses were predicted in.",
        unit="n.a.",
        format="external",
        external_file=[tracks.video.path],
        starting_frame=[0],
        dimension=[tracks.video.width, tracks.video.height],
        timestamps=tracks.times,
    )
