"""Predictions as a netCDF file that is a poses dataset of movement, whose names of dimensions changed with 0.17."""

from pathlib import Path
from typing import Any

import numpy as np

from dlcpose.exporters.formats import TableTarget, check_individuals, provenance, table_format
from dlcpose.structures.atomic_files import write_output
from dlcpose.structures.pose_tracks import PoseTracks

NEEDS: dict[str, Any] = {
    "suffix": ".nc",
    "needs": ("xarray", "h5netcdf"),
    "extra": "tables",
    "needs_tracks": True,
    "leaves_out": ("unique keypoints", "boxes", "scores of the animals", "identities"),
    "check_poses": lambda tracks: check_individuals(tracks, "movement"),
    "names_scorer": False,
}


@table_format("movement", **NEEDS)
def write_movement(tracks: PoseTracks, target: TableTarget) -> list[Path]:
    """Write `{video}.nc` for movement up to 0.16, the last of which for Python 3.11 is 0.15.

    position (time, space, keypoints, individuals) and confidence (time, keypoints, individuals); time is in seconds, of
    presentation, and in frames where the video has no times.
    """
    return [_write(target.path(".nc"), tracks, "keypoints", "individuals")]


@table_format("movement_0.17", **NEEDS)
def write_movement_0_17(tracks: PoseTracks, target: TableTarget) -> list[Path]:
    """Write `{video}.movement_0.17.nc`: the same for movement from 0.17 on, which says keypoint and individual."""
    return [_write(target.path(".movement_0.17.nc"), tracks, "keypoint", "individual")]


def _write(path: Path, tracks: PoseTracks, keypoints: str, individuals: str) -> Path:
    import xarray as xr

    has_times = bool(np.isfinite(tracks.times).all())
    about = {name: value for name, value in provenance(tracks).items() if value is not None}
    dataset = xr.Dataset(
        data_vars={
            "position": (
                ("time", "space", keypoints, individuals),
                tracks.keypoints_in_image.transpose(0, 3, 2, 1),
            ),
            "confidence": (("time", keypoints, individuals), tracks.keypoint_scores.transpose(0, 2, 1)),
        },
        coords={
            "time": tracks.times if has_times else tracks.frame_indices,
            "space": ["x", "y"],
            keypoints: list(tracks.skeleton.names),
            individuals: list(tracks.individuals),
        },
        attrs={
            "ds_type": "poses",
            "source_software": "dlcpose",
            "time_unit": "seconds" if has_times else "frames",
            **({"fps": tracks.video.fps} if tracks.video.fps > 0 else {}),
            **{f"dlcpose_{name}": int(value) if isinstance(value, bool) else value for name, value in about.items()},
        },
    )
    encoding = {name: {"zlib": True} for name in dataset.data_vars}
    write_output(path, dataset.to_netcdf(engine="h5netcdf", encoding=encoding))
    return path
