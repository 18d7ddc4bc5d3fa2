"""DeepLabCut's DEKR head, whose layers of each keypoint become groups of one layer here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part, Renamed, Weights
from dlcpose.deeplabcut_layout.registries import HEADS, HeadPlace
from dlcpose.heads.dekr import CELLS_PER_UNIT
from dlcpose.structures.errors import DataError

BLOCKS = 2  # adaptive convolutions of a keypoint
NORM = ("weight", "bias", "running_mean", "running_var")


@HEADS.register("DEKRHead")
def dekr_head(node: Node, config: SnapshotConfig, place: HeadPlace) -> Part:
    """Its layers, decoder and targets. Raises DataError for other numbers of blocks than DeepLabCut's own models have."""
    heatmap, offset = node.node("heatmap_config"), node.node("offset_config")
    predictor, targets = node.node("predictor"), node.node("target_generator")
    for layers, blocks in ((heatmap, 1), (offset, BLOCKS)):
        if layers.integer("num_blocks") != blocks or layers.integer("dilation_rate", 1) != 1:
            raise DataError(f"{layers.where}: dlcpose imports DEKR with {blocks} blocks without dilation.")
    if predictor.flag("use_heatmap", True):
        raise DataError(f"{predictor.where}.use_heatmap: expected false, which dlcpose decodes as DeepLabCut does.")
    score = predictor.text("keypoint_score_type", "combined")
    radius = targets.number("pos_dist_thresh", 17)
    settings = {
        "channels": heatmap.integers("channels", least=2)[1],
        "offset_channels": offset.integer("num_offset_per_kpt"),
        "sigmoid": predictor.flag("apply_sigmoid", True),
        "nms_threshold": predictor.number("nms_threshold", 0.05) if predictor.flag("apply_pose_nms", True) else None,
        "use_heatmap_score": score in ("combined", "heatmap"),
        "use_center_score": score in ("combined", "center"),
        "max_animals": predictor.integer("num_animals"),
        "sigma": radius / 2,
        "center_sigma": radius,
        "offset_radius": radius,
    }
    return Part(
        choices={"head": "deeplabcut_dekr"},
        settings={f"{place.key}.{name}": value for name, value in settings.items()},
        weights=_DekrWeights(place, len(config.bodyparts)),
    )


@dataclass(frozen=True)
class _DekrWeights:
    """The heatmap branch is renamed, the offset branches of the keypoints are stacked; offsets there are cell − keypoint."""

    place: HeadPlace
    keypoints: int
    renamed: ClassVar[Sequence[tuple[str, str]]] = (
        ("heatmap_head.transition_heatmap.0.", "heatmap_layers.0."),
        ("heatmap_head.transition_heatmap.1.", "heatmap_layers.1."),
        ("heatmap_head.head_heatmap.0.0.", "heatmap_layers.3."),
        ("heatmap_head.head_heatmap.1.", "heatmap_layers.4."),
        ("offset_head.transition_offset.0.", "offset_layers.0."),
        ("offset_head.transition_offset.1.", "offset_layers.1."),
    )

    @property
    def _plain(self) -> Renamed:
        place = self.place
        return Renamed([(place.theirs + their, place.ours + our) for their, our in self.renamed])

    def is_theirs(self, name: str) -> bool:
        return name.startswith((f"{self.place.theirs}heatmap_head.", f"{self.place.theirs}offset_head."))

    def to_ours(self, theirs: Weights) -> dict[str, Tensor]:
        ours = self._plain.to_ours(theirs)
        for block in range(BLOCKS):
            there = [
                f"{self.place.theirs}offset_head.offset_feature_layers.{k}.{block}." for k in range(self.keypoints)
            ]
            here = f"{self.place.ours}offset_layers.{3 + block}."
            if not all(f"{name}adapt_conv.weight" in theirs for name in there):
                continue  # the layer is then missing, and is reported under its name here
            for kind in ("weight", "bias"):
                each = [
                    torch.cat((theirs[f"{name}transform_matrix_conv.{kind}"], theirs[f"{name}translation_conv.{kind}"]))
                    for name in there
                ]
                ours[f"{here}affine.{kind}"] = torch.cat(each)
            ours[f"{here}weight"] = torch.stack([theirs[f"{name}adapt_conv.weight"].flatten(2) for name in there])
            for kind in NORM:
                ours[f"{here}norm.{kind}"] = torch.cat([theirs[f"{name}bn.{kind}"] for name in there])
            ours[f"{here}norm.num_batches_tracked"] = theirs[f"{there[0]}bn.num_batches_tracked"]
        last = [f"{self.place.theirs}offset_head.offset_final_layer.{k}." for k in range(self.keypoints)]
        if all(f"{name}weight" in theirs for name in last):
            for kind in ("weight", "bias"):
                each = [theirs[name + kind] for name in last]
                ours[f"{self.place.ours}offset_layers.5.{kind}"] = -torch.cat(each) / CELLS_PER_UNIT
        return ours

    def to_theirs(self, ours: Weights) -> dict[str, Tensor]:
        theirs = self._plain.to_theirs(ours)
        for block in range(BLOCKS):
            here = f"{self.place.ours}offset_layers.{3 + block}."
            for k in range(self.keypoints):
                there = f"{self.place.theirs}offset_head.offset_feature_layers.{k}.{block}."
                for kind in ("weight", "bias"):
                    of_keypoint = ours[f"{here}affine.{kind}"].chunk(self.keypoints)[k]
                    theirs[f"{there}transform_matrix_conv.{kind}"] = of_keypoint[:4].clone()
                    theirs[f"{there}translation_conv.{kind}"] = of_keypoint[4:].clone()
                weight = ours[f"{here}weight"][k]
                theirs[f"{there}adapt_conv.weight"] = weight.reshape(*weight.shape[:-1], 3, 3).clone()
                for kind in NORM:
                    theirs[f"{there}bn.{kind}"] = ours[f"{here}norm.{kind}"].chunk(self.keypoints)[k].clone()
                theirs[f"{there}bn.num_batches_tracked"] = ours[f"{here}norm.num_batches_tracked"].clone()
                theirs[f"{there}regular_matrix"] = REGULAR.clone()
        for kind in ("weight", "bias"):
            for k, value in enumerate((ours[f"{self.place.ours}offset_layers.5.{kind}"]).chunk(self.keypoints)):
                theirs[f"{self.place.theirs}offset_head.offset_final_layer.{k}.{kind}"] = -value * CELLS_PER_UNIT
        return theirs


# The taps of a 3x3 convolution, y above x, which DeepLabCut saves with every block.
REGULAR = torch.tensor([[-1.0, -1, -1, 0, 0, 0, 1, 1, 1], [-1.0, 0, 1, -1, 0, 1, -1, 0, 1]])
