"""Result of tracking: tracks, and where two animals may be exchanged."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dlcpose.structures.pose_tracks import PoseTracks


@dataclass(frozen=True)
class SwapCandidate:
    """A likely swap, for review: animals a and b (columns of the tracks) may be exchanged from `frame` on.

    until: the first frame from which on they are right again, None where there is none near. margin: nats, how much worse
    the best assignment is in which they are the other way round; the smaller, the likelier a swap. from_frame,
    to_frame: around the stretch, or around `frame`, the last and first frame in which it is known who they are.
    """

    frame: int
    a: int
    b: int
    margin: float
    from_frame: int
    to_frame: int
    until: int | None = None

    @property
    def frames(self) -> float:
        """How many frames of the video a swap would last."""
        return np.inf if self.until is None else max(0, self.until - self.frame)

    def overlaps(self, other: "SwapCandidate") -> bool:
        """Whether both may be shown as one: the same two animals, for a time or at a place that is in both."""
        if (self.a, self.b) != (other.a, other.b):
            return False
        if self.until is not None and other.until is not None:
            return max(self.frame, other.frame) < min(self.until, other.until)
        return max(self.from_frame, other.from_frame) <= min(self.to_frame, other.to_frame)


@dataclass(frozen=True)
class TrackingResult:
    """The result of `track` for a video.

    tracks: at most N tracks, the columns. columns: (T, N) the column of the untracked poses that each animal came from, -1
    where it is absent. doubtful: where animals may be exchanged, with a margin up to the settings' review_margin, in the
    order of time. tracklets: how many there were. detections: how many were used; weak: how many were not, with
    a score below min_score. left_out: how many of those used are in no track. crowded: how many of the latter are in
    frames with more detections than animals. seconds: by stage.
    """

    tracks: PoseTracks
    columns: npt.NDArray[np.int64]
    doubtful: tuple[SwapCandidate, ...]
    tracklets: int
    detections: int
    min_score: float
    weak: int
    left_out: int
    crowded: int
    seconds: dict[str, float]


def swap_candidates(result: TrackingResult, min_frames: int) -> list[SwapCandidate]:
    """Swaps that would last for `min_frames` or more, the likeliest first; of those that overlap only the likeliest."""
    kept: list[SwapCandidate] = []
    for each in sorted(result.doubtful, key=lambda each: (each.margin, each.frame)):
        if each.frames >= min_frames and not any(each.overlaps(other) for other in kept):
            kept.append(each)
    return kept
