"""Images of a batch resized on their device as OpenCV resizes them: by area where they shrink, linearly where they grow."""

import torch
from torch import Tensor


def resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, C, H, W) uint8 brought to (height, width), what shrinks first: as `datasets.crops.resize_onto` does.

    Both differ by one gray level where OpenCV rounds its weights. Returns uint8, channels last in memory.
    Source: OpenCV's INTER_AREA and INTER_LINEAR.
    """
    height, width = images.shape[-2:]
    for target in ((min(size[0], height), min(size[1], width)), size):
        if tuple(images.shape[-2:]) != target:
            images = _resized(images, target)
    return images.contiguous(memory_format=torch.channels_last)


def resize_weights(length: int, target: int) -> Tensor:
    """What share each pixel of a side has in each pixel of the resized side: (target, length), rows sum to 1."""
    if target == length:
        return torch.eye(length)
    scale = length / target
    if target < length:
        edges = torch.arange(target + 1, dtype=torch.float64) * scale
        pixels = torch.arange(length, dtype=torch.float64)
        covered = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
        return (covered.clamp(min=0) / scale).float()
    places = ((torch.arange(target, dtype=torch.float64) + 0.5) * scale - 0.5).clamp(0, length - 1)
    return (1 - (places[:, None] - torch.arange(length, dtype=torch.float64)).abs()).clamp(min=0).float()


def _resized(images: Tensor, target: tuple[int, int]) -> Tensor:
    down, across = (
        resize_weights(length, side).to(images.device) for length, side in zip(images.shape[-2:], target, strict=True)
    )
    with torch.autocast(images.device.type, enabled=False):  # half precision has fewer steps than 256 gray levels need
        resized = down @ images.float() @ across.mT
    return resized.round().clamp(0, 255).to(torch.uint8)
