"""DeepLabCut's RTMCC head (RTMPose)."""

from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part, Renamed
from dlcpose.deeplabcut_layout.registries import HEADS, HeadPlace
from dlcpose.structures.errors import DataError

NAMES = (
    ("final_layer.", "to_keypoints."),
    ("mlp.0.g", "to_tokens.0.scale"),
    ("mlp.1.", "to_tokens.1."),
    ("gau.ln.g", "attention.norm.scale"),
    ("gau.uv.", "attention.spread."),
    ("gau.o.", "attention.gather."),
    ("gau.gamma", "attention.factors"),
    ("gau.beta", "attention.shifts"),
    ("gau.res_scale.scale", "attention.share"),
    ("cls_x.", "to_x."),
    ("cls_y.", "to_y."),
)


@HEADS.register("RTMCCHead")
def rtmcc_head(node: Node, config: SnapshotConfig, place: HeadPlace) -> Part:
    """Its layers and decoder. Raises DataError for attention that dlcpose does not have."""
    attention, predictor = node.node("gau_cfg"), node.node("predictor")
    if attention.flag("use_rel_bias", False) or attention.flag("pos_enc", False):
        raise DataError(f"{attention.where}: dlcpose has this attention without relative bias and position encoding.")
    if attention.text("act_fn", "SiLU") != "SiLU" or predictor.flag("normalize_outputs", False):
        raise DataError(f"{node.where}: expected act_fn SiLU and normalize_outputs false.")
    predictor.expect({"apply_softmax": True})
    ratio = node.number("simcc_split_ratio", 2.0)
    if ratio != int(ratio):
        raise DataError(f"{node.where}.simcc_split_ratio: expected a whole number of bins per pixel, got {ratio}.")
    sharpness = predictor.number("decode_beta", 150.0)
    settings = {
        "width": attention.integer("hidden_dims", 256),
        "attended": attention.integer("s", 128),
        "expansion": attention.integer("expansion_factor", 2),
        "kernel": node.integer("final_layer_kernel_size", 7),
        "bins_per_pixel": int(ratio),
        "decode_scales": [sigma * sharpness for sigma in predictor.numbers("sigma", 2)],
    }
    return Part(
        choices={"head": "deeplabcut_rtmcc"},
        settings={f"{place.key}.{name}": value for name, value in settings.items()},
        weights=Renamed([(place.theirs + their, place.ours + our) for their, our in NAMES]),
    )
