"""How long a DEKR training step takes, beside one whose deformable convolutions are torchvision's, a call per keypoint.

Both have the same weights and see the same batch of made-up animals: forward, targets, loss, backward, optimizer. The
second is how the DEKR of DeepLabCut computes: each keypoint has its own convolutions and its own call of
torchvision.ops.deform_conv2d. What both find, and the gradients they leave, is compared before anything is timed, on
one image and in float64: in float32 a tap that lies on the border of a cell falls to either side of it by rounding, and
its gradient jumps there.
Timed is in the precision that a run on this machine would have.

    python benchmarks/dekr_step.py                       # a minute or two on a CPU
    python benchmarks/dekr_step.py --full                # dekr_w32, batch 8, 448x448, 24 keypoints: many minutes on a CPU
    python benchmarks/dekr_step.py --model dekr_w48 --size 256 --device cuda
"""

import argparse
import copy
import statistics
import time
from pathlib import Path

import torch
from report import Report
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import deform_conv2d

from dlcpose.build import build_pipeline
from dlcpose.config.compose import compose
from dlcpose.instantiate import Instantiator
from dlcpose.layers.adaptive_conv import TAPS, AdaptiveConvBlock
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.data_description import DataDescription
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton
from dlcpose.training.libraries import quiet_libraries
from dlcpose.training.trainer import fastest_precision

ANIMALS = 3  # in each image
CLOSE = 1e-6  # between what the two find, and between their gradients, as a share of the largest


class OneByOne(nn.Module):
    """An adaptive block that goes through its keypoints one after the other, with the same weights."""

    def __init__(self, block: AdaptiveConvBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, features: Tensor) -> Tensor:
        """(B, G·C, h, w) -> the same."""
        groups = self.block.groups
        affine_weights = self.block.affine.weight.chunk(groups)
        affine_biases = self.block.affine.bias.chunk(groups)
        adapted = [
            self._adapted(*each)
            for each in zip(
                features.chunk(groups, dim=1), affine_weights, affine_biases, self.block.weight, strict=True
            )
        ]
        return functional.relu(self.block.norm(torch.cat(adapted, dim=1)) + features)

    def _adapted(self, features: Tensor, affine_weight: Tensor, affine_bias: Tensor, weight: Tensor) -> Tensor:
        affine = functional.conv2d(features, affine_weight, affine_bias, padding=1)  # (B, 6, h, w)
        matrix, shift = affine[:, :4].unflatten(1, (2, 2)), affine[:, 4:, None]
        steps = torch.arange(-1.0, 2.0, device=features.device, dtype=affine.dtype)
        grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij")).view(2, TAPS, 1, 1)  # y before x
        moved = (matrix[:, :, :, None] * grid).sum(dim=2) + shift  # (B, 2, 9, h, w), y before x
        from_grid = (moved - grid).transpose(1, 2).flatten(start_dim=1, end_dim=2)  # (B, 18, h, w)
        kernel = weight.unflatten(-1, (3, TAPS // 3))
        dtype = kernel.dtype  # it has no kernel for bfloat16
        return deform_conv2d(features.to(dtype), from_grid.to(dtype), kernel, padding=1)


def pipeline_of(model: str, keypoints: int, size: int) -> PoseEstimator:
    """A fresh model whose taps have begun to move, as after some training."""
    config, instantiate = compose([f"model={model}"]), Instantiator()
    torch.manual_seed(0)
    skeleton = Skeleton(tuple(f"keypoint_{number}" for number in range(keypoints)))
    pipeline = build_pipeline(config, instantiate, DataDescription(skeleton, Input(size, size), ANIMALS))
    for block in pipeline.head.modules():
        if isinstance(block, AdaptiveConvBlock):
            nn.init.normal_(block.affine.weight, std=0.01)
    return pipeline.train().to(memory_format=torch.channels_last)


def one_by_one(pipeline: PoseEstimator) -> PoseEstimator:
    """A copy of a pipeline whose adaptive blocks call torchvision once per keypoint."""
    other = copy.deepcopy(pipeline)
    for module in list(other.head.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, AdaptiveConvBlock):
                setattr(module, name, OneByOne(child))
    return other


def batch_of(images: int, keypoints: int, size: int) -> PoseBatch:
    """Noise with animals in it: uint8 images (B, 3, H, W)."""
    torch.manual_seed(1)
    middles = torch.rand(images, ANIMALS, 1, 2) * size * 0.6 + size * 0.2
    points = middles + torch.randn(images, ANIMALS, keypoints, 2) * size / 16
    return PoseBatch(
        keys=tuple(map(str, range(images))),
        images=torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8),
        keypoints_in_crop=points,
        visibility=torch.full((images, ANIMALS, keypoints), 2),
        boxes_in_crop=torch.full((images, ANIMALS, 4), torch.nan),
        areas=torch.full((images, ANIMALS), torch.nan),
        identities=torch.full((images, ANIMALS), -1),
        unique_in_crop=torch.zeros(images, 0, 2),
        crop_to_image=torch.eye(2, 3, dtype=torch.float64).repeat(images, 1, 1),
    )


def lost(pipeline: PoseEstimator, batch: PoseBatch) -> tuple[Tensor, Tensor]:
    """The loss of a batch, and the predicted offsets."""
    batch = pipeline.normalized(batch)
    maps = pipeline(batch.images)
    losses = pipeline.losses(maps, pipeline.encode(batch))
    return torch.stack(list(losses.values())).sum(), maps.animals.offsets


def check_alike(ours: PoseEstimator, theirs: PoseEstimator, batch: PoseBatch) -> None:
    """Raises AssertionError where the two do not find the same, or do not learn the same."""
    results = []
    for pipeline in (ours, theirs):
        exact = copy.deepcopy(pipeline).double()
        loss, offsets = lost(exact, batch)
        loss.backward()
        results.append((offsets.detach(), exact.head.offset_layers[0].weight.grad))
    for what, one, other in zip(("offsets", "gradients"), *results, strict=True):
        apart = float((one - other).abs().max() / other.abs().max())
        print(f"{what}: apart by {apart:.1e} of the largest")
        assert apart < CLOSE, f"{what} differ"


def seconds(pipeline: PoseEstimator, batch: PoseBatch, autocast: torch.autocast, steps: int) -> list[float]:
    """Of each training step, after one that does not count."""
    optimizer = torch.optim.AdamW(pipeline.parameters(), lr=1e-5)
    spent = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        optimizer.zero_grad()
        with autocast:
            loss, _ = lost(pipeline, batch)
        loss.backward()
        optimizer.step()
        if batch.images.is_cuda:
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - began)
    return spent[1:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="dekr_w32, batch 8, 448x448, 24 keypoints, one step each")
    parser.add_argument("--model", default="dekr_w18")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=256, help="height and width, px")
    parser.add_argument("--keypoints", type=int, default=24)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default=None, help="32-true or bf16-mixed; by default what the hardware likes")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    if arguments.full:
        arguments.model, arguments.batch, arguments.size, arguments.keypoints = "dekr_w32", 8, 448, 24
        arguments.steps = 1
    quiet_libraries()
    ours = pipeline_of(arguments.model, arguments.keypoints, arguments.size).to(arguments.device)
    theirs = one_by_one(ours)
    batch = batch_of(arguments.batch, arguments.keypoints, arguments.size).to(arguments.device)
    precision = arguments.precision or fastest_precision(arguments.device)
    autocast = torch.autocast(arguments.device, torch.bfloat16, enabled="bf16" in precision)
    report = Report(
        f"A training step of {arguments.model} beside torchvision's deformable convolution, batch {arguments.batch}, "
        f"{arguments.size}x{arguments.size}, {arguments.keypoints} keypoints, {precision}",
        arguments.device,
    )
    check_alike(ours, theirs, batch_of(1, arguments.keypoints, arguments.size).to(arguments.device))
    medians = []
    for name, pipeline in (("all keypoints at once", ours), ("torchvision, one by one", theirs)):
        spent = seconds(pipeline, batch, autocast, arguments.steps)
        medians.append(statistics.median(spent))
        times = {"median s a step": medians[-1], "fastest": min(spent), "slowest": max(spent)}
        report.add({"adaptive convolution": name, **times, "ratio": medians[-1] / medians[0]})
    report.finish(arguments.json)


if __name__ == "__main__":
    main()
