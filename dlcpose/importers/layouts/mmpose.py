"""MMPose's top-down models: heatmaps on ResNet (SimpleBaseline) or HRNet, and RTMPose. RGB, normalized as ImageNet.

Keys, shapes and decoding are those of MMPose 0.29 and 1.3: a crop is 1.25 times the box; a cell of the heatmaps stands for
its first pixel, a bin of SimCC for half a pixel; AP-10K's models see 256x256.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from dlcpose.deeplabcut_layout.model import ForeignModel
from dlcpose.deeplabcut_layout.part import Part, Renamed
from dlcpose.deeplabcut_layout.parts.rtmcc_head import NAMES as RTMCC_NAMES
from dlcpose.importers.imported import ImportedModel
from dlcpose.importers.layout import LAYOUTS, MAX_ANIMALS, Layout, PublishedFile
from dlcpose.structures.errors import DataError

LICENSE = "Apache-2.0, as MMPose's repository; the data sets' own terms may say more"
INPUT = 256  # px, of the animal models with heatmaps
DEPTHS = {6: "resnet50", 23: "resnet101", 36: "resnet152"}  # by the blocks of the third stage
SIZES = {
    24: ("m", 0.75, 0.67),
    16: ("s", 0.5, 0.33),
    32: ("l", 1.0, 1.0),
    40: ("x", 1.25, 1.33),
    12: ("t", 0.375, 0.167),
}


def top_down(height: int, width: int) -> Part:
    """Crops as MMPose cuts them, around boxes of the data until a detector is chosen."""
    return Part(
        choices={
            "pipeline": "top_down",
            "input": "resize",
            "metric": "top_down",
            "detector": "ground_truth",
            "detector/boxes": "stored",
        },
        settings={"input.height": height, "input.width": width, "pipeline.crops.margin": 0.125},
    )


def imported(
    file: PublishedFile, model: str, parts: list[Part], keypoints: int, license: str, not_taken: Mapping[str, str]
) -> ImportedModel:
    """A top-down model of parts, with the weights of a file. model: the named model that is nearest."""
    if file.detector is not None:
        raise DataError(
            f"--detector {file.detector}: this model is imported without one. Choose a detector of dlcpose as you predict or "
            "evaluate: detector=... detector.checkpoint=PATH."
        )
    foreign = ForeignModel(parts)
    weights, left_over = foreign.to_ours(file.weights)
    return ImportedModel(
        source=file.path,
        overrides=[f"model={model}", "dataset=coco", "dataset.root=DATA", *foreign.overrides],
        weights=weights,
        left_over=[name for name in left_over if name not in not_taken],
        skeleton=file.skeleton(keypoints),
        individuals=tuple(f"animal_{number}" for number in range(MAX_ANIMALS)),
        has_identities=False,
        multiple_of=foreign.multiple_of,
        license=license,
        not_taken=not_taken,
    )


class _Heatmaps(Layout):
    """A backbone, deconvolutions or none, and a 1x1 convolution."""

    @classmethod
    @abstractmethod
    def backbone(cls, weights: Mapping[str, Tensor]) -> tuple[str, Part]:
        """The named model that is nearest, and the backbone."""

    @classmethod
    def read(cls, file: PublishedFile) -> ImportedModel:
        deconvolutions = sum(
            1 for name, each in file.weights.items() if name.startswith("head.deconv_") and each.ndim == 4
        )
        model, backbone = cls.backbone(file.weights)
        head = Part(
            choices={"head": "simple_baseline"},
            settings={"head.deconvolutions": deconvolutions},
            weights=Renamed(
                [
                    ("head.deconv_layers.", "head.heatmap_layers."),
                    ("head.final_layer.", f"head.heatmap_layers.{3 * deconvolutions}."),
                ]
            ),
        )
        keypoints = len(file.weights["head.final_layer.weight"])
        return imported(file, model, [top_down(INPUT, INPUT), backbone, head], keypoints, LICENSE, {})


@LAYOUTS.register("mmpose_resnet")
class MmposeResnet(_Heatmaps):
    """ResNet-50, 101 or 152 and three deconvolutions."""

    title = "MMPose's ResNet with heatmaps"
    marks: ClassVar = ("backbone.layer4.0.conv1.weight", "head.deconv_layers.0.weight", "head.final_layer.weight")

    @classmethod
    def backbone(cls, weights: Mapping[str, Tensor]) -> tuple[str, Part]:
        blocks = sum(1 for name in weights if name.startswith("backbone.layer3.") and name.endswith("conv3.weight"))
        if blocks not in DEPTHS:
            raise DataError(
                f"layer3 of this ResNet has {blocks} bottlenecks: dlcpose knows {', '.join(DEPTHS.values())}."
            )
        part = Part(
            choices={"backbone": "timm", "neck": "identity"},
            settings={"backbone.name": DEPTHS[blocks]},
            weights=Renamed([("backbone.", "backbone.network.")]),
        )
        return f"top_down_resnet_{50 if blocks == 6 else 101}", part


@LAYOUTS.register("mmpose_hrnet")
class MmposeHrnet(_Heatmaps):
    """HRNet, of which the finest branch is read."""

    title = "MMPose's HRNet with heatmaps"
    marks: ClassVar = ("backbone.stage4.0.branches.0.0.conv1.weight", "head.final_layer.weight")

    @classmethod
    def backbone(cls, weights: Mapping[str, Tensor]) -> tuple[str, Part]:
        name = f"hrnet_w{len(weights['backbone.stage4.0.branches.0.0.conv1.weight'])}"
        part = Part(
            choices={"backbone": "hrnet_w32_stage3", "neck": "identity"},
            settings={"backbone.name": name, "backbone.stages": 4, "neck.level": 0},
            weights=Renamed([("backbone.", "backbone.network.")]),
        )
        return f"top_down_{name}", part


@LAYOUTS.register("mmpose_rtmpose")
class Rtmpose(Layout):
    """CSPNeXt and SimCC."""

    title = "MMPose's RTMPose"
    marks: ClassVar = ("backbone.stem.0.conv.weight", "head.mlp.0.g", "head.cls_x.weight", "head.cls_y.weight")

    @classmethod
    def read(cls, file: PublishedFile) -> ImportedModel:
        weights = file.weights
        size, widen, deepen = _size(weights)
        keypoints, _, kernel, _ = weights["head.final_layer.weight"].shape
        width = weights["head.mlp.1.weight"].shape[0]
        spread, attended = weights["head.gau.uv.weight"].shape[0], weights["head.gau.gamma"].shape[1]
        settings: dict[str, Any] = {
            "head.width": width,
            "head.attended": attended,
            "head.expansion": (spread - attended) // (2 * width),
            "head.kernel": kernel,
            "head.bin_shift": -0.5,  # pixel x lies at bin 2x
        }
        parts = [
            top_down(len(weights["head.cls_y.weight"]) // 2, len(weights["head.cls_x.weight"]) // 2),
            Part(
                choices={"backbone": "cspnext_s", "neck": "identity"},
                settings={"backbone.widen": widen, "backbone.deepen": deepen, "neck.level": -1},
                weights=Renamed([("backbone.", "backbone.network.")]),
            ),
            Part(
                choices={"head": "rtmcc"},
                settings=settings,
                weights=Renamed([(f"head.{their}", f"head.{our}") for their, our in RTMCC_NAMES]),
            ),
        ]
        return imported(file, f"rtmpose_{size}", parts, keypoints, LICENSE, {})


def _size(weights: Mapping[str, Tensor]) -> tuple[str, float, float]:
    """The named size that is nearest, and the factors of width and depth, by the layers there are."""
    stem = len(weights["backbone.stem.0.conv.weight"])
    if stem not in SIZES:
        raise DataError(
            f"a CSPNeXt with {stem} channels in its first layer: dlcpose knows {', '.join(map(str, SIZES))}."
        )
    size, widen, deepen = SIZES[stem]
    return {"t": "s", "l": "x"}.get(size, size), widen, deepen
