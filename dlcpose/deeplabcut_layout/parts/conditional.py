"""DeepLabCut's conditional top-down models (BUCTD): crops around another model's poses, and how those reach the network."""

from dataclasses import replace

from dlcpose.deeplabcut_layout.config import Node, SnapshotConfig
from dlcpose.deeplabcut_layout.part import Part, Renamed
from dlcpose.deeplabcut_layout.parts.hrnet import hrnet
from dlcpose.deeplabcut_layout.parts.top_down import top_down
from dlcpose.deeplabcut_layout.registries import BACKBONES, METHODS, mapper_of
from dlcpose.structures.errors import DataError

COAM = (
    ("position_attention_module.cnn.", "spatial_conv."),
    ("position_attention_module.cnn_cond.", "spatial_condition_conv."),
    ("position_attention_module.pa.fc_q.", "to_queries."),
    ("position_attention_module.pa.fc_k.", "to_keys."),
    ("position_attention_module.pa.fc_v.", "to_values."),
    ("position_attention_module.pa.fc_o.", "spatial_out."),
    ("channel_attention_module.cnn.", "channel_conv."),
    ("channel_attention_module.cnn_cond.", "channel_condition_conv."),
    ("channel_attention_module.pa.fc_o.", "channel_out."),
)


@METHODS.register("ctd")
def conditional(config: SnapshotConfig) -> Part:
    """Its crops. The conditions are perturbed labels until another model is named (detector=pose_boxes)."""
    crops = top_down(config)
    has_crop = "top_down_crop" in config.inference
    context = config.inference.node("top_down_crop").flag("crop_with_context", False) if has_crop else False
    choices = {
        "pipeline": "deeplabcut_conditional",
        "detector": "perturbed_pose_boxes",
        "condition": "generated",
    }
    return replace(
        crops,
        choices=dict(crops.choices) | choices,
        settings=dict(crops.settings) | {"pipeline.with_context": context},
    )


@BACKBONES.register("CondPreNet")
def prenet(node: Node, config: SnapshotConfig) -> Part:
    """A backbone behind convolutions that fuse image and condition."""
    inner = node.node("backbone")
    mapped: Part = mapper_of(BACKBONES, inner.text("type"), f"{inner.where}.type")(inner, config)
    settings = {f"fusion.{name}": value for name, value in _blur(node).items()}
    renamed = [(f"backbone.{their}", our) for their, our in _beginnings(mapped)]
    return replace(
        mapped,
        choices=dict(mapped.choices) | {"fusion": "deeplabcut_prenet"},
        settings=dict(mapped.settings) | settings,
        weights=Renamed(
            [
                ("backbone.rgb_preNet.", "fusion.image_layers."),
                ("backbone.cond_preNet.", "fusion.condition_layers."),
                *renamed,
            ]
        ),
    )


@BACKBONES.register("HRNetCoAM")
def coam(node: Node, config: SnapshotConfig) -> Part:
    """HRNet with conditional attention before its third stage."""
    if (
        node.integers("coam_modules") != [2]
        or node.flag("channel_att_only", False)
        or node.integer("att_heads", 1) != 1
    ):
        raise DataError(f"{node.where}: dlcpose imports CoAM at position 2 with one head and both attentions.")
    if "selfatt_coam_modules" in node:
        raise DataError(f"{node.where}.selfatt_coam_modules: dlcpose has no self-attention modules of this kind.")
    mapped = hrnet(Node(dict(node.content) | {"model_name": node.text("base_model_name")}, node.where), config)
    attention = [
        (f"backbone.coam_stages.1.att_layers.{level}.{their}", f"fusion.attention.{level}.{our}")
        for level in range(3)
        for their, our in COAM
    ]
    return replace(
        mapped,
        choices=dict(mapped.choices) | {"fusion": "deeplabcut_coam"},
        settings=dict(mapped.settings) | {f"fusion.{name}": value for name, value in _blur(node).items()},
        weights=Renamed([*attention, *_beginnings(mapped)]),
    )


def _blur(node: Node) -> dict[str, object]:
    """How conditions are rendered. Raises DataError for other encoders than one channel for each keypoint."""
    encoder = node.node("kpt_encoder")
    kernel = encoder.integers("kernel_size", least=1) if "kernel_size" in encoder else [15, 15]
    if encoder.text("type") != "StackedKeypointEncoder" or kernel[0] != kernel[-1] or kernel[0] % 2 == 0:
        raise DataError(f"{encoder.where}: dlcpose imports StackedKeypointEncoder with a square kernel of an odd size.")
    radius = kernel[0] // 2
    return {"radius": radius, "sigma": 0.3 * (radius - 1) + 0.8}  # OpenCV's, where none is given


def _beginnings(part: Part) -> list[tuple[str, str]]:
    assert isinstance(part.weights, Renamed)  # of all backbones that it wraps
    return list(part.weights.beginnings)
