"""Each reader's own package opens what is written for it; where that does not install, its rules are re-stated here."""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import sleap_io

from dlcpose.exporters.individual_files import one_individual, without_unique
from dlcpose.exporters.pose_tables import whole_poses, write_tables
from dlcpose.exporters.readers import table_readers
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks
from tests.structures.made_up_tracks import NAMES, made_up_tracks

# netCDF4 is built against an older numpy than it meets, which numpy itself says is no harm.
pytestmark = pytest.mark.filterwarnings("ignore:numpy.ndarray size changed")

SINGLE_ANIMAL = ("anipose", "bsoid")
NEED_TRACKS = ("anipose", "bsoid", "moseq", "movement", "movement_0.17", "nwb", "simba")


@pytest.fixture(autouse=True)
def _warnings_logged(caplog: pytest.LogCaptureFixture) -> None:
    """As they are by default: importing keypoint-moseq silences the warnings of everyone."""
    caplog.set_level(logging.WARNING, "dlcpose.exporters")


@pytest.fixture
def two_animals() -> PoseTracks:
    """Two tracked animals with a point of the arena, and frames that were skipped; all is found in the first frame."""
    tracks = made_up_tracks(frame_indices=(0, 1, 2, 5, 6), frames=8, unique=("spout",))
    points, scores = tracks.keypoints_in_image.copy(), tracks.keypoint_scores.copy()
    points[0], scores[0] = 20.5, 0.75
    return whole_poses(replace(tracks, keypoints_in_image=points, keypoint_scores=scores))


def written_for(reader: str, tracks: PoseTracks, folder: Path) -> list[Path]:
    """The files for a reader, which lie in a folder of its own."""
    paths = write_tables(tracks, folder, readers=[reader])
    assert all((folder / reader) in path.parents for path in paths)
    return paths


def assert_same(points: Any, scores: Any, tracks: PoseTracks, column: int | None = None) -> None:
    """Points (T, [N,] K, 2) and scores (T, [N,] K) are those of the poses, or of one animal."""
    picked = slice(None) if column is None else column
    expected = tracks.keypoints_in_image[:, picked], tracks.keypoint_scores[:, picked]
    np.testing.assert_array_equal(np.asarray(points, np.float32), expected[0])
    np.testing.assert_array_equal(np.nan_to_num(np.asarray(scores, np.float32)), expected[1])


def movement_validators() -> Any:
    return pytest.importorskip("movement.validators.datasets", reason="movement comes with dlcpose[readers]")


def reader_of_this_movement() -> str:
    """Which netCDF the movement that is installed takes: its dimensions' names changed with 0.17."""
    valid = pytest.importorskip(
        "movement.validators.datasets", reason="pip install dlcpose[readers] brings movement"
    ).ValidPosesInputs
    return "movement" if "keypoints" in valid.DIM_NAMES else "movement_0.17"


def test_movement_opens_its_netcdf(two_animals: PoseTracks, tmp_path: Path) -> None:
    import xarray as xr

    (path,) = written_for(reader_of_this_movement(), two_animals, tmp_path)
    with xr.open_dataset(path) as opened:
        dataset = opened.load()
    pytest.importorskip(
        "movement.validators.datasets", reason="pip install dlcpose[readers] brings movement"
    ).ValidPosesInputs.validate(dataset)
    keypoints, individuals = dataset["confidence"].dims[1:]
    position = dataset["position"].transpose("time", individuals, keypoints, "space")
    assert_same(position, dataset["confidence"].transpose("time", individuals, keypoints), two_animals)
    assert (dataset.attrs["ds_type"], dataset.attrs["time_unit"], dataset.attrs["fps"]) == ("poses", "seconds", 25.0)


def test_movement_computes_on_its_netcdf(two_animals: PoseTracks, tmp_path: Path) -> None:
    import xarray as xr

    (path,) = written_for(reader_of_this_movement(), two_animals, tmp_path)
    with xr.open_dataset(path) as dataset:
        velocity = pytest.importorskip("movement.kinematics").compute_velocity(dataset["position"])
        keypoints, individuals = dataset["confidence"].dims[1:]
    steps = np.gradient(two_animals.keypoints_in_image, two_animals.times, axis=0)
    np.testing.assert_allclose(velocity.transpose("time", individuals, keypoints, "space"), steps, rtol=1e-4)


@pytest.mark.parametrize(
    ("reader", "dimensions"),
    [
        ("movement", ("time", "space", "keypoints", "individuals")),
        ("movement_0.17", ("time", "space", "keypoint", "individual")),
    ],
)
def test_movement_finds_its_dimensions(
    reader: str, dimensions: tuple[str, ...], two_animals: PoseTracks, tmp_path: Path
) -> None:
    """movement 0.15 and 0.17, movement/validators/datasets.py `ValidPosesInputs.DIM_NAMES` and `to_dataset`."""
    import xarray as xr

    (path,) = written_for(reader, two_animals, tmp_path)
    with xr.open_dataset(path) as dataset:
        assert dataset["position"].dims == dimensions
        assert dataset["confidence"].dims == (dimensions[0], *dimensions[2:])
        assert dataset["space"].to_numpy().tolist() == ["x", "y"]
        assert set(dataset.coords) == set(dimensions)


@pytest.mark.parametrize(
    ("reader", "ending", "software"),
    [
        ("moseq", ".h5", "DeepLabCut"),
        ("bsoid", ".csv", "DeepLabCut"),
        ("sleap", ".slp", "SLEAP"),
        ("nwb", ".nwb", "NWB"),
    ],
)
def test_movement_loads_what_others_are_given(
    reader: str, ending: str, software: str, two_animals: PoseTracks, tmp_path: Path
) -> None:
    load_poses = pytest.importorskip("movement.io.load_poses")
    load = {
        "DeepLabCut": load_poses.from_dlc_file,
        "SLEAP": load_poses.from_sleap_file,
        "NWB": load_poses.from_nwb_file,
    }[software]
    paths = [path for path in written_for(reader, two_animals, tmp_path) if path.suffix == ending]
    columns = [None] if len(paths) == 1 else list(range(len(paths)))
    for path, column in zip(paths, columns, strict=True):
        dataset = load(path)
        animals, keypoints = sorted(set(dataset["position"].dims) - {"time", "space"})
        expected = two_animals if column is None else one_individual(two_animals, column)
        frames = dataset.sizes["time"]  # of a .slp: up to the last frame with an animal
        position = dataset["position"].transpose("time", animals, keypoints, "space").sel({keypoints: list(NAMES)})
        confidence = dataset["confidence"].transpose("time", animals, keypoints).sel({keypoints: list(NAMES)})
        np.testing.assert_array_equal(position.astype(np.float32), expected.keypoints_in_image[:frames])
        np.testing.assert_array_equal(
            np.nan_to_num(confidence.to_numpy()).astype(np.float32), expected.keypoint_scores[:frames]
        )
        assert not expected.is_present[frames:].any()


def test_movement_loads_the_analysis_file(two_animals: PoseTracks, tmp_path: Path) -> None:
    load_poses = pytest.importorskip("movement.io.load_poses")
    (path,) = write_tables(two_animals, tmp_path, formats=["sleap_analysis"])
    dataset = load_poses.from_sleap_file(path, fps=25)
    animals, keypoints = sorted(set(dataset["position"].dims) - {"time", "space"})
    assert dataset[animals].to_numpy().tolist() == list(two_animals.individuals)
    assert_same(
        dataset["position"].transpose("time", animals, keypoints, "space"),
        dataset["confidence"].transpose("time", animals, keypoints),
        two_animals,
    )


@pytest.mark.parametrize(("reader", "format"), [("moseq", "deeplabcut"), ("sleap", "sleap"), ("nwb", "nwb")])
def test_keypoint_moseq_loads_its_keypoints(reader: str, format: str, two_animals: PoseTracks, tmp_path: Path) -> None:
    moseq = pytest.importorskip("keypoint_moseq.io")
    written_for(reader, two_animals, tmp_path)
    coordinates, confidences, bodyparts = moseq.load_keypoints(str(tmp_path / reader), format)
    assert set(bodyparts) == set(NAMES)
    assert len(coordinates) == 2
    for column, name in enumerate(sorted(coordinates)):
        frames = len(coordinates[name])
        expected = one_individual(two_animals, column)
        np.testing.assert_array_equal(coordinates[name].astype(np.float32), expected.keypoints_in_image[:frames, 0])
        assert ((np.nan_to_num(confidences[name]) >= 0) & (np.nan_to_num(confidences[name]) <= 1)).all()
        np.testing.assert_array_equal(
            np.nan_to_num(confidences[name]).astype(np.float32), expected.keypoint_scores[:frames, 0]
        )


def test_moseq_parses_its_table(two_animals: PoseTracks, tmp_path: Path) -> None:
    """keypoint-moseq 0.8.1, keypoint_moseq/io.py `_deeplabcut_loader`: no key, `single` set aside, equal body parts."""
    (path,) = written_for("moseq", two_animals, tmp_path)
    table = pd.read_hdf(path)
    individuals = table.columns.get_level_values("individuals").unique()
    assert individuals.tolist() == list(two_animals.individuals)
    for column, individual in enumerate(individuals):
        own = table.xs(individual, axis=1, level="individuals")
        assert own.columns.get_level_values("bodyparts").unique().tolist() == list(NAMES)
        values = own.to_numpy().reshape(len(own), -1, 3)
        assert_same(values[..., :2], values[..., 2], two_animals, column)


def test_anipose_loads_its_sessions(two_animals: PoseTracks, tmp_path: Path) -> None:
    triangulate = pytest.importorskip("anipose.triangulate")
    filtering = pytest.importorskip("anipose.filter_pose")
    for column, path in enumerate(written_for("anipose", two_animals, tmp_path)):
        loaded = triangulate.load_pose2d_fnames({"A": str(path)})
        assert loaded["bodyparts"] == list(NAMES)
        assert_same(loaded["points"][0], loaded["scores"][0], two_animals, column)
        values, about = filtering.load_pose_2d(str(path))
        assert about["bodyparts"] == list(NAMES)
        assert_same(values[:, :, 0, :2], values[:, :, 0, 2], two_animals, column)


def test_anipose_parses_its_tables(two_animals: PoseTracks, tmp_path: Path) -> None:
    """Anipose 1.1.24: `pose-2d/{video}.h5` (pose_videos.py `process_session`), read by `load_pose_2d` (filter_pose.py)."""
    paths = written_for("anipose", two_animals, tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "anipose/animal1/cage.h5",
        "anipose/animal2/cage.h5",
    ]
    for column, path in enumerate(paths):
        original = pd.read_hdf(path)
        table = original.loc[:, original.columns.levels[0][0]]
        bodyparts = list(table.columns.get_level_values(table.columns.names.index("bodyparts")).unique())
        possible = len(table.columns.levels[table.columns.names.index("coords")]) // 3
        values = np.array(table).reshape(len(table), len(bodyparts), possible, 3)
        assert possible == 1
        assert_same(values[:, :, 0, :2], values[:, :, 0, 2], two_animals, column)
        missing = np.isnan(values[:, :, 0, 0])
        assert (values[:, :, 0, 2][missing] == 0).all()  # NaN with a likelihood of 1 breaks it: DeepLabCut #1650
    (alone,) = written_for("anipose", one_individual(two_animals, 0), tmp_path / "alone")
    assert alone.relative_to(tmp_path / "alone").as_posix() == "anipose/cage.h5"


def bsoid_columns(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y, likelihood of every body part as B-SOiD 2.0 picks them out of a csv.

    Source: YttriLab/B-SOID bsoid_app/data_preprocess.py `compile_data` and bsoid_utilities/likelihoodprocessing.py
    `adp_filt`, without its filter.
    """
    table = np.array(pd.read_csv(path, low_memory=False))
    chosen: list[int] = []
    for name in table[0, 1:-1:3]:
        chosen += [index for index, other in enumerate(table[0, 1:]) if name in other and index not in chosen]
    chosen.sort()
    values = table[1:]
    by_coord = {
        coord: [index for index in chosen if values[0][index + 1] == coord] for coord in ("x", "y", "likelihood")
    }
    picked = [values[1:, 1:][:, by_coord[coord]].astype(float) for coord in ("x", "y", "likelihood")]
    return picked[0], picked[1], picked[2]


def test_bsoid_parses_its_tables(two_animals: PoseTracks, tmp_path: Path) -> None:
    paths = written_for("bsoid", two_animals, tmp_path)
    assert [path.name for path in paths] == ["cage_animal1DLC_dlcpose.csv", "cage_animal2DLC_dlcpose.csv"]
    for column, path in enumerate(paths):
        x, y, likelihood = bsoid_columns(path)
        assert_same(np.stack([x, y], axis=-1), likelihood, two_animals, column)
        np.histogram(likelihood[1:, 0])  # which B-SOiD cuts by, and which takes no NaN


def test_keypoints_that_bsoid_cannot_fill_are_logged(
    two_animals: PoseTracks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written_for("bsoid", without_unique(two_animals), tmp_path)
    assert not [record for record in caplog.records if "row 0" in record.message]
    points, scores = two_animals.keypoints_in_image.copy(), two_animals.keypoint_scores.copy()
    points[0, 1, 3], scores[0, 1, 3] = np.nan, 0
    _, second = written_for(
        "bsoid", replace(two_animals, keypoints_in_image=points, keypoint_scores=scores), tmp_path / "late"
    )
    (warned,) = [record.message for record in caplog.records if "row 0" in record.message]
    assert second.name in warned
    assert "tail" in warned
    assert not any(name in warned for name in NAMES[:3])


def test_a_table_for_bsoid_is_whole_once_the_rows_that_are_named_are_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    late = made_up_tracks(frame_indices=(10, 12, 13), frames=15, animals=1, missing=0.0)
    points = late.keypoints_in_image.copy()
    points[0, 0, 3] = np.nan
    late = replace(late, keypoints_in_image=points)
    (path,) = written_for("bsoid", late, tmp_path)
    (warned,) = [record.message for record in caplog.records if "row 0" in record.message]
    (last,) = re.findall(r"rows 0 to (\d+)", warned)
    x, _, likelihood = bsoid_columns(path)
    assert not np.isnan(x[int(last) + 1]).any()
    assert (likelihood[int(last) + 1] > 0).all()
    assert np.isnan(x[: int(last) + 1]).any(axis=1).all()
    caplog.clear()
    first = made_up_tracks(frame_indices=(0, 1, 2), frames=3, animals=1, missing=0.0)
    points = first.keypoints_in_image.copy()
    points[0, 0, 3] = np.nan
    written_for("bsoid", replace(first, keypoints_in_image=points), tmp_path / "one")
    (warned,) = [record.message for record in caplog.records if "row 0" in record.message]
    assert "Delete row 0 of" in warned
    caplog.clear()
    written_for("bsoid", replace(late, keypoints_in_image=np.full_like(points, np.nan)), tmp_path / "never")
    (warned,) = [record.message for record in caplog.records if "row 0" in record.message]
    assert "no row" in warned


@pytest.mark.parametrize("reader", ["anipose", "bsoid", "moseq", "movement", "deeplabcut"])
def test_interpolated_points_are_told_where_a_reader_drops_them(
    reader: str, two_animals: PoseTracks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written_for(reader, two_animals, tmp_path)
    assert not [record for record in caplog.records if "score 0" in record.message]
    scores = two_animals.keypoint_scores.copy()
    scores[0, 1, :3] = 0  # as `dlcpose filter --interpolate` fills them
    written_for(reader, replace(two_animals, keypoint_scores=scores), tmp_path / "filled")
    warned = [record.message for record in caplog.records if "score 0" in record.message]
    assert len(warned) == (reader in ("anipose", "bsoid", "moseq"))
    assert all("3 keypoints" in each for each in warned)


def simba_video_of(path: Path, videos: Sequence[str]) -> str:
    """The video SimBA 5.6.1 links a table of several animals to.

    Source: simba/mixins/pose_importer_mixin.py `find_data_files` and `link_video_paths_to_data_paths`, with
    simba/utils/enums.py `DLC_NETWORK_FILE_NAMES` and `DLC_FILETYPES`.
    """
    networks = ("dlc_resnet50", "dlc_resnet_50", "dlc_dlcrnetms5", "dlc_effnet_b0", "dlc_resnet101")
    assert path.name.endswith(("el.h5", "el_filtered.h5"))
    name = path.stem.lower()
    candidates = {name, *(name.split(network)[0] for network in networks)}
    (video,) = [video for video in videos if Path(video).stem.lower() in candidates]
    return video


def test_simba_links_a_table_of_several_animals_to_its_video(two_animals: PoseTracks, tmp_path: Path) -> None:
    tracks = replace(two_animals, video=replace(two_animals.video, path="/videos/Cage.B.mp4"))
    (path,) = written_for("simba", tracks, tmp_path)
    assert simba_video_of(path, ["/v/other.avi", "/v/Cage.B.avi", "/v/Cage.avi"]) == "/v/Cage.B.avi"
    table = pd.read_hdf(path).replace([np.inf, -np.inf], np.nan).fillna(0)  # madlc_importer.py `run`
    headers = [f"{name}_{n}_{coord}" for n in (1, 2) for name in NAMES for coord in ("x", "y", "p")]
    assert len(table.columns) == len(headers)
    table.columns = headers
    assert table.loc[0, "tail_2_p"] == np.float32(0.75)
    expected = np.nan_to_num(tracks.keypoints_in_image[:, 1, 3, 0])
    np.testing.assert_array_equal(table["tail_2_x"].to_numpy(np.float32), expected)


def test_simba_takes_a_csv_of_one_animal(two_animals: PoseTracks, tmp_path: Path) -> None:
    """SimBA 5.6.1, simba/pose_importers/dlc_importer_csv.py `import_dlc_csv`; the head is what is not a number."""
    alone = one_individual(two_animals, 0)
    (path,) = written_for("simba", alone, tmp_path)
    assert path.stem.split("DLC_")[0].split(".")[0] == "cage"
    table = pd.read_csv(path)
    head = next(row for row in range(len(table)) if _is_numeric(table.iloc[row:]))
    assert head == 2  # body parts and coords below the scorer
    values = table.iloc[head:, 1:].astype(float).to_numpy().reshape(len(alone), -1, 3)
    assert_same(values[..., :2], values[..., 2], alone, 0)


def _is_numeric(table: pd.DataFrame) -> bool:
    try:
        table.apply(pd.to_numeric)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(("name", "animals"), [("aDLC_b", 2), ("DeepCut", 2), ("xdlc_resnet50", 1), ("a.b", 1)])
def test_videos_that_simba_would_not_find_are_refused(name: str, animals: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(name)):
        write_tables(made_up_tracks(animals=animals), tmp_path, name, readers=["simba"])


def test_sleap_opens_its_file(two_animals: PoseTracks, tmp_path: Path) -> None:
    (path,) = written_for("sleap", two_animals, tmp_path)
    labels = sleap_io.load_slp(str(path))
    assert labels.skeletons[0].node_names == list(NAMES)
    assert labels.skeletons[0].edge_inds == list(two_animals.skeleton.edges)
    assert [{node.name for node in pair.nodes} for pair in labels.skeletons[0].symmetries] == [
        {"left ear", "right ear"}
    ]
    assert tuple(labels.video.shape[:3]) == (8, 48, 64)
    values = labels.numpy(return_confidence=True)  # (T, tracks, K, 3)
    assert_same(values[..., :2], values[..., 2], two_animals)


def test_sleap_of_before_sleap_io_reads_its_file(two_animals: PoseTracks, tmp_path: Path) -> None:
    """SLEAP up to 1.4, sleap/io/format/hdf5.py `LabelsV1Adaptor`: format ids from 2 on are refused."""
    (path,) = written_for("sleap", two_animals, tmp_path)
    with h5py.File(path) as file:
        assert 1.2 <= file["metadata"].attrs["format_id"] < 2
        instances, points = file["instances"][()], file["pred_points"][()]
        frames = file["frames"][()]
    column_of_track = instances["track"]
    assert (instances["instance_type"] == 1).all()
    for frame in frames:
        for row in range(frame["instance_id_start"], frame["instance_id_end"]):
            own = points[instances[row]["point_id_start"] : instances[row]["point_id_end"]]
            expected = two_animals.keypoints_in_image[frame["frame_idx"], column_of_track[row]]
            np.testing.assert_array_equal(np.stack([own["x"], own["y"]], axis=-1).astype(np.float32), expected)
    assert len(instances) == two_animals.is_present.sum()


def test_deeplabcut_finds_its_table_by_video_and_scorer(two_animals: PoseTracks, tmp_path: Path) -> None:
    """DeepLabCut 3.0.2, deeplabcut/utils/auxiliaryfunctions.py `find_analyzed_data` and `load_analyzed_data`."""
    paths = write_tables(two_animals, tmp_path, readers=["deeplabcut"], scorer="DLC_lab")
    found = [
        path
        for path in (tmp_path / "deeplabcut").glob("*.h5")
        if path.name.startswith("cageDLC_lab")
        and "skeleton" not in path.name
        and "filtered" not in path.name
        and path.stem.endswith("_el")
    ]
    assert found == [path for path in paths if path.suffix == ".h5"]
    table = pd.read_hdf(found[0])
    assert table.columns.get_level_values("scorer").unique().tolist() == ["DLC_lab"]
    assert table.columns.get_level_values("individuals").unique().tolist() == ["animal1", "animal2", "single"]


def test_each_nwb_file_has_one_subject_and_one_pose_estimation(two_animals: PoseTracks, tmp_path: Path) -> None:
    import pynwb
    from ndx_pose import PoseEstimation

    paths = written_for("nwb", two_animals, tmp_path)
    assert [path.name for path in paths] == ["cage_animal1.nwb", "cage_animal2.nwb"]
    for column, path in enumerate(paths):
        assert not pynwb.validate(path=str(path))
        with pynwb.NWBHDF5IO(str(path), "r") as io:
            file = io.read()
            (estimation,) = [each for each in file.all_children() if isinstance(each, PoseEstimation)]
            assert estimation.name == "PoseEstimation"
            assert estimation.skeleton.subject.subject_id == two_animals.individuals[column]
            assert estimation.source_software == "dlcpose"
            assert estimation.skeleton.edges[:].tolist() == [list(edge) for edge in two_animals.skeleton.edges]
            series = [estimation.pose_estimation_series[name] for name in NAMES]
            np.testing.assert_allclose(series[-1].timestamps[:], two_animals.times)
            assert_same(
                np.stack([each.data[()] for each in series], axis=1),
                np.stack([each.confidence[()] for each in series], axis=1),
                two_animals,
                column,
            )


@pytest.mark.parametrize("reader", NEED_TRACKS)
def test_untracked_animals_are_refused_by_readers_that_need_tracks(reader: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not tracked"):
        write_tables(made_up_tracks(is_tracked=False), tmp_path, readers=[reader])
    assert not list(tmp_path.iterdir())
    assert write_tables(made_up_tracks(is_tracked=False, animals=1), tmp_path, readers=[reader])


@pytest.mark.parametrize("reader", NEED_TRACKS)
def test_unique_keypoints_are_left_out_with_a_word(
    reader: str, two_animals: PoseTracks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in written_for(reader, two_animals, tmp_path):
        assert b"spout" not in path.read_bytes()
    warned = [record for record in caplog.records if "unique keypoints" in record.message]
    assert [record.levelno for record in warned] == [logging.WARNING]


@pytest.mark.parametrize("reader", SINGLE_ANIMAL)
def test_individuals_whose_files_would_be_one_are_refused(reader: str, two_animals: PoseTracks, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not different as file names"):
        write_tables(replace(two_animals, individuals=("a/b", "A:b")), tmp_path, readers=[reader])


@pytest.mark.parametrize("reader", SINGLE_ANIMAL)
@pytest.mark.parametrize("name", ["..", "."])
def test_names_of_individuals_lead_to_no_other_folder(
    reader: str, name: str, two_animals: PoseTracks, tmp_path: Path
) -> None:
    paths = written_for(reader, replace(two_animals, individuals=(name, "m2")), tmp_path / "deep")
    assert len(set(paths)) == 2
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {path.resolve() for path in paths}
    assert all(path.resolve().is_relative_to(tmp_path / "deep" / reader) for path in paths)
    assert {"_", "m2"} <= {
        part for path in paths for part in (*path.parts, path.name[5:].removesuffix("DLC_dlcpose.csv"))
    }


def test_no_animal_is_refused_where_one_is_needed(tmp_path: Path) -> None:
    background = made_up_tracks(animals=0, unique=("corner",))
    for reader in NEED_TRACKS:
        with pytest.raises(DataError, match="at least one individual"):
            write_tables(background, tmp_path, readers=[reader])
    assert write_tables(background, tmp_path, readers=["deeplabcut"])


def test_readers_have_their_names() -> None:
    assert set(table_readers()) == {
        "anipose",
        "bsoid",
        "deeplabcut",
        "moseq",
        "movement",
        "movement_0.17",
        "nwb",
        "simba",
        "sleap",
    }
