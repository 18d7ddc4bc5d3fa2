"""Weights of ViTPose's transformer, in its own layout and in transformers', as timm names them; its experts become one.

ViTPose+ (Xu et al. 2023) shares all layers between data sets but the last linear layer of each block: some of its outputs
are shared, the others are those of an expert, one for each data set. For one data set that is a plain transformer.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from dlcpose.structures.errors import DataError

# The order of the experts in ViTPose's repository, which split its models by it.
DATASETS = ("COCO", "AIC", "MPII", "AP-10K", "APT-36K", "COCO-WholeBody")
LAYERS = (
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("encoder.layer.", "blocks."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("attention.output.dense.", "attn.proj."),
    ("mlp.experts.experts.", "mlp.experts."),
    ("layernorm.", "norm."),
    ("last_norm.", "norm."),
)
EXPERT = re.compile(r"(blocks\.\d+\.mlp\.)experts\.(\d+)\.(weight|bias)")
ATTENTION = re.compile(r"(blocks\.\d+\.)attention\.attention\.(query|key|value)\.(weight|bias)")


def vit_weights(theirs: Mapping[str, Tensor], dataset_index: int | None) -> tuple[dict[str, Tensor], list[str]]:
    """The weights as timm names them, and the names of experts that are left out.

    theirs: without `backbone.` before the names. dataset_index: which experts, one of DATASETS' places.
    Raises DataError where a choice of experts is missing, or is made of a file without experts.
    """
    ours: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    experts: dict[str, Tensor] = {}
    left_out = []
    count = 0
    for name, value in theirs.items():
        renamed = name
        for old, new in LAYERS:
            renamed = renamed.replace(old, new)
        if match := ATTENTION.fullmatch(renamed):
            parts.setdefault(f"{match[1]}attn.qkv.{match[3]}", {})[match[2]] = value
        elif match := EXPERT.fullmatch(renamed):
            count = max(count, int(match[2]) + 1)
            if int(match[2]) == dataset_index:
                experts[f"{match[1]}fc2.{match[3]}"] = value
            else:
                left_out.append(name)
        else:
            ours[renamed] = value
    if count and (dataset_index is None or not experts):
        known = ", ".join(f"{place} {name}" for place, name in enumerate(DATASETS[:count]))
        raise DataError(f"dataset_index: the weights have experts of {count} data sets ({known}), got {dataset_index}.")
    if dataset_index is not None and not count:
        raise DataError(f"dataset_index={dataset_index}: these weights have no experts. Leave it out.")
    ours |= {name: torch.cat([each[part] for part in ("query", "key", "value")]) for name, each in parts.items()}
    ours |= {name: torch.cat([ours[name], value]) for name, value in experts.items()}
    return ours, left_out
