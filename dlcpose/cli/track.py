"""`dlcpose track`: tracks of the animals of a video, by joining its poses or by a conditional model (BUCTD)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcpose.cli.registry import command

if TYPE_CHECKING:
    from dlcpose.tracking.settings import TrackingSettings


@command("track")
def track_command(
    poses: Annotated[
        Path, typer.Argument(help="NAME.poses.h5, as `dlcpose predict` writes it; with --conditional, the video.")
    ],
    animals: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The number of animals, and so the maximum number of tracks; as many as the model knows, or as were seen at "
            "once where these are fewer, unless given.",
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The file to write; NAME.tracks.poses.h5 unless given.")] = None,
    video: Annotated[
        Path | None,
        typer.Option(help="The video, for appearance and review, if it has been moved since prediction."),
    ] = None,
    appearance: Annotated[
        bool | None,
        typer.Option(
            help="Distinguish animals by their appearance, learned from the video; by default where it is there and joins "
            "are doubtful."
        ),
    ] = None,
    corrections: Annotated[
        Path | None, typer.Option(help="The file that a review page saved; its corrections are applied to the tracks.")
    ] = None,
    review: Annotated[Path | None, typer.Option(help="Write a page with a clip of each likely swap.")] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Minimum score of an animal; unless given, a fifth of the usual one (0.1 with --conditional), and "
            "things that keep their place are no animals.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the appearance model's training; 0.")] = None,
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
        bool,
        typer.Option(
            "--overwrite", help="Replace tracks that were corrected; with --conditional, follow the video again too."
        ),
    ] = False,
) -> None:
    """Track the animals of a video through all of its frames."""
    # With which method an option goes; those of joining need to know how many animals there are.
    of_conditioning = {"conditions": conditions, "max-lost": max_lost, "detect-every": detect_every, "device": device}
    of_poses = {"video": video}
    of_joining = {"appearance": appearance, "corrections": corrections, "review": review, "seed": seed}
    if appearance is False:
        _refuse(
            {"seed": seed}, "it is of learning the animals' appearance, which --no-appearance leaves out. Leave it out"
        )
        if review is None and conditional is None:
            _refuse(
                {"video": video},
                "with --no-appearance only a review page is made of it. Add --review FILE or leave it out",
            )
    if conditional is None:
        _refuse(of_conditioning, "it is an option of tracking by conditioning. Add --conditional=CHECKPOINT")
        from dlcpose.cli.tracks_file import track_file

        settings = _settings(animals, min_score, appearance, seed)
        track_file(poses, settings, output, video=video, corrections=corrections, review=review, overwrite=overwrite)
        return
    _refuse(of_poses, "with --conditional the video is what is tracked. Leave it out")
    if animals is None:
        _refuse(of_joining, "without their number animals have as many tracks as the model begins. Add --animals=N")
    from dlcpose.cli.conditional_tracking import track_by_conditioning

    following = {"max_lost": max_lost, "detect_every": detect_every, "min_score": min_score}
    track_by_conditioning(
        poses,
        conditional,
        output,
        {name: value for name, value in following.items() if value is not None},
        None if animals is None else _settings(animals, None, appearance, seed),
        conditions=conditions,
        device=device,
        corrections=corrections,
        review=review,
        overwrite=overwrite,
    )


def _settings(
    animals: int | None, min_score: float | None, appearance: bool | None, seed: int | None
) -> TrackingSettings:
    from dlcpose.tracking.settings import TrackingSettings

    return TrackingSettings(animals=animals, min_score=min_score, appearance=appearance, seed=seed or 0)


def _refuse(options: Mapping[str, object], reason: str) -> None:
    """Raises ConfigError where an option is given that the method does not have."""
    from dlcpose.structures.errors import ConfigError

    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"--{name}: {reason}.")
