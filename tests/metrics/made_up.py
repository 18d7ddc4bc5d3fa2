"""Made-up animals with labels and predictions, and plain readings of them to compare figures with."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import FrameLabels, labels_of
from dlcpose.structures.skeleton import Skeleton

SKELETON = Skeleton(
    names=("snout", "leftear", "rightear", "tailbase", "tailtip"),
    edges=((0, 1), (0, 2), (0, 3), (3, 4)),
    pairs=((1, 2),),
    sigmas=(0.05, 0.1, 0.1, 0.15, 0.2),
)
SHAPE = np.array([[0, -40], [-12, -28], [12, -28], [0, 40], [3, 75]], float)


def at(x: float, y: float) -> np.ndarray:
    """The animal at another place."""
    return SHAPE + np.array([x, y])


def prediction_of(
    key: str,
    keypoints: np.ndarray,
    keypoint_scores: np.ndarray | None = None,
    *,
    scores: np.ndarray | None = None,
    unique: np.ndarray | None = None,
    unique_scores: np.ndarray | None = None,
) -> PosePrediction:
    keypoints = np.asarray(keypoints, np.float32)
    animals, count = keypoints.shape[:2]
    each = np.ones((animals, count), np.float32) if keypoint_scores is None else np.asarray(keypoint_scores, np.float32)
    unique = np.zeros((0, 2), np.float32) if unique is None else np.asarray(unique, np.float32)
    return PosePrediction(
        key=key,
        keypoints_in_image=keypoints,
        keypoint_scores=each,
        scores=each.mean(axis=-1) if scores is None else np.asarray(scores, np.float32),
        identities=np.full(animals, -1, np.int64),
        unique_in_image=unique,
        unique_scores=np.ones(len(unique), np.float32)
        if unique_scores is None
        else np.asarray(unique_scores, np.float32),
        boxes_in_image=np.full((animals, 4), np.nan, np.float32),
    )


def perfect(labels: Sequence[FrameLabels]) -> list[PosePrediction]:
    """Every labeled animal, exactly, and nothing else."""
    predictions = []
    for frame in labels:
        points = np.where(frame.visibility[..., None] > 0, frame.keypoints_in_image, np.nan)
        predictions.append(prediction_of(frame.key, points, unique=frame.unique_in_image))
    return predictions


def empty(labels: Sequence[FrameLabels], keypoints: int = len(SKELETON)) -> list[PosePrediction]:
    return [prediction_of(frame.key, np.zeros((0, keypoints, 2))) for frame in labels]


def herd(
    seed: int, frames: int = 12, most: int = 4, missing: float = 0.1, noise: float = 4.0
) -> tuple[list[FrameLabels], list[PosePrediction]]:
    """Frames of several animals with gaps in the labels; predictions with noise, gaps, misses and inventions."""
    random = np.random.default_rng(seed)
    labels, predictions = [], []
    for f in range(frames):
        animals = int(random.integers(0 if most > 1 else 1, most + 1))
        gt = animal_shapes(random, animals)
        found = gt + random.normal(0, noise, gt.shape) * random.choice([0.3, 1, 4], (animals, 1, 1))
        if most > 1:
            found = found[random.random(animals) > 0.15]
            found = np.concatenate([found, animal_shapes(random, int(random.integers(0, 2)))])
        gt[random.random(gt.shape[:2]) < missing] = np.nan
        found[random.random(found.shape[:2]) < missing / 2] = np.nan
        labels.append(labels_of(f"labeled-data/v/img{f:03d}.png", (480, 640), gt))
        predictions.append(prediction_of(labels[-1].key, found, random.random(found.shape[:2])))
    return labels, predictions


def animal_shapes(random: np.random.Generator, count: int) -> np.ndarray:
    angles = random.uniform(0, 2 * np.pi, count)
    turn = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], axis=-1).reshape(count, 2, 2)
    places = random.uniform((120, 120), (520, 360), (count, 1, 2))
    return SHAPE @ turn + places


def as_table(labels: Sequence[FrameLabels], predictions: Sequence[PosePrediction]) -> pd.DataFrame:
    """A row for each keypoint of a single animal in each frame, labeled or not."""
    rows = []
    for frame, prediction in zip(labels, predictions, strict=True):
        for k, name in enumerate(SKELETON.names):
            x, y = frame.keypoints_in_image[0, k]
            fx, fy = prediction.keypoints_in_image[0, k]
            rows.append((frame.key, name, x, y, fx, fy, prediction.keypoint_scores[0, k]))
    return pd.DataFrame(rows, columns=["key", "keypoint", "x", "y", "fx", "fy", "score"]).astype(
        {column: float for column in ("x", "y", "fx", "fy", "score")}
    )


seeds = st.integers(0, 2**31)
