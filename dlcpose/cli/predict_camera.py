"""`dlcpose predict-camera`: the poses in the newest frames of a camera or stream, kept whatever ends it."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlcpose.cli.pose_files import SUFFIX, check_ending, stem_of
from dlcpose.cli.registry import command
from dlcpose.cli.say import say
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import DataError, Stopped
from dlcpose.structures.interrupts import stopped_at_once

if TYPE_CHECKING:
    from dlcpose.datasets.camera import CameraReader
    from dlcpose.predict import Predictor
    from dlcpose.prediction.partial_results import PartialResults
    from dlcpose.structures.sample import Image


@command("predict-camera")
def predict_camera_command(
    source: Annotated[str, typer.Argument(help="/dev/video0, rtsp://..., tcp://..., udp://...: what FFmpeg opens.")],
    checkpoint: Annotated[Path, typer.Option(help="best.ckpt of a run.")],
    output: Annotated[Path, typer.Option(help="The .poses.h5 file to write.")] = Path("camera.poses.h5"),
    format: Annotated[
        str | None, typer.Option(help="v4l2, dshow, avfoundation, ...: where FFmpeg cannot tell.")
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="Number of frames to stop after; else at the end of the stream or at Ctrl-C."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best of this machine unless given.")] = None,
    precision: Annotated[str, typer.Option(help="auto (32, or as it was exported), 32, bf16 or fp16.")] = "auto",
    conditions: Annotated[
        Path | None, typer.Option(help="For a conditioned model: the checkpoint of its poses.")
    ] = None,
    trust: Annotated[list[str] | None, typer.Option(help="A package of your own that the model is made of.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Predict the newest frame of a camera, over and over; frames that arrive meanwhile are skipped. Shows the latency."""
    check_ending(output, SUFFIX)
    if output.exists() and not overwrite:
        raise DataError(f"{output}: it is there already. Add --overwrite to replace it, or give another --output.")
    with stopped_at_once():
        from dlcpose.datasets.camera import CameraReader
        from dlcpose.predict import load
        from dlcpose.prediction.partial_results import PartialResults, held
        from dlcpose.structures.atomic_files import check_writable

    check_writable(output.parent)
    output.parent.mkdir(parents=True, exist_ok=True)
    # Not the folder that a video of this name has: what is in that can be predicted again, a camera's frames are gone.
    folder = output.with_name(f"{stem_of(output)}.camera.partial")
    with held(folder):
        partial = PartialResults(folder)
        _save_killed(partial, output, overwrite=overwrite)
        predictor = load(checkpoint, device=device, conditions=conditions, trust=trust or ())
        _predict(CameraReader(source, format=format), predictor, partial, output, frames, precision)


@dataclass
class _Progress:
    """Frames predicted so far, and when the newest of them came, in seconds since the first."""

    frames: int = 0
    seconds: float = 0.0

    def line(self, camera: CameraReader) -> str:
        """Rate and latency so far."""
        latency = camera.latency()
        rate = f"{(self.frames - 1) / self.seconds:.1f} frames/s, " if self.seconds > 0 else ""
        is_known = not math.isnan(latency.p50)  # not of a single frame: it ends with the request for the next
        delay = f"latency {1000 * latency.p50:.0f} ms (99 %: {1000 * latency.p99:.0f} ms), " if is_known else ""
        return f"{counted(self.frames, 'frame')}, {rate}{delay}{latency.skipped} passed over"


def _predict(
    camera: CameraReader,
    predictor: Predictor,
    partial: PartialResults,
    output: Path,
    frames: int | None,
    precision: str,
) -> None:
    """Predict until the camera ends, by itself, by Ctrl-C or by an error; what was predicted until then is written."""
    from rich.console import Console
    from rich.live import Live

    from dlcpose.prediction.pose_rows import rows_of

    waiting: deque[tuple[int, float]] = deque()
    progress = _Progress()

    def images() -> Iterator[Image]:
        for frame in itertools.islice(camera, frames):
            if not progress.frames:
                height, width = frame.image.shape[:2]
                partial.begin(_description(camera.name, (height, width), predictor))
            waiting.append((frame.index, frame.time))
            yield frame.image

    console = Console(stderr=True)
    try:
        with Live("", console=console, transient=True, auto_refresh=False) as live:
            for prediction in predictor.predict_stream(images(), batch_size=1, precision=precision):
                index, time = waiting.popleft()
                partial.add(rows_of([index], [time], [prediction]), {})
                progress.frames, progress.seconds = progress.frames + 1, time
                if console.is_terminal:
                    live.update(progress.line(camera), refresh=True)
    except KeyboardInterrupt:  # the usual end of a camera
        if not progress.frames:
            raise Stopped("No frame was predicted yet, and nothing is written") from None
    finally:
        if progress.frames:
            partial.flush({})
            _assemble(partial, output)
            say(f"{output}: {progress.line(camera)}")
        partial.clear()


def _description(source: str, size: tuple[int, int], predictor: Predictor) -> dict[str, Any]:
    """All that the file of a session needs besides its frames: a killed one is saved without its model."""
    from dlcpose.exporters.pose_file import Provenance
    from dlcpose.structures.pose_tracks import VideoInfo
    from dlcpose.structures.versions import versions

    model = predictor.model
    provenance = Provenance(str(model.checkpoint), model.checkpoint_hash, model.individuals, versions=versions())
    return {
        "video": asdict(VideoInfo(source, "", *size, 0, math.nan)),
        "skeleton": predictor.skeleton.as_dict(),
        "individuals": model.individuals,
        "is_single": predictor.pipeline.finds_one_animal,
        "provenance": asdict(provenance),
    }


def _assemble(partial: PartialResults, output: Path) -> int:
    """Write the frames of a session as one file, one stretch in memory at a time, and return how many there are."""
    from dlcpose.exporters.pose_file import Provenance
    from dlcpose.prediction.resumable import assemble_rows
    from dlcpose.structures.pose_tracks import VideoInfo
    from dlcpose.structures.skeleton import Skeleton

    description = partial.settings()
    if description is None:
        raise DataError(
            f"{partial.folder}: expected the frames of a camera session, got some without a settings.json. Move the "
            "folder away, or give another --output."
        )
    last = max(int(rows.frame_indices[-1]) for rows in partial.stretches())
    return assemble_rows(
        partial,
        output,
        Skeleton.from_dict(description["skeleton"]),
        description["individuals"],
        VideoInfo(**{**description["video"], "frames": last + 1}),
        Provenance(**description["provenance"]),
        is_single=bool(description["is_single"]),
    )


def _save_killed(partial: PartialResults, output: Path, *, overwrite: bool) -> None:
    """Write the frames that a killed session has left, which cannot be predicted again.

    Raises DataError where there were some, unless the output may be replaced.
    """
    if next(partial.stretches(), None) is None:
        return
    count = _assemble(partial, output)
    partial.clear()
    saved = f"{output}: now holds {counted(count, 'frame')} of a session that was killed"
    if not overwrite:
        raise DataError(f"{saved}. Give another --output, or add --overwrite to replace them.")
    say(f"{saved}, until this one replaces them.")
