"""Backbones as DeepLabCut configures them."""

from collections.abc import Mapping
from typing import Any

from dlcpose.deeplabcut_layout.writers import BACKBONE_WRITERS, ModelFacts, Written
from dlcpose.structures.errors import ConfigError

IDENTITY, CONCATENATE = "dlcpose.necks.identity.Identity", "dlcpose.necks.concatenate.Concatenate"
# Its net types name two ResNets; its config takes timm's other ones as well, by `model_name`.
RESNETS = {"resnet101": "resnet_101"}
ANY_RESNET = "resnet_50"
HRNETS = ("hrnet_w18", "hrnet_w32", "hrnet_w48")
CSPNEXTS = {(0.5, 0.33): "cspnext_s", (0.75, 0.67): "cspnext_m", (1.25, 1.33): "cspnext_x"}


@BACKBONE_WRITERS.register("dlcpose.backbones.timm_backbone.TimmBackbone")
def timm_backbone(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """timm's ResNets and HRNets. Raises ConfigError for others, and for necks that DeepLabCut does not have."""
    frozen = {"freeze_bn_stats": node["frozen_statistics"], "freeze_bn_weights": False}
    if node["name"] in HRNETS:
        _check_neck(facts, level=0, others=(CONCATENATE,))
        return Written(
            {
                **{"type": "HRNet", "model_name": node["name"], **frozen},
                "interpolate_branches": facts.target("neck") == CONCATENATE,
                "increased_channel_count": (node["options"] or {}).get("feature_location") == "incre",
            },
            node["name"],
        )
    from timm.models import is_model_in_modules

    if not is_model_in_modules(node["name"], {"resnet"}):
        raise ConfigError(
            f"backbone.name: DeepLabCut has no {node['name']!r}. Take a ResNet of timm's, or one of {', '.join(HRNETS)}."
        )
    _check_neck(facts, level=-1)
    resnet = {"type": "ResNet", "model_name": node["name"], "output_stride": node["output_stride"] or 32, **frozen}
    return Written(resnet, RESNETS.get(node["name"], ANY_RESNET))


@BACKBONE_WRITERS.register("dlcpose.backbones.cspnext.CspNextBackbone")
def cspnext(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """CSPNeXt of the sizes that DeepLabCut names."""
    size = (node["widen"], node["deepen"])
    if size not in CSPNEXTS:
        raise ConfigError(f"backbone: DeepLabCut has no CSPNeXt of widen and deepen {size}. Take backbone=cspnext_s.")
    _check_neck(facts, level=-1)
    factors = {"widen_factor": node["widen"], "deepen_factor": node["deepen"]}
    frozen = {"freeze_bn_stats": False, "freeze_bn_weights": False}
    return Written({"type": "CSPNeXt", "model_name": CSPNEXTS[size], **frozen, **factors}, CSPNEXTS[size])


@BACKBONE_WRITERS.register("dlcpose.backbones.deeplabcut_dlcrnet.DeepLabCutDlcrnetBackbone")
def dlcrnet(node: Mapping[str, Any], facts: ModelFacts) -> Written:
    """ResNet with banks."""
    _check_neck(facts, level=-1)
    stride = node["output_stride"]
    return Written(
        {"type": "DLCRNet", "model_name": node["name"], "output_stride": stride}, f"dlcrnet_stride{stride}_ms5"
    )


def _check_neck(facts: ModelFacts, *, level: int, others: tuple[str, ...] = ()) -> None:
    neck = facts.config["neck"]
    if neck["_target_"] not in (IDENTITY, *others) or neck["level"] != level:
        raise ConfigError(
            f"neck: DeepLabCut has no {neck['_target_'].rpartition('.')[2]} of level {neck['level']} behind this backbone. "
            f"Take neck=identity neck.level={level}."
        )
