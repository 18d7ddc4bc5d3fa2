"""Poses of a made-up video, for tests of what reads, writes and changes them."""

from collections.abc import Sequence

import numpy as np

from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo
from dlcpose.structures.skeleton import Skeleton

NAMES = ("nose", "left ear", "right ear", "tail")


def made_up_tracks(
    *,
    frame_indices: Sequence[int] | None = None,
    frames: int = 12,
    animals: int = 2,
    unique: Sequence[str] = (),
    missing: float = 0.2,
    is_tracked: bool = True,
    fps: float = 25.0,
    size: tuple[int, int] = (48, 64),
    seed: int = 0,
) -> PoseTracks:
    """Animals that walk at random within a frame of (height, width); a share of the keypoints is missing."""
    rng = np.random.default_rng(seed)
    indices = np.arange(frames, dtype=np.int64) if frame_indices is None else np.array(frame_indices, np.int64)
    count, keypoints = len(indices), len(NAMES)
    skeleton = Skeleton(NAMES, edges=((0, 1), (0, 2), (1, 3), (2, 3)), pairs=((1, 2),), unique=tuple(unique))
    height, width = size
    middles = np.cumsum(rng.normal(0, 0.5, (count, animals, 2)), axis=0) + rng.uniform(0.3, 0.7, (animals, 2)) * (
        width,
        height,
    )
    shape = rng.uniform(-6, 6, (animals, keypoints, 2))
    points = (middles[:, :, None] + shape).astype(np.float32)
    scores = rng.uniform(0.3, 1.0, (count, animals, keypoints)).astype(np.float32)
    is_missing = rng.random((count, animals, keypoints)) < missing
    points[is_missing], scores[is_missing] = np.nan, 0.0
    present = ~is_missing.all(axis=-1)
    low = np.where(is_missing[..., None], np.inf, points).min(axis=2)
    high = np.where(is_missing[..., None], -np.inf, points).max(axis=2)
    boxes = np.where(present[..., None], np.concatenate([low, high], axis=-1), np.nan).astype(np.float32)
    return PoseTracks(
        skeleton=skeleton,
        video=VideoInfo("cage.mp4", "f" * 16, height, width, frames, fps),
        individuals=tuple(f"animal{number + 1}" for number in range(animals)),
        is_tracked=is_tracked,
        frame_indices=indices,
        times=indices / fps,
        keypoints_in_image=points,
        keypoint_scores=scores,
        scores=scores.mean(axis=-1),
        boxes_in_image=boxes,
        identities=np.full((count, animals), -1, np.int64),
        unique_in_image=rng.uniform(0, 40, (count, len(unique), 2)).astype(np.float32),
        unique_scores=rng.uniform(0.5, 1, (count, len(unique))).astype(np.float32),
    )
