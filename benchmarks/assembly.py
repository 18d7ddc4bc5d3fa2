"""How long it takes from a part affinity head's maps to animals, over the number of animals and of edges.

Maps are drawn from made-up animals on one map of 128x128 cells, a little noise added as a network leaves it, every
tenth keypoint missing; the head has learned the animals' distances, as in training. Timed is `decode`: peaks, location
refinement, line integrals, matching and joining, one frame at a time, alone and, as in a video, beside a network that
computes the next frame in another thread. Found are more than there are animals along the
chain: nothing joins what lies on either side of a missing keypoint.

    python benchmarks/assembly.py                        # 12 keypoints, 66 edges and a chain of 11
    python benchmarks/assembly.py --animals 3 --rounds 200
"""

import argparse
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from report import Report

from dlcpose.heads.paf_graph import all_edges, skeleton_edges
from dlcpose.heads.part_affinity import PartAffinityHead, PartAffinityMaps
from dlcpose.losses.heatmap import binary_cross_entropy
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.skeleton import Skeleton

CELLS, STRIDE = 128, 4
NOISE = 0.02


def skeleton_of(keypoints: int) -> Skeleton:
    chain = tuple((number, number + 1) for number in range(keypoints - 1))
    return Skeleton(tuple(f"keypoint_{number}" for number in range(keypoints)), edges=chain)


def frame_of(animals: int, keypoints: int, seed: int) -> PoseBatch:
    """Animals that wind through the picture, each keypoint some way on from the one before: (1, N, K, 2) px."""
    torch.manual_seed(seed)
    side = CELLS * STRIDE
    begin = torch.rand(animals, 1, 2) * side * 0.8 + side * 0.1
    angles = torch.rand(animals, 1) * 6.3 + torch.randn(animals, keypoints).mul(0.4).cumsum(dim=1)
    steps = torch.stack((angles.cos(), angles.sin()), dim=-1) * 14  # px
    points = (begin + steps.cumsum(dim=1)).clamp(0, side - 1)
    points[torch.rand(animals, keypoints) < 0.1] = torch.nan
    return PoseBatch(
        keys=("made_up",),
        images=torch.zeros(1, 3, side, side),
        keypoints_in_crop=points[None],
        visibility=(~points.isnan().any(dim=-1)).long()[None] * 2,
        boxes_in_crop=torch.full((1, animals, 4), torch.nan),
        areas=torch.full((1, animals), torch.nan),
        identities=torch.full((1, animals), -1),
        unique_in_crop=torch.zeros(1, 0, 2),
        crop_to_image=torch.eye(2, 3, dtype=torch.float64)[None],
    )


def maps_of(head: PartAffinityHead, batch: PoseBatch) -> PartAffinityMaps:
    targets = head.encode(batch)
    heatmaps = (targets.heatmaps + NOISE * torch.randn_like(targets.heatmaps)).clamp(0, 1)
    return targets._replace(heatmaps=heatmaps, fields=targets.fields + NOISE * torch.randn_like(targets.fields))


def learn_distances(head: PartAffinityHead, keypoints: int, device: str) -> None:
    """What a training step does with its poses."""
    head.train().encode(frame_of(100, keypoints, seed=999).to(device))
    head.eval()


def milliseconds(head: PartAffinityHead, frames: list[PartAffinityMaps], rounds: int) -> list[float]:
    """Of every decoding, after some that do not count."""
    spent = []
    for number in range(-3, rounds):
        began = time.perf_counter()
        head.decode(frames[number % len(frames)])
        if number >= 0:
            spent.append((time.perf_counter() - began) * 1e3)
    return spent


@contextmanager
def computing_network(device: str) -> Iterator[None]:
    """A convolution that another thread repeats without end."""
    layer, image = torch.nn.Conv2d(64, 64, 3, padding=1).to(device), torch.rand(1, 64, 128, 128, device=device)
    ended = threading.Event()

    def compute() -> None:
        with torch.inference_mode():
            while not ended.is_set():
                layer(image)

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keypoints", type=int, default=12)
    parser.add_argument("--animals", type=int, nargs="+", default=[0, 1, 2, 5, 10, 20, 50])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    skeleton = skeleton_of(arguments.keypoints)
    report = Report(
        f"Animals of {arguments.keypoints} keypoints from a part affinity head's maps of {CELLS}x{CELLS} cells",
        arguments.device,
    )
    for edges in (skeleton_edges, all_edges):
        settings = {"heatmap_loss": binary_cross_entropy, "deconvolutions": 0, "max_animals": max(arguments.animals)}
        head = PartAffinityHead(1, STRIDE, skeleton, edges=edges, **settings).eval().to(arguments.device)
        learn_distances(head, arguments.keypoints, arguments.device)
        for animals in arguments.animals:
            batches = [frame_of(animals, arguments.keypoints, seed).to(arguments.device) for seed in range(8)]
            frames = [maps_of(head, batch) for batch in batches]
            found = [len(head.decode(maps)[0]) for maps in frames]
            spent = milliseconds(head, frames, arguments.rounds)
            with computing_network(arguments.device):
                beside = milliseconds(head, frames, arguments.rounds)
            times = {"median ms a frame": statistics.median(spent), "fastest": min(spent), "slowest": max(spent)}
            times["median beside a network"] = statistics.median(beside)
            report.add({"edges": len(head.edges), "animals": animals, **times, "found": statistics.mean(found)})
    report.finish(arguments.json)


if __name__ == "__main__":
    main()
