"""The reader of SLEAP's files against sleap-io, on files that sleap-io wrote and on real ones."""

import json
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import sleap_io

from dlcpose.datasets import splits
from dlcpose.datasets.readers import open_data
from dlcpose.datasets.sleap import SleapFrames
from dlcpose.datasets.sleap_file import SleapVideo, distinct_names, read_sleap_file
from dlcpose.datasets.sleap_images import MissingFrames
from dlcpose.structures.errors import DataError
from tests.datasets.numbered_videos import number_of, write_numbered
from tests.datasets.sleap_files import animal, color, images, saved, skeleton

REAL = ["flypair24/centered_pair.slp", "flypair13/clip.slp", "rodentpair15/min_session_user_labeled.slp"]
Frame = sleap_io.LabeledFrame


def of_images(folder: Path, *frames: list[Any], name: str = "labels.slp", negative: tuple[int, ...] = ()) -> Path:
    """A file with the given animals in the first frames of an image sequence."""
    video = sleap_io.Video([str(path) for path in images(folder / "cage", len(frames))])
    labeled = [
        Frame(video=video, frame_idx=index, instances=animals, is_negative=index in negative)
        for index, animals in enumerate(frames)
    ]
    return saved(folder / name, labeled, [video])


@pytest.mark.parametrize("name", REAL)
def test_agrees_with_sleap_io(shared_data: Path, name: str) -> None:
    path = shared_data / "sleap" / name
    ours, theirs = SleapFrames(path), sleap_io.load_slp(str(path))
    frames = sorted(
        (frame for frame in theirs if frame.user_instances), key=lambda f: (theirs.videos.index(f.video), f.frame_idx)
    )
    nodes = theirs.skeletons[0].node_names
    assert list(ours.skeleton.names) == nodes
    assert [(nodes[a], nodes[b]) for a, b in ours.skeleton.edges] == [
        (edge.source.name, edge.destination.name) for edge in theirs.skeletons[0].edges
    ]
    kept = [frame for frame in frames if any(not np.isnan(each.numpy()).all() for each in frame.user_instances)]
    assert len(ours) == len(kept)
    for frame, other in zip(ours.frames, kept, strict=True):
        animals = [each for each in other.user_instances if not np.isnan(each.numpy()).all()]
        np.testing.assert_array_equal(frame.exact_keypoints, [each.numpy() for each in animals])
        assert frame.frame_index == other.frame_idx
        tracks = [each.track.name if each.track else None for each in animals]
        assert [ours.individuals[place] if place >= 0 else None for place in frame.identities] == tracks
    for index in {0, len(ours) // 2, len(ours) - 1}:
        # sleap-io decodes by another library: the same frame, but colors may differ by rounding.
        theirs_image = kept[index].image.astype(int)
        assert np.abs(ours[index].image[..., :1].astype(int) - theirs_image).max() <= 4


def test_the_package_of_sleap_is_the_frame_of_the_video(shared_data: Path) -> None:
    package = SleapFrames(shared_data / "format-samples/sleap-pkg/minimal_instance.pkg.slp")
    video = SleapFrames(shared_data / "sleap/flypair24/centered_pair.slp")
    difference = package[0].image.astype(int) - video[0].image
    assert (len(package), package.frames[0].video) == (1, "centered_pair_low_quality.mp4")
    assert np.abs(difference).max() <= 4


def test_who_labeled_what_is_seen_and_which_frames_are_empty(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mouse = skeleton()
    path = of_images(
        tmp_path,
        [animal(mouse, 3), animal(mouse, 9, predicted=True)],
        [animal(mouse, 4, predicted=True)],
        [],
        [animal(mouse, 5, missing=[1])],
        [animal(mouse, 5, missing=[0, 1, 2])],
        negative=(2,),
    )
    data = SleapFrames(path)
    assert [(frame.key, len(frame)) for frame in data.frames] == [
        ("cage/img0000.png", 1), ("cage/img0002.png", 0), ("cage/img0003.png", 1)
    ]  # fmt: skip
    assert data.frames[2].visibility.tolist() == [[2, 0, 2]]
    assert "1 animal without a visible point" in caplog.text
    assert data.empty_is_label
    assert (data.skeleton.edges, data.skeleton.pairs) == (((0, 1), (0, 2)), ((1, 2),))
    np.testing.assert_array_equal(data.frames[0].exact_keypoints[0], animal(mouse, 3).numpy())
    assert [len(frame) for frame in SleapFrames(path, predictions=True).frames] == [1, 1, 0, 1]
    assert data[1].image[0, 0].tolist() == list(color(2))


def test_tracks_are_individuals_unless_they_are_pieces(tmp_path: Path) -> None:
    mouse, tracks = skeleton(), [sleap_io.Track(name) for name in ("a", "b", "a")]
    both = of_images(tmp_path / "both", [animal(mouse, 3, tracks[1]), animal(mouse, 9, tracks[0])], [animal(mouse, 3)])
    data = SleapFrames(both)
    assert (data.individuals, data.has_identities) == (("b", "a"), True)  # a track is one animal in one video
    assert [frame.identities.tolist() for frame in data.frames] == [[0, 1], [-1]]
    assert SleapFrames(both, tracks=False).individuals == ()
    pieces = of_images(tmp_path / "pieces", *([animal(mouse, 3, track)] for track in tracks))
    assert SleapFrames(pieces).individuals == ()
    assert SleapFrames(pieces, tracks=True).individuals == ("a_1", "b", "a_3")


@pytest.mark.parametrize(
    ("tracks", "names"),
    [
        (["a", "b"], ("a", "b")),
        (["a", "a", "b"], ("a_1", "a_2", "b")),
        (["a", "", "b"], ("a", "_2", "b")),
        (["a", "a", "a_2"], ("a_1", "a_2_", "a_2")),
    ],
)
def test_tracks_of_one_name_are_told_apart(tracks: list[str], names: tuple[str, ...]) -> None:
    assert distinct_names(tracks) == names


def test_tracks_of_one_name_are_individuals_of_their_own(tmp_path: Path) -> None:
    mouse, tracks = skeleton(), [sleap_io.Track(name) for name in ("mouse", "mouse", "mouse_2")]
    path = of_images(tmp_path, [animal(mouse, 3 * place, track) for place, track in enumerate(tracks)])
    assert len(set(SleapFrames(path).individuals)) == 3


def test_skeletons_are_chosen_by_name(tmp_path: Path) -> None:
    mouse, box = skeleton(), skeleton("box", ("corner", "door"))
    path = of_images(tmp_path, [animal(mouse, 3), animal(box, 5)])
    with pytest.raises(DataError, match=r"skeleton.*mouse.*box"):
        SleapFrames(path)
    assert SleapFrames(path, skeleton="box").skeleton.names == ("corner", "door")
    with pytest.raises(DataError, match=r"'rat'.*mouse.*box"):
        SleapFrames(path, skeleton="rat")


def test_file_with_only_predictions_is_reported(tmp_path: Path) -> None:
    path = of_images(tmp_path, [animal(skeleton(), 3, predicted=True)])
    with pytest.raises(DataError, match="predictions=true"):
        SleapFrames(path)


def test_labels_that_no_animal_has_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    of = skeleton()
    SleapFrames(of_images(tmp_path, [animal(of, 300)], [animal(of, 3), animal(of, 3)]))
    assert f"{len(of.nodes)} keypoints lie outside" in caplog.text
    assert "1 animal has the keypoints of another" in caplog.text


def test_the_corner_was_zero_in_old_files(tmp_path: Path) -> None:
    path = of_images(tmp_path, [animal(skeleton(), 3)])
    new = SleapFrames(path).frames[0].exact_keypoints
    with h5py.File(path, "r+") as file:
        file["metadata"].attrs["format_id"] = 1.0
    np.testing.assert_allclose(SleapFrames(path).frames[0].exact_keypoints, new - 0.5, atol=1e-12)


def test_images_inside_a_package_have_their_colors_and_numbers(tmp_path: Path) -> None:
    mouse = skeleton()
    source = of_images(tmp_path, [], [animal(mouse, 3)], [], [animal(mouse, 4)])
    labels = sleap_io.load_slp(str(source))
    labels.labeled_frames = [frame for frame in labels if frame.instances]
    for name, plugin in (("rgb.pkg.slp", "imageio"), ("bgr.pkg.slp", "opencv")):
        path = tmp_path / name
        labels.save(str(path), embed="all", verbose=False, plugin=plugin)
        for image in images(tmp_path / "cage", 4):
            image.unlink()
        data = SleapFrames(path)
        assert [frame.frame_index for frame in data.frames] == [1, 3]
        assert [data[index].image[5, 5].tolist() for index in range(2)] == [list(color(1)), list(color(3))]
        images(tmp_path / "cage", 4)
    with h5py.File(tmp_path / "bgr.pkg.slp", "r+") as file:
        file["video0/video"].attrs["channel_order"] = "BGR"  # as files of SLEAP itself, which say nothing
    assert SleapFrames(tmp_path / "bgr.pkg.slp")[0].image[5, 5].tolist() == list(color(1))[::-1]


def test_videos_of_a_package_may_have_numbers_with_gaps(tmp_path: Path) -> None:
    mouse = skeleton()
    videos = [sleap_io.Video([str(path) for path in images(tmp_path / name, 2)]) for name in "ab"]
    frames = [Frame(video=video, frame_idx=place, instances=[animal(mouse, 3)]) for place, video in enumerate(videos)]
    path = saved(tmp_path / "x.pkg.slp", frames, videos)
    with h5py.File(path, "r+") as file:
        file.move("video1", "video7")
        texts = [text.replace(b"video1/", b"video7/") if isinstance(text, bytes) else text.replace("video1/", "video7/")
                 for text in file["videos_json"][()].tolist()]  # fmt: skip
        del file["videos_json"]
        file["videos_json"] = texts
        rows = file["frames"][()]
        rows["video"][1] = 7
        file["frames"][...] = rows
    data = SleapFrames(path)
    assert [frame.video for frame in data.frames] == ["a", "b"]
    assert data[1].image[0, 0].tolist() == list(color(1))


def test_video_is_found_by_name_and_reported_when_missing(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    video = sleap_io.Video(filename="C:\\lab\\cage.mp4", open_backend=False)
    video.backend_metadata = {"type": "MediaVideo", "shape": (30, 48, 80, 1), "grayscale": True}
    frames = [Frame(video=video, frame_idx=index, instances=[animal(skeleton(), 3)]) for index in (3, 17)]
    path = saved(tmp_path / "labels.slp", frames, [video])
    with pytest.raises(DataError, match=r"cage\.mp4.*videos"):
        SleapFrames(path)
    with pytest.raises(DataError, match=r"2 of 2"):
        SleapFrames(path, skip_missing=True)
    labels_only = open_data(path)
    assert [(frame.height, frame.width, len(frame)) for frame in labels_only.frames] == [(48, 80, 1)] * 2
    with pytest.raises(DataError, match=r"cage\.mp4"):
        labels_only[0]
    write_numbered(tmp_path / "there/cage.mp4", 30)
    data = SleapFrames(path, videos=str(tmp_path / "there"))
    assert [number_of(data[index].image) for index in range(2)] == [3, 17]
    assert [frame.key for frame in data.frames] == ["cage.mp4/000003", "cage.mp4/000017"]
    write_numbered(tmp_path / "cage.mp4", 10)
    with pytest.raises(DataError, match=r"frame 17.*10 frames.*1 of 2"):
        SleapFrames(path)
    assert len(SleapFrames(path, skip_missing=True)) == 1
    write_numbered(tmp_path / "cage.mp4", 30, size=(64, 64))
    with pytest.raises(DataError, match=r"80x48.*64x64"):
        SleapFrames(path)


def test_a_size_that_no_file_says_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video = sleap_io.Video(filename="gone.mp4", open_backend=False)
    frames = [Frame(video=video, frame_idx=index, instances=[animal(skeleton(), 3)]) for index in (3, 17)]
    data = open_data(saved(tmp_path / "labels.slp", frames, [video]))
    width, height = np.max([frame.keypoints_in_image.max(axis=(0, 1)) for frame in data.frames], axis=0)
    assert {(frame.height, frame.width) for frame in data.frames} == {(int(height) + 1, int(width) + 1)}
    assert "2 frames are of a size that is not known" in caplog.text


def test_splits_by_video_and_by_frame(shared_data: Path) -> None:
    data = SleapFrames(shared_data / "sleap/rodentpair15/min_session_user_labeled.slp")
    by_key = {frame.key: frame for frame in data.frames}
    split = splits.video(data)
    videos = [{by_key[key].video for key in part} for part in (split.train, split.val, split.test)]
    assert all(videos)
    assert len(set.union(*videos)) == sum(map(len, videos)) == 8
    for part in (splits.block(SleapFrames(shared_data / "sleap/flypair24/centered_pair.slp")),):
        assert max(part.train) < min(part.val) < min(part.test)


def attacked(path: Path, attack: str, elsewhere: Path) -> None:
    with h5py.File(elsewhere, "w") as file:
        file["points"] = np.zeros(3)
    with h5py.File(path, "r+") as file:
        points = file["points"][()]
        if attack != "metadata":
            del file["points"]
        if attack == "external link":
            file["points"] = h5py.ExternalLink(str(elsewhere), "points")
        elif attack == "soft link":
            file["points"] = h5py.SoftLink("/frames")
        elif attack == "external storage":
            file.create_dataset("points", (3,), points.dtype, external=[(str(elsewhere), 0, 1000)])
        elif attack == "virtual":
            layout = h5py.VirtualLayout((3,), "f8")
            layout[:] = h5py.VirtualSource(str(elsewhere), "points", (3,))
            file.create_virtual_dataset("points", layout)
        elif attack == "references":
            file.create_dataset("points", (3,), h5py.ref_dtype)
        elif attack == "endless":
            file.create_dataset("points", (2**40,), points.dtype, chunks=(2**10,), compression="gzip")
        elif attack == "metadata":
            file["metadata"].attrs["json"] = '{"nodes": [{"name": 1}], "skeletons": ' + "[" * 10**5
        elif attack == "nodes of another skeleton":
            file["points"] = points[:2]


@pytest.mark.parametrize(
    "attack",
    ["external link", "soft link", "external storage", "virtual", "references", "endless", "metadata",
     "nodes of another skeleton"],
)  # fmt: skip
def test_a_strangers_file_is_refused_in_one_line(tmp_path: Path, attack: str) -> None:
    path = of_images(tmp_path, [animal(skeleton(), 3)])
    attacked(path, attack, tmp_path / "elsewhere.h5")
    with pytest.raises(DataError) as caught:
        SleapFrames(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def with_metadata(path: Path, place: str, at: tuple[str | int, ...], value: object) -> Path:
    """The file with another value at a place of the json in `metadata` or in the first row of a table."""
    with h5py.File(path, "r+") as file:
        stored = file["metadata"].attrs["json"] if place == "metadata" else file[place][()].flat[0] if at else b"null"
        content = json.loads(stored)
        owner = content
        for step in at[:-1]:
            owner = owner[step]
        if at:
            owner[at[-1]] = value
        else:
            content = value
        text = json.dumps(content).encode()
        if place == "metadata":
            file["metadata"].attrs["json"] = np.bytes_(text)
        else:
            file.pop(place, None)
            file[place] = np.array([text])
    return path


@pytest.mark.parametrize(
    ("place", "at", "value", "says"),
    [
        ("metadata", ("nodes", 1, "name"), 7, "a text as a node's name, got 7"),
        ("metadata", ("nodes", 1, "name"), None, "a text as a node's name, got None"),
        ("metadata", ("nodes", 1, "name"), ["a"], "a text as a node's name"),
        ("metadata", ("nodes", 1, "name"), "", "a text as a node's name, got ''"),
        ("metadata", ("nodes", 1, "name"), "nose", "needs a name of its own"),
        ("metadata", ("nodes", 1, "name"), "a\0b", "a name of plain characters"),
        ("metadata", ("skeletons", 0, "graph", "name"), {}, "a text as a skeleton's name"),
        ("metadata", ("skeletons", 0, "nodes", 1, "id"), -2, "has node -2 of 3"),
        ("metadata", ("skeletons", 0, "nodes", 1, "id"), 1.0, "has node 1.0 of 3"),
        ("tracks_json", (1,), ["a"], "a text as a track's name"),
        ("tracks_json", (1,), True, "a text as a track's name, got True"),
        ("tracks_json", (), "0a", "a text as a track's name, got '0a'"),
        ("videos_json", ("backend", "filenames", 0), 3, "a text as a video's path, got 3"),
    ],
    ids=[
        "node 7", "node null", "node list", "node empty", "node twice", "node with a null character", "skeleton",
        "id below 0", "id no whole number", "track list", "track true", "track no list", "path",
    ],
)  # fmt: skip
def test_names_and_paths_of_another_kind_are_refused_in_one_line(
    tmp_path: Path, place: str, at: tuple[str | int, ...], value: object, says: str
) -> None:
    path = of_images(tmp_path, [animal(skeleton(), 3, sleap_io.Track("a"))])
    with pytest.raises(DataError) as caught:
        SleapFrames(with_metadata(path, place, at, value), needs_images=False)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "at", "value", "says"),
    [
        ("videos_json", ("backend", "shape"), "30 x 40", "as a video's shape, got '30 x 40'"),
        ("videos_json", ("backend", "shape", 1), "30", "as a video's shape, got [1, '30', 40, 3]"),
        ("provenance_json", (), ["me"], "as its provenance, got ['me']"),
    ],
    ids=["shape", "height", "provenance"],
)
def test_metadata_of_another_kind_that_poses_do_not_need_are_told(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    place: str,
    at: tuple[str | int, ...],
    value: object,
    says: str,
) -> None:
    path = of_images(tmp_path, [animal(skeleton(), 3, sleap_io.Track("a"))])
    assert len(SleapFrames(with_metadata(path, place, at, value))) == 1
    assert says in caplog.text


def test_a_track_without_a_name_or_with_a_number_is_read(tmp_path: Path) -> None:
    path = of_images(tmp_path, [animal(skeleton(), 3, sleap_io.Track("a"))])
    assert read_sleap_file(with_metadata(path, "tracks_json", (1,), None)).tracks == ("",)
    assert read_sleap_file(with_metadata(path, "tracks_json", (1,), 7)).tracks == ("7",)


def with_values(path: Path, table: str, field: str, value: float) -> Path:
    """The file with another value in the first row of a table."""
    with h5py.File(path, "r+") as file:
        rows = file[table][()]
        rows[field][0] = value
        file[table][...] = rows
    return path


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [("points", "x", 2e6), ("points", "y", -8e8), ("points", "x", np.inf), ("frames", "frame_idx", 2**63)],
)
def test_a_place_or_frame_that_no_video_has_is_refused(tmp_path: Path, table: str, field: str, value: float) -> None:
    path = with_values(of_images(tmp_path, [animal(skeleton(), 3)]), table, field, value)
    with pytest.raises(DataError) as caught:
        SleapFrames(path, needs_images=False)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    "name", ["a" * 5000 + ".mp4", "a/" * 100_000 + "b.mp4", "a\0b.mp4"], ids=["long", "deep", "no name"]
)
def test_the_path_of_a_video_that_no_system_has_is_that_of_a_missing_one(tmp_path: Path, name: str) -> None:
    video = sleap_io.Video(filename="gone.mp4", open_backend=False)
    path = saved(tmp_path / "labels.slp", [Frame(video=video, frame_idx=3, instances=[animal(skeleton(), 3)])], [video])
    with h5py.File(path, "r+") as file:
        del file["videos_json"]
        shape = [4, 10**400, 10**400, 1]
        content = json.dumps({"filename": name, "backend": {"type": "MediaVideo", "filename": name, "shape": shape}})
        file.create_dataset("videos_json", data=[content.encode()])
    with pytest.raises(DataError, match="is not there") as caught:
        SleapFrames(path)
    assert len(str(caught.value)) < 1000
    (frame,) = open_data(path).frames
    assert frame.height < 100


def test_thousands_of_images_are_named_in_a_moment() -> None:
    video = SleapVideo("cage", tuple(f"a/{number // 2}/img{number % 2}.png" for number in range(20_000)))
    source = MissingFrames(video, Path("labels.slp"))
    began = time.process_time()
    names = [source.name(number) for number in range(20_000)]
    assert time.process_time() - began < 10  # of which one was 15 ms, and all 5 minutes
    assert names[3] == ("cage/000003-img1.png", 3)
    assert len(set(names)) == len(names)


def test_thousands_of_videos_of_one_name_are_named_in_a_moment(tmp_path: Path) -> None:
    path = of_images(tmp_path, [animal(skeleton(), 3)])
    with h5py.File(path, "r+") as file:
        content = file["videos_json"][0]
        del file["videos_json"]
        file.create_dataset("videos_json", data=[content] * 20_000, compression="gzip")
    began = time.process_time()
    videos = read_sleap_file(path).videos
    assert time.process_time() - began < 10
    assert len({video.name for video in videos}) == len(videos) == 20_000


def test_an_animal_of_several_frames_is_refused(tmp_path: Path) -> None:
    """Thousands of frames of thousands of animals each, which are all the same, are a few kB."""
    path = of_images(tmp_path, [animal(skeleton(), 3)])
    with h5py.File(path, "r+") as file:
        rows = np.repeat(file["frames"][()], 3)
        del file["frames"]
        file.create_dataset("frames", data=rows)
    with pytest.raises(DataError, match=r"its frames have 3 instances, of 1 in the file"):
        read_sleap_file(path)


def test_damaged_files_are_refused_or_read(tmp_path: Path) -> None:
    """No byte that is changed makes anything but labels or one line."""
    content = of_images(tmp_path, [animal(skeleton(), 3)], [animal(skeleton(), 5)]).read_bytes()
    rng, path, refusals = np.random.default_rng(0), tmp_path / "damaged.slp", list[str]()
    for _ in range(150):
        damaged = bytearray(content)
        for place in rng.integers(0, len(damaged), 20):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(1, len(damaged))] if rng.random() < 0.2 else damaged)
        try:
            data = SleapFrames(path)
        except DataError as error:
            refusals.append(str(error))
        else:
            assert all(frame.keypoints_in_image.shape[1:] == (len(data.skeleton), 2) for frame in data.frames)
    assert refusals
    assert all("damaged.slp" in said and "\n" not in said for said in refusals)
