"""`dlcpose predict-camera`: the poses in the newest frames of a camera or stream."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlcpose.cli.registry import command
from dlcpose.structures.errors import DataError

if TYPE_CHECKING:
    from dlcpose.datasets.camera import CameraFrame, CameraReader
    from dlcpose.predict import Predictor
    from dlcpose.structures.instances import PosePrediction
    from dlcpose.structures.sample import Image


@command("predict-camera")
def predict_camera_command(
    source: Annotated[str, typer.Argument(help="/dev/video0, rtsp://..., tcp://..., udp://...: what FFmpeg opens.")],
    checkpoint: Annotated[Path, typer.Option(help="best.ckpt of a run.")],
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("camera.poses.h5"),
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Predict the newest frame of a camera, over and over; frames that arrive meanwhile are skipped. Shows the latency."""
    from rich.console import Console
    from rich.live import Live

    from dlcpose.datasets.camera import CameraReader
    from dlcpose.predict import load
    from dlcpose.prediction.resumable import check_writable

    if output.exists() and not overwrite:
        raise DataError(f"{output}: it is there already. Add --overwrite to replace it, or give another --output.")
    check_writable(output.parent)
    predictor = load(checkpoint, device=device, conditions=conditions)
    camera = CameraReader(source, format=format)
    seen: list[CameraFrame] = []  # without their images
    predictions: list[PosePrediction] = []
    sizes: list[tuple[int, int]] = []

    def images() -> Iterator[Image]:
        for frame in itertools.islice(camera, frames):
            sizes[:] = [(frame.image.shape[0], frame.image.shape[1])]
            seen.append(replace(frame, image=frame.image[:0]))
            yield frame.image

    console = Console(stderr=True)
    try:
        with Live("", console=console, transient=True, auto_refresh=False) as live:
            for prediction in predictor.predict_stream(images(), batch_size=1, precision=precision):
                predictions.append(prediction)
                if console.is_terminal:
                    live.update(_status(camera, seen), refresh=True)
    except KeyboardInterrupt:  # the usual end of a camera
        del seen[len(predictions) :]
    if predictions:
        _write(output, source, seen, predictions, sizes[0], predictor)
    typer.echo(f"{output}: {_status(camera, seen)}")


def _write(
    output: Path,
    source: str,
    seen: Sequence[CameraFrame],
    predictions: Sequence[PosePrediction],
    size: tuple[int, int],
    predictor: Predictor,
) -> None:
    from dlcpose.exporters.pose_file import Provenance, write_pose_tracks
    from dlcpose.prediction.pose_rows import column_names, rows_of, tracks_of
    from dlcpose.structures.pose_tracks import VideoInfo

    rows = rows_of([frame.index for frame in seen], [frame.time for frame in seen], predictions)
    video = VideoInfo(source, "", *size, seen[-1].index + 1, float("nan"))
    names = column_names(max(1, int(rows.counts.max())), predictor.individuals)
    tracks = tracks_of(rows, predictor.skeleton, video, names, is_tracked=False)
    model = predictor.model
    provenance = Provenance(str(model.checkpoint), model.checkpoint_hash, versions=dict(model.versions))
    write_pose_tracks(output, tracks, provenance)


def _status(camera: CameraReader, seen: Sequence[CameraFrame]) -> str:
    """Rate and latency so far, in one line."""
    latency = camera.latency()
    seconds = seen[-1].time if seen else 0.0
    rate = f"{(len(seen) - 1) / seconds:.1f} frames/s, " if seconds > 0 else ""
    return (
        f"{len(seen)} frames, {rate}latency {1000 * latency.p50:.0f} ms (99 %: {1000 * latency.p99:.0f} ms), "
        f"{latency.skipped} passed over"
    )
