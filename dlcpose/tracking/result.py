"""Result of tracking: tracks, and where two animals may be exchanged."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dlcpose.structures.pose_tracks import PoseTracks

APART = 12  # frames: stretches of the same two animals that are nearer in time are shown as one,
LONGEST = 150  # frames: unless they begin later than this after the first of them


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


@dataclass(frozen=True)
class TrackingResult:
    """The result of `track` for a video.

    tracks: at most N tracks, the columns. columns: (T, N) the column of the untracked poses that each animal came from, -1
    where it is absent. doubtful: where animals may be exchanged, with a margin up to the settings' review_margin, in the
    order of time. tracklets: how many there were. detections: how many were used; weak: how many were not, with
    a score below min_score; fixed: how many were not, of things that are no animals (`fixtures.is_fixture`). left_out: how
    many of those used are in no track. crowded: how many of the latter are in frames with more detections than animals.
    seconds: by stage.
    """

    tracks: PoseTracks
    columns: npt.NDArray[np.int64]
    doubtful: tuple[SwapCandidate, ...]
    tracklets: int
    detections: int
    min_score: float
    weak: int
    fixed: int
    left_out: int
    crowded: int
    seconds: dict[str, float]


def swap_candidates(result: TrackingResult, min_frames: int) -> list[SwapCandidate]:
    """Swaps that would last for `min_frames` or more, the likeliest first.

    What is doubtful of the same two animals in quick succession is one: several short stretches may be one long one.
    """
    of_pair: dict[tuple[int, int], list[list[SwapCandidate]]] = {}
    for each in sorted(result.doubtful, key=lambda each: each.from_frame):
        groups = of_pair.setdefault((each.a, each.b), [])
        end = max(known.to_frame for known in groups[-1]) + APART if groups else -1
        if groups and each.from_frame <= min(end, groups[-1][0].from_frame + LONGEST):
            groups[-1].append(each)
        else:
            groups.append([each])
    together = [_as_one(group, min_frames) for groups in of_pair.values() for group in groups]
    return sorted(
        (each for each in together if each.frames >= min_frames),
        key=lambda each: (each.margin, each.frame, each.a, each.b),
    )


def _as_one(group: list[SwapCandidate], min_frames: int) -> SwapCandidate:
    """The likeliest of a group that lasts for `min_frames`, else from the beginning of the first to the end of the last."""
    whole = SwapCandidate(
        frame=min(each.frame for each in group),
        until=max((each.until for each in group if each.until is not None), default=None),
        a=group[0].a,
        b=group[0].b,
        margin=min(each.margin for each in group),
        from_frame=min(each.from_frame for each in group),
        to_frame=max(each.to_frame for each in group),
    )
    lasting = [each for each in group if each.frames >= min_frames]
    if not lasting:
        return whole
    likeliest = min(lasting, key=lambda each: each.margin)
    return replace(whole, frame=likeliest.frame, until=likeliest.until)
