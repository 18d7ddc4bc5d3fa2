"""Tiny models with random weights that find something, for tests of what stands around them."""

from typing import Any

import numpy as np
import torch

from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.pipelines.base import PoseEstimator
from dlcpose.prediction.loaded_model import LoadedModel
from tests.made_up_runs import frames_of, option, pipeline_of, tiny_config
from tests.pipelines.made_up_top_down import CENTERS, top_down_config

SIDE = 64
CPU = torch.device("cpu")


def frames(count: int = 10, *, side: int = SIDE, animals: int = 1, seed: int = 0) -> list[np.ndarray]:
    data = SyntheticFrames(frames=count, height=side, width=side, videos=1, occlusion=0.0, animals=animals, seed=seed)
    return [data.read_image(index) for index in range(count)]


def livelier(pipeline: PoseEstimator) -> PoseEstimator:
    """The same with weights that answer differently in every place, as trained ones do."""
    torch.manual_seed(1)
    for module in pipeline.head.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            torch.nn.init.normal_(module.weight, std=0.3)
    return pipeline.eval().to(memory_format=torch.channels_last)


def single_animal(kind: str = "letterbox") -> LoadedModel:
    """A model for one animal; kind: native or letterbox."""
    node = option("input", kind)
    if kind == "letterbox":
        node["longest_side"] = 48  # frames of 64 px are shrunk
    return LoadedModel(livelier(pipeline_of(tiny_config(input=node), frames_of(4), to_train=False)), CPU)


def top_down(**detector: Any) -> LoadedModel:
    """A top-down model whose detector finds several boxes in every frame."""
    config = top_down_config(
        {**CENTERS, "threshold": 0.0, "max_animals": 2, "nms_iou": 0.1, **detector}, threshold=0.0, nms_oks=1.1
    )
    return LoadedModel(livelier(pipeline_of(config, frames_of(4, animals=2), to_train=False)), CPU)


def bottom_up() -> LoadedModel:
    """A model that assembles animals of part affinity fields."""
    head = {
        **option("head", "part_affinity"),
        "channels": 16,
        "threshold": 0.0,
        "min_affinity": -1.0,
        "max_animals": 3,
        "edges": option("head/edges", "all"),
        "heatmap_loss": option("loss", "binary_cross_entropy"),
    }
    head.pop("defaults", None)
    config = tiny_config(head=head, input=option("input", "native"))
    return LoadedModel(livelier(pipeline_of(config, frames_of(4, animals=2), to_train=False)), CPU)


MODELS = {
    "letterbox": single_animal,
    "native": lambda: single_animal("native"),
    "top_down": top_down,
    "bottom_up": bottom_up,
}
