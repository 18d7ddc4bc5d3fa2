"""Evidence for the animal of each tracklet: appearance descriptors, and identities that the model predicted."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.tracking.detections import Detections
from dlcpose.tracking.evidence import PIECE, Evidence
from dlcpose.tracking.naming import Naming, name_slots
from dlcpose.tracking.slots import Exchanges

Array = npt.NDArray[Any]
ROUNDS = 8
MIN_SHARE, MAX_SHARE = 0.5, 0.98  # assumed share of correct identities


def identify(
    slots: list[list[int]],
    evidence: Evidence,
    votes: Array,
    exchanges: Exchanges,
    *,
    first: Array,
    last: Array,
    beam: int,
    max_margin: float = np.inf,
    begun: Naming | None = None,
) -> Naming:
    """The best naming of the slots, estimated together with the animals' descriptors.

    votes: (S, N) cost in nats of each tracklet being each animal, by predicted identities; zeros without. first, last: (S,)
    steps. As in k-means, animals' mean descriptors and the naming are improved in turn, from two starts: the slots as they
    are, and the moment at which all animals have been followed longest. The cheaper naming is returned. max_margin: as of
    `name_slots`. begun: a naming by other evidence, to start from in place of the two; it is returned where this evidence is
    empty.
    """
    has_votes = bool(votes.any())
    if begun is None:
        begun = name_slots(slots, votes, exchanges, beam=beam, free_start=has_votes, max_margin=max_margin)
        moment = _best_moment(slots, evidence, exchanges, first, last)
    else:
        moment = None
    if not evidence.sums.shape[1]:
        return begun
    starts = [_means(slots, begun.names, evidence, len(slots)), *([] if moment is None else [moment])]
    found: list[Naming] = []
    for centers in starts:
        naming = None
        for _ in range(ROUNDS):
            costs = _costs(evidence, *centers)
            better = name_slots(slots, costs + votes, exchanges, beam=beam, free_start=True, max_margin=max_margin)
            if naming is not None and better.cost >= naming.cost - 1e-6:
                break
            naming = better
            centers = _means(slots, naming.names, evidence, len(slots))
        assert naming is not None
        found.append(naming)
    best = min(found, key=lambda each: each.cost)
    return best if has_votes else _in_order_of_slots(best)


def votes_of(detections: Detections, members: list[Array], animals: int) -> Array:
    """The cost in nats of each tracklet being each animal, by the identities predicted in its frames: (S, N).

    An identity is as often right as the commonest one of a tracklet is common; PIECE frames in a row are one vote.
    Identities beyond the number of animals are ignored.
    """
    counts = np.zeros((len(members), animals))
    for number, places in enumerate(members):
        named = detections.identities[places]
        named = named[(named >= 0) & (named < animals)]
        np.add.at(counts[number], named, 1)
    totals = counts.sum(axis=1)
    long = totals >= PIECE
    if not totals.any() or animals < 2:
        return np.zeros_like(counts)
    share = counts[long].max(axis=1).sum() / totals[long].sum() if long.any() else MIN_SHARE
    share = float(np.clip(share, MIN_SHARE, MAX_SHARE))
    worth = max(0.0, np.log(share * (animals - 1) / (1 - share)))
    costs: Array = (totals[:, None] - counts) * worth / PIECE
    return costs


def _costs(evidence: Evidence, centers: Array, pieces: Array) -> Array:
    """Of each tracklet being each animal whose mean descriptor (N, Q) comes from `pieces` (N,): (S, N)."""
    count = np.maximum(evidence.pieces, 1)[:, None]
    away = evidence.sums[:, None] / count[..., None] - centers[None]  # (S, N, Q)
    variance = (1 / count + 1 / np.maximum(pieces, 1))[..., None] + 2 * evidence.drift
    costs = evidence.costs(away**2 / variance)
    costs[:, pieces == 0] = 0.0  # an animal without a descriptor has no cost
    return np.where(evidence.pieces[:, None] > 0, costs, 0.0)


def _means(slots: list[list[int]], names: list[Array], evidence: Evidence, animals: int) -> tuple[Array, Array]:
    sums, pieces = np.zeros((animals, evidence.sums.shape[1])), np.zeros(animals)
    for slot, name in zip(slots, names, strict=True):
        np.add.at(sums, name, evidence.sums[slot])
        np.add.at(pieces, name, evidence.pieces[slot])
    return sums / np.maximum(pieces, 1)[:, None], pieces


def _best_moment(
    slots: list[list[int]], evidence: Evidence, exchanges: Exchanges, first: Array, last: Array
) -> tuple[Array, Array] | None:
    """Mean descriptors of the animals between exchanges, at the time when the shortest of them is longest."""
    stretches: list[list[tuple[int, int, Array, float]]] = []
    for slot, tracklets in enumerate(slots):
        places = np.concatenate(
            [exchanges.first_place[exchanges.first_slot == slot], exchanges.second_place[exchanges.second_slot == slot]]
        )
        bounds = np.unique(np.concatenate([[0], places, [len(tracklets)]]))
        own = []
        for low, high in itertools.pairwise(bounds.tolist()):
            part = tracklets[low:high]
            number = float(evidence.pieces[part].sum())
            if number:
                own.append((int(first[part[0]]), int(last[part[-1]]), evidence.sums[part].sum(axis=0) / number, number))
        if not own:
            return None
        stretches.append(own)
    best: list[tuple[int, int, Array, float]] = []
    for begin in sorted(each[0] for own in stretches for each in own):
        there = [next((each for each in own if each[0] <= begin <= each[1]), None) for own in stretches]
        known = [each for each in there if each is not None]
        if len(known) == len(slots) and (not best or min(e[3] for e in known) > min(e[3] for e in best)):
            best = known
    return (np.stack([each[2] for each in best]), np.array([each[3] for each in best])) if best else None


def _in_order_of_slots(naming: Naming) -> Naming:
    """The same animals, numbered as the slots are at their beginning."""
    begins = [int(names[0]) if len(names) else -1 for names in naming.names]
    used = [each for each in begins if each >= 0]
    free = [animal for animal in range(len(begins)) if animal not in used]
    number = np.zeros(len(begins), np.int64)
    for slot, animal in enumerate(begins):
        number[animal if animal >= 0 else free.pop(0)] = slot
    return naming._replace(
        names=[number[names] for names in naming.names], first=number[naming.first], second=number[naming.second]
    )
