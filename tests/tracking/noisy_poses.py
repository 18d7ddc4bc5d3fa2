"""True tracks as a detector would find them: untracked, with its typical mistakes."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from dlcpose.codecs.oks import compute_oks, oks_areas
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo
from dlcpose.structures.skeleton import Skeleton
from dlcpose.tracking.detections import median_size

Array = Any
FOUR_POINT_SKELETON = Skeleton(
    ("nose", "left", "right", "tail"), edges=((0, 1), (0, 2), (1, 3), (2, 3)), pairs=((1, 2),)
)
FOUR_POINTS = np.array([[20, 0], [0, -8], [0, 8], [-20, 0]], float)


@dataclass(frozen=True)
class Noise:
    """How wrong detections are. Lengths are in animal sizes, the rest are shares.

    jitter: standard deviation of a keypoint. outliers: keypoints half a size off. missing_keypoints, hidden_keypoints: not
    found, and not found of those below another animal. missing_animals, missing_runs: single animals in single frames,
    and runs of up to 20 frames that begin. false_positives: frames with a made-up animal. flips: left and right confused.
    merged: animals that overlap and are found as one. mixed: keypoints that then come from the other one.
    """

    jitter: float = 0.025
    outliers: float = 0.01
    missing_keypoints: float = 0.03
    hidden_keypoints: float = 0.5
    missing_animals: float = 0.005
    missing_runs: float = 0.0003
    false_positives: float = 0.01
    flips: float = 0.02
    merged: float = 0.6
    mixed: float = 0.25


class GroundTruth(NamedTuple):
    """True tracks: (T, N, K, 2) px, NaN where an animal is not there; (T, N, K) whether hidden; size of the image."""

    keypoints_in_image: Array
    is_hidden: Array
    skeleton: Skeleton
    height: int
    width: int


def straight(starts: list[tuple[float, float]], speeds: list[tuple[float, float]], frames: int) -> GroundTruth:
    """Animals of one shape that go straight on: (N, 2) px and px a frame."""
    centers = np.array(starts)[None] + np.arange(frames)[:, None, None] * np.array(speeds)[None]
    points = centers[:, :, None] + FOUR_POINTS
    return GroundTruth(points, np.zeros(points.shape[:3], bool), FOUR_POINT_SKELETON, 400, 400)


class Noisy(NamedTuple):
    """Untracked poses, and for each the true animal, -1 for a false positive: (T, M)."""

    poses: PoseTracks
    sources: Array


def rendered_frames(*, animals: int, frames: int, fps: float = 25.0, seed: int = 0, **settings: Any) -> SyntheticFrames:
    """One rendered video, as `dataset=scenes` has them."""
    options: dict[str, Any] = {"height": 192, "width": 192, "animal_length": 0.22, "roam": 0.46, "occlusion": 0.0}
    return SyntheticFrames(
        frames=frames,
        animals=animals,
        skeleton="mouse",
        videos=1,
        coming_and_going=False,
        seconds_between_frames=1 / fps,
        seed=seed,
        **(options | settings),
    )


def rendered_ground_truth(**settings: Any) -> GroundTruth:
    """The tracks of one rendered video: settings of `rendered_frames`."""
    return ground_truth_of(rendered_frames(**settings))


def ground_truth_of(data: SyntheticFrames) -> GroundTruth:
    """The tracks of rendered frames."""
    points = np.full((len(data.frames), len(data.individuals), len(data.skeleton), 2), np.nan)
    hidden = np.zeros(points.shape[:3], bool)
    for place, frame in enumerate(data.frames):
        points[place, frame.identities] = frame.keypoints_in_image
        hidden[place, frame.identities] = frame.visibility == 1
    return GroundTruth(points, hidden, data.skeleton, data.frames[0].height, data.frames[0].width)


def noisy_poses(gt: GroundTruth, noise: Noise = Noise(), *, seed: int = 0, fps: float = 25.0, spare: int = 1) -> Noisy:
    """Detections of every frame in random order, in as many columns as animals and `spare` more."""
    rng = np.random.default_rng(seed)
    points = gt.keypoints_in_image
    frames, animals, keypoints = points.shape[:3]
    columns = animals + spare
    size = median_size(points.reshape(-1, keypoints, 2))
    found = np.full((frames, columns, keypoints, 2), np.nan, np.float32)
    sources = np.full((frames, columns), -1)
    away = _runs(rng, (frames, animals), noise.missing_runs)
    together = _runs(rng, (frames, animals), 0.02, longest=8)
    fake: tuple[Array, int] | None = None
    for frame in range(frames):
        there = [n for n in range(animals) if not np.isnan(points[frame, n]).all() and not away[frame, n]]
        own = {n: _seen(points[frame, n], gt.is_hidden[frame, n], gt.skeleton, noise, size, rng) for n in there}
        own = _merged(own, points[frame], gt.skeleton, noise, together[frame], rng)
        own = {n: pose for n, pose in own.items() if rng.random() >= noise.missing_animals}
        poses = [(n, pose) for n, pose in own.items() if not np.isnan(pose).all()]
        if fake is None and rng.random() < noise.false_positives / 3:
            shape = points[frame, rng.integers(animals)]
            place = rng.uniform(0, 1, 2) * (gt.width, gt.height)
            if not np.isnan(shape).all():
                fake = shape - np.nanmean(shape, axis=0) + place, int(rng.integers(1, 6))
        if fake is not None:
            poses.append((-1, fake[0] + rng.normal(0, 2 * noise.jitter * size, fake[0].shape)))
            fake = (fake[0], fake[1] - 1) if fake[1] > 1 else None
        for column, place in zip(rng.permutation(columns), rng.permutation(len(poses))[:columns], strict=False):
            sources[frame, column], found[frame, column] = poses[place]
    missing = np.isnan(found).any(axis=-1)
    found[missing] = np.nan
    scores = np.where(missing, 0, rng.uniform(0.6, 1.0, missing.shape)).astype(np.float32)
    tracks = PoseTracks(
        skeleton=gt.skeleton,
        video=VideoInfo("rendered.mp4", "a" * 16, gt.height, gt.width, frames, fps),
        individuals=tuple(f"animal{number + 1}" for number in range(columns)),
        is_tracked=False,
        frame_indices=np.arange(frames),
        times=np.arange(frames) / fps,
        keypoints_in_image=found,
        keypoint_scores=scores,
        scores=scores.mean(axis=-1),
        boxes_in_image=np.full((frames, columns, 4), np.nan, np.float32),
        identities=np.full((frames, columns), -1),
        unique_in_image=np.zeros((frames, 0, 2), np.float32),
        unique_scores=np.zeros((frames, 0), np.float32),
    )
    return Noisy(tracks, sources)


def _runs(rng: np.random.Generator, shape: tuple[int, int], begins: float, longest: int = 20) -> Array:
    """Runs of frames, each of 2 to `longest`, that begin with this probability in a frame."""
    answer = np.zeros(shape, bool)
    for frame, animal in np.argwhere(rng.random(shape) < begins):
        answer[frame : frame + rng.integers(2, longest + 1), animal] = True
    return answer


def _seen(pose: Array, hidden: Array, skeleton: Skeleton, noise: Noise, size: float, rng: np.random.Generator) -> Array:
    seen = pose[list(skeleton.flip_order)] if rng.random() < noise.flips else pose
    seen = seen + rng.normal(0, noise.jitter * size, seen.shape)
    far = rng.random(len(seen)) < noise.outliers
    seen[far] += rng.normal(0, 0.5 * size, (int(far.sum()), 2))
    missing = (rng.random(len(seen)) < noise.missing_keypoints) | (
        hidden & (rng.random(len(seen)) < noise.hidden_keypoints)
    )
    seen[missing] = np.nan
    return seen


def _merged(
    own: dict[int, Array], points: Array, skeleton: Skeleton, noise: Noise, together: Array, rng: np.random.Generator
) -> dict[int, Array]:
    """Of animals that overlap only one is found at times, with keypoints of both."""
    areas = oks_areas(np.full(len(points), np.nan), points)
    with np.errstate(invalid="ignore"):
        likeness = compute_oks(points, points, areas, np.asarray(skeleton.sigmas))
    for a in sorted(own):
        for b in sorted(own):
            if (
                a < b
                and a in own
                and b in own
                and (
                    np.nan_to_num(likeness[a, b]) > 0.3
                    or np.linalg.norm(np.nanmean(points[a], axis=0) - np.nanmean(points[b], axis=0))
                    < 0.25 * np.sqrt(areas[a])
                )
            ):
                other = rng.random(len(skeleton)) < noise.mixed
                kept, lost = (a, b) if together[b] or rng.random() < 0.5 else (b, a)
                if together[a] or rng.random() < noise.merged:
                    own[kept] = np.where(other[:, None], own[lost], own[kept])
                    del own[lost]
    return own


def poses_in_columns(truth: GroundTruth, columns: Array) -> PoseTracks:
    """True poses, exact, as untracked ones: (T, M) the animal in each column, -1 for none."""
    one = truth._replace(keypoints_in_image=truth.keypoints_in_image[:, :1], is_hidden=truth.is_hidden[:, :1])
    poses = noisy_poses(one, Noise(0.0, *[0.0] * 9)).poses
    rows = np.arange(len(columns))[:, None]
    points = np.where((columns >= 0)[..., None, None], truth.keypoints_in_image[rows, np.maximum(columns, 0)], np.nan)
    shape = points.shape[:3]
    return replace(
        poses,
        individuals=tuple(f"animal{number}" for number in range(shape[1])),
        keypoints_in_image=points.astype(np.float32),
        keypoint_scores=np.isfinite(points[..., 0]).astype(np.float32),
        scores=(columns >= 0).astype(np.float32),
        boxes_in_image=np.full((*shape[:2], 4), np.nan, np.float32),
        identities=np.full(shape[:2], -1, np.int64),
    )
