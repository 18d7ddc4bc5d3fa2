"""DeepLabCut's heads beside that of the animals: unique body parts and identities."""

from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part, Renamed
from dlcpose.deeplabcut_layout.parts.heatmap_head import heatmap_head, layers_of
from dlcpose.deeplabcut_layout.registries import SIDE_HEADS, HeadPlace


@SIDE_HEADS.register("unique_bodypart")
def unique_head(node: Node, config: SnapshotConfig) -> Part:
    """A heatmap head of its own."""
    place = HeadPlace("side_head.unique.head", "heads.unique_bodypart.", "side_heads.unique.head.")
    mapped = heatmap_head(node, config, place)
    return Part(choices={"side_head": "deeplabcut_unique"}, settings=mapped.settings, weights=mapped.weights)


@SIDE_HEADS.register("identity")
def identity_head(node: Node, config: SnapshotConfig) -> Part:
    """A map for each individual."""
    node.node("predictor").expect({"apply_sigmoid": True})
    settings = layers_of(node.node("heatmap_config")) | {
        "radius": node.node("target_generator").number("pos_dist_thresh", 17)
    }
    return Part(
        choices={"side_head": "deeplabcut_identity"},
        settings={f"side_head.identity.{name}": value for name, value in settings.items()},
        weights=Renamed([("heads.identity.heatmap_head.", "side_heads.identity.layers.")]),
    )
