"""DeepLabCut's heatmap head of one animal: unpadded deconvolutions or one convolution, with location refinement."""

from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part, Renamed
from dlcpose.deeplabcut_layout.registries import HEADS, HeadPlace
from dlcpose.structures.errors import DataError

SIGMA_OF_RADIUS = 2 / 3  # a Gaussian's standard deviation, of the distance up to which a cell counts as on the keypoint

MAX_LAYERS = 100  # of a head or neck: composing a config of many takes minutes


@HEADS.register("HeatmapHead")
def heatmap_head(node: Node, config: SnapshotConfig, place: HeadPlace) -> Part:
    """Its layers, decoder and targets."""
    predictor, targets = node.node("predictor"), node.node("target_generator")
    radius = targets.number("pos_dist_thresh", 17)
    has_layers = "locref_config" in node
    has_offsets = has_layers and predictor.flag("location_refinement", True)
    if has_offsets and layers_of(node.node("locref_config")) != layers_of(node.node("heatmap_config")):
        raise DataError(
            f"{node.where}: heatmap_config and locref_config have other layers, which dlcpose cannot import."
        )
    locref = f"{place.theirs}locref_head."
    settings = {
        **layers_of(node.node("heatmap_config")),
        "sigmoid": predictor.flag("apply_sigmoid", True),
        "offsets": has_offsets,
        "offset_std": predictor.number("locref_std", 7.2801),
        "sigma": radius * SIGMA_OF_RADIUS,
        "offset_radius": radius,
        "ignore_missing": targets.flag("gradient_masking", False),
    }
    return Part(
        choices={"head": "deeplabcut_heatmap"},
        settings={f"{place.key}.{name}": value for name, value in settings.items()},
        weights=Renamed(
            [
                (f"{place.theirs}heatmap_head.", f"{place.ours}heatmap_layers."),
                *([(locref, f"{place.ours}offset_layers.")] if has_offsets else []),
            ],
            unused=() if has_offsets or not has_layers else (locref,),
        ),
    )


def layers_of(node: Node) -> dict[str, object]:
    """The settings of UnpaddedDeconvolutions of DeepLabCut's."""
    kernels, strides = node.integers("kernel_size"), node.integers("strides")
    final_kernel = node.node("final_conv").integer("kernel_size") if "final_conv" in node else 0
    channels = node.integers("channels")[1:]
    if (count := max(map(len, (kernels, strides, channels)))) > MAX_LAYERS:
        raise DataError(
            f"{node.where}: expected at most {MAX_LAYERS} layers, got {count}. Is it the model's own config?"
        )
    return {
        "kernels": kernels,
        "strides": strides,
        "channels": channels if final_kernel else channels[:-1],
        "final_kernel": final_kernel,
    }
