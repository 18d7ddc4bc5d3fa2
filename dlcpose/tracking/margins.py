"""Stretches in which two animals may be exchanged, by the margin of the identity decision."""

from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.tracking.detections import Detections
from dlcpose.tracking.naming import Naming
from dlcpose.tracking.result import SwapCandidate
from dlcpose.tracking.slots import Exchanges

Array = npt.NDArray[Any]


def doubtful_exchanges(
    exchanges: Exchanges, naming: Naming, frame_indices: Array, detections: Detections, max_margin: float
) -> tuple[SwapCandidate, ...]:
    """What the best solution with another decision would exchange, of decisions with a margin up to `max_margin`.

    In the order of the video. Decisions of one other solution about the same two animals are one; where it is too long for
    a clip, its beginning and its end are two, each exchanged from there on.
    """

    def frame_of(step: int) -> int:
        """The frame of the first detections at a step or after, or the last there is."""
        first = int(np.searchsorted(detections.steps, step))
        return int(frame_indices[detections.rows[min(first, len(detections) - 1)]])

    found: dict[tuple[int, ...], SwapCandidate] = {}
    for number in np.flatnonzero(naming.margins <= max_margin).tolist():
        a, b = sorted((int(naming.first[number]), int(naming.second[number])))
        since, until = int(naming.since[number]), int(naming.until[number])
        is_whole = since >= 0 and until >= 0
        low, high = (since, until) if is_whole else (number, number)
        found.setdefault(
            (low, high, a, b),
            SwapCandidate(
                frame=frame_of(int(exchanges.end[low])),
                until=frame_of(int(exchanges.begin[high]) + 1) if is_whole else None,
                a=a,
                b=b,
                margin=float(naming.margins[number]),
                from_frame=frame_of(int(exchanges.begin[low])),
                to_frame=frame_of(int(exchanges.end[high])),
            ),
        )
    return tuple(sorted(found.values(), key=lambda each: (each.frame, each.a, each.b, each.margin)))
