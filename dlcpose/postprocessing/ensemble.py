"""Poses of one video from several checkpoints, combined into one pose of each animal with its spread."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from dlcpose.codecs.matching import match_by_similarity
from dlcpose.codecs.oks import compute_oks, oks_areas
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks

Array = npt.NDArray[Any]
Statistic = Literal["median", "mean"]
MAX_ANIMALS = 256  # each is compared with each, in all frames at once
MIN_OKS = 0.1  # below it two poses are not of one animal
SAME_COLUMN = 0.05  # OKS that is added to a pair whose columns match over the whole video
# The median distance from the center of a Gaussian in the plane, in standard deviations of one coordinate.
MEDIAN_DISTANCE = float(np.sqrt(2 * np.log(2)))
# Corrections of it for few members, whose median lies closer to them than the true place does: of 2, 3, ... members,
# from 400,000 draws each; from 11 on it is 1 + 0.27 / members.
FEW_MEMBERS = (1.179, 1.150, 1.152, 1.065, 1.075, 1.040, 1.048, 1.029, 1.034)


def combine_members(members: Sequence[PoseTracks], *, statistic: Statistic = "median") -> PoseTracks:
    """One table of poses: for each keypoint the median (or mean) of the members' x and y, and their spread.

    The columns, and whether they are tracks, are those of the first member; in each frame the others' animals are
    matched to them by OKS. Animals that the first member lacks take free columns. A keypoint is kept where half the
    members or more have it. Scores are means over all members, 0 for those that lack it. Rows are those of any member.
    keypoint_spreads: with "median" from the median distance of the members from the pose, which one member far off
    hardly changes; with "mean" from their mean squared distance. Either is scaled to the standard deviation of a
    coordinate where members scatter evenly around the true place, and NaN for a keypoint of one member. Raises
    DataError for fewer than two members, other videos, other keypoints, and too many animals.
    """
    _check(members)
    frames = np.unique(np.concatenate([member.frame_indices for member in members]))  # (T,)
    animals = max(len(member.individuals) for member in members)
    aligned = [_at_frames(member, frames, animals) for member in members]
    has_row = np.stack([np.isin(frames, member.frame_indices) for member in members])  # (E, T)
    orders = _match_members(aligned)  # (E, T, N)
    ordered = [_reorder(member, order) for member, order in zip(aligned, orders, strict=True)]
    points, spreads = _centers_and_spreads([member.keypoints_in_image for member in ordered], has_row, statistic)
    unique, _ = _centers_and_spreads([member.unique_in_image for member in ordered], has_row, statistic)
    missing = np.isnan(points[..., 0])  # (T, N, K)
    absent = np.asarray(missing.all(axis=-1))  # (T, N)

    def mean_of(name: str, where_not: Array) -> Array:
        total = np.sum([getattr(member, name) for member in ordered], axis=0)
        count = has_row.sum(axis=0).reshape(-1, *[1] * (total.ndim - 1))
        return np.where(where_not, 0, total / count).astype(np.float32)

    return replace(
        ordered[0],
        times=_first_known([member.times for member in aligned], np.nan),
        keypoints_in_image=points,
        keypoint_scores=mean_of("keypoint_scores", missing),
        scores=mean_of("scores", absent),
        boxes_in_image=np.where(absent[..., None], np.nan, _first_known([m.boxes_in_image for m in ordered], np.nan)),
        identities=np.where(absent, -1, _first_known([member.identities for member in ordered], -1)),
        unique_in_image=unique,
        unique_scores=mean_of("unique_scores", np.isnan(unique[..., 0])),
        keypoint_spreads=np.where(missing, np.nan, spreads).astype(np.float32),
    )


def _check(members: Sequence[PoseTracks]) -> None:
    if len(members) < 2:
        raise DataError(f"Expected the poses of two checkpoints or more, got {len(members)}.")
    first = members[0]
    if (most := max(len(member.individuals) for member in members)) > MAX_ANIMALS:
        raise DataError(
            f"{first.video.path}: expected at most {MAX_ANIMALS} animals to combine, got {most}. Join short tracks first "
            "(dlcpose track)."
        )
    for number, member in enumerate(members[1:], start=2):
        if member.video.fingerprint != first.video.fingerprint:
            raise DataError(
                f"{member.video.path}: expected poses of one video, got number {number} of another than "
                f"{first.video.path}. Give files that were predicted from the same video."
            )
        names = (member.skeleton.names, member.skeleton.unique)
        if names != (first.skeleton.names, first.skeleton.unique):
            raise DataError(
                f"{member.video.path}: expected the keypoints {[*first.skeleton.names, *first.skeleton.unique]} in all "
                f"poses, got {[*names[0], *names[1]]} in number {number}."
            )


def _at_frames(member: PoseTracks, frames: Array, animals: int) -> PoseTracks:
    """The member with a row for each frame, its own among them, and at least so many columns; the rest is missing."""
    is_there = np.isin(frames, member.frame_indices)
    spare = animals - len(member.individuals)

    def at(name: str, missing: float) -> Array:
        known: Array = getattr(member, name)
        values = np.full((len(frames), *known.shape[1:]), missing, known.dtype)
        values[is_there] = known
        if name in ("times", "unique_in_image", "unique_scores"):
            return values
        return np.pad(values, [(0, 0), (0, spare), *[(0, 0)] * (values.ndim - 2)], constant_values=missing)

    taken = set(member.individuals)
    names = [name for number in range(1, animals + len(taken) + 1) if (name := f"animal{number}") not in taken]
    return replace(
        member,
        individuals=(*member.individuals, *names[:spare]),
        frame_indices=frames,
        times=at("times", np.nan),
        keypoints_in_image=at("keypoints_in_image", np.nan),
        keypoint_scores=at("keypoint_scores", 0),
        scores=at("scores", 0),
        boxes_in_image=at("boxes_in_image", np.nan),
        identities=at("identities", -1),
        unique_in_image=at("unique_in_image", np.nan),
        unique_scores=at("unique_scores", 0),
        keypoint_spreads=None,
    )


def _match_members(members: Sequence[PoseTracks]) -> Array:
    """Which column of each member goes into each column of the result, in each frame: (E, T, N), -1 for none."""
    animals = len(members[0].individuals)
    rows = np.arange(len(members[0]))[:, None]
    orders = [np.broadcast_to(np.arange(animals), (len(rows), animals))]
    if animals == 1:
        return np.stack(orders * len(members))
    area = _usual_area(members[0])
    known = members[0].keypoints_in_image.copy()  # (T, N, K, 2), of each column from the first member that has it
    for member in members[1:]:
        alike = _similarities(member, known, area)  # (T, N of the member, N)
        columns = _columns_that_go_together(alike) if member.is_tracked and members[0].is_tracked else None
        is_free = np.asarray(np.isnan(known[..., 0]).all(axis=-1))  # (T, N)
        order = np.stack(
            [_match_frame(*frame, columns) for frame in zip(alike, member.is_present, is_free, strict=True)]
        )
        orders.append(order)
        poses = np.where((order >= 0)[..., None, None], member.keypoints_in_image[rows, order], np.nan)
        known = np.where(is_free[..., None, None], poses, known)
    return np.stack(orders)


def _usual_area(member: PoseTracks) -> float:
    """The usual area of an animal, px²: of the box around its keypoints, 1 at least."""
    poses = member.keypoints_in_image[member.is_present]  # (P, K, 2)
    areas = oks_areas(np.full(len(poses), np.nan), poses)
    return float(np.median(areas)) if len(areas) else 1.0


def _similarities(member: PoseTracks, known: Array, area: float) -> Array:
    """OKS of the animals of a member with known ones, over the keypoints of the one that has fewer: (T, N, N), 0 for none."""
    areas, sigmas = np.full(known.shape[1], area), np.array(member.skeleton.sigmas)
    alike = [
        np.fmax(compute_oks(ours, theirs, areas, sigmas), compute_oks(theirs, ours, areas, sigmas).T)
        for ours, theirs in zip(member.keypoints_in_image, known, strict=True)
    ]
    return np.nan_to_num(np.stack(alike)) if alike else np.zeros((0, known.shape[1], known.shape[1]))


def _columns_that_go_together(alike: Array) -> Array:
    """The column of the result for each column of a member, over the whole video: (T, N, N) -> (N,)."""
    return np.asarray(linear_sum_assignment(alike.sum(axis=0), maximize=True)[1])


def _match_frame(alike: Array, is_present: Array, is_free: Array, columns: Array | None) -> Array:
    """The member's column for each column of the result in one frame, -1 for none: (N,).

    alike: (N, N). is_present: the member's animals. is_free: columns of the result without an animal so far.
    """
    order = np.full(len(alike), -1)
    preferred = np.zeros_like(alike)
    if columns is not None:
        preferred[np.arange(len(alike)), columns] = SAME_COLUMN
    for mine, theirs in match_by_similarity(np.where(alike >= MIN_OKS, alike + preferred, 0.0), 0.0):
        order[theirs] = mine
    for ours in np.flatnonzero(is_present):
        if ours in order:
            continue
        free = np.flatnonzero(is_free & (order < 0))
        if len(free):  # else it is one animal more than any column can hold
            order[columns[ours] if columns is not None and columns[ours] in free else free[0]] = ours
    return order


def _reorder(member: PoseTracks, order: Array) -> PoseTracks:
    """The member with its animals in the columns of the result: order (T, N)."""
    rows = np.arange(len(order))[:, None]

    def at(name: str, missing: float) -> Array:
        values = getattr(member, name)[rows, order]
        return np.where((order >= 0).reshape(*order.shape, *[1] * (values.ndim - 2)), values, missing).astype(
            values.dtype
        )

    return replace(
        member,
        keypoints_in_image=at("keypoints_in_image", np.nan),
        keypoint_scores=at("keypoint_scores", 0),
        scores=at("scores", 0),
        boxes_in_image=at("boxes_in_image", np.nan),
        identities=at("identities", -1),
    )


def _centers_and_spreads(members: Sequence[Array], has_row: Array, statistic: Statistic) -> tuple[Array, Array]:
    """Combined points (T, ..., 2) and their spreads (T, ...) of E members' points; has_row: (E, T)."""
    points = np.stack(members).astype(np.float64)  # (E, T, ..., 2)
    count = (~np.isnan(points[..., 0])).sum(axis=0)  # (T, ...)
    rows = has_row.sum(axis=0).reshape(-1, *[1] * (count.ndim - 1))
    enough = (count > 0) & (2 * count >= rows)
    points = np.where(enough[..., None], points, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of points that no member has
        center = np.nanmedian(points, axis=0) if statistic == "median" else np.nanmean(points, axis=0)
        distances = np.linalg.norm(points - center, axis=-1)  # (E, T, ...)
        if statistic == "median":
            spread = np.nanmedian(distances, axis=0) * _factors(len(members))[count]
        else:
            spread = np.sqrt(np.nansum(distances**2, axis=0) / np.maximum(2 * (count - 1), 1))
    return center.astype(np.float32), np.where(enough & (count > 1), spread, np.nan).astype(np.float32)


def _factors(members: int) -> Array:
    """The standard deviation of a coordinate over the median distance, by the number of members: (members + 1,)."""
    numbers = np.maximum(np.arange(members + 1), 2)
    known = np.array(FEW_MEMBERS)[np.minimum(numbers - 2, len(FEW_MEMBERS) - 1)]
    return np.where(numbers < 2 + len(FEW_MEMBERS), known, 1 + 0.27 / numbers) / MEDIAN_DISTANCE


def _first_known(values: Sequence[Array], missing: float) -> Array:
    """The value of the first member that has one, element by element."""
    known = values[0].copy()
    for others in values[1:]:
        empty = np.isnan(known) if np.isnan(missing) else known == missing
        known[empty] = others[empty]
    return known
