"""DeepLabCut's DLCRNet backbone."""

from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part, Renamed
from dlcpose.deeplabcut_layout.registries import BACKBONES


@BACKBONES.register("DLCRNet")
def dlcrnet(node: Node, config: SnapshotConfig) -> Part:
    """A ResNet with banks of early features."""
    return Part(
        choices={"backbone": "deeplabcut_dlcrnet", "neck": "identity"},
        settings={
            "backbone.name": node.text("model_name", "resnet50"),
            "backbone.output_stride": node.integer("output_stride", 32),
            "backbone.frozen_statistics": node.flag("freeze_bn_stats", False),
            "neck.level": -1,
        },
        weights=Renamed([("backbone.", "backbone.network.")]),
    )
