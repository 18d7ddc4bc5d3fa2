"""Layer-wise learning rate decay: lower rates for layers nearer to the image."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

Named = tuple[str, nn.Parameter]

BACKBONE = re.compile(r"(?:^|\.)backbone\.")
# A layer is a numbered block with named parts: blocks.3 of blocks.3.attn.proj.weight, layer2.0, stages_1.blocks.5.
LAYER = re.compile(r"(?:^|.*?\.)\d+(?=\.[^\d.][^.]*\.)")


def layerwise(
    weights: Iterable[Named],
    *,
    kind: Callable[..., Optimizer],
    lr: float,
    weight_decay: float = 0.0,
    backbone: float = 1.0,
    layer_decay: float = 1.0,
) -> Optimizer:
    """An optimizer whose learning rates fall layer by layer through the backbone, from its end to the image.

    weights: (name, weight) of all trainable weights. kind: called with the parameter groups, each with its own rate.
    lr: of everything but the backbone. backbone: factor of the backbone's rate. layer_decay: factor from each layer's rate
    to that of the one before it, and from the backbone's to its last layer's. weight_decay: of matrices and kernels;
    biases, norms, and learned positions and tokens have none.
    Raises ValueError for factors that are not above 0 and at most 1.
    Source: Bao et al. 2021 (BEiT) and Xu et al. 2022 (ViTPose), whose numbering timm's `layer_decay` shares.
    """
    for name, factor in (("backbone", backbone), ("layer_decay", layer_decay)):
        if not 0 < factor <= 1:
            raise ValueError(f"expected {name} above 0 and at most 1, got {factor}")
    named = list(weights)
    in_backbone = [name for name, _ in named if BACKBONE.search(name)]
    steps = steps_to_end(in_backbone)
    groups: dict[str, dict[str, Any]] = {}
    for name, weight in named:
        rate = lr * backbone * layer_decay ** steps[name] if name in steps else lr
        layer = f"backbone-{steps[name]}" if name in steps else "rest"
        has_decay = weight.ndim > 1 and name.endswith("weight")
        group_name = layer if has_decay else f"{layer}, no decay"
        settings = {"params": [], "lr": rate, "weight_decay": weight_decay if has_decay else 0.0, "name": group_name}
        groups.setdefault(group_name, settings)["params"].append((name, weight))
    return kind(list(groups.values()), lr=lr, weight_decay=weight_decay)


def steps_to_end(names: Sequence[str]) -> dict[str, int]:
    """The number of layers from each of a network's weights, named in order, to the network's end.

    Weights between two layers count with the first of them, those before all layers are the stem.
    """
    numbered = [LAYER.match(name) for name in names]
    layers = list(dict.fromkeys(match[0] for match in numbered if match))
    depths: dict[str, int] = {}
    steps = len(layers) + 1
    for name, match in zip(names, numbered, strict=True):
        steps = len(layers) - layers.index(match[0]) if match else steps
        depths[name] = steps
    return depths
