"""Reader of COCO keypoint files: COCO itself, AP-10K, and exports of other tools."""

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from dlcpose.datasets.base import (
    IDENTITY_FLAG,
    LabeledFrames,
    image_file_size,
    read_image_file,
    stated_pcutoff,
    warn_of_orientations,
)
from dlcpose.datasets.coco_annotations import is_id, read_frames
from dlcpose.datasets.readers import reader
from dlcpose.structures.checked_arrays import numbers_of
from dlcpose.structures.checked_values import Fields
from dlcpose.structures.counted import counted
from dlcpose.structures.data_files import InsideFolder, is_file, naming_file, read_json, shown
from dlcpose.structures.errors import DataError
from dlcpose.structures.home_folder import expand_home
from dlcpose.structures.sample import Image
from dlcpose.structures.skeleton import Skeleton, check_names, pairs_from_names

logger = logging.getLogger(__name__)

COCO_KEYS = ("images", "annotations", "categories")
OF_SKELETON = ("skeleton", "sigmas", "pairs", "unique", "unique_pairs")
PARTS = ("train", "val", "test")
MAX_HEADERS = 2_000  # images whose orientation is checked: opening those of all of COCO takes a minute
MAX_SIBLINGS = 100  # folders beside that of a json in which its images are looked for

HUMAN = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee"),
    *("left_ankle", "right_ankle"),
)
AP10K = (
    *("left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow", "left_front_paw"),
    *("right_shoulder", "right_elbow", "right_front_paw", "left_hip", "left_knee", "left_back_paw"),
    *("right_hip", "right_knee", "right_back_paw"),
)
KNOWN_SIGMAS: dict[tuple[str, ...], tuple[float, ...]] = {  # pycocotools' and mmpose's tables
    HUMAN: (
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062),
        *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ),
    AP10K: (
        *(0.025, 0.025, 0.026, 0.035, 0.035, 0.079, 0.072, 0.062, 0.079, 0.072, 0.062),
        *(0.107, 0.087, 0.089, 0.107, 0.087, 0.089),
    ),
}


@reader("coco")
class CocoFrames(LabeledFrames):
    """The images and keypoints that one or several COCO files describe.

    root: the folder that paths start from. annotations: the json, or a mapping of train, val, test to one each, which
    becomes the stored split; None takes the only one in root or root/annotations. images: the folder that file_name starts
    from, or a mapping of the same parts to one each. category: whose keypoints to read; None reads all categories as one,
    if they share their keypoints. follow_links: also read images that links take from outside of root.
    Crowds become boxes to ignore. Extra fields that are read where present: `video`, `frame_index` and
    `unique_keypoints` of images, `individual` of annotations, `sigmas`, `pairs`, `unique` of categories,
    `individuals_are_identities` and `dlcpose.pcutoff` of `info`.
    docs/data.md says how each value is checked. Raises DataError for files that are missing or inconsistent.
    """

    opens = "a COCO json with keypoints or a folder that has one"

    @classmethod
    def can_open(cls, path: Path) -> bool:
        """Whether a path is a json, or a folder with a json of COCO keypoints in it or in its `annotations`."""
        return path.suffix == ".json" or (path.is_dir() and bool(coco_files(path)))

    @classmethod
    def open(cls, path: Path, *, follow_links: bool = False) -> "CocoFrames":
        """The data of a json, or of the only one in a folder; images are looked for beside it and above it."""
        if path.is_dir():
            path = _annotation_files(path, None)[""]
        return cls(image_root(path), annotations=str(path.resolve()), follow_links=follow_links)

    def __init__(
        self,
        root: str | int | Path,
        *,
        annotations: str | Mapping[str, str] | None = None,
        images: str | Mapping[str, str] = "",
        category: str | int | None = None,
        follow_links: bool = False,
    ) -> None:
        self.root = expand_home(str(root))
        files = _annotation_files(self.root, annotations)
        self.images = self.root / images if isinstance(images, str) else self.root  # keys start from there
        folders = _image_folders(images, files)
        links = None if follow_links else InsideFolder(self.root)
        if links is not None:
            for path in files.values():
                if path.is_relative_to(self.root):  # else the user has named it whole
                    links.check(path)
        contents = {part: _read_coco(path) for part, path in files.items()}
        category = None if category is None else str(category)
        kinds = {part: _categories(content, category, files[part]) for part, content in contents.items()}
        skeletons = {part: _skeleton(of_part, files[part]) for part, of_part in kinds.items()}
        self.skeleton = _only_skeleton(skeletons, files)
        self.individuals = _individuals({files[part]: content for part, content in contents.items()}, self.root)
        parts = {}
        for part, content in contents.items():
            ids = frozenset(kind.content.get("id") for kind in kinds[part])
            files_of = _ImageFiles(self.images, folders[part], links)
            parts[part] = read_frames(content, ids, self.skeleton, self.individuals, files[part], files_of)
        self.frames = [frame for frames in parts.values() for frame in frames]
        self._check_files(files)
        infos = {files[part]: _info(content) for part, content in contents.items()}
        self.has_identities = all(info.get(IDENTITY_FLAG) is True for info in infos.values())
        self.pcutoff = _pcutoff(infos)
        if isinstance(annotations, Mapping):
            self.stored_split = {part: tuple(frame.key for frame in frames) for part, frames in parts.items()}

    def read_image(self, index: int) -> Image:
        """The image of frame `index`: (H, W, 3) uint8 RGB."""
        frame = self.frames[index]
        return read_image_file(self.image_file(index), size=(frame.height, frame.width))

    def image_file(self, index: int) -> Path:
        return self.images / self.frames[index].key

    def _check_files(self, files: Mapping[str, Path]) -> None:
        keys = [frame.key for frame in self.frames]
        named = " and ".join(str(path) for path in files.values())
        counts = Counter(map(os.path.normpath, keys))  # a.png and ./a.png are one
        if repeated := [key for key, count in counts.items() if count > 1]:
            raise DataError(
                f"{named}: expected each image once, got {repeated[0]} more than once. Where each json has a folder of "
                "images of its own, name them: images={train:FOLDER,val:FOLDER}."
            )
        if missing := [key for key in keys if not is_file(self.images / key)]:
            raise DataError(
                f"{self.images / missing[0]}: the image is missing, as are {counted(len(missing) - 1, 'other')} "
                f"of {len(keys)} that "
                f"{named} names. Set root and images to the folder that file_name starts from; where each json has a folder "
                "of its own, images={train:FOLDER,val:FOLDER}."
            )
        if not any((frame.visibility > 0).any() for frame in self.frames):
            raise DataError(f"{named}: expected labels, but no image of {len(keys)} has a keypoint.")
        step = -(-len(keys) // MAX_HEADERS)
        warn_of_orientations(
            named, ((self.images / frame.key, (frame.height, frame.width)) for frame in self.frames[::step])
        )


class _ImageFiles:
    """Where the images of a json lie: in a folder below the data set's. links: None follows them wherever they lead."""

    def __init__(self, root: Path, folder: str, links: InsideFolder | None) -> None:
        self.root, self.folder, self.links = root, folder, links

    def key(self, file_name: str) -> str:
        """The path of an image from the folder of all. Raises DataError where it leads out of the data set."""
        key = f"{self.folder}/{file_name}" if self.folder else file_name
        if self.links is not None:
            self.links.check(self.root / key)
        return key

    def size(self, key: str) -> tuple[int, int]:
        """(height, width) from the image's header."""
        return image_file_size(self.root / key)


def coco_files(folder: Path) -> list[Path]:
    """The json files in a folder or its `annotations` that have COCO's keys and keypoints."""
    candidates = [*sorted(folder.glob("*.json")), *sorted((folder / "annotations").glob("*.json"))]
    return [path for path in candidates if path.is_file() and _has_keypoints(path)]


def image_root(annotations: Path) -> Path:
    """The folder that a COCO json's file names start from: the first of the nearby folders that has its first image."""
    images = _read_coco(annotations)["images"][:1]
    names = [image["file_name"] for image in images if isinstance(image, dict) and "file_name" in image]
    near = annotations.resolve().parent
    siblings = islice((path for path in sorted(near.parent.iterdir()) if path.is_dir()), MAX_SIBLINGS)
    candidates = [near, near.parent, near / "images", near.parent / "images", *siblings]
    return next((folder for folder in candidates if all(is_file(folder / str(name)) for name in names)), near)


def _has_keypoints(path: Path) -> bool:
    try:
        content = _read_coco(path)
    except DataError:
        return False
    return any(isinstance(kind, dict) and kind.get("keypoints") for kind in content["categories"])


def _annotation_files(root: Path, annotations: str | Mapping[str, str] | None) -> dict[str, Path]:
    """The json of each part of the split; without parts, under the key ""."""
    if root.is_file():
        raise DataError(
            f"{root}: expected a folder of COCO data as root, got a file. Set root={root.parent} and "
            f"annotations={root.name}."
        )
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder of COCO data, got no folder. Correct the path.")
    if isinstance(annotations, Mapping):
        if not annotations or set(annotations) - set(PARTS):
            raise DataError(f"{root}: expected annotations for train, val or test, got {sorted(annotations)}.")
        return {part: root / annotations[part] for part in PARTS if part in annotations}
    if annotations is not None:
        return {"": root / annotations}
    candidates = coco_files(root)
    if len(candidates) != 1:
        names = [path.relative_to(root).as_posix() for path in candidates]
        raise DataError(f"{root}: expected one json with COCO keypoints, got {names}. Name one as annotations.")
    return {"": candidates[0]}


def _image_folders(images: str | Mapping[str, str], files: Mapping[str, Path]) -> dict[str, str]:
    """The folder of the images of each part, from that of all."""
    if not isinstance(images, Mapping):
        return dict.fromkeys(files, "")
    if set(images) != set(files):
        raise DataError(
            f"images: expected a folder for each of {', '.join(files) or 'train, val and test'}, got {', '.join(images)}. "
            "Name one for each part that annotations names."
        )
    return dict(images)


def _read_coco(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in COCO_KEYS):
        raise DataError(f"{path}: expected COCO's lists {list(COCO_KEYS)}, got a {type(content).__name__} without.")
    return content


def _categories(content: Mapping[str, Any], category: str | None, path: Path) -> list[Fields]:
    """The chosen categories, which have the same keypoints."""
    named = [Fields(kind, f"{path}: category number {place}") for place, kind in enumerate(content["categories"], 1)]
    ids = [kind.content.get("id") for kind in named]
    if not all(map(is_id, ids)) or len(set(ids)) < len(ids):
        raise DataError(f"{path}: expected each category with an id of its own, got {ids!s:.80}.")
    names = [kind.text("name", "") or None for kind in named]
    with_keypoints = [kind for kind in named if kind.content.get("keypoints")]
    chosen = [kind for kind in with_keypoints if category in (None, kind.text("name", ""))]
    if not chosen:
        expected = f"a category {category!r} with keypoints" if category else "a category with keypoints"
        raise DataError(f"{path}: expected {expected}, got {names!s:.200}.")
    if len({kind.texts("keypoints") for kind in chosen}) > 1:
        raise DataError(
            f"{path}: its categories have different keypoints, so one must be named. "
            f"Set category to one of {[kind.content.get('name') for kind in chosen]!s:.200}."
        )
    if len({json.dumps([kind.content.get(key) for key in OF_SKELETON]) for kind in chosen}) > 1:
        logger.warning(
            "%s: the categories differ in one of %s; those of %r count for all. Set category to read one alone.",
            path, ", ".join(OF_SKELETON), chosen[0].content.get("name"),
        )  # fmt: skip
    return chosen


def _info(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a file says of itself; other tools write whatever they like there."""
    info = content.get("info")
    return info if isinstance(info, dict) else {}


def _pcutoff(infos: Mapping[Path, Mapping[str, Any]]) -> float | None:
    """The pcutoff that all files state; None, with a warning, where they state several."""
    stated = {path: stated_pcutoff(info, f"{path}: info") for path, info in infos.items()}
    if len(set(stated.values())) > 1:
        texts = [f"{value} in {path.name}" for path, value in stated.items()]
        logger.warning(
            "pcutoff is %s: dlc_rmse_pcutoff is of the default. metric.deeplabcut.pcutoff=0.6 sets it.",
            ", ".join(texts),
        )
        return None
    return next(iter(stated.values()))


def _skeleton(kinds: Sequence[Fields], path: Path) -> Skeleton:
    kind = kinds[0]
    names, unique = kind.texts("keypoints"), kind.texts("unique")
    sigmas = tuple(numbers_of(kind, "sigmas", len(names)).tolist()) if kind.content.get("sigmas") else ()
    with naming_file(path):
        return Skeleton(
            names=names,
            edges=kind.index_pairs("skeleton", names, "edge", first=1),
            pairs=_pairs(kind, "pairs", names),
            sigmas=sigmas or KNOWN_SIGMAS.get(names, ()),
            unique=unique,
            unique_pairs=_pairs(kind, "unique_pairs", unique),
        )


def _pairs(kind: Fields, field: str, names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Left/right pairs as a category states them (our files do, from 0), else by the names of keypoints."""
    return kind.index_pairs(field, names, "left/right pair") if kind.has(field) else pairs_from_names(names)


def _individuals(contents: Mapping[Path, Mapping[str, Any]], root: Path) -> tuple[str, ...]:
    """Names of the animals, in the order in which annotations first have them. contents: of each json."""
    named = (
        Fields(one, f"{path}: annotation {shown(one.get('id'))}").text("individual")
        for path, content in contents.items()
        for one in content["annotations"]
        if isinstance(one, dict) and one.get("individual") is not None
    )
    names = tuple(dict.fromkeys(named))
    with naming_file(root):
        check_names("individual", names)
    return names


def _only_skeleton(skeletons: Mapping[str, Skeleton], files: Mapping[str, Path]) -> Skeleton:
    first, *others = skeletons
    for other in others:
        if skeletons[other].names != skeletons[first].names:
            raise DataError(
                f"{files[other]}: expected the keypoints of {files[first].name}, {list(skeletons[first].names)}, "
                f"got {list(skeletons[other].names)}."
            )
    return skeletons[first]
