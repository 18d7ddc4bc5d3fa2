"""Poses datasets of movement, written by xarray, are read as xarray has them."""

from pathlib import Path

import numpy as np
import pytest

from dlcpose.importers.pose_formats import ForeignPoses, read_foreign_poses
from dlcpose.structures.errors import DataError

xr = pytest.importorskip("xarray", reason="comes with dlcpose[tables]")
pytest.importorskip("h5netcdf", reason="comes with dlcpose[tables]")


def dataset(times: np.ndarray, *, singular: bool = False, space: tuple[str, ...] = ("x", "y"), **attributes: object):
    """Random poses of two animals with three keypoints at these times."""
    rng = np.random.default_rng(0)
    keypoints, individuals = ("keypoint", "individual") if singular else ("keypoints", "individuals")
    shape = (len(times), len(space), 3, 2)
    return xr.Dataset(
        data_vars={
            "position": (("time", "space", keypoints, individuals), rng.uniform(0, 60, shape)),
            "confidence": (("time", keypoints, individuals), rng.random((shape[0], *shape[2:]))),
        },
        coords={"time": times, "space": list(space), keypoints: ["nose", "earL", "earR"], individuals: ["a", "b"]},
        attrs={"ds_type": "poses", "source_software": "SLEAP", **attributes},
    )


def read(path: Path) -> ForeignPoses:
    (poses,) = read_foreign_poses(path)
    return poses


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
@pytest.mark.parametrize("singular", [True, False])
def test_a_dataset_is_read_as_xarray_has_it(engine: str, singular: bool, tmp_path: Path) -> None:
    if engine == "netcdf4":
        pytest.importorskip("netCDF4")
    data = dataset(np.arange(50, 60) / 25, singular=singular, fps=25.0, time_unit="seconds")
    data["position"][2, 0, 1, 0] = np.nan
    data.to_netcdf(tmp_path / "cage.nc", engine=engine)
    poses = read(tmp_path / "cage.nc")
    assert poses.frames.tolist() == list(range(50, 60))
    assert (poses.skeleton.names, poses.individuals) == (("nose", "earL", "earR"), ("a", "b"))
    assert (poses.is_tracked, poses.video) == (True, "cage")
    np.testing.assert_array_equal(poses.points, data["position"].to_numpy().transpose(0, 3, 2, 1))
    np.testing.assert_array_equal(poses.scores, data["confidence"].to_numpy().transpose(0, 2, 1))


def test_times_may_be_frames(tmp_path: Path) -> None:
    dataset(np.array([3, 4, 9]), time_unit="frames").to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert read(tmp_path / "a.nc").frames.tolist() == [3, 4, 9]


def test_without_confidences_scores_are_full_and_that_is_said(tmp_path: Path) -> None:
    data = dataset(np.arange(3), time_unit="frames")
    data["confidence"][:] = np.nan
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    poses = read(tmp_path / "a.nc")
    assert (poses.scores == 1).all()
    assert "no confidences" in poses.notes[0]


@pytest.mark.parametrize(
    ("times", "attributes", "says"),
    [
        (np.array([0.0, 0.5, 1.1]), {"time_unit": "frames"}, "expected rising times at frames"),
        (np.array([0.0, 0.013, 0.02]), {"time_unit": "seconds", "fps": 25.0}, "expected rising times at frames"),
        (np.array([0.0, 0.04, 0.04]), {"time_unit": "seconds", "fps": 25.0}, "expected rising times at frames"),
        (np.array([0.0, 0.04, 0.08]), {"time_unit": "seconds"}, "expected rising times at frames"),
        (np.array([-1.0, 0.0, 1.0]), {"time_unit": "frames"}, "expected rising times at frames"),
        (np.arange(3), {"time_unit": "frames", "space": ("x", "y", "z")}, r"pixels of a video \(x, y\), got x, y, z"),
    ],
)
def test_what_has_no_frames_of_a_video_is_refused(
    times: np.ndarray, attributes: dict[str, object], says: str, tmp_path: Path
) -> None:
    dataset(times, **attributes).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(DataError, match=says):
        read(tmp_path / "a.nc")


def test_packed_numbers_are_refused(tmp_path: Path) -> None:
    encoding = {"position": {"dtype": "int16", "scale_factor": 0.01, "add_offset": 30.0, "_FillValue": -1}}
    dataset(np.arange(3), time_unit="frames").to_netcdf(tmp_path / "a.nc", engine="h5netcdf", encoding=encoding)
    with pytest.raises(DataError, match="position is packed"):
        read(tmp_path / "a.nc")
