"""DeepLabCut's CSPNeXt, of which the last stage is read."""

from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part, Renamed
from dlcpose.deeplabcut_layout.registries import BACKBONES


@BACKBONES.register("CSPNeXt")
def cspnext(node: Node, config: SnapshotConfig) -> Part:
    """Any width and depth of the layout P5. Raises DataError for other layouts."""
    node.expect({"arch": "P5", "expand_ratio": 0.5, "out_indices": -1, "channel_attention": True})
    return Part(
        choices={"backbone": "cspnext_s", "neck": "identity"},
        settings={
            "backbone.widen": node.number("widen_factor", 0.75),
            "backbone.deepen": node.number("deepen_factor", 0.67),
            "neck.level": -1,
        },
        weights=Renamed([("backbone.", "backbone.network.")]),
    )
