"""Frames with labeled boxes, as detectors see them."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from dlcpose.config.compose import compose
from dlcpose.detectors.base import Detector
from dlcpose.instantiate import Instantiator
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.sample import PoseCrop
from tests.heads.made_up_batches import batch_of

SIZE = (96, 128)
# As small as each can be made: the laws hold for any.
SMALL = {
    "centernet": (
        *("backbone@detector.backbone=timm", "detector.backbone.name=test_resnet"),
        *("detector.neck.channels=16", "detector.channels=16"),
    ),
    "fasterrcnn_resnet50_fpn_v2": ("detector.shortest_side=96", "detector.longest_side=128"),
    "fasterrcnn_mobilenet_v3_large_fpn": ("detector.shortest_side=96", "detector.longest_side=128"),
}


def detector_of(option: str, *overrides: str) -> Detector:
    torch.manual_seed(0)
    config = compose(["model=top_down_resnet_18", f"detector={option}", *SMALL.get(option, ()), *overrides])
    built: Any = Instantiator()(config["detector"], "detector")
    rpn = getattr(getattr(built, "network", None), "rpn", None)
    if rpn is not None:  # fresh weights propose thousands of regions, each of which costs as much as a frame
        rpn._post_nms_top_n = {"training": 10, "testing": 10}
    return built.eval()


def scene(boxes: Sequence[Sequence[Sequence[float]]], size: tuple[int, int] = SIZE) -> PoseBatch:
    """Frames of noise whose animals have a keypoint at each end of a box x1 y1 x2 y2."""
    poses = [torch.tensor(each, dtype=torch.float32).reshape(-1, 2, 2).numpy() for each in boxes]
    batch = batch_of(poses, size)
    torch.manual_seed(1)
    return replace(batch, images=torch.randint(0, 256, batch.images.shape, dtype=torch.uint8))


def together(frames: Sequence[PoseBatch]) -> PoseBatch:
    """One batch of batches of one frame each, padded to the largest."""
    return collate(
        [
            PoseCrop(
                key=frame.keys[0],
                image=frame.images[0].permute(1, 2, 0).numpy(),
                **{
                    field.name: getattr(frame, field.name)[0].numpy()
                    for field in fields(PoseCrop)
                    if field.name not in ("key", "image", "shown")
                },
            )
            for frame in frames
        ]
    )
