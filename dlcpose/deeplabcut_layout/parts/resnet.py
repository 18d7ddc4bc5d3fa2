"""DeepLabCut's ResNets: timm's, with stages dilated beyond an output stride."""

from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part, Renamed
from dlcpose.deeplabcut_layout.registries import BACKBONES


@BACKBONES.register("ResNet")
def resnet(node: Node, config: SnapshotConfig) -> Part:
    """Any of timm's names; resnet_50 is resnet50_gn there."""
    return Part(
        choices={"backbone": "timm", "neck": "identity"},
        settings={
            "backbone.name": node.text("model_name"),
            "backbone.output_stride": node.integer("output_stride", 32),
            "backbone.frozen_statistics": node.flag("freeze_bn_stats", False),
            "neck.level": -1,
        },
        weights=Renamed([("backbone.model.", "backbone.network.")]),
    )
