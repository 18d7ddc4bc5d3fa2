"""Bilinear resizing of feature maps to each other's sizes."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional


def resized_to(size: Sequence[int], features: Tensor) -> Tensor:
    """Features (B, C, h, w) resized bilinearly to a size (h', w'); as they are where they have it."""
    if tuple(features.shape[-2:]) == tuple(size):
        return features
    return functional.interpolate(features, size=tuple(size), mode="bilinear", align_corners=False)
