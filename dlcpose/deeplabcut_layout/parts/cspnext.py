"""DeepLabCut's CSPNeXt, of which the last stage is read."""

from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part, Renamed
from dlcpose.deeplabcut_layout.registries import BACKBONES
from dlcpose.structures.errors import DataError


@BACKBONES.register("CSPNeXt")
def cspnext(node: Node, config: SnapshotConfig) -> Part:
    """Any width and depth of the layout P5. Raises DataError for other layouts."""
    for key, value in {"arch": "P5", "expand_ratio": 0.5, "out_indices": -1, "channel_attention": True}.items():
        if key in node and node.content[key] != value:
            raise DataError(f"{node.where}.{key}: dlcpose has CSPNeXt with {value!r} alone, got {node.content[key]!r}.")
    return Part(
        choices={"backbone": "cspnext_s", "neck": "identity"},
        settings={
            "backbone.widen": node.number("widen_factor", 0.75),
            "backbone.deepen": node.number("deepen_factor", 0.67),
            "neck.level": -1,
        },
        weights=Renamed([("backbone.", "backbone.network.")]),
    )
