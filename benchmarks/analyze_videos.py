"""Frames/s of predicting a video, file to table, beside DeepLabCut's analyze_videos with the same network.

DeepLabCut trains a snapshot for one epoch on a few frames of a project, since only its speed counts, and analyzes a rendered
video with it, by the interpreter of an environment of its own. The snapshot is imported and predicts the same video; so does
the default small model after one short epoch, whose input is the default for the project's frames. What starting costs is
left out: the rate is that of the frames by which a long video exceeds a short one. bf16 is asked for, where
`--precision auto` would take it for a model that has learned something: it wants sure keypoints to compare.

    python benchmarks/analyze_videos.py --root .../openfield-Pranav-2018-10-30 --deeplabcut ~/deeplabcut/bin/python
    python benchmarks/analyze_videos.py --root ... --deeplabcut ... --batches 1 8 --frames 200
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from report import Report

import dlcpose
from dlcpose.datasets.deeplabcut import DeepLabCutFrames
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.importers.imported import write_checkpoint
from dlcpose.importers.source import read_source
from dlcpose.prediction.settings import PredictionSettings
from dlcpose.prediction.video import write_video_poses
from dlcpose.training.libraries import quiet_libraries
from dlcpose.visualization.video_file import write_video

HERE = Path(__file__).parent
SHORT = 8  # frames


def trained_by_deeplabcut(root: Path, folder: Path, net: str, python: Path) -> Path:
    """The project with a snapshot of one short epoch, in a folder of its own."""
    keys = [frame.key for frame in DeepLabCutFrames(root).frames]
    folder.mkdir()
    (folder / "split.json").write_text(json.dumps({"train": keys[:8], "test": keys[8:10]}))
    subprocess.run([python, HERE / "deeplabcut_training.py", root, folder, net, "1", "--snapshots", "1"], check=True)
    return folder / "project"


def small_model(root: Path, folder: Path) -> Path:
    """A checkpoint of the default model after a few steps on the project's frames."""
    overrides = ["dataset=deeplabcut", f"dataset.root={root}", "trainer.max_epochs=1", "datamodule.min_steps=0"]
    overrides += ["datamodule.overfit=8", "evaluation.pictures=0", "logger=[]", "callbacks=[checkpoint]"]
    return dlcpose.train(*overrides, run_dir=folder) / "checkpoints" / "best.ckpt"


def seconds_of_ours(checkpoint: Path, videos: list[Path], settings: PredictionSettings) -> list[float]:
    model = dlcpose.load(checkpoint).model
    seconds = []
    for video in videos:
        began = time.perf_counter()
        write_video_poses(model, video, video.with_suffix(".poses.h5"), settings, overwrite=True)
        seconds.append(time.perf_counter() - began)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="a DeepLabCut project of one animal")
    parser.add_argument("--deeplabcut", type=Path, required=True, help="a Python that has deeplabcut 3")
    parser.add_argument("--net", default="resnet_50", help="DeepLabCut's net_type")
    parser.add_argument("--frames", type=int, default=100, help="by which the long video exceeds the short one")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    quiet_libraries()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    report = Report("Predicting a video of 640x480, file to table, beside DeepLabCut's analyze_videos", device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = SyntheticFrames(frames=SHORT + arguments.frames, height=480, width=640, videos=1)
        videos = [folder / "short.mp4", folder / "long.mp4"]
        for video, frames in zip(videos, (SHORT, len(data.frames)), strict=True):
            write_video(video, map(data.read_image, range(frames)), fps=25)
        project = trained_by_deeplabcut(arguments.root, folder / "deeplabcut", arguments.net, arguments.deeplabcut)
        (snapshot,) = (project / "dlc-models-pytorch").glob("*/*")
        imported, small = folder / "imported.ckpt", small_model(arguments.root, folder / "small")
        write_checkpoint(read_source(snapshot), imported)
        for batch in arguments.batches:
            output = folder / "seconds.json"
            command = [arguments.deeplabcut, HERE / "deeplabcut_videos.py", project / "config.yaml", output, str(batch)]
            subprocess.run([*command, *videos], check=True)
            theirs = arguments.frames / (json.loads(output.read_text())[1] - json.loads(output.read_text())[0])
            report.add({"what": f"DeepLabCut, {arguments.net}", "batch": batch, "precision": "32", "frames/s": theirs})
            for what, checkpoint, precision in (
                (f"the same, imported: {arguments.net}", imported, "32"),
                (f"the same, imported: {arguments.net}", imported, "bf16"),
                ("the default, resnet_18", small, "bf16"),
            ):
                short, long = seconds_of_ours(
                    checkpoint, videos, PredictionSettings(batch_size=batch, precision=precision)
                )
                rate = arguments.frames / (long - short)
                row = {"what": what, "batch": batch, "precision": precision, "frames/s": rate}
                report.add({**row, "times DeepLabCut's": rate / theirs})
    report.finish(arguments.json)


if __name__ == "__main__":
    main()
