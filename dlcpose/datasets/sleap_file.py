"""Reader of SLEAP's .slp files as plain arrays, without opening any video or trusting the file.

Read with h5py by the layout that sleap-io 0.9 writes (its format versions up to 2.x, and those of SLEAP from 1.0 on);
sleap-io itself decodes the skeletons. Before version 1.1 of the format the corner of the first pixel was (0, 0): half a pixel
is taken off.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.datasets.plain_hdf5 import PlainHdf5, plain_hdf5
from dlcpose.structures.checked_arrays import check_places
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import parse_json, shown
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import Doubles
from dlcpose.structures.skeleton import Skeleton, check_names, pairs_from_names

logger = logging.getLogger(__name__)

FORMAT_LIMIT = 3.0  # of the layout: newer ones are unknown
CENTERED_SINCE = 1.1  # from here on the center of the first pixel is (0, 0)
RGB_SINCE = 1.4  # embedded images that do not say so are BGR before
PREDICTED = 1
MAX_SIDE = 2**20  # px of a frame
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
FIELDS = {
    "frames": ("video", "frame_idx", "instance_id_start", "instance_id_end"),
    "instances": ("instance_type", "skeleton", "track", "point_id_start", "point_id_end"),
    "points": ("x", "y", "visible"),
    "pred_points": ("x", "y", "visible"),
}


@dataclass(frozen=True)
class SleapVideo:
    """A video that labels are of. name: for people. files: the path as the file has it, or one for each frame.

    group: of the images inside the .slp, "" where there are none; numbers: the frames that these are.
    size: (height, width), None where the file does not say. frames: how many there are, None where it does not say.
    is_cropped: whether coordinates count from a part of the frame.
    """

    name: str
    files: tuple[str, ...]
    group: str = ""
    numbers: tuple[int, ...] = ()
    size: tuple[int, int] | None = None
    frames: int | None = None
    is_cropped: bool = False


@dataclass(frozen=True)
class SleapInstance:
    """An animal in a frame. skeleton, track: their places in the file, track -1 for none. points: (K, 2), NaN missing.

    number: its own place in the file. point_scores: (K,), 1 for those that a person placed. score: of the animal, NaN
    where the file has none. from_predicted: the number of the predicted animal that a person made it from, else -1.
    """

    skeleton: int
    track: int
    points_in_image: Doubles
    is_predicted: bool
    number: int
    point_scores: Doubles
    score: float
    from_predicted: int


@dataclass(frozen=True)
class SleapFrame:
    """A frame with its animals. video: its place in the file. is_negative: whether it is labeled as empty."""

    video: int
    frame_index: int
    instances: tuple[SleapInstance, ...]
    is_negative: bool


@dataclass(frozen=True)
class SleapFile:
    """The content of a .slp file, in its order. skeletons: with their names. tracks: names, which may repeat.

    provenance: metadata of the programs that wrote it.
    """

    path: Path
    skeletons: tuple[tuple[str, Skeleton], ...]
    tracks: tuple[str, ...]
    videos: tuple[SleapVideo, ...]
    frames: tuple[SleapFrame, ...]
    provenance: Mapping[str, Any]


def read_sleap_file(path: Path) -> SleapFile:
    """The labels in a .slp or .pkg.slp file. Raises DataError for what is none, or cannot be read safely."""
    with plain_hdf5(path, "a SLEAP file (.slp)") as file:
        version = float(file.attribute("metadata", "format_id", default=1.0))
        if version >= FORMAT_LIMIT:
            raise DataError(f"{path}: expected SLEAP's format below {FORMAT_LIMIT:g}, got {version:g}. Update dlcpose.")
        skeletons = _skeletons(file)
        videos = _videos(file)
        instances = _instances(file, [len(skeleton) for _, skeleton in skeletons], version)
        tracks = tuple(_track(file, _json(file, text)) for text in _texts(file, "tracks_json"))
        check_names("track", tracks)
        frames = _frames(file, instances, videos)
        provenance = _provenance(file)
    if stray := {each.track for each in instances if each.track >= len(tracks)}:
        raise DataError(f"{path}: expected tracks below {len(tracks)}, got {max(stray)}. Save the file anew in SLEAP.")
    return SleapFile(path, skeletons, tracks, videos, frames, provenance)


def distinct_names(tracks: Sequence[str]) -> tuple[str, ...]:
    """Names of tracks of which none is empty or repeats: one that is or does gets its place, from 1, at its end."""
    counts = Counter(tracks)
    taken = {name for name in tracks if name and counts[name] == 1}
    names = []
    for place, track in enumerate(tracks, start=1):
        name = track
        if track not in taken or counts[track] > 1:
            name = f"{track}_{place}"
            while name in taken:
                name += "_"
            taken.add(name)
        names.append(name)
    return tuple(names)


def _skeletons(file: PlainHdf5) -> tuple[tuple[str, Skeleton], ...]:
    from sleap_io.io.skeleton import SkeletonSLPDecoder

    metadata = _json(file, file.text("metadata", "json"))
    names = [node["name"] for node in metadata["nodes"]]
    if others := [name for name in names if not isinstance(name, str) or not name]:
        raise DataError(f"{file.path}: expected a text as a node's name, got {shown(others[0])}. Correct it in SLEAP.")
    for place in (node["id"] for each in metadata["skeletons"] for node in each.get("nx_graph", each)["nodes"]):
        if type(place) is not int or not 0 <= place < len(names):  # a number below 0 would count from the end
            raise DataError(
                f"{file.path}: a skeleton has node {shown(place)} of {len(names)}. Save the file anew in SLEAP."
            )
    found = SkeletonSLPDecoder().decode(metadata, names)
    if others := [each.name for each in found if not isinstance(each.name, str | None)]:
        raise DataError(
            f"{file.path}: expected a text as a skeleton's name, got {shown(others[0])}. Correct it in SLEAP."
        )
    try:
        return tuple((str(each.name), _skeleton(each)) for each in found)
    except ValueError as error:
        raise DataError(f"{file.path}: its skeleton: {error} Correct it in SLEAP.") from error


def _skeleton(theirs: Any) -> Skeleton:
    """A Skeleton of sleap-io's. Its symmetries have no order: left comes first where names show it, else the first node."""
    names = tuple(node.name for node in theirs.nodes)
    by_name = pairs_from_names(names)
    stated = [tuple(sorted(names.index(node.name) for node in each.nodes)) for each in theirs.symmetries]
    pairs = tuple(pair[::-1] if pair[::-1] in by_name else pair for pair in stated) if stated else by_name
    edges = dict.fromkeys((names.index(edge.source.name), names.index(edge.destination.name)) for edge in theirs.edges)
    return Skeleton(names, edges=tuple(edges), pairs=tuple((int(left), int(right)) for left, right in pairs))


def _track(file: PlainHdf5, content: Any) -> str:
    """A track's name, "" where it has none."""
    name = content[1] if isinstance(content, list) and len(content) > 1 else content
    if isinstance(content, list) and not isinstance(name, bool) and isinstance(name, str | int | float | None):
        return "" if name is None else str(name)
    raise DataError(f"{file.path}: expected a text as a track's name, got {shown(name)}. Correct it in SLEAP.")


def _json(file: PlainHdf5, text: str) -> Any:
    return parse_json(text.encode("utf-8", "surrogatepass"), file.path)


def _columns(file: PlainHdf5, name: str) -> dict[str, npt.NDArray[Any]]:
    """A table by its fields; some writers keep it as a plain array whose columns' names stand beside it."""
    table: npt.NDArray[Any] = file.array(name)
    columns = {field: table[field] for field in table.dtype.names or ()}
    if not columns and table.ndim == 2:
        columns = dict(zip(_json(file, file.text(name, "field_names")), table.T, strict=True))
    if lacking := [field for field in FIELDS[name] if field not in columns]:
        raise DataError(f"{file.path}: expected {lacking[0]!r} in {name}, got {list(columns)}. Save it anew in SLEAP.")
    return columns


def _rows(columns: Mapping[str, npt.NDArray[Any]], name: str) -> Iterator[tuple[int, ...]]:
    """The rows of a table, of whole numbers, in the order of its FIELDS."""
    return zip(*(columns[field].astype(np.int64).tolist() for field in FIELDS[name]), strict=True)


def _texts(file: PlainHdf5, name: str) -> list[str]:
    """The texts of an array of them; none where it is absent or, as SLEAP writes no texts, an array of no numbers."""
    if name not in file:
        return []
    values = np.atleast_1d(file.array(name))
    return [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values.tolist()]


def _videos(file: PlainHdf5) -> tuple[SleapVideo, ...]:
    cropped: set[int] = set()
    if "video_crops" in file:
        cropped = {int(each["video"]) for each in _json(file, _texts(file, "video_crops")[0])}
    taken: dict[str, int] = {}
    videos = []
    for place, text in enumerate(_texts(file, "videos_json")):
        video = _video(file, _json(file, text), place, is_cropped=place in cropped)
        name = _free_name(video.name, taken)
        videos.append(SleapVideo(**{**vars(video), "name": name}))
    return tuple(videos)


def _video(file: PlainHdf5, content: Mapping[str, Any], place: int, *, is_cropped: bool) -> SleapVideo:
    backend = content["backend"]
    size, frames = _shape(file, backend)
    files = _paths(file, backend.get("filenames") or backend.get("filename", content.get("filename")))
    dataset = str(backend.get("dataset") or "")
    if files != (".",):
        return SleapVideo(_video_name(files), files, size=size, frames=frames, is_cropped=is_cropped)
    group = dataset.removesuffix("/video")
    numbers: tuple[int, ...] = ()
    if f"{group}/frame_numbers" in file:
        numbers = tuple(int(number) for number in file.array(f"{group}/frame_numbers"))
    source = _source(file, group)
    name = _video_name(source) if source else f"video{place}"
    return SleapVideo(name, source, group, numbers, size, None, is_cropped)


def _source(file: PlainHdf5, group: str) -> tuple[str, ...]:
    """The path of the video that embedded images were taken from; none where the file does not say."""
    place = f"{group}/source_video"
    if place not in file:
        return ()
    text = _texts(file, f"{place}/json")[0] if f"{place}/json" in file else file.text(place, "json")
    backend = _json(file, text)["backend"]
    stated = backend.get("filenames") or backend.get("filename")
    return tuple(path for path in _paths(file, stated) if path not in ("", ".")) if stated else ()


def _shape(file: PlainHdf5, backend: Mapping[str, Any]) -> tuple[tuple[int, int] | None, int | None]:
    shape = backend.get("shape")
    if not isinstance(shape, list) or len(shape) != 4 or not all(type(side) is int for side in shape):
        if shape is not None:
            logger.warning(
                "%s: expected [frames, height, width, channels] as a video's shape, got %s. It counts as not known.",
                file.path,
                shown(shape),
            )
        return None, None
    frames, height, width, _ = shape
    is_size = min(height, width) > 0 and max(height, width) <= MAX_SIDE
    return ((height, width) if is_size else None), (frames if frames > 0 else None)


def _paths(file: PlainHdf5, stated: Any) -> tuple[str, ...]:
    """A video's path, or one for each frame."""
    paths = stated if isinstance(stated, list) else [stated]
    if others := [path for path in paths if not isinstance(path, str | None)]:
        raise DataError(f"{file.path}: expected a text as a video's path, got {shown(others[0])}. Correct it in SLEAP.")
    return tuple(str(path).replace("\\", "/") for path in paths)


def is_images(files: Sequence[str]) -> bool:
    """Whether a video's files are images, one for each frame."""
    return len(files) > 1 or any(file.lower().endswith(IMAGES) for file in files)


def _video_name(files: Sequence[str]) -> str:
    """The file's name; for images one by one that of their folder."""
    parts = [part for part in files[0].split("/") if part not in ("", ".", "..")] or ["video"]
    return parts[-2] if is_images(files) and len(parts) > 1 else parts[-1]


def _free_name(name: str, taken: dict[str, int]) -> str:
    """A name that is not taken yet. taken: for each name that is, the last number that it got at its end."""
    free = name
    stem, dot, ending = name.rpartition(".") if "." in name else (name, "", "")
    while free in taken:
        taken[name] += 1  # so that no number is tried twice, of thousands of videos with one name
        free = f"{stem}_{taken[name]}{dot}{ending}"
    taken[free] = 1
    return free


def _instances(file: PlainHdf5, counts: Sequence[int], version: float) -> list[SleapInstance]:
    shift = 0.0 if version >= CENTERED_SINCE else 0.5
    points = [_points(file, name, shift) for name in ("points", "pred_points")]
    found: list[SleapInstance] = []
    columns = _columns(file, "instances")
    count = len(columns["skeleton"])
    scores = columns.get("score", np.full(count, np.nan)).astype(np.float64).tolist()
    links = columns.get("from_predicted", np.full(count, -1)).astype(np.int64).tolist()
    for (kind, skeleton, track, start, end), score, link in zip(
        _rows(columns, "instances"), scores, links, strict=True
    ):
        own, own_scores = (each[max(0, start) : max(0, end)] for each in points[kind == PREDICTED])
        if not 0 <= skeleton < len(counts) or len(own) != counts[skeleton]:
            raise DataError(
                f"{file.path}: instance {len(found)} has {len(own)} points of skeleton {skeleton}, expected one for each "
                f"keypoint of {len(counts)} skeletons ({list(counts)}). Save the file anew in SLEAP."
            )
        found.append(
            SleapInstance(
                skeleton, max(-1, track), own, kind == PREDICTED, len(found), own_scores, score, max(-1, link)
            )
        )
    return found


def _points(file: PlainHdf5, name: str, shift: float) -> tuple[Doubles, Doubles]:
    """All points of one kind and their scores: (P, 2), (P,).

    NaN where marked as not visible, since their coordinates are meaningless then. Points without scores have 1.
    """
    if name not in file:
        return np.zeros((0, 2)), np.zeros(0)
    table = _columns(file, name)
    points = np.stack([table["x"], table["y"]], axis=-1).astype(np.float64) - shift
    is_shown = table["visible"].astype(bool) & ~np.isnan(points).any(axis=-1)
    check_places(points[is_shown], f"{file.path}: {name}")
    scores = table.get("score", np.ones(len(points))).astype(np.float64)
    return np.where(is_shown[:, None], points, np.nan), scores


def _frames(
    file: PlainHdf5, instances: Sequence[SleapInstance], videos: Sequence[SleapVideo]
) -> tuple[SleapFrame, ...]:
    table = list(_rows(_columns(file, "frames"), "frames"))
    negative: set[tuple[int, int]] = set()
    if "negative_frames" in file:
        negative = {(int(row["video_id"]), int(row["frame_idx"])) for row in file.array("negative_frames")}
    places = _video_places({number for number, *_ in table}, videos)
    if (count := sum(max(0, end - start) for *_, start, end in table)) > len(instances):
        raise DataError(
            f"{file.path}: its frames have {count} instances, of {len(instances)} in the file: some are of several frames. "
            "Save the file anew in SLEAP."
        )
    frames = []
    for number, index, start, end in table:
        if not 0 <= start <= end <= len(instances) or number not in places or index < 0:
            raise DataError(
                f"{file.path}: frame {index} is of video {number} with instances {start} to {end}; expected one of "
                f"{counted(len(videos), 'video')} and instances up to {len(instances)}. Save the file anew in SLEAP."
            )
        frames.append(SleapFrame(places[number], index, tuple(instances[start:end]), (number, index) in negative))
    return tuple(frames)


def _provenance(file: PlainHdf5) -> Mapping[str, Any]:
    texts = _texts(file, "provenance_json")
    content = _json(file, texts[0]) if texts else _json(file, file.text("metadata", "json")).get("provenance")
    if not isinstance(content, dict | None):
        logger.warning(
            "%s: expected names with values as its provenance, got %s. It is left out.", file.path, shown(content)
        )
    return content if isinstance(content, dict) else {}


def _video_places(numbers: set[int], videos: Sequence[SleapVideo]) -> dict[int, int]:
    """The place of each video that frames name: by its order or, in some packages, by the number in its group's name."""
    by_group = {
        int(video.group.removeprefix("video")): place
        for place, video in enumerate(videos)
        if video.group.removeprefix("video").isdecimal()
    }
    is_in_order = numbers == set(range(len(videos)))
    by_order = {place: place for place in range(len(videos))}
    return by_order if is_in_order or not by_group else {**by_order, **by_group}
