"""Track the animals of a file of poses into another file, as `dlcpose track` and `dlcpose predict --track` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcpose.cli.pose_files import SUFFIX, check_ending, check_new, stem_of, video_of
from dlcpose.cli.progress import stages_shown
from dlcpose.cli.say import say
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.printable import printable

if TYPE_CHECKING:
    from dlcpose.exporters.pose_file import Provenance
    from dlcpose.structures.pose_tracks import PoseTracks
    from dlcpose.tracking.corrections import Correction, Corrections
    from dlcpose.tracking.result import SwapCandidate, TrackingResult
    from dlcpose.tracking.settings import TrackingSettings
    from dlcpose.tracking.track import Linking

SHOWN = 10  # likely swaps that are printed
TRACKS = ".tracks"  # in the name of a file of tracks
FOLLOWED = ".followed"  # in the name of a file of poses that a conditional model has followed
TRACKING = "tracking"  # key in a file's provenance: the settings of its tracks, and OF_RESULT
OF_RESULT = ("used_appearance", "corrections")


def track_file(
    poses: Path,
    settings: TrackingSettings,
    output: Path | None = None,
    *,
    video: Path | None = None,
    corrections: Path | None = None,
    review: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Track the animals of a file of poses into another file, print a summary, and write a review page where `review`
    is given.

    Arguments as of the command; returns the file of tracks. Animals that a conditional model has followed are joined as it
    has followed them. Raises ConfigError for outputs that are inputs, DataError where tracks with manual corrections would
    be replaced.
    """
    from dlcpose.exporters.pose_file import read_pose_tracks, read_provenance
    from dlcpose.prediction.followed_video import FOLLOWING
    from dlcpose.tracking.tracklets import tracklets_of, tracklets_of_columns

    untracked = read_pose_tracks(poses)
    out = output or tracks_beside(poses)
    check_outputs(out, review, [poses, video, Path(untracked.video.path), corrections])
    if corrections is None and not overwrite:
        check_uncorrected(out)
    provenance = read_provenance(poses)[1]
    link = tracklets_of_columns if FOLLOWING in provenance.settings and not untracked.is_tracked else tracklets_of
    _track(poses, untracked, provenance, settings, out, link, video=video, corrections=corrections, review=review)
    return out


def track_prediction(poses: Path, settings: TrackingSettings, *, overwrite: bool) -> Path:
    """`track_file` after a prediction: tracks that are there already, of the same poses and settings, stay as they are.

    Raises DataError where tracks of other poses or settings were corrected, and overwrite is False.
    """
    out = tracks_beside(poses)
    if not overwrite and (there := _provenance_in(out)) is not None:
        unlike, count = _differences(*there, poses, settings), _corrections_in(there[1])
        if not unlike:
            corrected = f", with {counted(count, 'manual correction')}" if count else ""
            say(f"{out}: there already, of the same poses and settings{corrected}")
            return out
        if count:
            raise DataError(
                f"{out}: it holds tracks with {counted(count, 'manual correction')}, of {'; '.join(unlike)}. "
                f"Add --overwrite to replace them, or "
                "give another --output."
            )
    return track_file(poses, settings, overwrite=overwrite)


def tracks_beside(poses: Path) -> Path:
    """The file of tracks beside a file of poses: NAME.tracks.poses.h5."""
    return poses.with_name(f"{stem_of(poses).removesuffix(FOLLOWED)}{TRACKS}{SUFFIX}")


def check_outputs(output: Path, review: Path | None, inputs: list[Path | None]) -> None:
    """Raises ConfigError for names with other endings, and for outputs that would take the place of inputs."""
    check_ending(output, SUFFIX)
    check_new(output, inputs)
    if review is not None:
        check_ending(review, ".html", "--review")
        check_new(review, inputs, "--review")


def check_uncorrected(tracks: Path) -> None:
    """Raises DataError where a file holds tracks that were corrected."""
    there = _provenance_in(tracks)
    if there is not None and (count := _corrections_in(there[1])):
        raise DataError(
            f"{tracks}: it holds tracks with {counted(count, 'manual correction')}, which would be lost. Give the file of "
            "corrections with --corrections, or another --output, or replace the tracks with --overwrite."
        )


def _provenance_in(tracks: Path) -> tuple[str, Provenance] | None:
    """Video and provenance of a file of tracks; None where there is none, or a damaged one, from which nothing is lost."""
    from dlcpose.exporters.pose_file import read_provenance

    try:
        return read_provenance(tracks)
    except DataError:
        return None


def _corrections_in(provenance: Provenance) -> int:
    """The number of manual corrections that were applied to tracks."""
    recorded = _tracking_in(provenance).get("corrections")
    count = recorded.get("count") if isinstance(recorded, Mapping) else 0
    return count if isinstance(count, int) else 0


def _differences(video: str, made: Provenance, poses: Path, settings: TrackingSettings) -> list[str]:
    """How tracks of this video and provenance differ from those of a file of poses, as `animals: 2 there, 3 here`.

    Corrections are no difference, nor is appearance that was used by itself.
    """
    from dlcpose.exporters.pose_file import read_provenance
    from dlcpose.prediction.settings import differences

    content, provenance = read_provenance(poses)
    used = {name: value for name, value in made.settings.items() if name != TRACKING}
    tracked = {name: value for name, value in _tracking_in(made).items() if name not in OF_RESULT}
    return differences(
        {"video": content, "checkpoint": provenance.checkpoint_hash, **provenance.settings, **asdict(settings)},
        {"video": video, "checkpoint": made.checkpoint_hash, **used, **tracked},
    )


def _tracking_in(provenance: Provenance) -> Mapping[str, Any]:
    """What the provenance of a file, which nobody has checked, tells of its tracking."""
    found = provenance.settings.get(TRACKING)
    return found if isinstance(found, Mapping) else {}


def _track(
    poses: Path,
    untracked: PoseTracks,
    provenance: Provenance,
    settings: TrackingSettings,
    output: Path,
    link: Linking,
    *,
    video: Path | None,
    corrections: Path | None,
    review: Path | None,
) -> None:
    """`track_file` once the poses are read; link: as of `tracking.track.track`."""
    from dlcpose.exporters.pose_file import write_pose_tracks
    from dlcpose.tracking.corrections import apply_corrections, read_corrections
    from dlcpose.tracking.result import swap_candidates

    is_needed = video is not None or settings.appearance or review is not None
    source, missing = None, ""
    if is_needed:
        source = video_of(untracked, video, poses)
    elif settings.appearance is not False:
        source, missing = _video_if_there(untracked, poses)
    decided = read_corrections(corrections) if corrections is not None else None
    result = _tracked(untracked, settings, source, link, provenance.individuals)
    tracks = result.tracks if decided is None else apply_corrections(result.tracks, decided)
    seconds = {**provenance.seconds, "track": sum(result.seconds.values())}
    applied = None if corrections is None or decided is None else _record(corrections, decided)
    of_result = {"used_appearance": "appearance" in result.seconds, "corrections": applied}
    made = {**provenance.settings, TRACKING: {**asdict(settings), **of_result}}
    write_pose_tracks(output, tracks, replace(provenance, settings=made, seconds=seconds))
    likely = swap_candidates(result, settings.review_frames)
    if result.doubtful and missing:  # without doubtful joins nobody would have looked at the video
        say(f"without the animals' appearance: {missing}")
    for line in _summary(output, result, likely, () if decided is None else decided.corrections):
        say(line)
    if review is not None and source is not None:
        from dlcpose.datasets.video import VideoReader
        from dlcpose.tracking.review import write_review

        given = () if decided is None else decided.corrections
        count = write_review(review, result.tracks, likely, VideoReader(source), decisions=given)
        say(f"{review}: {counted(count, 'likely swap')} to review in a browser")


def _video_if_there(untracked: PoseTracks, poses: Path) -> tuple[Path | None, str]:
    """The video of poses, from which animals' appearance is learned, or None and why it is not there."""
    try:
        return video_of(untracked, None, poses), ""
    except (ConfigError, DataError) as error:
        return None, str(error)


def _record(path: Path, corrections: Corrections) -> dict[str, Any]:
    """What the provenance of corrected tracks tells of the corrections."""
    from dlcpose.prediction.loaded_model import sha256_of

    return {"file": path.name, "sha256": sha256_of(path), "count": len(corrections.corrections)}


def _tracked(
    poses: PoseTracks, settings: TrackingSettings, video: Path | None, link: Linking, individuals: tuple[str, ...]
) -> TrackingResult:
    from dlcpose.tracking.track import track

    if video is None or settings.appearance is False:
        return track(poses, settings, None, link, individuals)
    from dlcpose.datasets.video import VideoReader
    from dlcpose.tracking.appearance import learn_looks

    with stages_shown() as shown:
        looks = learn_looks(lambda: VideoReader(video), poses.frame_indices, seed=settings.seed, progress=shown)
        return track(poses, settings, looks, link, individuals)


def _summary(
    out: Path, result: TrackingResult, likely: list[SwapCandidate], decisions: Sequence[Correction]
) -> list[str]:
    from dlcpose.tracking.review import decisions_of

    names = [printable(name) for name in result.tracks.individuals]
    used = int((result.columns >= 0).any(axis=0).sum())
    swaps = sum(each.action != "keep" for each in decisions)
    of_likely = decisions_of(result.tracks, likely, decisions)
    undecided = [each for each, place in zip(likely, of_likely, strict=True) if place is None]
    lines = [
        f"{out}: {counted(used, 'track')} of {counted(len(names), 'animal')} from "
        f"{counted(result.tracklets, 'tracklet')}, {result.left_out} of "
        f"{counted(result.detections, 'detection')} in no track, {sum(result.seconds.values()):.1f} s",
        *(
            [f"{counted(result.weak, 'detection')} with a score below {result.min_score:.2g} not used"]
            if result.weak
            else []
        ),
        *(
            [f"{counted(result.fixed, 'detection')} not used, of things that keep their place and score little"]
            if result.fixed
            else []
        ),
        *(
            [f"{counted(len(decisions), 'manual correction')}: {swaps} swapped, {len(decisions) - swaps} kept"]
            if decisions
            else []
        ),
        counted(len(likely), "likely swap")
        + (f", {len(likely) - len(undecided)} of them decided" if decisions else "")
        + (", the likeliest first:" if undecided else ""),
    ]
    lines += [
        f"  frame {each.frame}: {names[each.a]}, {names[each.b]}, margin {each.margin:.1f}"
        for each in undecided[:SHOWN]
    ]
    if len(undecided) > SHOWN:
        lines.append(f"  and {len(undecided) - SHOWN} more")
    return lines
