"""The list of likely swaps: what lasts, the likeliest first, and each once."""

from dataclasses import replace

import numpy as np
import pytest

from dlcpose.tracking.result import SwapCandidate, TrackingResult, swap_candidates
from tests.structures.made_up_tracks import made_up_tracks

SHORT = SwapCandidate(frame=10, a=0, b=1, margin=0.1, from_frame=8, to_frame=20, until=15)
LONG = SwapCandidate(frame=100, a=0, b=1, margin=2.0, from_frame=98, to_frame=130, until=120)
OPEN = SwapCandidate(frame=300, a=0, b=1, margin=1.0, from_frame=290, to_frame=301)


def listed(*doubtful: SwapCandidate, min_frames: int = 12) -> list[SwapCandidate]:
    columns = np.zeros((1, 2), np.int64)
    result = TrackingResult(made_up_tracks(frames=1, animals=2), columns, doubtful, 0, 0, 0.0, 0, 0, 0, {})
    return swap_candidates(result, min_frames)


def test_the_likeliest_comes_first_and_what_lasts_for_less_is_left_out() -> None:
    assert listed(SHORT, LONG, OPEN) == [OPEN, LONG]
    assert listed(SHORT, LONG, OPEN, min_frames=5) == [SHORT, OPEN, LONG]
    assert listed() == []


def test_of_stretches_of_two_animals_that_overlap_the_likeliest_is_listed() -> None:
    within = replace(LONG, frame=105, margin=3.0)
    assert listed(within, LONG) == [LONG]
    assert listed(replace(within, margin=1.0), LONG) == [replace(within, margin=1.0)]
    # One that would last too briefly hides none that would last.
    assert listed(replace(within, until=110, margin=1.0), LONG) == [LONG]
    assert len(listed(replace(within, a=2), LONG)) == 2


@pytest.mark.parametrize(("frame", "count"), [(120, 2), (119, 1), (85, 1), (80, 2)])
def test_stretches_that_follow_each_other_are_two(frame: int, count: int) -> None:
    assert len(listed(LONG, replace(LONG, frame=frame, until=frame + 20, margin=3.0))) == count


def test_a_place_from_which_on_all_may_be_exchanged_is_one_with_a_stretch_around_it() -> None:
    assert listed(OPEN, replace(OPEN, frame=305, from_frame=301, to_frame=306, margin=4.0)) == [OPEN]
    assert len(listed(OPEN, replace(OPEN, frame=310, from_frame=302, to_frame=311, margin=4.0))) == 2
