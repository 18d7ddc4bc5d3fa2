"""How much each filter over time takes off the error of noisy poses, and how long it takes.

Rendered mice whose poses are known exactly walk at several frame rates; noise of some pixels is added to every coordinate,
and a share of the keypoints lies far off, with a low score, as where a model takes one place for another.

    python benchmarks/filters.py
    python benchmarks/filters.py --frames 5000 --noise 2 --outliers 0.01
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from report import Report

from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.postprocessing.filter_tracks import Filters, filter_tracks
from dlcpose.structures.pose_tracks import PoseTracks, VideoInfo

CUT = {"cutoff": 0.6, "interpolate": 5}
FILTERS = {
    "median 5": Filters(median=5),
    "savgol 7,3": Filters(savgol=(7, 3)),
    "kalman": Filters(kalman=True),
    "cut, interpolate 5": Filters(**CUT),
    "cut, interpolate 5, median 5": Filters(**CUT, median=5),
    "cut, interpolate 5, savgol 7,3": Filters(**CUT, savgol=(7, 3)),
    "cut, interpolate 5, kalman": Filters(**CUT, kalman=True),
}


def walking_mice(frames: int, fps: float) -> PoseTracks:
    """Two mice with exact poses."""
    data = SyntheticFrames(
        frames=frames,
        videos=1,
        height=480,
        width=640,
        animals=2,
        skeleton="mouse",
        coming_and_going=False,
        occlusion=0.0,
        seconds_between_frames=1 / fps,
        seed=3,
    )
    points = np.full((frames, 2, len(data.skeleton), 2), np.nan, np.float32)
    for row, frame in enumerate(data.frames):
        points[row, frame.identities] = frame.keypoints_in_image
    scores = np.where(np.isnan(points[..., 0]), 0, 0.9).astype(np.float32)
    return PoseTracks(
        skeleton=data.skeleton,
        video=VideoInfo("rendered.mp4", "", 480, 640, frames, fps),
        individuals=("mouse1", "mouse2"),
        is_tracked=True,
        frame_indices=np.arange(frames),
        times=np.arange(frames) / fps,
        keypoints_in_image=points,
        keypoint_scores=scores,
        scores=scores.mean(axis=-1),
        boxes_in_image=np.full((frames, 2, 4), np.nan, np.float32),
        identities=np.full((frames, 2), -1),
        unique_in_image=np.zeros((frames, 0, 2), np.float32),
        unique_scores=np.zeros((frames, 0), np.float32),
    )


def perturbed(true: PoseTracks, noise: float, outliers: float) -> PoseTracks:
    """The same with noise on every coordinate, and a share of the keypoints some 50 px off with a low score."""
    rng = np.random.default_rng(0)
    points = true.keypoints_in_image + rng.normal(0, noise, true.keypoints_in_image.shape)
    is_off = rng.random(true.keypoint_scores.shape) < outliers
    points += np.where(is_off[..., None], rng.normal(0, 40, points.shape), 0)
    scores = np.where(is_off & (true.keypoint_scores > 0), 0.2, true.keypoint_scores)
    return replace(true, keypoints_in_image=points.astype(np.float32), keypoint_scores=scores.astype(np.float32))


def errors(pred: PoseTracks, true: PoseTracks) -> tuple[float, float]:
    """Root mean square and 99th percentile of the distances, px."""
    distances = np.linalg.norm(pred.keypoints_in_image - true.keypoints_in_image, axis=-1)
    known = distances[~np.isnan(distances)]
    return float(np.sqrt((known**2).mean())), float(np.quantile(known, 0.99))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--noise", type=float, nargs="*", default=[1.0, 2.0], help="px")
    parser.add_argument("--outliers", type=float, nargs="*", default=[0.0, 0.01], help="shares")
    parser.add_argument("--fps", type=float, nargs="*", default=[10.0, 25.0, 50.0])
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    report = Report("After-treatment of made-up tracks, and what it leaves of their errors")
    for fps in options.fps:
        true = walking_mice(options.frames, fps)
        for noise, outliers in zip(options.noise, options.outliers, strict=True):
            noisy = perturbed(true, noise, outliers)
            given = {"frames/s": fps, "noise, px": noise, "far off": f"{outliers:.0%}"}
            rms, tail = errors(noisy, true)
            report.add({**given, "filters": "none", "error, px RMS": rms, "99 %, px": tail})
            for name, filters in FILTERS.items():
                began = time.perf_counter()
                rms, tail = errors(filter_tracks(noisy, filters), true)
                rate = options.frames / (time.perf_counter() - began)
                report.add(
                    {**given, "filters": name, "error, px RMS": rms, "99 %, px": tail, "frames/s of the CPU": rate}
                )
    report.finish(options.json)


if __name__ == "__main__":
    main()
