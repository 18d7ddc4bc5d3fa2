"""Track the poses of a video: from detections to tracks of a known number of animals."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dlcpose.structures.counted import counted
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.skeleton import Skeleton
from dlcpose.tracking.detections import Detections, detections_of, usual_score
from dlcpose.tracking.evidence import evidence_of, shape_features
from dlcpose.tracking.fixtures import is_fixture
from dlcpose.tracking.flow import join_tracklets
from dlcpose.tracking.gaps import JoinOrAbsenceCosts, fill_gaps
from dlcpose.tracking.individuals import identify, votes_of
from dlcpose.tracking.joins import possible_joins
from dlcpose.tracking.margins import doubtful_exchanges
from dlcpose.tracking.motion import ends_of, learn_motion
from dlcpose.tracking.result import SwapCandidate, TrackingResult
from dlcpose.tracking.settings import TrackingSettings
from dlcpose.tracking.slots import exchanges_of, fill_slots
from dlcpose.tracking.tracklets import Tracklets, tracklets_of

logger = logging.getLogger(__name__)
Array = npt.NDArray[Any]
Looks = Callable[[Detections, Tracklets], Array]  # -> (D, F) features of the detections' looks, NaN where not known
Linking = Callable[[Detections, Skeleton, TrackingSettings], Tracklets]
DEFAULT = TrackingSettings()
EXCHANGE_LIMIT = 30.0  # nats: dearer exchanges are no alternative
MAX_DETECTIONS = 1_000  # in a frame: each is compared with each of the next, in memory
WEAK = 0.2  # of the usual score: what scores less is rarely an animal


def track(
    poses: PoseTracks,
    settings: TrackingSettings = DEFAULT,
    looks: Looks | None = None,
    link: Linking = tracklets_of,
    individuals: Sequence[str] = (),
) -> TrackingResult:
    """Tracks of at most N animals over the whole video.

    N is as in the settings, else the number of columns of the poses, or of individuals where these are fewer.
    individuals: names of the animals that the model knows, which tracks have where they are as many.
    Tracklets that are certain are joined by a minimum-cost flow over the whole video; then animals' proportions,
    appearance and predicted identities, together with the costs of the joins, decide the identities after each
    encounter. looks: gives features of the animals' appearance, as `appearance.learn_looks` does; "appearance" is among the
    result's seconds where it knew any. link: detections to tracklets; `tracklets_of_columns` where a conditional model has
    followed the animals. Raises DataError where the poses hold no animal, or too many in a frame.
    """
    clock = _Clock()
    most = len(poses.individuals)
    animals = settings.animals or min(most, len(individuals) or most)
    usual = usual_score(poses, animals)
    min_score = WEAK * usual if settings.min_score is None else settings.min_score
    strong = detections = detections_of(poses, min_score)
    if settings.min_score is None and len(strong):
        detections = strong.only(~is_fixture(strong, animals, usual))
    _check_count(detections, poses, settings)
    tracklets = link(detections, poses.skeleton, settings)
    clock.stop("tracklets")
    features = shape_features(detections, poses.skeleton) if settings.use_shape else np.zeros((len(detections), 0))
    assigned = _assign(poses, detections, tracklets, features, settings, animals, clock)
    is_wanted = settings.appearance is not False and (settings.appearance or bool(assigned.doubtful))
    if looks is not None and is_wanted:
        learned = looks(detections, tracklets)
        if not np.isnan(learned).all():
            features = np.concatenate([features, learned], axis=1)
            clock.stop("appearance")
            assigned = _assign(poses, detections, tracklets, features, settings, animals, clock)
    left_out, crowded = _left_out(detections, assigned.columns, animals)
    return TrackingResult(
        tracks=in_columns(poses, assigned.columns, individuals),
        columns=assigned.columns,
        doubtful=assigned.doubtful,
        tracklets=len(tracklets.members),
        detections=len(detections),
        min_score=min_score,
        weak=int(poses.is_present.sum()) - len(strong),
        fixed=len(strong) - len(detections),
        left_out=left_out,
        crowded=crowded,
        seconds=clock.seconds,
    )


def _check_count(detections: Detections, poses: PoseTracks, settings: TrackingSettings) -> None:
    """Raises DataError where there is no animal to track, or a frame has more than can be compared with each other."""
    if not len(detections):
        scored = f" with a score of {settings.min_score} or more" if settings.min_score else ""
        advice = "Lower min_score, or look at what the model predicts" if scored else "Look at what the model predicts"
        raise DataError(
            f"{poses.video.path}: no animal{scored} in any of {counted(len(poses), 'frame')}. {advice} (dlcpose draw)."
        )
    if (crowd := int(np.bincount(detections.rows).max())) > MAX_DETECTIONS:
        raise DataError(
            f"{poses.video.path}: expected at most {MAX_DETECTIONS} animals in a frame, got {crowd}. Raise min_score, or "
            "look at what the model predicts (dlcpose draw)."
        )


class _Assigned(NamedTuple):
    columns: Array  # (T, N)
    doubtful: tuple[SwapCandidate, ...]


def _assign(
    poses: PoseTracks,
    detections: Detections,
    tracklets: Tracklets,
    features: Array,
    settings: TrackingSettings,
    animals: int,
    clock: "_Clock",
) -> _Assigned:
    """Assign tracklets to tracks by all evidence: features (D, F) of the detections, NaN where unknown."""
    is_solid, all_ends = tracklets.is_solid(), ends_of(detections, tracklets)
    solid, short = np.flatnonzero(is_solid), np.flatnonzero(~is_solid)
    solid = solid[np.argsort(all_ends.first[solid], kind="stable")]
    joined, ends = tracklets.only(solid), all_ends[solid]
    inner = joined.inner(detections.steps)
    evidence = evidence_of(features, inner, detections.steps)
    clock.stop("evidence")
    motion = learn_motion(detections, joined, poses.skeleton, settings.seed)
    joins = possible_joins(ends, motion, evidence, settings)
    clock.stop("joins")
    rewards = _rewards(detections, tracklets, settings)
    cost = settings.absence_cost
    flow = join_tracklets(
        ends.first, ends.last, ends.detections, rewards[solid], joins, animals=animals, absence_cost=cost
    )
    clock.stop("flow")
    costs = partial(motion.costs, ends)
    slots = fill_slots(flow.tracks(), ends.first, ends.last, costs, animals=animals)
    exchanges = exchanges_of(slots, ends.first, ends.last, costs, absence_cost=cost, limit=EXCHANGE_LIMIT)
    votes = votes_of(detections, joined.members, animals) if settings.use_identities else np.zeros((len(ends), animals))
    identified = partial(
        identify,
        slots,
        votes=votes,
        exchanges=exchanges,
        first=ends.first,
        last=ends.last,
        beam=settings.beam,
        max_margin=settings.review_margin,
    )
    naming = identified(evidence)
    if evidence.sums.shape[1]:
        # Once animals have names by what tells them apart, it is known better in what they differ.
        of_tracklets = np.zeros(len(ends), np.int64)
        for slot, names in zip(slots, naming.names, strict=True):
            of_tracklets[slot] = names
        naming = identified(evidence_of(features, inner, detections.steps, of_tracklets), begun=naming)
    clock.stop("names")
    tracks: list[list[int]] = [[] for _ in range(animals)]
    for slot, names in zip(slots, naming.names, strict=True):
        for tracklet, name in zip(slot, names.tolist(), strict=True):
            tracks[name].append(int(solid[tracklet]))
    tracks = [sorted(track, key=lambda each: int(all_ends.first[each])) for track in tracks]
    tracks = fill_gaps(tracks, short, rewards, all_ends, JoinOrAbsenceCosts(all_ends, motion, settings))
    clock.stop("gaps")
    doubtful = doubtful_exchanges(exchanges, naming, poses.frame_indices, detections, settings.review_margin)
    return _Assigned(_columns_of(tracks, detections, tracklets), doubtful)


def _columns_of(tracks: list[list[int]], detections: Detections, tracklets: Tracklets) -> Array:
    """The column of the poses that each track's animal is in, -1 where it is absent: (T, N)."""
    columns = np.full((detections.frames, len(tracks)), -1, np.int64)
    for name, track in enumerate(tracks):
        # The longest last: at their ends tracklets of a track may overlap by some frames.
        for members in sorted((tracklets.members[each] for each in track), key=len):
            columns[detections.rows[members], name] = detections.columns[members]
    return columns


def in_columns(poses: PoseTracks, columns: Array, individuals: Sequence[str] = ()) -> PoseTracks:
    """Poses with animals in other columns: (T, N) the column each comes from, -1 for none; they count as tracked.

    individuals: names of the columns where they are as many; else they keep their own, and further ones are numbered.
    """
    rows = np.arange(len(poses))[:, None]
    absent = columns < 0

    def chosen(values: Array, missing: float) -> Array:
        moved = values[rows, np.where(absent, 0, columns)].copy()
        moved[absent] = missing
        return moved

    count = columns.shape[1]
    names = list(individuals if len(individuals) == count else poses.individuals[:count])
    names += [f"animal{number + 1}" for number in range(len(names), count)]
    return replace(
        poses,
        individuals=tuple(names),
        is_tracked=True,
        keypoints_in_image=chosen(poses.keypoints_in_image, np.nan),
        keypoint_scores=chosen(poses.keypoint_scores, 0.0),
        scores=chosen(poses.scores, 0.0),
        boxes_in_image=chosen(poses.boxes_in_image, np.nan),
        identities=chosen(poses.identities, -1),
        keypoint_spreads=None if poses.keypoint_spreads is None else chosen(poses.keypoint_spreads, np.nan),
    )


def _rewards(detections: Detections, tracklets: Tracklets, settings: TrackingSettings) -> Array:
    """The reward of each tracklet in a track: that of its detections, less for low scores."""
    usual = max(float(np.median(detections.scores)), 1e-6)
    worth = settings.detection_reward * np.clip(detections.scores / usual, 0.2, 1.0)
    return np.array([worth[members].sum() for members in tracklets.members])


def _left_out(detections: Detections, columns: Array, animals: int) -> tuple[int, int]:
    """Detections in no track, and those of them in frames that have more detections than there may be animals."""
    there = np.bincount(detections.rows, minlength=detections.frames)
    used = (columns >= 0).sum(axis=1)
    left = there - used
    crowded = int(left[there > animals].sum())
    if crowded:
        logger.warning(
            "%d of %s in no track, %d of them in %s with more than %s. Raise --animals if there are more.",
            int(left.sum()),
            counted(len(detections), "detection"),
            crowded,
            counted(int(((there > animals) & (left > 0)).sum()), "frame"),
            counted(animals, "animal"),
        )
    return int(left.sum()), crowded


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def stop(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now
