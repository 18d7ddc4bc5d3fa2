"""DeepLabCut's HRNets: timm's, of which the finest branch is read, or all of them at its resolution."""

from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part, Renamed
from dlcpose.deeplabcut_layout.registries import BACKBONES


@BACKBONES.register("HRNet")
def hrnet(node: Node, config: SnapshotConfig) -> Part:
    """Any of timm's HRNets."""
    location = "incre" if node.flag("increased_channel_count", False) else ""
    return Part(
        choices={
            "backbone": "hrnet_w32",  # the name is set below
            "neck": "concatenate" if node.flag("interpolate_branches", False) else "identity",
        },
        settings={
            "backbone.name": node.text("model_name"),
            "backbone.options": {"feature_location": location},
            "backbone.frozen_statistics": node.flag("freeze_bn_stats", False),
            "neck.level": 0,
        },
        weights=Renamed([("backbone.model.", "backbone.network.")]),
        multiple_of=32,
    )
