"""Start values of a head's last layer."""

import math

from torch import nn

BACKGROUND = 0.01  # of a heatmap's cells show a keypoint


def init_background(layers: nn.Module, bias: float = math.log(BACKGROUND / (1 - BACKGROUND))) -> None:
    """Start with maps that are background everywhere: else the first epochs are spent on learning that they are empty.

    The last convolution or linear layer of `layers` gets weights near 0 and this bias, the logit of a low probability.
    """
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    last = [module for module in layers.modules() if isinstance(module, kinds)][-1]
    nn.init.normal_(last.weight, std=0.001)
    if last.bias is not None:
        nn.init.constant_(last.bias, bias)


def init_near_zero(layers: nn.Module) -> None:
    """Start with outputs near 0, by the last convolution or linear layer of `layers`."""
    init_background(layers, bias=0.0)
