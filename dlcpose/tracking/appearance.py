"""Appearance embeddings of animals, learned from the video's own tracklets without labels."""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dlcpose.datasets.video import VideoFrame, frames_to
from dlcpose.tracking.detections import Detections
from dlcpose.tracking.track import Looks
from dlcpose.tracking.tracklets import Tracklets

logger = logging.getLogger(__name__)
Array = npt.NDArray[Any]
StageProgress = Callable[[str, int, int], None]  # what is done, how much of it, and of how much
SIDE = 48  # px of a crop
ROOM = 1.25  # sides of a crop in animal sizes
DIMENSIONS = 8
MAX_CROPS = 16_000  # held at once: 110 MB
MIN_LENGTH = 12  # detections of a tracklet to learn from
MIN_TOGETHER = 6  # steps from the first to the last that two tracklets share, to be a pair of different animals
STEPS, BATCH, RATE = 250, 64, 2e-3
NEAR = 0.5  # distance of embeddings up to which crops of one animal cost nothing
FAR = 4.0  # and from which on those of different animals do


def _silent(stage: str, done: int, total: int) -> None:
    pass


def learn_looks(
    read_frames: Callable[[], Iterable[VideoFrame]],
    frame_indices: Array,
    *,
    seed: int = 0,
    progress: StageProgress = _silent,
) -> Looks:
    """A function for `track` that computes appearance features, (D, 8), NaN for detections that were not used.

    read_frames: gives the frames of the video, as VideoReader does; detections in frames that could not be decoded are
    not used. frame_indices: (T,) of the poses' rows.
    A small network embeds crops that are turned to the pose. Two crops of one tracklet are the same animal, crops of
    two tracklets at one time are different ones: from these it learns by a contrastive loss, as idtracker.ai does (Torrents
    et al. 2025, eLife 107602) on segmented blobs. The same seed gives the same features on one machine.
    progress: is called after each frame that is read and after each step of training.
    Raises DataError where the video ends before the poses.
    """

    def looks(detections: Detections, tracklets: Tracklets) -> Array:
        features = np.full((len(detections), DIMENSIONS), np.nan)
        chosen = _chosen(tracklets)
        pairs = different_animals(detections, tracklets)
        if not len(chosen) or not len(pairs):
            logger.warning(
                "appearance: no two animals are tracked at the same time for long enough to learn their appearance."
            )
            return features
        crops, is_cut = aligned_crops(read_frames(), frame_indices, detections, chosen, progress)
        crops, chosen = crops[is_cut], chosen[is_cut]
        features[chosen] = embed(crops, chosen, tracklets, pairs, seed, progress)
        return features

    return looks


class Embedding(nn.Module):
    """Crops (B, 3, 48, 48) in [0, 1] to points (B, 8); 23,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        channels = (3, 16, 32, 48)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(4, after), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)  # (B, 48, 6, 6)
        self.head = nn.Linear(48 * 3 * 3, DIMENSIONS)

    def forward(self, crops: Tensor) -> Tensor:
        # (B, 48, 3, 3): the place on the body is kept.
        maps = nn.functional.avg_pool2d(self.convolutions(crops - 0.5), 2)
        points: Tensor = self.head(maps.flatten(1))
        return points


def contrastive_loss(anchors: Tensor, same: Tensor, different: Tensor) -> Tensor:
    """Mean squared excess of distances over NEAR for one animal, and shortfall from FAR for two: (B, Q) thrice."""
    together = (anchors - same).norm(dim=1)
    apart = (anchors - different).norm(dim=1)
    loss: Tensor = ((together - NEAR).clamp(min=0).square() + (FAR - apart).clamp(min=0).square()).mean()
    return loss


def different_animals(detections: Detections, tracklets: Tracklets) -> Array:
    """Pairs of long tracklets that exist at one time, so that they are two animals: (P, 2)."""
    long = [place for place, members in enumerate(tracklets.members) if len(members) >= MIN_LENGTH]
    first = np.array([detections.steps[tracklets.members[place][0]] for place in long])
    last = np.array([detections.steps[tracklets.members[place][-1]] for place in long])
    pairs = []
    for number, place in enumerate(long):
        together = np.minimum(last[number + 1 :], last[number]) - first[number + 1 :]  # steps, of each later one
        pairs += [(place, long[number + 1 + other]) for other in np.flatnonzero(together >= MIN_TOGETHER).tolist()]
    return np.array(pairs, np.int64).reshape(-1, 2)


def aligned_crops(
    frames: Iterable[VideoFrame],
    frame_indices: Array,
    detections: Detections,
    chosen: Array,
    progress: StageProgress = _silent,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Crops of detections, turned and centered by their poses, (C, 48, 48, 3) uint8, and which there are, (C,).

    Each pose is laid on the mean pose by the rotation and shift of least squares (Procrustes); the size stays. There is
    no crop of a frame that could not be decoded. Raises DataError where the video ends before the poses.
    """
    turned = mean_pose(detections)
    numbers = frame_indices[detections.rows[chosen]]
    crops = np.zeros((len(chosen), SIDE, SIDE, 3), np.uint8)
    is_cut = np.zeros(len(chosen), bool)
    of_frame: dict[int, list[int]] = {}
    for place, number in enumerate(numbers.tolist()):
        of_frame.setdefault(number, []).append(place)
    last = int(numbers.max())
    for frame in frames_to(last, frames, f"appearance: frame {last} has poses"):
        for place in of_frame.get(frame.index, ()):
            matrix = crop_matrix(detections.keypoints_in_image[chosen[place]], turned, detections.size)
            crops[place] = cv2.warpAffine(
                frame.image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            is_cut[place] = True
        progress("appearance: frames read", frame.index + 1, last + 1)
    return crops, is_cut


def mean_pose(detections: Detections) -> Array:
    """The mean of the poses once they are turned on each other, around 0: (K, 2) px; NaN for keypoints never seen."""
    points = detections.keypoints_in_image
    sample = points[:: max(1, len(points) // 2000)]
    whole = np.isnan(sample[..., 0]).sum(axis=1)
    sample = sample[np.argsort(whole, kind="stable")[: max(50, len(sample) // 2)]]
    mean = sample[0] - np.nanmean(sample[0], axis=0)
    for _ in range(4):
        laid = []
        for pose in sample:
            angle, center, origin = _turn(pose, mean)
            laid.append((pose - center) @ _rotation(-angle).T + origin)
        with np.errstate(all="ignore"):
            stacked = np.stack(laid)
            known = ~np.isnan(stacked)
            sums = np.where(known, stacked, 0).sum(axis=0)
            mean = np.where(known.any(axis=0), sums / np.maximum(known.sum(axis=0), 1), np.nan)
        mean = mean - np.nanmean(mean, axis=0)
    centered: Array = mean
    return centered


def crop_matrix(pose: Array, mean: Array, size: float) -> Array:
    """Image to crop, for cv2: the mean pose's 0 comes to lie in the middle: (2, 3)."""
    angle, center, origin = _turn(pose, mean)
    linear = _rotation(-angle) * (SIDE / (ROOM * size))
    shift = (SIDE - 1) / 2 + origin * (SIDE / (ROOM * size)) - linear @ center
    return np.column_stack([linear, shift])


def _turn(pose: Array, mean: Array) -> tuple[float, Array, Array]:
    """By how much a pose is turned from the mean pose, and the centroids of what both have, in both."""
    shared = ~np.isnan(pose[:, 0]) & ~np.isnan(mean[:, 0])
    if not shared.any():
        return 0.0, np.nanmean(pose, axis=0), np.zeros(2)
    center, origin = pose[shared].mean(axis=0), mean[shared].mean(axis=0)
    there, here = pose[shared] - center, mean[shared] - origin
    sine = (here[:, 0] * there[:, 1] - here[:, 1] * there[:, 0]).sum()
    return float(np.arctan2(sine, (here * there).sum())), center, origin


def _rotation(angle: float) -> Array:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _chosen(tracklets: Tracklets) -> Array:
    """The detections to crop: those of tracklets that are not too short, evenly thinned to MAX_CROPS."""
    members = [members for members in tracklets.members if len(members) >= MIN_LENGTH // 2]
    if not members:
        return np.zeros(0, np.int64)
    total = sum(map(len, members))
    thinned = [each[:: max(1, -(-total // MAX_CROPS))] for each in members]
    return np.sort(np.concatenate(thinned))


def embed(
    crops: npt.NDArray[np.uint8],
    chosen: Array,
    tracklets: Tracklets,
    pairs: Array,
    seed: int,
    progress: StageProgress = _silent,
) -> Array:
    """Train on the crops and embed them: (C, 48, 48, 3) -> (C, 8)."""
    place = {int(member): number for number, member in enumerate(chosen)}
    own = {number: [place[int(m)] for m in tracklets.members[number] if int(m) in place] for number in np.unique(pairs)}
    usable = np.array([pair for pair in pairs if len(own[pair[0]]) >= 2 and len(own[pair[1]]) >= 2]).reshape(-1, 2)
    if not len(usable):
        return np.full((len(crops), DIMENSIONS), np.nan)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Embedding().to(memory_format=torch.channels_last)
        images = torch.from_numpy(crops).permute(0, 3, 1, 2)  # channels last, as they lie in memory
        _train(network, images, own, usable, np.random.default_rng(seed), progress)
        with torch.no_grad():
            parts = [network(part.float() / 255) for part in torch.split(images, 1024)]
    embeddings: Array = torch.cat(parts).numpy().astype(np.float64)
    return embeddings


def _train(
    network: Embedding,
    images: Tensor,
    own: dict[int, list[int]],
    pairs: Array,
    rng: np.random.Generator,
    progress: StageProgress,
) -> None:
    """own: the crops of each tracklet. pairs: (P, 2) tracklets of different animals, drawn as often as they are long."""
    weights = np.minimum(*(np.array([len(own[number]) for number in side]) for side in pairs.T)).astype(np.float64)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=STEPS)
    for step in range(STEPS):
        drawn = pairs[rng.choice(len(pairs), BATCH, p=weights / weights.sum())]
        drawn = np.where(rng.random((BATCH, 1)) < 0.5, drawn, drawn[:, ::-1])
        triples = [(*rng.choice(own[a], 2, replace=False), rng.choice(own[b])) for a, b in drawn]
        batch = images[torch.tensor(np.array(triples).T.reshape(-1))].float() / 255  # anchors, same, different
        loss = contrastive_loss(*network(batch).chunk(3))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
        progress("appearance: steps learned", step + 1, STEPS)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: for a network this small more are slower, and sums come out the same on any number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
