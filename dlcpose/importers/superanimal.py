"""SuperAnimal models, DeepLabCut's published snapshots, which come without a config: recognized by their keys and shapes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dlcpose.deeplabcut_layout.config import SnapshotConfig, config_of
from dlcpose.structures.errors import DataError

LICENSE = (
    "a SuperAnimal model: its cards state no license now and stated CC-BY-NC 4.0 earlier. Take it as for non-commercial use, "
    "and do not pass it on."
)
MAX_ANIMALS = 10  # per image, as DeepLabCut's own inference with these models
# Keypoints by their number, in the order of the models' outputs.
QUADRUPED = (
    *("nose", "upper_jaw", "lower_jaw", "mouth_end_right", "mouth_end_left", "right_eye", "right_earbase"),
    *("right_earend", "right_antler_base", "right_antler_end", "left_eye", "left_earbase", "left_earend"),
    *("left_antler_base", "left_antler_end", "neck_base", "neck_end", "throat_base", "throat_end", "back_base"),
    *("back_end", "back_middle", "tail_base", "tail_end", "front_left_thai", "front_left_knee", "front_left_paw"),
    *("front_right_thai", "front_right_knee", "front_right_paw", "back_left_paw", "back_left_thai"),
    *("back_right_thai", "back_left_knee", "back_right_knee", "back_right_paw", "belly_bottom"),
    *("body_middle_right", "body_middle_left"),
)
TOP_VIEW_MOUSE = (
    *("nose", "left_ear", "right_ear", "left_ear_tip", "right_ear_tip", "left_eye", "right_eye", "neck", "mid_back"),
    *("mouse_center", "mid_backend", "mid_backend2", "mid_backend3", "tail_base", "tail1", "tail2", "tail3", "tail4"),
    *("tail5", "left_shoulder", "left_midside", "left_hip", "right_shoulder", "right_midside", "right_hip"),
    *("tail_end", "head_midpoint"),
)
BIRD = (
    *("back", "bill", "belly", "breast", "crown", "forehead", "left_eye", "left_leg", "left_wing_tip", "left_wrist"),
    *("nape", "right_eye", "right_leg", "right_wing_tip", "right_wrist", "tail_tip", "throat", "neck", "tail_left"),
    *("tail_right", "upper_spine", "upper_half_spine", "lower_half_spine", "right_foot", "left_foot"),
    *("left_half_chest", "right_half_chest", "chin", "left_tibia", "right_tibia", "lower_spine", "upper_half_neck"),
    *("lower_half_neck", "left_chest", "right_chest", "upper_neck", "left_wing_shoulder", "left_wing_elbow"),
    *("right_wing_shoulder", "right_wing_elbow", "upper_cere", "lower_cere"),
)
ANIMALS = {len(names): names for names in (QUADRUPED, TOP_VIEW_MOUSE, BIRD)}
HEATMAPS = "heads.bodypart.heatmap_head.deconv_layers.0.weight"
OFFSETS = "heads.bodypart.locref_head.deconv_layers.0.weight"
SIMCC = "heads.bodypart.final_layer.weight"
HRNET = "backbone.model.stage4.0.branches.0.0.conv1.weight"
RESNET = "backbone.model.layer4.0.conv1.weight"
CSPNEXT = "backbone.stem.2.conv.weight"


def recognized_config(
    weights: Mapping[str, Tensor], detector: Mapping[str, Tensor] | None, path: Path
) -> SnapshotConfig:
    """The config of a published model. Raises DataError, with what is known, for weights that are of none."""
    backbone, net_type, channels = _backbone(weights, path)
    keypoints = _keypoints(weights, path)
    if keypoints not in ANIMALS:
        known = " and ".join(map(str, sorted(ANIMALS)))
        raise DataError(
            f"{path}: of the published models without a config, dlcpose knows the keypoints of those with {known}; this one "
            f"has {keypoints}. Give its pytorch_config.yaml with --config."
        )
    if SIMCC in weights:
        head, net_type = _simcc_head(weights), net_type.replace("cspnext", "rtmpose")
    else:
        head = _heatmap_head(weights, keypoints, channels)
    content: dict[str, Any] = {
        "net_type": net_type,
        "method": "td",
        "metadata": {
            "bodyparts": list(ANIMALS[keypoints]),
            "individuals": [f"animal_{number}" for number in range(MAX_ANIMALS)],
        },
        "data": {"inference": {"normalize_images": True, "top_down_crop": {"height": 256, "width": 256}}},
        "model": {"backbone": backbone, "heads": {"bodypart": head}},
    }
    if detector is not None:
        content["detector"] = {"model": _detector(detector)}
    return config_of(content, path)


def _backbone(weights: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Any], str, int]:
    """Its settings, its name, and the channels of its map."""
    if HRNET in weights:
        width = len(weights[HRNET])
        return {"type": "HRNet", "model_name": f"hrnet_w{width}", "freeze_bn_stats": True}, f"hrnet_w{width}", width
    if RESNET in weights:
        name = "resnet50" if "backbone.model.bn1.running_mean" in weights else "resnet50_gn"
        return {"type": "ResNet", "model_name": name, "output_stride": 16}, "resnet_50", 2048
    if CSPNEXT in weights:
        sizes = {32: ("s", 0.5, 0.33), 48: ("m", 0.75, 0.67), 80: ("x", 1.25, 1.33)}
        size, widen, deepen = sizes.get(len(weights[CSPNEXT]), sizes[32])
        node = {"type": "CSPNeXt", "widen_factor": widen, "deepen_factor": deepen}
        return node, f"cspnext_{size}", int(1024 * widen)
    raise DataError(
        f"{path}: no pytorch_config.yaml lies beside it, and its layers are those of no published model that dlcpose knows: "
        f"{', '.join(list(weights)[:3])}, ... Nearest layouts: SuperAnimal's hrnet_w32, resnet_50 and rtmpose_s. Copy the "
        "config from the `train` folder of the shuffle, or name it with --config."
    )


def _keypoints(weights: Mapping[str, Tensor], path: Path) -> int:
    if HEATMAPS in weights:
        return weights[HEATMAPS].shape[1]
    if SIMCC in weights:
        return weights[SIMCC].shape[0]
    raise DataError(
        f"{path}: no pytorch_config.yaml lies beside it, and its head is that of no published model that dlcpose knows. Copy "
        "the config from the `train` folder of the shuffle, or name it with --config."
    )


def _heatmap_head(weights: Mapping[str, Tensor], keypoints: int, channels: int) -> dict[str, Any]:
    kernel = weights[HEATMAPS].shape[-1]  # 3x3 ones double the resolution there, 1x1 ones keep it

    def layers(outputs: int) -> dict[str, Any]:
        return {"channels": [channels, outputs], "kernel_size": [kernel], "strides": [2 if kernel > 1 else 1]}

    node: dict[str, Any] = {
        "type": "HeatmapHead",
        "predictor": {"apply_sigmoid": False},
        "target_generator": {"pos_dist_thresh": 17},
        "heatmap_config": layers(keypoints),
    }
    return node | ({"locref_config": layers(2 * keypoints)} if OFFSETS in weights else {})


def _simcc_head(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "type": "RTMCCHead",
        "predictor": {"sigma": [5.66, 5.66], "decode_beta": 150.0},
        "simcc_split_ratio": 2.0,
        "final_layer_kernel_size": weights[SIMCC].shape[-1],
        "gau_cfg": {"hidden_dims": 256, "s": 128, "expansion_factor": 2},
    }


def _detector(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    if any(name.startswith("model.head.classification_head.") for name in weights):
        return {"type": "SSDLite"}
    is_resnet = any(name.startswith("model.backbone.body.layer4.") for name in weights)
    variant = "fasterrcnn_resnet50_fpn_v2" if is_resnet else "fasterrcnn_mobilenet_v3_large_fpn"
    return {"type": "FasterRCNN", "variant": variant}
