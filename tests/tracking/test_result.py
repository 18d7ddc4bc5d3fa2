"""The list of likely swaps: what lasts, the likeliest first, and each once."""

from dataclasses import replace

import numpy as np

from dlcpose.tracking.result import SwapCandidate, TrackingResult, swap_candidates
from tests.structures.made_up_tracks import made_up_tracks

SHORT = SwapCandidate(frame=10, a=0, b=1, margin=0.1, from_frame=8, to_frame=20, until=15)
LONG = SwapCandidate(frame=100, a=0, b=1, margin=2.0, from_frame=98, to_frame=130, until=120)
OPEN = SwapCandidate(frame=300, a=0, b=1, margin=1.0, from_frame=290, to_frame=301)


def listed(*doubtful: SwapCandidate, min_frames: int = 12) -> list[SwapCandidate]:
    columns = np.zeros((1, 2), np.int64)
    result = TrackingResult(made_up_tracks(frames=1, animals=2), columns, doubtful, 0, 0, 0.0, 0, 0, 0, 0, {})
    return swap_candidates(result, min_frames)


def test_the_likeliest_comes_first_and_what_lasts_for_less_is_left_out() -> None:
    assert listed(SHORT, LONG, OPEN) == [OPEN, LONG]
    assert listed(SHORT, LONG, OPEN, min_frames=5) == [SHORT, OPEN, LONG]
    assert listed() == []


def test_stretches_of_two_animals_in_quick_succession_are_one() -> None:
    within = replace(LONG, frame=105, margin=3.0)
    assert listed(within, LONG) == [LONG]
    assert listed(replace(within, margin=1.0), LONG) == [replace(within, margin=1.0)]
    assert len(listed(replace(within, a=2), LONG)) == 2
    after = replace(LONG, frame=160, until=180, from_frame=142, to_frame=190, margin=3.0)
    assert listed(LONG, after) == [replace(LONG, to_frame=190)]
    assert len(listed(LONG, replace(after, from_frame=143))) == 2


def test_a_short_stretch_hides_none_that_lasts_and_several_may_be_a_long_one() -> None:
    brief = replace(LONG, until=107, margin=1.0)
    assert listed(brief, LONG) == [replace(LONG, margin=1.0)]
    following = replace(brief, frame=109, until=115, from_frame=107, to_frame=117, margin=0.5)
    assert listed(brief) == listed(following) == []
    assert listed(brief, following) == [replace(LONG, until=115, margin=0.5)]


def test_a_place_from_which_on_all_may_be_exchanged_lasts() -> None:
    assert listed(OPEN, min_frames=10**9) == [OPEN]
    assert listed(OPEN, replace(OPEN, frame=305, from_frame=301, to_frame=306, margin=4.0)) == [
        replace(OPEN, to_frame=306)
    ]
