"""Encounters of two animals, and the margin of the identity decision."""

from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.tracking.detections import Detections
from dlcpose.tracking.naming import Naming
from dlcpose.tracking.result import Encounter
from dlcpose.tracking.slots import Exchanges

Array = npt.NDArray[Any]
APART = 12  # frames: exchanges of the same two animals that are nearer in time are one encounter


def encounters_of(
    exchanges: Exchanges, naming: Naming, frame_indices: Array, detections: Detections
) -> tuple[Encounter, ...]:
    """Encounters in the order of time; exchanges of the same two animals in quick succession are one, by the least margin."""
    row_of_step = np.full(int(detections.steps.max(initial=0)) + 2, -1)
    row_of_step[detections.steps] = detections.rows

    def frame_of(step: int) -> int:
        """The frame of the first detections at a step or after, or the last there is."""
        later = row_of_step[max(step, 0) :]
        later = later[later >= 0]
        return int(frame_indices[later[0] if len(later) else row_of_step.max()])

    opened: dict[tuple[int, int], list[int]] = {}  # two animals -> begin, end, exchange with the least margin
    closed: list[tuple[tuple[int, int], list[int]]] = []
    for number in range(len(exchanges)):
        pair = (
            int(min(naming.first[number], naming.second[number])),
            int(max(naming.first[number], naming.second[number])),
        )
        begin, end = int(exchanges.begin[number]), int(exchanges.end[number])
        known = opened.get(pair)
        if known is not None and begin - known[1] <= APART:
            known[1] = max(known[1], end)
            if naming.margins[number] < naming.margins[known[2]]:
                known[2] = number
        else:
            if known is not None:
                closed.append((pair, known))
            opened[pair] = [begin, end, number]
    closed += list(opened.items())
    found = [
        Encounter(
            frame=frame_of(int(exchanges.end[best])),
            first=frame_of(begin),
            last=frame_of(end),
            a=pair[0],
            b=pair[1],
            margin=float(naming.margins[best]),
        )
        for pair, (begin, end, best) in closed
    ]
    return tuple(sorted(found, key=lambda each: (each.frame, each.a, each.b)))
