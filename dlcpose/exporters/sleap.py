"""Write labeled frames as SLEAP's files: a .pkg.slp with the images inside, or a .slp that names image files.

sleap-io writes the labels. The images follow with h5py one by one, by the layout that SLEAP 1.3 and sleap-io read: a group
for each video with the encoded images, the frames' numbers, and the video that they were taken from.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import h5py  # type: ignore[import-untyped]
import numpy as np

from dlcpose.datasets.base import IDENTITY_FLAG, OWN, LabeledFrames, image_file_size
from dlcpose.exporters.image_files import PNG, by_video, png_names
from dlcpose.exporters.label_contents import (
    EDGES,
    EMPTY,
    IDENTITIES,
    INDIVIDUALS,
    LOOSE,
    NAMES,
    PAIRS,
    PCUTOFF,
    SEVERAL,
    UNTRACKED,
    is_unlabeled,
)
from dlcpose.exporters.label_formats import label_format
from dlcpose.exporters.sleap_table import save_slp, sleap_skeleton
from dlcpose.structures.atomic_files import ForgivingFile, atomic_output
from dlcpose.structures.errors import DataError

PACKAGE = ".pkg.slp"


@dataclass(frozen=True)
class _Video:
    """Frames of one size of one video. numbers: of the frames in SLEAP. images: their names, none where numbers say all."""

    name: str
    indices: tuple[int, ...]
    numbers: tuple[int, ...]
    size: tuple[int, int]
    images: tuple[str, ...]


def _holds(data: LabeledFrames, path: Path) -> set[str]:
    """The kinds of content that a file can hold; its provenance states the pcutoff, and whether individuals stay the same."""
    kinds = {SEVERAL, EMPTY, EDGES, PAIRS, INDIVIDUALS, IDENTITIES, LOOSE, PCUTOFF, UNTRACKED}
    is_named = not path.name.endswith(PACKAGE) or all(video.images for video in _videos(data, _kept(data)))
    return kinds | {NAMES} if is_named else kinds


@label_format("sleap", suffix=".slp", holds=_holds)
def write_sleap_labels(data: LabeledFrames, path: Path, *, fps: float | None = None) -> None:
    """Write a .pkg.slp with the images inside, or a .slp that names the data's own image files.

    Individuals are tracks; frames that are labeled as empty are negative frames, unlabeled ones are left out. Hidden
    keypoints are written as shown ones: SLEAP takes others for missing. fps: SLEAP reads it from the video. Raises
    DataError where something is there already, the name does not end in .slp, or a .slp is to be written of data whose
    frames are no image files.
    """
    if path.exists():
        raise DataError(f"{path}: expected a new file to write, got one that is there. Name another.")
    if path.suffix != ".slp":
        raise DataError(f"{path}: expected a name that ends in {PACKAGE} (images inside) or .slp (images named).")
    is_package = path.name.endswith(PACKAGE)
    videos = list(_videos(data, _kept(data)))
    theirs = [
        _embedded(place, video) if is_package else _named(data, video, path) for place, video in enumerate(videos)
    ]
    labels = _labels(data, videos, theirs, is_package)
    with atomic_output(path) as partial:
        save_slp(labels, partial)
        if is_package:
            _write_packaged(partial, data, videos)


def _write_packaged(path: Path, data: LabeledFrames, videos: Sequence[_Video]) -> None:
    """Put the images into a .slp. Raises OSError where there is no room for them."""
    with ForgivingFile(path, "r+") as disk:
        with h5py.File(disk, "r+") as file:
            for place, video in enumerate(videos):
                _write_images(file, f"video{place}", data, video, disk)
        if disk.error is not None:
            raise disk.error


def _kept(data: LabeledFrames) -> list[int]:
    kept = [index for index, frame in enumerate(data.frames) if len(frame) or data.empty_is_label]
    if not kept:
        raise DataError("Expected labeled frames to write, got none.")
    return [index for index in kept if data.empty_is_label or not is_unlabeled(data.frames[index])]


def _videos(data: LabeledFrames, indices: Sequence[int]) -> Iterator[_Video]:
    """The videos to write: SLEAP takes all frames of one for of one size."""
    for folder, places in by_video([data.frames[index] for index in indices]).items():
        of_video = [indices[place] for place in places]
        frames = [data.frames[index] for index in of_video]
        numbers = [frame.frame_index for frame in frames]
        is_numbered = len(set(numbers)) == len(numbers) and min(numbers) >= 0
        names = dict(zip(of_video, png_names(frames), strict=True))
        sizes = list(dict.fromkeys((frame.height, frame.width) for frame in frames))
        for height, width in sizes:
            name = folder if len(sizes) == 1 else f"{folder}_{width}x{height}"
            own = [i for i in of_video if (data.frames[i].height, data.frames[i].width) == (height, width)]
            yield _Video(
                name,
                tuple(own),
                tuple(data.frames[index].frame_index for index in own) if is_numbered else tuple(range(len(own))),
                (height, width),
                () if is_numbered else tuple(f"{name}/{names[index]}" for index in own),
            )


def _labels(data: LabeledFrames, videos: Sequence[_Video], theirs: Sequence[Any], is_package: bool) -> Any:
    import sleap_io

    skeleton = sleap_skeleton(data.skeleton)
    tracks = [sleap_io.Track(name) for name in data.individuals]
    frames = []
    for video, target in zip(videos, theirs, strict=True):
        numbers = video.numbers if is_package else range(len(video.indices))
        for number, index in zip(numbers, video.indices, strict=True):
            frame = data.frames[index]
            animals = [
                sleap_io.Instance.from_numpy(
                    points, skeleton=skeleton, track=tracks[identity] if 0 <= identity < len(tracks) else None
                )
                for points, identity in zip(frame.exact_keypoints, frame.identities.tolist(), strict=True)
                if not np.isnan(points).all()
            ]
            frames.append(
                sleap_io.LabeledFrame(
                    video=target, frame_idx=number, instances=animals, is_negative=not animals and data.empty_is_label
                )
            )
    own = {} if data.pcutoff is None else {OWN: {"pcutoff": data.pcutoff}}
    provenance = {"software": "dlcpose", IDENTITY_FLAG: data.has_identities, **own}
    return sleap_io.Labels(frames, videos=list(theirs), skeletons=[skeleton], tracks=tracks, provenance=provenance)


def _embedded(place: int, video: _Video) -> Any:
    """A video whose images lie in the file itself."""
    import sleap_io

    made = sleap_io.Video(filename=".", open_backend=False)
    made.backend_metadata = {
        "type": "HDF5Video",
        "shape": (len(video.indices), *video.size, 3),
        "filename": ".",
        "dataset": f"video{place}/video",
        "input_format": "channels_last",
        "convert_range": False,
        "has_embedded_images": True,
        "grayscale": False,
    }
    return made


def _named(data: LabeledFrames, video: _Video, path: Path) -> Any:
    """A video that is a list of the data's own image files."""
    import sleap_io

    files = [data.image_file(index) for index in video.indices]
    if lacking := [index for index, file in zip(video.indices, files, strict=True) if file is None]:
        raise DataError(
            f"{path}: a .slp names image files, but {data.frames[lacking[0]].key} is none. "
            f"Name the target {path.stem}{PACKAGE}: it takes the images into the file."
        )
    names = [str(file.resolve()) for file in files if file is not None]
    made = sleap_io.Video(filename=names, open_backend=False)
    made.backend_metadata = {
        "type": "ImageVideo",
        "shape": (len(names), *video.size, 3),
        "filename": names[0],
        "filenames": names,
        **{"height_": video.size[0], "width_": video.size[1], "channels_": 3, "grayscale": False},
    }
    return made


def _write_images(file: Any, group: str, data: LabeledFrames, video: _Video, disk: ForgivingFile) -> None:
    images = file.create_dataset(f"{group}/video", (len(video.indices),), h5py.vlen_dtype(np.int8))
    for row, index in enumerate(video.indices):
        if disk.error is not None:
            return
        images[row] = np.frombuffer(_png(data, index), np.int8)
    height, width = video.size
    images.attrs.update(
        {"format": "png", "channel_order": "RGB", "frames": len(video.indices)}
        | {"height": height, "width": width, "channels": 3}
    )
    file[f"{group}/frame_numbers"] = np.array(video.numbers, np.int64)
    backend: dict[str, Any] = {
        "type": "MediaVideo",
        "filename": video.name,
        "shape": None,
        "grayscale": False,
        "bgr": True,
    }
    if video.images:
        backend = {"type": "ImageVideo", "filename": video.images[0], "filenames": list(video.images)}
    text = json.dumps({"filename": backend["filename"], "backend": backend})
    # A list of images may be longer than an attribute can be.
    file.create_group(f"{group}/source_video")["json"] = np.bytes_(text)


def _png(data: LabeledFrames, index: int) -> bytes:
    """An image as PNG: its own file where that is one, else encoded."""
    own, frame = data.image_file(index), data.frames[index]
    if own is not None and own.suffix.lower() == PNG and image_file_size(own) == (frame.height, frame.width):
        return own.read_bytes()
    return bytes(cv2.imencode(PNG, data[index].image[..., ::-1])[1].tobytes())
