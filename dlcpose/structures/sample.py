"""A labeled frame as NumPy arrays: its labels, its image, and the crop of it that a model sees."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Image = npt.NDArray[np.uint8]


def no_boxes() -> Floats:
    """No boxes: (0, 4)."""
    return np.zeros((0, 4), np.float32)


@dataclass(frozen=True)
class FrameLabels:
    """The ground truth of one frame, known without opening its image.

    key: the frame's name, the same wherever the data lies (`labeled-data/m4s1/img0000.png`). video and frame_index:
    where the frame was taken from; splits need them, as frames of one video resemble each other. keypoints_in_image:
    (N, K, 2) pixels, NaN where missing. visibility: (N, K) 0 missing, 1 hidden, 2 visible. boxes_in_image: (N, 4) x1 y1
    x2 y2, NaN where the data has none. areas: (N,) px², NaN where the data has none. identities: (N,) index into the
    dataset's individuals, -1 where unknown. unique_in_image: (U, 2), unique keypoints. ignored_in_image: (R, 4) boxes
    in which predictions are no false positives (COCO crowds). stored_keypoints, stored_unique: the same points as
    `keypoints_in_image` and `unique_in_image` with all the digits of the file they were read from, where it has more
    than float32 holds; for exporters of labels. Raises ValueError when the shapes do not agree with each other, or
    stored points are others.
    """

    key: str
    height: int
    width: int
    keypoints_in_image: Floats
    visibility: Integers
    boxes_in_image: Floats
    areas: Floats
    identities: Integers
    unique_in_image: Floats
    video: str = ""
    frame_index: int = 0
    ignored_in_image: Floats = field(default_factory=no_boxes)
    stored_keypoints: Doubles | None = None
    stored_unique: Doubles | None = None

    def __post_init__(self) -> None:
        animals, keypoints = self.keypoints_in_image.shape[:2]
        expected = {
            "keypoints_in_image": (animals, keypoints, 2),
            "visibility": (animals, keypoints),
            "boxes_in_image": (animals, 4),
            "areas": (animals,),
            "identities": (animals,),
            "unique_in_image": (len(self.unique_in_image), 2),
            "ignored_in_image": (len(self.ignored_in_image), 4),
        }
        for name, shape in expected.items():
            if (got := getattr(self, name).shape) != shape:
                raise ValueError(f"{self.key}: expected {name} of shape {shape}, got {got}.")
        for stored, rounded in ((self.stored_keypoints, "keypoints_in_image"), (self.stored_unique, "unique_in_image")):
            same = stored is None or np.array_equal(stored.astype(np.float32), getattr(self, rounded), equal_nan=True)
            if not same:
                raise ValueError(f"{self.key}: expected stored points that round to {rounded}, got others.")

    @property
    def exact_keypoints(self) -> Doubles:
        """The animals' keypoints with all the digits there are: (N, K, 2) pixels, NaN where missing."""
        return self.keypoints_in_image.astype(np.float64) if self.stored_keypoints is None else self.stored_keypoints

    @property
    def exact_unique(self) -> Doubles:
        """The unique keypoints with all the digits there are: (U, 2) pixels, NaN where missing."""
        return self.unique_in_image.astype(np.float64) if self.stored_unique is None else self.stored_unique

    def __len__(self) -> int:
        return len(self.keypoints_in_image)


@dataclass(frozen=True)
class PoseSample:
    """A labeled frame with its image: (H, W, 3) uint8 RGB."""

    labels: FrameLabels
    image: Image


@dataclass(frozen=True)
class PoseCrop:
    """The part of a frame that a model sees, after resizing and augmentation.

    image: (h, w, 3) uint8 RGB. Coordinates are pixels of this crop, also of points outside it.
    crop_to_image: (2, 3) affine to pixels of the source image. shown: (height, width) of the part that shows the frame,
    where padding lies right and below of it.
    """

    key: str
    image: Image
    keypoints_in_crop: Floats  # (N, K, 2)
    visibility: Integers  # (N, K)
    boxes_in_crop: Floats  # (N, 4), NaN where the data has none
    areas: Floats  # (N,) px² of the crop, NaN where the data has none
    identities: Integers  # (N,)
    unique_in_crop: Floats  # (U, 2)
    crop_to_image: npt.NDArray[np.float64]  # (2, 3)
    shown: tuple[int, int] | None = None


def visibility_of(keypoints: Floats | Doubles) -> Integers:
    """2 where a point has coordinates, 0 where it is NaN: (N, K, 2) -> (N, K)."""
    return np.where(np.isnan(keypoints).any(axis=-1), 0, 2).astype(np.int64)


def boxes_around(keypoints: Floats, margin: float = 0.0) -> Floats:
    """The box around each animal's labeled keypoints, expanded by margin px: (N, K, 2) -> (N, 4), NaN without any."""
    boxes = np.full((len(keypoints), 4), np.nan, np.float32)
    known = np.asarray(~np.isnan(keypoints).any(axis=-1))  # (N, K)
    for box, points, is_known in zip(boxes, keypoints, known, strict=True):
        if is_known.any():
            box[:2] = points[is_known].min(axis=0) - margin
            box[2:] = points[is_known].max(axis=0) + margin
    return boxes


def labels_of(
    key: str,
    size: tuple[int, int],
    keypoints_in_image: Floats | Doubles,
    *,
    visibility: Integers | None = None,
    boxes_in_image: Floats | None = None,
    areas: Floats | None = None,
    identities: Integers | None = None,
    unique_in_image: Floats | Doubles | None = None,
    video: str = "",
    frame_index: int = 0,
    ignored_in_image: Floats | None = None,
) -> FrameLabels:
    """FrameLabels with defaults for unknown fields; size: (height, width), keypoints_in_image: (N, K, 2).

    Points in float64 are kept as they are beside those in float32.
    """
    animals = len(keypoints_in_image)
    unique = np.zeros((0, 2), np.float32) if unique_in_image is None else unique_in_image
    return FrameLabels(
        key=key,
        height=size[0],
        width=size[1],
        keypoints_in_image=keypoints_in_image.astype(np.float32),
        visibility=visibility_of(keypoints_in_image) if visibility is None else visibility,
        boxes_in_image=np.full((animals, 4), np.nan, np.float32) if boxes_in_image is None else boxes_in_image,
        areas=np.full(animals, np.nan, np.float32) if areas is None else areas,
        identities=np.full(animals, -1, np.int64) if identities is None else identities,
        unique_in_image=unique.astype(np.float32),
        video=video,
        frame_index=frame_index,
        ignored_in_image=no_boxes() if ignored_in_image is None else ignored_in_image,
        stored_keypoints=_if_double(keypoints_in_image),
        stored_unique=_if_double(unique),
    )


def _if_double(points: Floats | Doubles) -> Doubles | None:
    return points.astype(np.float64) if points.dtype == np.float64 else None
