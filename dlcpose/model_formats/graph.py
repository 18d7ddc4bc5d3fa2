"""A trained model as graphs of tensors: from pixels to what its head decodes, normalization included."""

import functools
import inspect
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from dlcpose.detectors.base import Detector
from dlcpose.detectors.box_rules import around_keypoints, padded_keypoints, stored
from dlcpose.pipelines.base import PoseEstimator, PoseMaps, PoseModule
from dlcpose.prediction.graph_model import Graph
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input

EXAMPLE_SIDE = 128  # px of an image that a graph for images of any size is made with


SIZE_TOLERANCE, HALF_SIZE_TOLERANCE = 5e-3, 0.1  # px: of 16 bits as much as an export in them may move keypoints


class PoseGraph(nn.Module):
    """Images (B, 3, H, W) of 0 to 255 to the head's outputs, in the order of `names`, in 32 bits whatever the weights have.

    half: whether backbone, neck and heads compute in 16 bits; their maps are 32 bits again before they are decoded.
    """

    def __init__(self, pipeline: PoseEstimator, *, half: bool) -> None:
        super().__init__()
        self.dtype = torch.float16 if half else torch.float32
        # Its networks one by one: a LightningModule itself cannot be traced without a trainer.
        self.backbone, self.neck, self.head = pipeline.backbone, pipeline.neck, pipeline.head
        self.side_heads = pipeline.side_heads
        self.to(self.dtype)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", pipeline.mean.float())
        self.register_buffer("std", pipeline.std.float())
        self._graph_outputs = pipeline.graph_outputs
        self.names: tuple[str, ...] = ()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs, whose names are noted."""
        normalized = (images.float() / 255 - self.mean) / self.std
        features = self.neck(self.backbone(normalized.to(self.dtype)))
        maps = PoseMaps(self.head(features), tuple(side_head(features) for side_head in self.side_heads.values()))
        outputs = self._graph_outputs(maps)
        self.names = tuple(outputs)
        return tuple(outputs.values())


class DetectorGraph(nn.Module):
    """Scaled and padded frames (B, 3, h, w) of 0 to 255 to candidate boxes, always in 32 bits."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.names: tuple[str, ...] = ()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs, whose names are noted."""
        outputs = self.detector.graph_outputs(images)
        self.names = tuple(outputs)
        return tuple(outputs.values())


@dataclass(frozen=True)
class GraphToTrace:
    """A module, an example of its images, and whether it takes images of any height and width."""

    module: PoseGraph | DetectorGraph
    example: Tensor
    any_size: bool


def estimator_of(pipeline: PoseModule) -> PoseEstimator:
    """The pipeline as a PoseEstimator that can be exported. Raises ConfigError with the part that cannot be, and why."""
    if pipeline.conditional is not None:
        raise ConfigError(
            f"pipeline: {type(pipeline).__name__} cannot be exported: another model's poses are drawn into what it sees, and "
            "that model runs beside it. Export a top-down or bottom-up model."
        )
    if (estimator := pipeline.estimator) is None:
        raise ConfigError(
            f"pipeline: {type(pipeline).__name__} predicts no poses. Export a checkpoint of a pose model."
        )
    if pipeline.needs_labels:
        raise ConfigError(
            f"detector: {type(pipeline.detector).__name__} looks where animals are labeled, so the model finds none on its "
            "own and cannot be exported. Train with detector=centernet."
        )
    return estimator


def pose_graph(pipeline: PoseEstimator, *, precision: str) -> GraphToTrace:
    """The graph of a pose network. Raises ConfigError for a head that cannot be exported."""
    is_of_crops = pipeline.crop_settings is not None
    multiple = pipeline.model_input.multiple_of
    side = multiple * max(1, EXAMPLE_SIDE // multiple)
    size = pipeline.model_input.canvas or (side, side)
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    module = PoseGraph(pipeline, half=precision == "fp16").eval()
    any_size = not is_of_crops and _takes(module, _larger(images, multiple))
    return GraphToTrace(module, images.float() if is_of_crops else images, any_size)


def detector_graph(detector: Detector) -> GraphToTrace:
    """The graph of a top-down model's detector. Raises ConfigError for one that cannot be exported."""
    frames = torch.randint(0, 256, (2, 3, 2 * EXAMPLE_SIDE, 3 * EXAMPLE_SIDE), dtype=torch.uint8)
    images, _ = detector.graph_detector().prepare(frames)
    return GraphToTrace(DetectorGraph(detector).eval(), images, True)


def box_rule_settings(detector: Detector) -> dict[str, float]:
    """What `CropsOfGraph` keeps of the rule that makes boxes of poses; nothing where the rule is one of the user's own."""
    rule: Any = detector.box_rule
    chosen = rule.func if isinstance(rule, functools.partial) else rule
    kept = {around_keypoints: ("margin", "min_size"), stored: ("margin", "min_size"), padded_keypoints: ("padding",)}
    usual = {name: each.default for name, each in inspect.signature(chosen).parameters.items()}
    settings = {**usual, **(rule.keywords if isinstance(rule, functools.partial) else {})}
    # `stored` is `around_keypoints` where the data has no boxes.
    return {f"box_{name}": float(settings[name]) for name in kept.get(chosen, ())}


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn what tracing a graph in the block raises into a ConfigError that names the part. where: the format."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of sizes that become constants: `any_size` says whether they may
            yield
    except ConfigError:
        raise
    except Exception as error:  # of whatever part, or of torch, in its own words
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(
            f"{_part_in(error)}: it cannot be exported, as {where} cannot hold an operation of it ({reason}). Take another."
        ) from error


@torch.no_grad()
def answers_at_another_size(
    graph: GraphToTrace, written: Graph, multiple: int, *, tolerance: float = SIZE_TOLERANCE
) -> bool:
    """Whether an export gives the module's outputs for larger images too: tracing may have made a size a constant.

    tolerance: of places (px) and scores. A tenth of them may differ by more: the highest of two equal peaks may be either.
    """
    images = _larger(graph.example, multiple)
    ours = dict(zip(graph.module.names, graph.module(images), strict=True))
    try:
        theirs = written.run(images)
    except ValueError:
        return False
    same = {name: (theirs[name] - ours[name]).abs() <= tolerance for name in theirs}
    return all(each.float().mean() >= 0.9 for each in same.values())


def size_of_all(model_input: Input, name: str) -> tuple[int, int]:
    """The only (height, width) for which a graph's outputs are right. Raises ConfigError where the input has no size."""
    if model_input.canvas is None:
        raise ConfigError(
            f"--format {name}: this model's graph is wrong for images of another size than it was traced with, and its "
            "input has no size (input=native). Train with input=letterbox or input=resize."
        )
    return model_input.canvas


@torch.no_grad()
def _takes(module: nn.Module, images: Tensor) -> bool:
    try:
        module(images)
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True


def _larger(images: Tensor, multiple: int) -> Tensor:
    """The images with more rows and columns, as networks for images of any size take them."""
    more = math.lcm(multiple, 32)
    return nn.functional.pad(images.float(), (0, more, 0, 2 * more)).to(images.dtype)


def _part_in(error: Exception) -> str:
    """Which group the part that raised an error belongs to, by the last of our modules in its traceback."""
    groups = {
        "backbones": "backbone",
        "necks": "neck",
        "heads": "head",
        "side_heads": "side_head",
        "detectors": "detector",
    }
    found, frame = "pipeline", error.__traceback__
    while frame is not None:
        names = cast(str, frame.tb_frame.f_globals.get("__name__", "")).split(".")
        found = groups.get(names[1], found) if len(names) > 2 and names[0] == "dlcpose" else found
        frame = frame.tb_next
    return found
