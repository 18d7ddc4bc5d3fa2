"""How long an exported model takes beside torch, and how large its file is: on this machine's CPU, one after the other.

Both predict the same images through the same prediction (FramePredictor), from memory, in turn for several rounds, so that
what else the machine does falls on both. Two ratios of torch's seconds to onnxruntime's: the clock's, and that of the
work of all cores (CPU seconds), which other processes disturb less.

    python benchmarks/export.py best.ckpt                   # a model of your own
    python benchmarks/export.py --threads 1 --size 256 best.ckpt other.ckpt
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import dlcpose
from dlcpose.checkpoint import read_checkpoint
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.model_formats.registry import ExportRequest, export_model
from dlcpose.predict import Predictor
from dlcpose.prediction.frame_predictor import Frame, FramePredictor


def seconds_of(predictor: Predictor, images: list[np.ndarray], batch_size: int) -> tuple[float, float]:
    """Seconds of the clock, and of all cores, that the images take."""
    frames = FramePredictor(predictor.pipeline, predictor.device, batch_size=batch_size)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in frames.predict(Frame(str(number), image) for number, image in enumerate(images)):
        pass
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("checkpoints", nargs="+", type=Path)
    arguments.add_argument("--size", type=int, default=256, help="side of the images, px")
    arguments.add_argument("--frames", type=int, default=16)
    arguments.add_argument("--batch", type=int, default=8)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    data = SyntheticFrames(frames=given.frames, height=given.size, width=given.size, videos=1, animals=1)
    images = [data.read_image(index) for index in range(given.frames)]
    print("checkpoint                   weights MB  onnx MB torch f/s  onnx f/s  ratio    CPU")
    for path in given.checkpoints:
        checkpoint = read_checkpoint(path)
        weights = sum(each.numel() * each.element_size() for each in checkpoint.weights.values()) / 1e6
        with tempfile.TemporaryDirectory() as folder:
            is_top_down = bool(checkpoint.description.config.get("detector"))
            output = Path(folder) / ("model" if is_top_down else "model.onnx")
            for line in export_model("onnx", ExportRequest(checkpoint, output)):
                print(f"# {line.replace(folder, '')}")
            files = [output] if output.is_file() else list(output.iterdir())
            size = sum(file.stat().st_size for file in files) / 1e6
            predictors = [dlcpose.load(path, device="cpu"), dlcpose.load(output, device="cpu")]
            for predictor in predictors:
                seconds_of(predictor, images[: given.batch], given.batch)  # what is prepared once
            rounds = [[seconds_of(each, images, given.batch) for each in predictors] for _ in range(given.rounds)]
        wall, cpu = ([statistics.median(one[which][kind] for one in rounds) for which in range(2)] for kind in range(2))
        rates = [given.frames / seconds for seconds in wall]
        ratio = statistics.median(one[0][0] / one[1][0] for one in rounds)
        sizes, work = f"{weights:10.1f} {size:8.1f}", cpu[0] / cpu[1]
        print(f"{path.name:<28} {sizes} {rates[0]:9.1f} {rates[1]:9.1f} {ratio:6.2f} {work:6.2f}")


if __name__ == "__main__":
    main()
