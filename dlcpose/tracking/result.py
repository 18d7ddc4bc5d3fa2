"""Result of tracking: tracks, encounters of animals, and likely swaps."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dlcpose.structures.pose_tracks import PoseTracks


@dataclass(frozen=True)
class Encounter:
    """Two animals that could have been exchanged.

    first, last: numbers of the frames in the video between which it happened. frame: from which on they would be
    exchanged, where that is likeliest. a, b: columns of the tracks. margin: nats, how much worse the second-best
    assignment is, in which both are exchanged.
    """

    frame: int
    first: int
    last: int
    a: int
    b: int
    margin: float


@dataclass(frozen=True)
class SwapCandidate:
    """A likely swap, for review: animals a and b (columns of the tracks) may be exchanged from `frame` on.

    from_frame, to_frame: of the encounter. margin: nats; the smaller, the likelier a swap.
    """

    frame: int
    a: int
    b: int
    margin: float
    from_frame: int
    to_frame: int


@dataclass(frozen=True)
class TrackingResult:
    """The result of `track` for a video.

    tracks: at most N tracks, the columns. columns: (T, N) the column of the untracked poses that each animal came from, -1
    where it is absent. encounters: where two animals could have been exchanged, in the order of time. tracklets: how
    many there were. detections, left_out: how many were in the poses, and are in no track. crowded: how many of the
    latter are in frames with more detections than animals. seconds: by stage.
    """

    tracks: PoseTracks
    columns: npt.NDArray[np.int64]
    encounters: tuple[Encounter, ...]
    tracklets: int
    detections: int
    left_out: int
    crowded: int
    seconds: dict[str, float]


def swap_candidates(result: TrackingResult, max_margin: float) -> list[SwapCandidate]:
    """The encounters with a margin up to `max_margin`, the likeliest swap first."""
    doubtful = [each for each in result.encounters if each.margin <= max_margin]
    return [
        SwapCandidate(each.frame, each.a, each.b, each.margin, each.first, each.last)
        for each in sorted(doubtful, key=lambda each: (each.margin, each.frame))
    ]
