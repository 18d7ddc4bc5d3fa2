"""Reader of COCO keypoint files: COCO itself, AP-10K, and exports of other tools."""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlcpose.datasets.base import LabeledFrames, read_image_file
from dlcpose.datasets.readers import reader
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import Doubles, Floats, FrameLabels, Image, Integers, labels_of
from dlcpose.structures.skeleton import Skeleton, pairs_from_names

logger = logging.getLogger(__name__)

IDENTITIES = "individuals_are_identities"  # of `info` in our own files
OF_SKELETON = ("skeleton", "sigmas", "pairs", "unique", "unique_pairs")
COCO_KEYS = ("images", "annotations", "categories")

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
    from. category: whose keypoints to read; None reads all categories as one, if they share their keypoints.
    Crowds become boxes to ignore. Extra fields that are read where present: `video`, `frame_index` and
    `unique_keypoints` of images, `individual` of annotations, `sigmas`, `pairs`, `unique` of categories,
    `individuals_are_identities` of `info`.
    Raises DataError for files that are missing or inconsistent.
    """

    opens = "a COCO json with keypoints or a folder that has one"

    @classmethod
    def can_open(cls, path: Path) -> bool:
        """Whether a path is a json, or a folder with a json of COCO keypoints in it or in its `annotations`."""
        return path.suffix == ".json" or (path.is_dir() and bool(coco_files(path)))

    @classmethod
    def open(cls, path: Path) -> "CocoFrames":
        """The data of a json, or of the only one in a folder; images are looked for beside it and above it."""
        if path.is_dir():
            path = _annotation_files(path, None)[""]
        return cls(image_root(path), annotations=str(path.resolve()))

    def __init__(
        self,
        root: str | Path,
        *,
        annotations: str | Mapping[str, str] | None = None,
        images: str = "",
        category: str | None = None,
    ) -> None:
        self.root = Path(root)
        self.images = self.root / images
        files = _annotation_files(self.root, annotations)
        contents = {part: _read_json(path) for part, path in files.items()}
        skeletons = {part: _skeleton(content, category, files[part]) for part, content in contents.items()}
        self.skeleton = _only_skeleton(skeletons, files)
        named = (annotation.get("individual") for content in contents.values() for annotation in content["annotations"])
        self.individuals = tuple(dict.fromkeys(str(name) for name in named if name is not None))
        parts = {
            part: _read_frames(content, self.skeleton, self.individuals, category, files[part])
            for part, content in contents.items()
        }
        self.frames = [frame for frames in parts.values() for frame in frames]
        self._check_files(files)
        infos = [content.get("info") for content in contents.values()]
        self.has_identities = all(isinstance(info, dict) and info.get(IDENTITIES) is True for info in infos)
        if isinstance(annotations, Mapping):
            self.stored_split = {part: tuple(frame.key for frame in frames) for part, frames in parts.items()}

    def read_image(self, index: int) -> Image:
        """The image of frame `index`: (H, W, 3) uint8 RGB."""
        return read_image_file(self.image_file(index))

    def image_file(self, index: int) -> Path:
        return self.images / self.frames[index].key

    def _check_files(self, files: Mapping[str, Path]) -> None:
        keys = [frame.key for frame in self.frames]
        named = " and ".join(str(path) for path in files.values())
        if repeated := [key for key, count in Counter(keys).items() if count > 1]:
            raise DataError(f"{named}: expected each image once, got {repeated[0]} more than once.")
        if missing := [key for key in keys if not (self.images / key).is_file()]:
            raise DataError(
                f"{self.images / missing[0]}: the image is missing, as are {len(missing) - 1} others of {len(keys)} that "
                f"{named} names. Set root and images to the folder that file_name starts from."
            )
        if not any((frame.visibility > 0).any() for frame in self.frames):
            raise DataError(f"{named}: expected labels, but no image of {len(keys)} has a keypoint.")


def coco_files(folder: Path) -> list[Path]:
    """The json files in a folder or its `annotations` that have COCO's keys and keypoints."""
    candidates = [*sorted(folder.glob("*.json")), *sorted((folder / "annotations").glob("*.json"))]
    return [path for path in candidates if _has_keypoints(path)]


def image_root(annotations: Path) -> Path:
    """The folder that a COCO json's file names start from: the first of the nearby folders that has its first image."""
    names = [str(image["file_name"]) for image in _read_json(annotations)["images"][:1] if "file_name" in image]
    near = annotations.resolve().parent
    candidates = [near, near.parent, near / "images", near.parent / "images"]
    return next((folder for folder in candidates if all((folder / name).is_file() for name in names)), near)


def _has_keypoints(path: Path) -> bool:
    try:
        content = _read_json(path)
    except DataError:
        return False
    return any(isinstance(kind, dict) and kind.get("keypoints") for kind in content["categories"])


def _annotation_files(root: Path, annotations: str | Mapping[str, str] | None) -> dict[str, Path]:
    """The json of each part of the split; without parts, under the key ""."""
    if not root.is_dir():
        raise DataError(f"{root}: expected a folder of COCO data, got no folder. Correct the path.")
    if isinstance(annotations, Mapping):
        if not annotations or set(annotations) - {"train", "val", "test"}:
            raise DataError(f"{root}: expected annotations for train, val or test, got {sorted(annotations)}.")
        return {part: root / annotations[part] for part in ("train", "val", "test") if part in annotations}
    if annotations is not None:
        return {"": root / annotations}
    candidates = coco_files(root)
    if len(candidates) != 1:
        names = [path.relative_to(root).as_posix() for path in candidates]
        raise DataError(f"{root}: expected one json with COCO keypoints, got {names}. Name one as annotations.")
    return {"": candidates[0]}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: the annotations cannot be read ({error.strerror}). Correct the path.") from error
    except ValueError as error:
        raise DataError(f"{path}: expected json, got something that does not parse ({error}).") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in COCO_KEYS):
        raise DataError(f"{path}: expected COCO's lists {list(COCO_KEYS)}, got a {type(content).__name__} without.")
    return content


def _skeleton(content: Mapping[str, Any], category: str | None, path: Path) -> Skeleton:
    kinds = _chosen(content["categories"], category)
    if not kinds:
        names_found = [kind.get("name") for kind in content["categories"]]
        expected = f"a category {category!r} with keypoints" if category else "a category with keypoints"
        raise DataError(f"{path}: expected {expected}, got {names_found}.")
    keypoints = {tuple(str(name) for name in kind["keypoints"]) for kind in kinds}
    if len(keypoints) > 1:
        raise DataError(
            f"{path}: its categories have different keypoints, so one must be named. "
            f"Set category to one of {[kind.get('name') for kind in kinds]}."
        )
    names = keypoints.pop()
    if len({json.dumps([kind.get(key) for key in OF_SKELETON]) for kind in kinds}) > 1:
        logger.warning(
            "%s: the categories differ in one of %s; those of %r count for all. Set category to read one alone.",
            path, ", ".join(OF_SKELETON), kinds[0].get("name"),
        )  # fmt: skip
    unique = tuple(kinds[0].get("unique") or ())
    try:
        return Skeleton(
            names=names,
            edges=_pairs(
                [[first - 1, second - 1] for first, second in kinds[0].get("skeleton") or ()], names
            ),  # from 1
            pairs=_pairs(kinds[0].get("pairs"), names),
            sigmas=tuple(kinds[0].get("sigmas") or KNOWN_SIGMAS.get(names, ())),
            unique=unique,
            unique_pairs=_pairs(kinds[0].get("unique_pairs"), unique),
        )
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: {error}") from error


def _pairs(stated: Any, names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Left/right pairs as a category states them (our files do, from 0), else by the names of keypoints."""
    return pairs_from_names(names) if stated is None else tuple((int(left), int(right)) for left, right in stated)


def _chosen(categories: Iterable[Mapping[str, Any]], category: str | None) -> list[Mapping[str, Any]]:
    return [kind for kind in categories if kind.get("keypoints") and category in (None, kind.get("name"))]


def _only_skeleton(skeletons: Mapping[str, Skeleton], files: Mapping[str, Path]) -> Skeleton:
    first, *others = skeletons
    for other in others:
        if skeletons[other].names != skeletons[first].names:
            raise DataError(
                f"{files[other]}: expected the keypoints of {files[first].name}, {list(skeletons[first].names)}, "
                f"got {list(skeletons[other].names)}."
            )
    return skeletons[first]


def _read_frames(
    content: Mapping[str, Any],
    skeleton: Skeleton,
    individuals: Sequence[str],
    category: str | None,
    path: Path,
) -> list[FrameLabels]:
    kinds = {kind.get("id") for kind in _chosen(content["categories"], category)}
    if any("id" not in image for image in content["images"]):
        raise DataError(f"{path}: an image lacks its id.")
    by_image: dict[Any, list[Mapping[str, Any]]] = {image["id"]: [] for image in content["images"]}
    others = 0
    for annotation in content["annotations"]:
        if annotation.get("image_id") not in by_image:
            raise DataError(
                f"{path}: annotation {annotation.get('id')} is of image {annotation.get('image_id')}, "
                f"which is not among the {len(by_image)} images."
            )
        if annotation.get("category_id") in kinds:
            by_image[annotation["image_id"]].append(annotation)
        else:
            others += 1
    used = {annotation["category_id"] for annotations in by_image.values() for annotation in annotations}
    if len(used) > 1:
        logger.warning(
            "%s: animals of %d categories are read as one kind; which they are is not kept.", path, len(used)
        )
    if others:
        logger.warning("%s: %d annotations of other categories are left out.", path, others)
    return [_frame(image, by_image[image["id"]], skeleton, individuals, path) for image in content["images"]]


def _frame(
    image: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]],
    skeleton: Skeleton,
    individuals: Sequence[str],
    path: Path,
) -> FrameLabels:
    if lacking := [field for field in ("file_name", "width", "height") if field not in image]:
        raise DataError(f"{path}: image {image.get('id')} lacks {lacking}.")
    crowds = [annotation for annotation in annotations if annotation.get("iscrowd")]
    animals = [annotation for annotation in annotations if not annotation.get("iscrowd")]
    if empty := [one.get("id") for one in animals if not one.get("keypoints") and not one.get("bbox")]:
        logger.warning("%s: annotations %s have neither keypoints nor a box and are left out.", path, empty)
        animals = [one for one in animals if one.get("id") not in empty]
    keypoints_in_image, visibility = _keypoints(animals, len(skeleton), path)
    return labels_of(
        str(image["file_name"]).replace("\\", "/"),
        (int(image["height"]), int(image["width"])),
        keypoints_in_image,
        visibility=visibility,
        boxes_in_image=_boxes(animals, path),
        areas=np.array([np.nan if one.get("area") is None else one["area"] for one in animals], np.float32),
        identities=np.array(
            [-1 if one.get("individual") is None else individuals.index(str(one["individual"])) for one in animals],
            np.int64,
        ),
        unique_in_image=_unique(image, len(skeleton.unique), path),
        video=str(image.get("video", "")),
        frame_index=int(image.get("frame_index", 0)),
        ignored_in_image=_boxes([one for one in crowds if one.get("bbox")], path),
    )


def _keypoints(animals: Sequence[Mapping[str, Any]], count: int, path: Path) -> tuple[Doubles, Integers]:
    """Keypoints (N, K, 2), NaN where v is 0 or an animal has only a box, and visibility (N, K)."""
    keypoints_in_image = np.full((len(animals), count, 2), np.nan)
    visibility = np.zeros((len(animals), count), np.int64)
    for place, animal in enumerate(animals):
        if not animal.get("keypoints"):
            continue
        triples = _numbers(animal, "keypoints", 3 * count, path).reshape(count, 3)
        seen = triples[:, 2]
        if not np.isin(seen, (0, 1, 2)).all():
            raise DataError(
                f"{path}: annotation {animal.get('id')} has a visibility of {seen[~np.isin(seen, (0, 1, 2))][0]:g}. "
                "Expected 0 (missing), 1 (hidden) or 2 (visible)."
            )
        known = (seen > 0) & ~np.isnan(triples[:, :2]).any(axis=1)
        keypoints_in_image[place, known] = triples[known, :2]
        visibility[place] = np.where(known, seen, 0)
    return keypoints_in_image, visibility


def _unique(image: Mapping[str, Any], count: int, path: Path) -> Doubles:
    """Unique keypoints (U, 2), which our own files keep with the image."""
    if not image.get("unique_keypoints"):
        return np.full((count, 2), np.nan)
    triples = _numbers(image, "unique_keypoints", 3 * count, path, "image").reshape(count, 3)
    return np.where(triples[:, 2:] > 0, triples[:, :2], np.nan)


def _boxes(annotations: Sequence[Mapping[str, Any]], path: Path) -> Floats:
    """Boxes (N, 4) as x1 y1 x2 y2, NaN where there is none."""
    boxes = np.full((len(annotations), 4), np.nan, np.float32)
    for box, annotation in zip(boxes, annotations, strict=True):
        if annotation.get("bbox"):
            left, top, width, height = _numbers(annotation, "bbox", 4, path)
            if not (np.isfinite([left, top, width, height]).all() and min(width, height) >= 0):
                raise DataError(
                    f"{path}: annotation {annotation.get('id')} has the bbox {annotation['bbox']}. Expected x, y, width and "
                    "height in pixels, the sides not below 0. Correct it, or leave it out: then the keypoints make the box."
                )
            box[:] = left, top, left + width, top + height
    return boxes


def _numbers(annotation: Mapping[str, Any], field: str, count: int, path: Path, kind: str = "annotation") -> np.ndarray:
    try:
        numbers = np.array(annotation[field], np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise DataError(f"{path}: {kind} {annotation.get('id')} has {field} that are not numbers.") from None
    if len(numbers) != count:
        raise DataError(
            f"{path}: {kind} {annotation.get('id')} has {len(numbers)} numbers under {field!r}, expected {count}."
        )
    return numbers
