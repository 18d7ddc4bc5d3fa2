"""Heads as DeepLabCut configures them."""

from collections.abc import Mapping
from typing import Any

from dlcpose.deeplabcut_layout.writers import HEAD_WRITERS, SIDE_HEAD_WRITERS, ModelFacts, Written
from dlcpose.instantiate import Instantiator
from dlcpose.structures.errors import ConfigError

HEATMAPS = "dlcpose.heads.deeplabcut_heatmap.DeepLabCutHeatmapHead"
HUBER = {"type": "WeightedHuberCriterion"}


@HEAD_WRITERS.register(HEATMAPS)
def heatmap_head(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """Of the animal's keypoints."""
    return Written(_heatmap_node(node, facts.channels, len(facts.skeleton)))


@SIDE_HEAD_WRITERS.register("dlcpose.side_heads.unique.unique_head")
def unique_head(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """Of the unique keypoints. Its name there is `unique_bodypart`. Raises ConfigError for other heads than DeepLabCut's."""
    if (target := str(node["head"].get("_target_"))) != HEATMAPS:
        raise ConfigError(
            f"side_head.unique.head: DeepLabCut has no {target.rpartition('.')[2]}. Take side_head=[deeplabcut_unique], "
            "or side_head=none, and train."
        )
    return Written(_heatmap_node(node["head"], facts.channels, len(facts.skeleton.unique)), "unique_bodypart")


@SIDE_HEAD_WRITERS.register("dlcpose.side_heads.deeplabcut_identity.DeepLabCutIdentityHead")
def identity_head(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """Of the individuals. Its name there is `identity`."""
    count = len(facts.individuals)
    targets = _targets("HeatmapPlateauGenerator", node["radius"], count, offsets=False, masked=False)
    described = {
        "type": "HeatmapHead",
        "predictor": {"type": "IdentityPredictor", "apply_sigmoid": True},
        "target_generator": targets | {"heatmap_mode": "INDIVIDUAL"},
        "criterion": {"heatmap": {"type": "WeightedBCECriterion", "weight": 1.0}},
        "heatmap_config": _layers(node, facts.channels, count),
    }
    return Written(described, "identity")


@HEAD_WRITERS.register("dlcpose.heads.deeplabcut_paf.DeepLabCutPafHead")
def paf_head(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """With the PAF graph; which edges are kept, the weights say."""
    keypoints = len(facts.skeleton)
    edges = Instantiator()(node["edges"], "head.edges")(facts.skeleton)
    graph = [list(edge) for edge in edges]
    plain = {**node, "final_kernel": 0}
    described = {
        "type": "DLCRNetHead",
        "predictor": {
            **{
                "type": "PartAffinityFieldPredictor",
                "num_animals": node["max_animals"],
                "num_multibodyparts": keypoints,
            },
            **{"num_uniquebodyparts": 0, "nms_radius": node["smoothing_radius"], "sigma": node["smoothing"]},
            **{"locref_stdev": node["offset_std"], "min_affinity": node["min_affinity"], "graph": graph},
            **{"edges_to_keep": list(range(len(graph))), "apply_sigmoid": True, "clip_scores": False},
        },
        "target_generator": {
            "type": "SequentialGenerator",
            "generators": [
                _targets("HeatmapPlateauGenerator", node["offset_radius"], keypoints, offsets=True, masked=False),
                {"type": "PartAffinityFieldGenerator", "graph": graph, "width": node["field_width"]},
            ],
        },
        "criterion": {
            "heatmap": {"type": "WeightedBCECriterion", "weight": 1.0},
            "locref": HUBER | {"weight": node["offset_weight"]},
            "paf": HUBER | {"weight": node["field_weight"]},
        },
        "heatmap_config": _layers(plain, facts.channels, keypoints),
        "locref_config": _layers(plain, facts.channels, 2 * keypoints),
        "paf_config": _layers(plain, facts.channels, 2 * len(graph)),
        "num_stages": node["stages"],
        "features_dim": node["stage_channels"],
    }
    return Written(described)


@HEAD_WRITERS.register("dlcpose.heads.deeplabcut_dekr.DeepLabCutDekrHead")
def dekr_head(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """DEKR; models are named by their HRNet."""
    keypoints, per_keypoint = len(facts.skeleton), node["offset_channels"]
    channels = max(16, facts.channels // 15) if node["channels"] is None else node["channels"]
    scores = {(True, True): "combined", (True, False): "heatmap", (False, True): "center"}
    layers = {"dilation_rate": 1, "final_conv_kernel": 1}
    described = {
        "type": "DEKRHead",
        "weight_init": "dekr",
        "target_generator": {
            **{"type": "DEKRGenerator", "num_joints": keypoints, "pos_dist_thresh": node["offset_radius"]},
            "bg_weight": 0.1,
        },
        "criterion": {
            "heatmap": {"type": "DEKRHeatmapLoss", "weight": 1},
            "offset": {"type": "DEKROffsetLoss", "weight": node["offset_weight"]},
        },
        "predictor": {
            **{"type": "DEKRPredictor", "apply_sigmoid": node["sigmoid"], "use_heatmap": False, "clip_scores": True},
            **{"num_animals": node["max_animals"], "max_absorb_distance": 75},
            "keypoint_score_type": scores[node["use_heatmap_score"], node["use_center_score"]],
            "nms_threshold": 0.05 if node["nms_threshold"] is None else node["nms_threshold"],
            "apply_pose_nms": node["nms_threshold"] is not None,
        },
        "heatmap_config": {"channels": [facts.channels, channels, keypoints + 1], "num_blocks": 1, **layers},
        "offset_config": {
            **{"channels": [facts.channels, keypoints * per_keypoint, keypoints], "num_blocks": 2, **layers},
            "num_offset_per_kpt": per_keypoint,
        },
    }
    return Written(described, f"dekr_{facts.config['backbone']['name'].rpartition('_')[2]}")


@HEAD_WRITERS.register("dlcpose.heads.deeplabcut_rtmcc.DeepLabCutRtmccHead")
def rtmcc_head(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """RTMPose; models are named by the size of their CSPNeXt."""
    assert facts.canvas is not None  # the head itself needs one
    height, width = facts.canvas
    ratio, sharpness = float(node["bins_per_pixel"]), 150.0
    sigmas = [scale / sharpness for scale in node["decode_scales"]]
    loss = {"type": "KLDiscreteLoss", "use_target_weight": True, "beta": node["temperature"], "label_softmax": True}
    described = {
        "type": "RTMCCHead",
        "weight_init": "RTMPose",
        "target_generator": {
            **{"type": "SimCCGenerator", "input_size": [width, height], "smoothing_type": "gaussian", "sigma": sigmas},
            **{"simcc_split_ratio": ratio, "label_smooth_weight": 0.0, "normalize": False},
        },
        "criterion": {"x": dict(loss), "y": dict(loss)},
        "predictor": {
            **{"type": "SimCCPredictor", "simcc_split_ratio": ratio, "sigma": sigmas, "decode_beta": sharpness},
            **{"apply_softmax": True, "normalize_outputs": False},
        },
        "input_size": [width, height],
        "in_channels": facts.channels,
        "out_channels": len(facts.skeleton),
        "in_featuremap_size": [width // 32, height // 32],
        "simcc_split_ratio": ratio,
        "final_layer_kernel_size": node["kernel"],
        "gau_cfg": {
            **{"hidden_dims": node["width"], "s": node["attended"], "expansion_factor": node["expansion"]},
            **{"dropout_rate": 0, "drop_path": 0.0, "act_fn": "SiLU", "use_rel_bias": False, "pos_enc": False},
        },
    }
    sizes = {0.5: "s", 0.75: "m", 1.25: "x"}
    return Written(described, f"rtmpose_{sizes.get(facts.config['backbone'].get('widen'), 's')}")


@HEAD_WRITERS.register("dlcpose.heads.deeplabcut_tokenpose.DeepLabCutTokenPoseHead")
def tokenpose_head(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """TokenPose: a neck and a head there."""
    assert facts.canvas is not None  # the head itself needs one
    size = [side // node["map_stride"] for side in facts.canvas]
    # It has the hidden layer where that is twice as wide as the tokens, and then only if `apply_multi` says so.
    multi, hidden = node["hidden"] is not None, node["hidden"] or 2 * node["width"]
    described = {
        "type": "TransformerHead",
        "predictor": {"type": "HeatmapPredictor", "apply_sigmoid": True, "location_refinement": False},
        "target_generator": _targets(
            "HeatmapPlateauGenerator", 1.5 * node["sigma"], len(facts.skeleton), offsets=False, masked=False
        ),
        "criterion": {"type": "WeightedBCECriterion"},
        **{"dim": node["width"], "hidden_heatmap_dim": hidden, "heatmap_dim": size[0] * size[1], "apply_multi": multi},
        **{"heatmap_size": size, "apply_init": True, "head_stride": 1},
    }
    neck = {
        **{"type": "Transformer", "feature_size": size, "patch_size": list(node["patch"])},
        **{"num_keypoints": len(facts.skeleton), "channels": facts.channels, "dim": node["width"]},
        **{"heads": node["heads"], "depth": node["layers"], "mlp_dim": node["feed_forward"]},
    }
    return Written(described, "animaltokenpose_base", neck)


def _heatmap_node(node: Mapping[str, Any], channels: int, keypoints: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": "HeatmapHead",
        "weight_init": "normal",
        "predictor": {
            **{"type": "HeatmapPredictor", "apply_sigmoid": node["sigmoid"], "clip_scores": True},
            **{"location_refinement": node["offsets"], "locref_std": node["offset_std"]},
        },
        "target_generator": _targets(
            "HeatmapGaussianGenerator",
            node["offset_radius"],
            keypoints,
            offsets=node["offsets"],
            masked=node["ignore_missing"],
        ),
        "criterion": {"heatmap": {"type": "WeightedMSECriterion", "weight": 1.0}},
        "heatmap_config": _layers(node, channels, keypoints),
    }
    if node["offsets"]:
        described["criterion"]["locref"] = HUBER | {"weight": node["offset_weight"]}
        described["locref_config"] = _layers(node, channels, 2 * keypoints)
    return described


def _targets(kind: str, radius: float, count: int, *, offsets: bool, masked: bool) -> dict[str, Any]:
    return {
        **{"type": kind, "num_heatmaps": count, "pos_dist_thresh": int(radius), "heatmap_mode": "KEYPOINT"},
        **{"gradient_masking": masked, "background_weight": 0.0, "generate_locref": offsets, "locref_std": 7.2801},
    }


def _layers(node: Mapping[str, Any], channels: int, outputs: int) -> dict[str, Any]:
    """UnpaddedDeconvolutions in DeepLabCut's settings."""
    between, final = list(node["channels"]), node["final_kernel"]
    described: dict[str, Any] = {
        "channels": [channels, *between] if final else [channels, *between, outputs],
        "kernel_size": list(node["kernels"]),
        "strides": list(node["strides"]),
    }
    if final:
        described["final_conv"] = {"out_channels": outputs, "kernel_size": final}
    return described
