"""`dlcpose track`: tracks of the animals of a video, by joining its poses or by a conditional model (BUCTD)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcpose.cli.pose_files import video_of
from dlcpose.cli.registry import command

if TYPE_CHECKING:
    from dlcpose.exporters.pose_file import Provenance
    from dlcpose.structures.pose_tracks import PoseTracks
    from dlcpose.tracking.result import SwapCandidate, TrackingResult
    from dlcpose.tracking.settings import TrackingSettings
    from dlcpose.tracking.track import Linking

SHOWN = 10  # likely swaps that are printed
FOLLOWED = ".followed"  # in the name of the file of poses that a conditional model has followed


@command("track")
def track_command(
    poses: Annotated[
        Path, typer.Argument(help="NAME.poses.h5, as `dlcpose predict` writes it; with --conditional, the video.")
    ],
    animals: Annotated[
        int | None,
        typer.Option(
            min=1, help="The number of animals, and so the maximum number of tracks; the model's unless given."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The file to write; NAME.tracks.poses.h5 unless given.")] = None,
    video: Annotated[Path | None, typer.Option(help="The video, if it has been moved since prediction.")] = None,
    appearance: Annotated[
        bool | None,
        typer.Option(
            help="Distinguish animals by their appearance, learned from --video; by default where joins are doubtful."
        ),
    ] = None,
    corrections: Annotated[
        Path | None, typer.Option(help="The file that a review page saved; its corrections are applied to the tracks.")
    ] = None,
    review: Annotated[Path | None, typer.Option(help="Write a page with a clip of each likely swap.")] = None,
    min_score: Annotated[float | None, typer.Option(min=0, max=1, help="Minimum score of an animal.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the appearance model's training.")] = 0,
    conditional: Annotated[
        Path | None,
        typer.Option(help="Checkpoint of a model ctd_*: the poses of each frame are its conditions in the next."),
    ] = None,
    conditions: Annotated[
        Path | None, typer.Option(help="With --conditional: checkpoint, or json of poses, that new animals come from.")
    ] = None,
    max_lost: Annotated[
        int | None,
        typer.Option(min=0, help="With --conditional: frames without an animal after which its track ends; 5."),
    ] = None,
    detect_every: Annotated[
        int | None, typer.Option(min=1, help="With --conditional: detect new animals in every n-th frame; each.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="With --conditional: cpu, cuda, ...; what there is.")] = None,
    overwrite: Annotated[
        bool | None,
        typer.Option("--overwrite", help="With --conditional: follow the video again, whatever is there of it."),
    ] = None,
) -> None:
    """Track the animals of a video through all of its frames."""
    if conditional is None:
        _refuse(
            {
                **{"conditions": conditions, "max-lost": max_lost, "detect-every": detect_every, "device": device},
                "overwrite": overwrite,
            },
            "it is an option of tracking by conditioning. Add --conditional=CHECKPOINT",
        )
    from dlcpose.tracking.settings import TrackingSettings

    of_poses = 0.0 if conditional is not None or min_score is None else min_score
    settings = TrackingSettings(animals=animals, min_score=of_poses, appearance=appearance, seed=seed)
    if conditional is None:
        track_file(poses, settings, output, video=video, corrections=corrections, review=review)
        return
    _refuse({"video": video}, "with --conditional the video is what is tracked. Leave it out")
    if animals is None:
        _refuse(
            {"appearance": appearance, "corrections": corrections, "review": review},
            "without their number animals have as many tracks as the model begins. Add --animals=N",
        )
    from dlcpose.cli.conditional_tracking import follow_video, write_followed
    from dlcpose.prediction.resumable import check_writable
    from dlcpose.tracking.corrections import read_corrections

    chosen = {"max_lost": max_lost, "detect_every": detect_every, "min_score": min_score}
    given = {name: value for name, value in chosen.items() if value is not None}
    out = output or poses.with_name(f"{poses.stem}.tracks.poses.h5")
    # What would stop the command after the video has been followed, stops it before.
    for path in (out, *([review] if review is not None else [])):
        check_writable(path.parent)
    if corrections is not None:
        read_corrections(corrections)
    followed = out.with_name(f"{poses.stem}{FOLLOWED}.poses.h5")
    follow_video(poses, conditional, followed, conditions, device, given, overwrite=bool(overwrite))
    if animals is None:
        write_followed(followed, out)
    else:
        track_file(followed, settings, out, video=poses, corrections=corrections, review=review)


def track_file(
    poses: Path,
    settings: TrackingSettings,
    output: Path | None = None,
    *,
    video: Path | None = None,
    corrections: Path | None = None,
    review: Path | None = None,
) -> Path:
    """Track the animals of a file of poses into another file, print a summary, and write a review page where `review`
    is given.

    Arguments as of the command; returns the file of tracks. Animals that a conditional model has followed are joined as it
    has followed them.
    """
    from dlcpose.exporters.pose_file import read_pose_tracks, read_provenance
    from dlcpose.prediction.followed_video import FOLLOWING
    from dlcpose.structures.errors import ConfigError
    from dlcpose.tracking.tracklets import tracklets_of, tracklets_of_columns

    untracked = read_pose_tracks(poses)
    stem = poses.name.removesuffix(".h5").removesuffix(".poses").removesuffix(FOLLOWED)
    out = output or poses.with_name(f"{stem}.tracks.poses.h5")
    if out.resolve() == poses.resolve():
        raise ConfigError(f"--output: expected another file than the poses that are read, got {out}. Name a new one.")
    provenance = read_provenance(poses)[1]
    link = tracklets_of_columns if FOLLOWING in provenance.settings and not untracked.is_tracked else tracklets_of
    track_poses(untracked, provenance, settings, out, link, video=video, corrections=corrections, review=review)
    return out


def track_poses(
    untracked: PoseTracks,
    provenance: Provenance,
    settings: TrackingSettings,
    output: Path,
    link: Linking,
    *,
    video: Path | None = None,
    corrections: Path | None = None,
    review: Path | None = None,
) -> None:
    """The same for poses in memory; link: as of `tracking.track.track`."""
    from dlcpose.exporters.pose_file import write_pose_tracks
    from dlcpose.tracking.corrections import apply_corrections, read_corrections
    from dlcpose.tracking.result import swap_candidates

    is_needed = video is not None or settings.appearance or review is not None
    source = video_of(untracked, video) if is_needed else None
    decided = read_corrections(corrections) if corrections is not None else None
    result = _tracked(untracked, settings, source if video is not None or settings.appearance else None, link)
    tracks = result.tracks if decided is None else apply_corrections(result.tracks, decided)
    seconds = {**provenance.seconds, "track": sum(result.seconds.values())}
    made = {**provenance.settings, "tracking": asdict(settings)}
    write_pose_tracks(output, tracks, replace(provenance, settings=made, seconds=seconds))
    likely = swap_candidates(result, settings.review_margin)
    typer.echo(_summary(output, result, likely))
    if review is not None and source is not None:
        from dlcpose.datasets.video import VideoReader
        from dlcpose.tracking.review import write_review

        count = write_review(review, result.tracks, likely, VideoReader(source))
        typer.echo(f"{review}: {count} likely swaps to review in a browser")


def _refuse(options: Mapping[str, object], reason: str) -> None:
    """Raises ConfigError where an option of the other tracking method is given."""
    from dlcpose.structures.errors import ConfigError

    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"--{name}: {reason}.")


def _tracked(poses: PoseTracks, settings: TrackingSettings, video: Path | None, link: Linking) -> TrackingResult:
    from dlcpose.tracking.track import track

    if video is None or settings.appearance is False:
        return track(poses, settings, link=link)
    from dlcpose.datasets.video import VideoReader
    from dlcpose.tracking.appearance import learn_looks

    looks = learn_looks(lambda: VideoReader(video), poses.frame_indices, seed=settings.seed)
    return track(poses, settings, looks, link)


def _summary(out: Path, result: TrackingResult, likely: list[SwapCandidate]) -> str:
    names = result.tracks.individuals
    used = int((result.columns >= 0).any(axis=0).sum())
    lines = [
        f"{out}: {used} tracks of {len(names)} animals from {result.tracklets} tracklets, {result.left_out} of "
        f"{result.detections} detections in none, {sum(result.seconds.values()):.1f} s",
        f"{len(likely)} likely swaps" + (", the likeliest first:" if likely else ""),
    ]
    lines += [
        f"  frame {each.frame}: {names[each.a]}, {names[each.b]}, margin {each.margin:.1f}" for each in likely[:SHOWN]
    ]
    if len(likely) > SHOWN:
        lines.append(f"  and {len(likely) - SHOWN} more")
    return "\n".join(lines)
