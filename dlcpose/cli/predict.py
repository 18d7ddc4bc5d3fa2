"""`dlcpose predict`: write the poses of videos and images to files; an interrupted command resumes where it stopped."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcpose.cli.option_names import as_options
from dlcpose.cli.progress import frames_shown
from dlcpose.cli.registry import command
from dlcpose.cli.say import say
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError, DataError, DlcposeError, explain_os_errors
from dlcpose.structures.interrupts import stopped_at_once

if TYPE_CHECKING:
    from dlcpose.predict import Predictor
    from dlcpose.prediction.resumable import Outcome
    from dlcpose.prediction.settings import PredictionSettings
    from dlcpose.tracking.settings import TrackingSettings


@command("predict")
def predict_command(
    inputs: Annotated[list[str], typer.Argument(metavar="VIDEO...", help="Videos, images, folders or patterns.")],
    checkpoint: Annotated[Path, typer.Option(help="best.ckpt of a run, or what `dlcpose export --format onnx` made.")],
    output: Annotated[Path | None, typer.Option(help="Folder of the results; beside each video unless given.")] = None,
    start: Annotated[int, typer.Option(min=0, help="First frame.")] = 0,
    stop: Annotated[int | None, typer.Option(min=1, help="Frame to end before.")] = None,
    step: Annotated[int, typer.Option(min=1, help="Predict every so many frames.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best of this machine unless given.")] = None,
    batch_size: Annotated[str, typer.Option(help="Frames that go through the network together.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, 32, bf16 or fp16.")] = "auto",
    crop: Annotated[
        str | None,
        typer.Option(help="x1,y1,x2,y2 of the part of the frame to predict; coordinates stay those of the full frame."),
    ] = None,
    detector_every: Annotated[
        int, typer.Option(min=1, help="Run the detector only every so many frames (top-down).")
    ] = 1,
    flip_test: Annotated[
        bool, typer.Option("--flip-test", help="Predict each frame mirrored too, and merge both.")
    ] = False,
    dynamic_crop: Annotated[
        bool,
        typer.Option("--dynamic-crop", help="Predict only around one animal's last pose; not with unique keypoints."),
    ] = False,
    conditions: Annotated[
        Path | None, typer.Option(help="For a conditioned model: the checkpoint of the poses it is conditioned on.")
    ] = None,
    trust: Annotated[list[str] | None, typer.Option(help="A package of your own that the model is made of.")] = None,
    track: Annotated[bool, typer.Option("--track", help="Track the animals too: NAME.tracks.poses.h5.")] = False,
    animals: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --track: the number of animals, and so the maximum number of tracks; as many as the model knows, or "
            "as were seen at once where these are fewer, unless given.",
        ),
    ] = None,
    readers: Annotated[
        list[str] | None, typer.Option("--for", help="Write tables too, as this tool takes them; see `dlcpose tables`.")
    ] = None,
    formats: Annotated[list[str] | None, typer.Option("--format", help="Write tables too, in this format.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Predict again what has been predicted already.")
    ] = False,
) -> None:
    """Predict the poses in videos: NAME.poses.h5 for each; images of a folder: images.poses.json."""
    if animals is not None and not track:
        raise ConfigError("--animals: it is of the tracking. Add --track, or leave it out.")
    from dlcpose.cli.predict_images import check_image_settings, predict_images
    from dlcpose.cli.prediction_inputs import find_inputs
    from dlcpose.prediction.settings import PredictionSettings
    from dlcpose.tracking.settings import TrackingSettings

    tracking = TrackingSettings(animals=animals) if track else None
    settings = PredictionSettings(
        start=start,
        stop=stop,
        step=step,
        batch_size=parse_batch_size(batch_size),
        precision=precision,
        crop=parse_crop(crop),
        detector_every=detector_every,
        flip_test=flip_test,
        dynamic_crop=dynamic_crop,
    )
    found = find_inputs(inputs, output)
    if found.images:
        check_image_settings(settings)
    if not found.videos:
        for name, value in {"track": track, "animals": animals, "for": readers, "format": formats}.items():
            if value:
                raise ConfigError(f"--{name}: it is of videos, and there are images only. Leave it out.")
    with stopped_at_once():
        from dlcpose.exporters.pose_tables import check_before_prediction
        from dlcpose.predict import load
        from dlcpose.prediction.loaded_model import check_settings

    predictor = load(checkpoint, device=device, conditions=conditions, trust=trust or ())
    check_settings(settings, predictor.pipeline)
    are_tracked = track or predictor.pipeline.finds_one_animal
    check_before_prediction(formats or (), readers or (), are_tracked=are_tracked)
    finish = functools.partial(
        _finish, tracking=tracking, readers=readers or (), formats=formats or (), overwrite=overwrite
    )
    failures = Failures(len(found.images) + len(found.videos), "inputs" if found.images else "videos")
    for result, images in found.images.items():
        with failures.noted(result):
            predict_images(predictor, images, result, settings, overwrite=overwrite)
    predict_videos(predictor, found.videos, settings, overwrite=overwrite, finish=finish, failures=failures)


class Failures:
    """The inputs of a command that have failed: each is printed, and does not stop the others.

    total: the number of inputs; one that is alone raises its own error. kind: of the inputs, as they are called.
    """

    def __init__(self, total: int, kind: str) -> None:
        self.total, self.kind, self.count = total, kind, 0

    @contextmanager
    def noted(self, place: Path) -> Iterator[None]:
        """Within it, an error that the user can mend is printed; running out of memory and a full disk are such errors."""
        try:
            with explain_os_errors(), _explained_memory(place):
                yield
        except DlcposeError as error:
            if self.total == 1:
                raise
            self.count += 1
            say(f"dlcpose: {as_options(str(error))}", err=True)

    def check(self) -> None:
        """Raises DataError where some have failed."""
        if self.count:
            raise DataError(f"{self.count} of {self.total} {self.kind} failed (listed above). The others are done.")


@contextmanager
def _explained_memory(place: Path) -> Iterator[None]:
    from dlcpose.training.hints import DEVICE, MemoryRunOutError

    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        said = " ".join(str(error).split())
        if not isinstance(error, MemoryError) and not DEVICE.search(said):
            raise
        raise MemoryRunOutError(
            f"{place}: out of memory ({said[:120]}). Lower --batch-size, or predict a part of the frames with --crop."
        ) from error


def _finish(
    outcome: Outcome,
    *,
    tracking: TrackingSettings | None,
    readers: Sequence[str],
    formats: Sequence[str],
    overwrite: bool,
) -> Mapping[str, float]:
    """Track the poses of a video and write their tables, as far as the command says; the seconds of all stages."""
    result, seconds = outcome.path, outcome.seconds
    if tracking is not None:
        from dlcpose.cli.tracks_file import track_prediction
        from dlcpose.exporters.pose_file import read_provenance

        result = track_prediction(result, tracking, overwrite=overwrite)
        seconds = read_provenance(result)[1].seconds
    if readers or formats:
        from dlcpose.cli.write_tables import tables_of

        tables_of([result], readers, formats, existing="replace" if overwrite else "keep")
    return seconds


def predict_videos(
    predictor: Predictor,
    videos: Mapping[Path, Path],
    settings: PredictionSettings,
    *,
    overwrite: bool,
    finish: Callable[[Outcome], Mapping[str, float]] | None = None,
    failures: Failures | None = None,
) -> None:
    """Predict each video into its file and print progress; one that fails does not stop the others.

    finish: is called with each video's outcome, such as to track it or to write tables, and returns the seconds of all
    stages. failures: of the inputs before. Raises DataError at the end where some failed.
    """
    from dlcpose.structures.atomic_files import check_writable

    for folder in dict.fromkeys(result.parent for result in videos.values()):
        check_writable(folder)
    failures = failures or Failures(len(videos), "videos")
    for video, result in videos.items():
        began = time.perf_counter()
        with failures.noted(video):
            outcome = _predict_video(predictor, video, result, settings, overwrite)
            _say(outcome, time.perf_counter() - began)
            seconds = outcome.seconds if finish is None else finish(outcome)
            if not outcome.was_there:
                _say_stages(seconds, outcome.frames)
    failures.check()


def _predict_video(
    predictor: Predictor, video: Path, result: Path, settings: PredictionSettings, overwrite: bool
) -> Outcome:
    from dlcpose.prediction.video import write_video_poses

    with frames_shown(video.name) as shown:
        return write_video_poses(predictor.model, video, result, settings, overwrite=overwrite, progress=shown)


def _say(outcome: Outcome, elapsed: float) -> None:
    """Print the outcome of a video."""
    if outcome.was_there:
        say(f"{outcome.path}: there already, of the same video, checkpoint and settings")
        return
    if outcome.problem:
        say(f"dlcpose: warning: {outcome.problem}", err=True)
    say(f"{outcome.path}: {counted(outcome.frames, 'frame')} in {elapsed:.1f} s")


def _say_stages(seconds: Mapping[str, float], frames: int) -> None:
    """Print a table of the seconds by stage."""
    say("  stages overlap    seconds  ms a frame")
    for stage, each in seconds.items():
        say(f"  {stage:<14} {each:10.1f} {1000 * each / max(1, frames):11.2f}")


def parse_crop(text: str | Sequence[int] | None) -> tuple[int, int, int, int] | None:
    """x1, y1, x2, y2 of `x1,y1,x2,y2`. Raises ConfigError for anything else."""
    if text is None:
        return None
    try:
        x1, y1, x2, y2 = (int(part) for part in (text.split(",") if isinstance(text, str) else text))
    except (ValueError, TypeError):
        raise ConfigError(f"crop: expected four whole numbers x1,y1,x2,y2, got {text!r}.") from None
    return x1, y1, x2, y2


def parse_batch_size(text: str | int) -> int | str:
    """A number, or "auto". Raises ConfigError for anything else."""
    try:
        return text if text == "auto" else int(text)
    except (ValueError, TypeError):
        raise ConfigError(f'batch_size: expected a number of 1 or more, or "auto", got {text!r}.') from None
