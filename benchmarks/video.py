"""What share of the bare model's rate the prediction of a video keeps, and that its memory does not grow.

The bare model computes its maps of one ready batch again and again; the prediction decodes a rendered video, resizes,
normalizes, computes the same maps, decodes them and gathers the poses. Both in turn in one process, several rounds of each,
at the same precision. For a top-down model the bare model is the detector on ready frames and the pose network on ready
crops, two for each frame.

    python benchmarks/video.py                                       # resnet_50, 640x480, batches of 8
    python benchmarks/video.py --model top_down_resnet_50
    python benchmarks/video.py --device cuda --batch 32
    python benchmarks/video.py --memory 200 20000                    # peak memory of two runs of a tiny model
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from report import Report

from dlcpose.build import build_input, build_pipeline, build_trunk
from dlcpose.config.compose import compose
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.instantiate import Instantiator
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.pipelines.top_down import TopDown
from dlcpose.prediction.batch_norm_folding import fold_batch_norms
from dlcpose.prediction.frame_batches import batch_of_frames, place_frames
from dlcpose.prediction.loaded_model import Chosen, LoadedModel
from dlcpose.prediction.partial_results import Finished
from dlcpose.prediction.precision import autocast
from dlcpose.prediction.settings import PredictionSettings
from dlcpose.prediction.video import PredictionRun, write_video_poses
from dlcpose.structures.data_description import DataDescription
from dlcpose.training.libraries import quiet_libraries
from dlcpose.visualization.video_file import write_video

# Random weights find nothing or everything: two boxes in each frame, as two flies would have.
TWO_ANIMALS = (
    "pipeline.crops.threshold=0.0",
    "detector.threshold=0.0",
    "detector.max_animals=2",
    "pipeline.crops.nms_oks=1.1",
)


def build(name: str, size: tuple[int, int], device: str, *more: str) -> tuple[LoadedModel, SyntheticFrames]:
    """A model with random weights, and rendered frames of (height, width). more: overrides of its config."""
    is_top_down = name.startswith("top_down")
    overrides = [
        f"model={name}",
        "dataset=synthetic",
        *(("detector=centernet", *TWO_ANIMALS) if is_top_down else ("input=native",)),
        *more,
    ]
    config, instantiate = compose(overrides), Instantiator()
    height, width = size
    data = SyntheticFrames(frames=16, height=height, width=width, animals=2 if is_top_down else 1, videos=1)
    trunk = build_trunk(config, instantiate)
    model_input = build_input(config, instantiate, trunk, [size])
    torch.manual_seed(0)
    described = DataDescription(data.skeleton, model_input, data.max_animals)
    pipeline = build_pipeline(config, instantiate, described, trunk=trunk)
    fold_batch_norms(pipeline.eval())  # as `dlcpose.load` does
    pipeline = pipeline.to(device, memory_format=torch.channels_last)
    return LoadedModel(pipeline, torch.device(device)), data


def bare_model(model: LoadedModel, images: list[np.ndarray], batch_size: int, precision: str) -> Callable[[], None]:
    """What computes the maps of one ready batch: each network with what it is given when the batch is predicted."""
    pipeline = model.pipeline
    assert isinstance(pipeline, PoseEstimator)
    placement = place_frames(pipeline.frame_input, images[0].shape[:2])
    frames = [images[number % len(images)] for number in range(batch_size)]
    batch = batch_of_frames(frames, ["0"] * batch_size, placement, pipeline.skeleton, model.device)
    ready: list[tuple[torch.nn.Module, torch.Tensor]] = []
    networks = [pipeline, *([pipeline.detector] if isinstance(pipeline, TopDown) else [])]
    hooks = [
        network.register_forward_pre_hook(lambda network, inputs: ready.append((network, inputs[0])))
        for network in networks
    ]
    with torch.inference_mode():
        pipeline.compute_maps(batch)
    for hook in hooks:
        hook.remove()
    assert {id(network) for network, _ in ready} == {id(network) for network in networks}

    def step() -> None:
        with torch.inference_mode(), autocast(model.device, precision):
            for network, inputs in ready:
                network(inputs)
        if model.device.type == "cuda":
            torch.cuda.synchronize()

    return step


class Rate(NamedTuple):
    """Frames per second, and per second of all cores' work: on a machine with other work only the latter says much."""

    wall: float
    cpu: float


class Clock:
    """Seconds and seconds of all cores' work since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def rate(self, frames: int) -> Rate:
        return Rate(frames / (time.perf_counter() - self.wall), frames / (time.process_time() - self.cpu))


def rate_of_bare_model(step: Callable[[], None], batch_size: int, batches: int) -> Rate:
    """The rate, the first batch left out."""
    step()
    clock = Clock()
    for _ in range(batches):
        step()
    return clock.rate(batches * batch_size)


def rate_of_prediction(
    model: LoadedModel, path: Path, batch_size: int, precision: str, batches: int
) -> tuple[Rate, dict[str, float]]:
    """The rate in a video from when it is opened to its last pose, and seconds by stage."""
    settings = PredictionSettings(batch_size=batch_size, precision=precision, stop=batches * batch_size)
    run = PredictionRun(model, path, settings, Chosen(batch_size, precision), Finished())
    clock = Clock()
    return clock.rate(sum(len(rows) for rows in run.stretches())), run.seconds()


def looped(images: list[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """Frames again and again."""
    return (images[number % len(images)] for number in range(count))


def peak_memory_mb(frames: int) -> float:
    """Of a process of its own that predicts so many frames of 64x64 into a file."""
    command = [sys.executable, __file__, "--peak-of", str(frames)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def print_peak(frames: int) -> None:
    # A network of half a million weights: what is measured is the pipeline around it.
    model, data = build("resnet_18", (64, 64), "cpu", "backbone=timm", "backbone.name=test_resnet", "neck.channels=16")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v.mp4"
        write_video(path, looped([data.read_image(index) for index in range(8)], frames), fps=25)
        settings = PredictionSettings(batch_size=8, precision="32")
        outcome = write_video_poses(model, path, Path(folder) / "v.poses.h5", settings)
        assert outcome.frames == frames
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet_50")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", default="32", choices=("32", "bf16", "fp16"))
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=4, help="in a round")
    parser.add_argument("--memory", type=int, nargs="+", metavar="FRAMES", help="peak memory at so many frames instead")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args()
    quiet_libraries()
    if given.peak_of:
        return print_peak(given.peak_of)
    if given.memory:
        peaks = {frames: peak_memory_mb(frames) for frames in given.memory}
        report = Report("Peak memory of predicting a video of 64x64 with a tiny model")
        for frames, peak in peaks.items():
            report.add({"frames": frames, "peak memory, MB": peak})
        return report.finish(given.json)
    model, data = build(given.model, tuple(given.size), given.device)
    images = [data.read_image(index) for index in range(len(data))]
    step = bare_model(model, images, given.batch, given.precision)
    height, width = given.size
    report = Report(
        f"Prediction of a video beside the bare model on ready batches: {given.model}, {width}x{height}, "
        f"batches of {given.batch}, {'32 bits' if given.precision == '32' else given.precision}",
        given.device,
    )
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "v.mp4"
        write_video(path, looped(images, given.batches * given.batch), fps=25)
        for number in range(given.rounds):
            bare = rate_of_bare_model(step, given.batch, given.batches)
            whole, seconds = rate_of_prediction(model, path, given.batch, given.precision, given.batches)
            rounds.append({"share": whole.wall / bare.wall, "share of the cores' work": whole.cpu / bare.cpu})
            rates = {"bare model, frames/s": bare.wall, "prediction, frames/s": whole.wall}
            report.add({"round": str(number + 1), **rates, **rounds[-1]})
    report.add({"round": "median", **{name: statistics.median(each[name] for each in rounds) for name in rounds[0]}})
    stages = ", ".join(f"{stage} {value:.2f}" for stage, value in seconds.items())
    report.notes.append(f"Seconds by stage in the last round: {stages}.")
    return report.finish(given.json)


if __name__ == "__main__":
    main()
