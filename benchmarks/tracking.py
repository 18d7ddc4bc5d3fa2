"""How well animals are tracked: rendered mice that cross, and the true tracks of two flies, found with a detector's mistakes.

True tracks are disturbed as `tests/tracking/noisy_poses.py` says: jitter, missing keypoints and animals, made-up animals,
left and right confused, animals that overlap found as one. With `--checkpoint`, the rendered mice are written as videos
and predicted by that model instead, and told apart by their appearance too, as `dlcpose track` does. Printed for each
clip: its length; IDF1, and `ceiling`, the IDF1 of the same detections with every one named rightly, which no tracker can
exceed; `filled`, the IDF1 after `dlcpose filter --interpolate 50`, which places animals where they were not found, and
`smoothed`, after `--interpolate 50 --median 9`; HOTA and MOTA; `switches` as MOTA counts them, which includes every frame
in which one detection stands for two animals; `swaps`, exchanges that last for a second or more, and how many of them for
ten; `tracks`; the entries of the list of likely swaps and how many of the swaps are in it; seconds.

    python benchmarks/tracking.py                                  # 2 to 5 mice, 10 minutes each
    python benchmarks/tracking.py --animals 5 --minutes 1 --noise hard
    python benchmarks/tracking.py --flies clip_tracks.h5 --json figures.json
    python train.py experiment=scenes_bottom_up hydra.run.dir=scenes
    python benchmarks/tracking.py --checkpoint scenes/checkpoints/best.ckpt --videos crossings
    python benchmarks/tracking.py --animals --flies clip_tracks.h5 --clip clip.mp4 --checkpoint best.ckpt --videos flies
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from report import Report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "tracking"))
from noisy_poses import GroundTruth, Noise, Noisy, ground_truth_of, noisy_poses, rendered_frames
from scipy.optimize import linear_sum_assignment

import dlcpose
from dlcpose.codecs.oks import compute_oks, oks_areas
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.datasets.video import VideoReader
from dlcpose.exporters.pose_file import SUFFIX, read_pose_tracks
from dlcpose.metrics.tracking import tracking_figures
from dlcpose.postprocessing.filter_tracks import Filters, filter_tracks
from dlcpose.prediction.settings import PredictionSettings
from dlcpose.prediction.video import write_video_poses
from dlcpose.structures.skeleton import Skeleton, pairs_from_names
from dlcpose.tracking.appearance import learn_looks
from dlcpose.tracking.result import SwapCandidate, swap_candidates
from dlcpose.tracking.settings import TrackingSettings
from dlcpose.tracking.track import track
from dlcpose.visualization.video_file import write_video

Array = Any
SECOND = 25  # frames
FILTERED = {
    "filled": Filters(interpolate=2 * SECOND),
    "smoothed": Filters(interpolate=2 * SECOND, median=9),
}
NOISE = {
    "light": Noise(
        jitter=0.02,
        outliers=0.005,
        missing_keypoints=0.02,
        hidden_keypoints=0.3,
        missing_animals=0.001,
        missing_runs=0.0001,
        false_positives=0.003,
        flips=0.01,
        merged=0.1,
        mixed=0.15,
    ),
    "usual": Noise(),
    "hard": Noise(
        jitter=0.04,
        outliers=0.02,
        missing_keypoints=0.1,
        missing_animals=0.01,
        missing_runs=0.001,
        false_positives=0.03,
        flips=0.04,
        merged=0.8,
    ),
}


def flies(path: Path) -> GroundTruth:
    """The tracks of a DeepLabCut table."""
    import pandas as pd

    table = pd.read_hdf(path)
    names = list(dict.fromkeys(table.columns.get_level_values("bodyparts")))
    animals = len(set(table.columns.get_level_values("individuals")))
    points = table.to_numpy().reshape(len(table), animals, len(names), 2)
    skeleton = Skeleton(tuple(names), pairs=pairs_from_names(names))
    return GroundTruth(points, np.zeros(points.shape[:3], bool), skeleton, 1024, 1024)


def figures_of(gt: GroundTruth, poses: Array, names: Array) -> dict[str, float]:
    """Figures of tracks: poses (T, M, K, 2) and their names (T, M), -1 for none."""
    gt_ids, pred_ids, similarity = [], [], []
    for frame, truth in enumerate(gt.keypoints_in_image):
        there = np.flatnonzero(~np.isnan(truth).all(axis=(1, 2)))
        pred = np.flatnonzero(names[frame] >= 0)
        gt_ids.append(there)
        pred_ids.append(names[frame][pred])
        similarity.append(similarities(poses[frame, pred], truth[there], gt.skeleton).T)
    return tracking_figures(gt_ids, pred_ids, similarity)


def similarities(pred: Array, truth: Array, skeleton: Skeleton) -> Array:
    """OKS of poses (M, K, 2) with true ones (N, K, 2): (M, N), 0 where there is nothing to compare."""
    areas = oks_areas(np.full(len(truth), np.nan), truth)
    return np.nan_to_num(compute_oks(pred, truth, areas, np.asarray(skeleton.sigmas)))


def render(data: SyntheticFrames, video: Path, fps: float) -> None:
    """Write the video of rendered frames, unless it is there."""
    if not video.exists():
        unfinished = video.with_suffix(".unfinished.mp4")
        write_video(unfinished, (data.read_image(number) for number in range(len(data.frames))), fps=fps)
        unfinished.rename(video)


def predicted(gt: GroundTruth, checkpoint: Path, video: Path, output: Path) -> Noisy:
    """What a model finds in the video of these tracks; poses that are there are those of an earlier run.

    An animal's source is the true one that it is assigned to by OKS, where that is at least 0.5.
    """
    outcome = write_video_poses(dlcpose.load(checkpoint, device="cpu").model, video, output, PredictionSettings())
    print(f"{output.name}: {'was there' if outcome.was_there else outcome.seconds}", flush=True)
    poses = read_pose_tracks(output)
    if poses.skeleton.names != gt.skeleton.names or len(poses) != len(gt.keypoints_in_image):
        raise SystemExit(f"{checkpoint} and {video}: expected the frames and keypoints of the tracks")
    points = poses.keypoints_in_image
    sources = np.full(points.shape[:2], -1)
    for frame, truth in enumerate(gt.keypoints_in_image):
        there = np.flatnonzero(~np.isnan(truth).all(axis=(1, 2)))
        found = np.flatnonzero(~np.isnan(points[frame]).all(axis=(1, 2)))
        similarity = similarities(points[frame, found], truth[there], gt.skeleton)
        for row, column in zip(*linear_sum_assignment(-similarity), strict=True):
            if similarity[row, column] >= 0.5:
                sources[frame, found[row]] = there[column]
    return Noisy(poses, sources)


def swaps_of(columns_of_animals: Array, lasting: int) -> list[tuple[int, int, int]]:
    """Exchanges that last for so many frames: frame and two columns.

    columns_of_animals: (T, N) the column that each animal is in, -1 where it is not known.
    """
    found: set[tuple[int, int, int]] = set()
    for columns in columns_of_animals.T:
        known = np.flatnonzero(columns >= 0)
        values = columns[known]
        current = None
        for start in range(len(values) - lasting + 1):
            window = values[start : start + lasting]
            commonest = int(np.bincount(window).argmax())
            if current is None:
                current = commonest
            if commonest != current and values[start] == commonest and (window == commonest).mean() > 0.7:
                frame = int(known[start])
                pair = (min(current, commonest), max(current, commonest))
                if not any(pair == (a, b) and abs(frame - f) < 2 * SECOND for f, a, b in found):
                    found.add((frame, *pair))
                current = commonest
    return sorted(found)


def listed(swap: tuple[int, int, int], candidates: Sequence[SwapCandidate]) -> bool:
    """Whether the list of likely swaps has these two at about that time, directly or by a third animal."""
    frame, a, b = swap
    near = [{each.a, each.b} for each in candidates if each.from_frame - SECOND <= frame <= each.to_frame + SECOND]
    reached = {a}
    for _ in near:
        for pair in near:
            reached |= pair if pair & reached else set()
    return b in reached


def measure(
    name: str, gt: GroundTruth, noisy: Noisy, settings: TrackingSettings, fps: float, video: Path | None = None
) -> dict[str, Any]:
    """video: of the poses, from which the animals' appearance is learned."""
    looks = None if video is None else learn_looks(lambda: VideoReader(video), noisy.poses.frame_indices)
    begin = time.perf_counter()
    result = track(noisy.poses, settings, looks)
    seconds = time.perf_counter() - begin
    frames, animals = gt.keypoints_in_image.shape[:2]
    columns = np.arange(result.columns.shape[1])
    names = np.where(result.columns >= 0, columns, -1)
    figures = figures_of(gt, result.tracks.keypoints_in_image, names)
    filtered = {name: filter_tracks(result.tracks, filters) for name, filters in FILTERED.items()}
    idf1 = {
        name: figures_of(gt, tracks.keypoints_in_image, np.where(tracks.is_present, columns, -1))["idf1"]
        for name, tracks in filtered.items()
    }
    ceiling = figures_of(gt, noisy.poses.keypoints_in_image, noisy.sources)["idf1"]
    sources = np.where(
        result.columns >= 0, np.take_along_axis(noisy.sources, np.maximum(result.columns, 0), axis=1), -1
    )
    own = np.full((frames, animals), -1)
    for column in range(sources.shape[1]):
        rows = np.flatnonzero(sources[:, column] >= 0)
        own[rows, sources[rows, column]] = column
    swaps, candidates = swaps_of(own, SECOND), swap_candidates(result, settings.review_frames)
    return {
        "clip": name,
        "animals": animals,
        "minutes": frames / fps / 60,
        **figures,
        "ceiling": ceiling,
        **idf1,
        "swaps": len(swaps),
        "swaps_of_10_s": len(swaps_of(own, 10 * SECOND)),
        "tracks": int((result.columns >= 0).any(axis=0).sum()),
        "listed": len(candidates),
        "swaps_listed": sum(listed(swap, candidates) for swap in swaps),
        "tracklets": result.tracklets,
        "left_out": result.left_out,
        "seconds": seconds,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--animals", type=int, nargs="*", default=[2, 3, 4, 5])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--fps", type=float, default=25)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--noise", choices=NOISE, nargs="+", default=["light", "usual"])
    parser.add_argument("--no-shape", action="store_true", help="without the animals' proportions")
    parser.add_argument("--no-appearance", action="store_true", help="with --checkpoint: without their appearance")
    parser.add_argument(
        "--checkpoint", type=Path, help="a model of `dataset=scenes` that predicts the rendered mice, or --clip"
    )
    parser.add_argument(
        "--videos", type=Path, help="with --checkpoint: folder to keep rendered videos and all poses in"
    )
    parser.add_argument("--flies", type=Path, help="tracks as a DeepLabCut h5: flypair13's")
    parser.add_argument("--clip", type=Path, help="with --flies and --checkpoint: the video of those tracks")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    if (arguments.checkpoint is None) != (arguments.videos is None):
        parser.error("--checkpoint and --videos go together")
    if arguments.clip and not (arguments.checkpoint and arguments.flies):
        parser.error("--clip needs --checkpoint and --flies")
    if arguments.videos:
        arguments.videos.mkdir(parents=True, exist_ok=True)
    report = Report("Tracks of clips whose detections have a detector's mistakes")
    fps = arguments.fps
    for seed in arguments.seeds:
        for animals in arguments.animals:
            appearance = False if arguments.no_appearance else None
            settings = TrackingSettings(animals=animals, use_shape=not arguments.no_shape, appearance=appearance)
            data = rendered_frames(animals=animals, frames=round(arguments.minutes * 60 * fps), fps=fps, seed=seed)
            gt, video = ground_truth_of(data), None
            if arguments.checkpoint:
                video = arguments.videos / f"{animals}_mice_{arguments.minutes:g}_min_{fps:g}_fps_seed_{seed}.mp4"
                render(data, video, fps)
                found = {"predicted": predicted(gt, arguments.checkpoint, video, video.with_suffix(SUFFIX))}
            else:
                found = {level: noisy_poses(gt, NOISE[level], seed=seed, fps=fps) for level in arguments.noise}
            for level, noisy in found.items():
                report.add(measure(f"{animals} mice {level} #{seed}", gt, noisy, settings, fps, video))
        if arguments.flies:
            gt = flies(arguments.flies)
            appearance = False if arguments.no_appearance or not arguments.clip else None
            settings = TrackingSettings(
                animals=gt.keypoints_in_image.shape[1], use_shape=not arguments.no_shape, appearance=appearance
            )
            if arguments.clip:
                output = arguments.videos / f"{arguments.clip.stem}{SUFFIX}"
                found = {"predicted": predicted(gt, arguments.checkpoint, arguments.clip, output)}
            else:
                found = {level: noisy_poses(gt, NOISE[level], seed=seed, fps=fps) for level in arguments.noise}
            for level, noisy in found.items():
                report.add(measure(f"2 flies {level} #{seed}", gt, noisy, settings, fps, arguments.clip))
    report.finish(arguments.json)


if __name__ == "__main__":
    main()
