"""SLEAP's files that are written, as sleap-io reads them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import sleap_io

from dlcpose.datasets.coco import CocoFrames
from dlcpose.datasets.sleap import SleapFrames
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.exporters.coco import write_coco_dataset
from dlcpose.exporters.sleap import write_sleap_labels
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import labels_of
from dlcpose.structures.skeleton import Skeleton
from tests.exporters.label_sets import DrawnFrames

SKELETON = Skeleton(("nose", "earL", "earR"), ((0, 1), (0, 2)), ((1, 2),))


def made_up() -> DrawnFrames:
    """Two videos, two animals with names in one frame, one without, an empty frame."""
    points = np.arange(12.0).reshape(2, 3, 2) + 0.123456789012
    points[1, 2] = np.nan
    frames = [
        labels_of("cage/7.png", (6, 8), points, identities=np.array([1, 0]), video="cage", frame_index=7),
        labels_of("cage/90.png", (6, 8), points[:0], video="cage", frame_index=90),
        labels_of("pen/3.png", (10, 12), points[:1], video="pen", frame_index=3),
    ]
    return DrawnFrames(frames, SKELETON, ("ann", "bob"))


def test_sleap_io_reads_the_labels_and_images(tmp_path: Path) -> None:
    data, path = made_up(), tmp_path / "labels.pkg.slp"
    write_sleap_labels(data, path)
    theirs = sleap_io.load_slp(str(path))
    assert theirs.skeletons[0].node_names == list(SKELETON.names)
    assert theirs.skeletons[0].edge_inds == [(0, 1), (0, 2)]
    assert {node.name for node in theirs.skeletons[0].symmetries[0].nodes} == {"earL", "earR"}
    assert [track.name for track in theirs.tracks] == ["ann", "bob"]
    assert [(frame.frame_idx, len(frame), frame.is_negative) for frame in theirs] == [
        (7, 2, False), (90, 0, True), (3, 1, False)
    ]  # fmt: skip
    for index, frame in enumerate(theirs):
        expected = data.frames[index].exact_keypoints
        np.testing.assert_array_equal(np.array([each.numpy() for each in frame]).reshape(expected.shape), expected)
        np.testing.assert_array_equal(frame.image, data.read_image(index))
    assert [each.track.name for each in theirs[0]] == ["bob", "ann"]
    assert theirs[2].instances[0].track is None
    assert [video.source_video.filename for video in theirs.videos] == ["cage", "pen"]


@pytest.mark.parametrize("has_identities", [False, True])
def test_individuals_stay_who_they_are_although_each_is_alone(tmp_path: Path, has_identities: bool) -> None:
    points = np.ones((1, 3, 2))
    frames = [
        labels_of(f"cage/{number}", (6, 8), points, identities=np.array([number]), video="cage", frame_index=number)
        for number in (0, 2)
    ]
    data = DrawnFrames(frames, SKELETON, ("ann", "bob", "cy"), has_identities=has_identities)
    write_sleap_labels(data, tmp_path / "x.pkg.slp")
    back = SleapFrames(tmp_path / "x.pkg.slp")
    assert (back.individuals, back.has_identities) == (("ann", "bob", "cy"), has_identities)
    assert [frame.identities.tolist() for frame in back.frames] == [[0], [2]]


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from dlcpose.exporters.sleap import write_sleap_labels
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import labels_of
from dlcpose.structures.skeleton import Skeleton
from label_sets import DrawnFrames

class Noisy(DrawnFrames):
    def read_image(self, index):
        return np.random.default_rng(index).integers(0, 255, (300, 400, 3)).astype(np.uint8)

points = np.ones((2, 3, 2))
frames = [labels_of(f"cage/{n}.png", (300, 400), points, video="cage", frame_index=n) for n in range(12)]
data = Noisy(frames, Skeleton(("a", "b", "c")))
folder = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (20_000, 2_000_000, 3_000_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_sleap_labels(data, folder / f"{limit}.pkg.slp")
    except DataError as error:
        print("refused", limit, error, flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
write_sleap_labels(data, folder / "whole.pkg.slp")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_a_disk_without_room_is_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    repository = Path(__file__).parents[2]
    folders = (repository, repository / "tests" / "exporters", os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, "-W", "ignore", "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused = done.stdout.splitlines()
    assert [line.split()[1] for line in refused] == ["20000", "2000000", "3000000"]
    assert all(".pkg.slp: cannot be written (" in line for line in refused)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.pkg.slp"]
    assert len(SleapFrames(tmp_path / "whole.pkg.slp")) == 12


def test_images_that_are_files_are_named(tmp_path: Path) -> None:
    data = SyntheticFrames(frames=4, height=32, width=40, videos=2)
    write_coco_dataset(data, tmp_path / "coco")
    files = CocoFrames(tmp_path / "coco")
    write_sleap_labels(files, tmp_path / "labels.slp")
    theirs, back = sleap_io.load_slp(str(tmp_path / "labels.slp")), SleapFrames(tmp_path / "labels.slp")
    assert (tmp_path / "labels.slp").stat().st_size < 10**5
    for index, frame in enumerate(files.frames):
        np.testing.assert_array_equal(theirs[index].instances[0].numpy(), frame.exact_keypoints[0])
        np.testing.assert_array_equal(theirs[index].image, files.read_image(index))
        np.testing.assert_array_equal(back.read_image(index), files.read_image(index))
        assert back.frames[index].frame_index == frame.frame_index
    with pytest.raises(DataError, match=r"x\.pkg\.slp"):
        write_sleap_labels(data, tmp_path / "x.slp")
    with pytest.raises(DataError, match=r"labels\.slp.*there"):
        write_sleap_labels(files, tmp_path / "labels.slp")
    with pytest.raises(DataError, match=r"ends in \.pkg\.slp"):
        write_sleap_labels(files, tmp_path / "labels.h5")


def test_photos_of_any_size_are_videos_of_one_size_each(tmp_path: Path) -> None:
    sizes = [(6, 8), (10, 12), (6, 8)]
    frames = [labels_of(f"photo-{name}.png", size, np.ones((1, 3, 2))) for name, size in zip("abc", sizes, strict=True)]
    write_sleap_labels(DrawnFrames(frames, SKELETON), tmp_path / "x.pkg.slp")
    back = SleapFrames(tmp_path / "x.pkg.slp")
    assert [frame.key.rpartition("/")[-1] for frame in back.frames] == ["photo-a.png", "photo-c.png", "photo-b.png"]
    assert [(frame.height, frame.width) for frame in back.frames] == [sizes[0], sizes[2], sizes[1]]
    assert [back[index].image[0, 0, 0] for index in range(3)] == [0, 22, 11]


def test_the_layout_is_that_of_sleaps_own_packages(tmp_path: Path, shared_data: Path) -> None:
    """Names, kinds and attributes that SLEAP's own package has are there, so that it opens ours alike."""
    path = tmp_path / "labels.pkg.slp"
    write_sleap_labels(made_up(), path)
    with (
        h5py.File(shared_data / "format-samples/sleap-pkg/minimal_instance.pkg.slp") as theirs,
        h5py.File(path) as ours,
    ):
        assert set(theirs) <= set(ours)
        assert set(theirs["video0"]) <= set(ours["video0"])
        assert set(theirs["video0/video"].attrs) <= set(ours["video0/video"].attrs)
        assert theirs["video0/video"].dtype.kind == ours["video0/video"].dtype.kind == "O"
        for name in ("frames", "instances", "points"):
            assert theirs[name].dtype == ours[name].dtype
        backends = [json.loads(file["videos_json"][0])["backend"] for file in (theirs, ours)]
        assert {key: backends[1][key] for key in ("filename", "dataset")} == {
            key: backends[0][key] for key in ("filename", "dataset")
        }
