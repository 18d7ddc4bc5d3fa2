"""Checkpoints of tiny models of each kind, with random weights that find something, and frames to ask them of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dlcpose.checkpoint import Description
from dlcpose.datasets.base import LabeledFrames
from tests.made_up_runs import frames_of, halves, option, pipeline_of, tiny_config
from tests.pipelines.made_up_top_down import CENTERS, top_down_config

SIDE = 64
LOSS = option("loss", "binary_cross_entropy")
FOUND = {"threshold": 0.0, "max_animals": 3}  # random weights are sure of nothing


def head(name: str, **settings: Any) -> dict[str, Any]:
    return {**option("head", name), "heatmap_loss": LOSS, **settings}


def part_affinity(**changes: Any) -> dict[str, Any]:
    grouped = {"min_affinity": -1.0, "edges": option("head/edges", "all"), "channels": 16, **FOUND}
    return tiny_config(head=head("part_affinity", **grouped), input=option("input", "native"), **changes)


def rtmcc() -> dict[str, Any]:
    node = {**option("head", "rtmcc"), "width": 32, "attended": 16}
    return tiny_config(head=node, input={**option("input", "resize"), "height": SIDE, "width": SIDE})


def top_down(detector: dict[str, Any] | None = None) -> dict[str, Any]:
    found = {**CENTERS, "threshold": 0.05, "max_animals": 2, "nms_iou": 0.1} if detector is None else detector
    return top_down_config(found, threshold=0.0, nms_oks=1.1)


CONFIGS: dict[str, Callable[[], dict[str, Any]]] = {
    "letterbox": lambda: tiny_config(input={**option("input", "letterbox"), "longest_side": 48}),
    "native": lambda: tiny_config(input=option("input", "native"), head=head("heatmap", channels=32, offsets=False)),
    "rtmcc": rtmcc,
    "dekr": lambda: tiny_config(head=head("dekr", **FOUND), input=option("input", "native")),
    "part_affinity": part_affinity,
    "top_down": top_down,
}
SEVERAL = ("dekr", "part_affinity", "top_down")


def data_of(name: str) -> LabeledFrames:
    return frames_of(4, animals=2 if name in SEVERAL else 1)


def write_checkpoint(path: Path, config: dict[str, Any], data: LabeledFrames) -> Path:
    """What a run leaves, without the run."""
    pipeline = pipeline_of(config, data, to_train=False)
    torch.manual_seed(1)
    for name, module in pipeline.named_modules():
        is_of_maps = name.startswith(("head", "detector.center_layers")) and "offset" not in name
        if is_of_maps and isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            torch.nn.init.normal_(module.weight, std=0.3)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    described = Description(
        config, data.skeleton, pipeline.model_input, halves(data), data.individuals, data.max_animals
    )
    torch.save({"state_dict": pipeline.state_dict(), "dlcpose": described.as_dict()}, path)
    return path
