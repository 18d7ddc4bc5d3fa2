"""Evidence that distinguishes animals over long times: their proportions, and a network's embeddings of their appearance."""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from dlcpose.structures.skeleton import Skeleton
from dlcpose.tracking.detections import Detections
from dlcpose.tracking.heavy_tails import student_t_cost

Array = npt.NDArray[Any]
PIECE = 10  # consecutive detections whose features are averaged: neighboring frames are correlated
MIN_IN_PIECE = 4
MAX_DIRECTIONS = 6
MAX_PAIRS = 24  # of keypoints, whose distances are taken
MIN_DRIFT = 0.1
NEAR = 0.95  # of an animal's pieces: so many show how it varies
# Of Student's t: a tracklet in which two animals overlap looks like neither, which says little of which of them it is.
DEGREES_OF_FREEDOM = 4.0
WORTH = 1.3  # minimum ratio of the variance between simultaneous animals to that within one, for a direction to be used


class Evidence(NamedTuple):
    """Descriptors of S tracklets that add up. sums: (S, Q) of the pieces' descriptors, whose variance within a tracklet is
    1 along each direction. pieces: (S,) how many. drift: (Q,) how much more an animal varies from tracklet to tracklet.
    """

    sums: Array
    pieces: Array
    drift: Array

    def differences(self, first: Array, second: Array) -> Array:
        """Costs in nats for two tracklets being one animal, by their descriptors: (P,), (P,) -> (P,); 0 where unknown."""
        known = (self.pieces[first] > 0) & (self.pieces[second] > 0)
        n, m = np.maximum(self.pieces[first], 1), np.maximum(self.pieces[second], 1)
        away = self.sums[first] / n[:, None] - self.sums[second] / m[:, None]
        variance = (1 / n + 1 / m)[:, None] + 2 * self.drift  # (P, Q)
        return np.where(known, self.costs(away**2 / variance), 0.0)

    def costs(self, squared: Array) -> Array:
        """Costs in nats of deviations in units of their variance, (..., Q) -> (...); 0 without any direction."""
        return student_t_cost(squared.sum(axis=-1), dimensions=squared.shape[-1], freedom=DEGREES_OF_FREEDOM)


def shape_features(detections: Detections, skeleton: Skeleton) -> Array:
    """Distances between keypoints, in sizes of an animal: (D, F), NaN where a keypoint is missing.

    Those of the skeleton's edges and of the keypoints farthest apart.
    """
    count = len(skeleton)
    pairs = sorted({(min(pair), max(pair)) for pair in skeleton.edges})
    if len(pairs) < MAX_PAIRS and len(detections):
        others = [pair for pair in combinations(range(count), 2) if pair not in set(pairs)]
        sample = detections.keypoints_in_image[:: max(1, len(detections) // 500)]
        lengths = [_median_distance(sample[:, a], sample[:, b]) for a, b in others]
        longest = np.argsort(lengths)[::-1][: min(MAX_PAIRS - len(pairs), count)]
        pairs += [others[place] for place in longest]
    pairs = pairs[:MAX_PAIRS]
    if not pairs:
        return np.zeros((len(detections), 0))
    ends = np.array(pairs)
    points = detections.keypoints_in_image
    distances: Array = np.linalg.norm(points[:, ends[:, 0]] - points[:, ends[:, 1]], axis=-1) / detections.size
    return distances


def _median_distance(first: Array, second: Array) -> float:
    """Between the points that are in both, (D, 2) each, NaN where missing; 0 where there are none."""
    distances = np.linalg.norm(first - second, axis=-1)
    known = distances[~np.isnan(distances)]
    return float(np.median(known)) if len(known) else 0.0


def evidence_of(features: Array, members: list[Array], steps: Array, names: Array | None = None) -> Evidence:
    """Descriptors of tracklets, by the directions in which animals differ that are there at the same time.

    features: (D, F) of the detections, NaN where not known. members: the detections of each of S tracklets. steps: (D,).
    names: (S,) the animal of each tracklet as far as it is known: then it is by the directions in which these animals
    differ, whenever they are there, in units of how much each of them varies over the whole video.
    Linear discriminants: variance within tracklets is made 1, and only directions are kept in which different animals
    differ by more than that. Without such a direction Q is 0. A feature that is known of no detection does not count.
    """
    # What is known of no animal, such as the place of a keypoint that is never found, must not cost what is known of all.
    features = features[:, ~np.isnan(features).all(axis=0)]
    none = Evidence(np.zeros((len(members), 0)), np.zeros(len(members), np.int64), np.zeros(0))
    owner, when, means = _pieces(features, members, steps)
    if len(owner) < 8 or not features.shape[1]:
        return none
    residuals, differences = _within(owner, means), _between(owner, when, means)
    if len(residuals) < 2 * features.shape[1] or len(differences) < 2 * features.shape[1]:
        return none
    within = _variance(residuals)
    if names is None:
        kept = _discriminants(differences.T @ differences / len(differences) / 2, within)
    else:
        of_animals, apart = _of_animals(names[owner], means)
        kept = _discriminants(of_animals + apart, of_animals)
        kept = kept / np.sqrt(np.einsum("fq,fg,gq->q", kept, within, kept))
    if not kept.shape[1]:
        return none
    descriptors = means @ kept
    descriptors -= descriptors.mean(axis=0)
    sums = np.zeros((len(members), kept.shape[1]))
    np.add.at(sums, owner, descriptors)
    return Evidence(sums, np.bincount(owner, minlength=len(members)), _drift(owner, descriptors))


def _discriminants(between: Array, within: Array) -> Array:
    """The directions in which animals differ, the best first: (F, Q). between: (F, F) variance, that within included."""
    ratios, directions = eigh(between, within)
    kept: Array = directions[:, ratios > WORTH][:, ::-1][:, :MAX_DIRECTIONS]
    return kept


def _variance(residuals: Array) -> Array:
    """The covariance of residuals (R, F), a little more than there is, so that it has an inverse: (F, F)."""
    found = np.cov(residuals, rowvar=False, ddof=0).reshape(residuals.shape[1], -1)
    found += (0.05 * np.trace(found) / len(found) + 1e-12) * np.eye(len(found))
    return found


def _of_animals(names: Array, means: Array) -> tuple[Array, Array]:
    """How pieces (P, F) vary about their animal's median, the farthest left out, and how the medians do: (F, F) each."""
    animals, who = np.unique(names, return_inverse=True)
    medians = np.stack([np.median(means[who == number], axis=0) for number in range(len(animals))])
    residuals, apart = means - medians[who], medians - medians.mean(axis=0)
    far = np.einsum("pf,fg,pg->p", residuals, np.linalg.inv(_variance(residuals)), residuals)
    # Those of a tracklet that is named wrongly are another animal's.
    return _variance(residuals[far <= np.quantile(far, NEAR)]), apart.T @ apart / len(apart)


def _pieces(features: Array, members: list[Array], steps: Array) -> tuple[Array, Array, Array]:
    """Means over pieces of tracklets: their tracklet (P,), middle time (P,), and features (P, F), without any NaN."""
    owner, when, means = [], [], []
    for number, places in enumerate(members):
        for begin in range(0, len(places), PIECE):
            piece = places[begin : begin + PIECE]
            if len(piece) < MIN_IN_PIECE:
                continue
            values = features[piece]
            known = ~np.isnan(values)
            if (known.sum(axis=0) == 0).any():
                continue
            owner.append(number)
            when.append(int(steps[piece[len(piece) // 2]]))
            # The median: robust to keypoints that are far off in single frames.
            means.append(np.nanmedian(values, axis=0))
    if not owner:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, features.shape[1]))
    return np.array(owner), np.array(when), np.stack(means)


def _within(owner: Array, means: Array) -> Array:
    """Of tracklets with four pieces or more, how far each is from the tracklet's mean: (R, F)."""
    left = []
    for number in np.unique(owner):
        own = means[owner == number]
        if len(own) >= 4:
            left.append((own - own.mean(axis=0)) * np.sqrt(len(own) / (len(own) - 1)))
    return np.concatenate(left) if left else np.zeros((0, means.shape[1]))


def _between(owner: Array, when: Array, means: Array, most: int = 20_000) -> Array:
    """Differences of pieces of different tracklets at nearly the same time: (R, F)."""
    order = np.argsort(when, kind="stable")
    owner, when, means = owner[order], when[order], means[order]
    differences = []
    for shift in range(1, 12):
        pairs = np.flatnonzero((owner[shift:] != owner[:-shift]) & (when[shift:] - when[:-shift] < PIECE // 2))
        differences.append(means[pairs] - means[pairs + shift])
    found = np.concatenate(differences)
    return found[:: max(1, len(found) // most)]


def _drift(owner: Array, descriptors: Array) -> Array:
    """Variance between the halves of long tracklets beyond what their pieces explain: (Q,)."""
    beyond = []
    for number in np.unique(owner):
        own = descriptors[owner == number]
        if (half := len(own) // 2) >= 4:
            away = own[:half].mean(axis=0) - own[-half:].mean(axis=0)
            beyond.append(away**2 / 2 - 1 / half)
    if not beyond:
        return np.full(descriptors.shape[1], MIN_DRIFT)
    drift: Array = np.maximum(MIN_DRIFT, np.mean(beyond, axis=0))
    return drift
