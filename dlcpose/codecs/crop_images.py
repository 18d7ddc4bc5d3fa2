"""Pieces of images, cut out and scaled for a whole batch at once, on its device."""

import torch
from torch import Tensor
from torch.nn import functional

from dlcpose.codecs.affine import cells_from_pixels


def crop_images(images: Tensor, owners: Tensor, crop_to_frame: Tensor, size: tuple[int, int]) -> Tensor:
    """Crops of (height, width) read from images by their matrices, bilinear, black beyond the edges.

    images: (B, C, H, W). owners: (M,) index of the image each crop is of. crop_to_frame: (M, 2, 3) float64.
    Returns (M, C, h, w) float32. A crop that shrinks its image more than twofold reads it from averages of 2x2, 4x4, ...
    pixels, so that what is left to shrink is at most twofold: bilinear reading alone would skip pixels.
    """
    x, y = _places(crop_to_frame, size)  # (M, h, w) each
    halvings = _halvings(crop_to_frame).tolist()
    crops = images.new_empty((len(owners), images.shape[1], *size), dtype=torch.float32)
    of_source: dict[tuple[int, int], list[int]] = {}
    for index, source in enumerate(zip(owners.tolist(), halvings, strict=True)):
        of_source.setdefault(source, []).append(index)
    for (owner, times), mine in of_source.items():
        # All crops of an image are read in one go from that image alone: grid_sample wants a copy for each otherwise.
        image = _halved(images[owner].float(), times)
        count, (height, width) = len(mine), size
        grid = torch.stack(
            (_share(x[mine], 2**times, image.shape[-1]), _share(y[mine], 2**times, image.shape[-2])), dim=-1
        )
        read = functional.grid_sample(image[None], grid.view(1, count * height, width, 2), align_corners=False)
        crops[mine] = read[0].view(-1, count, height, width).transpose(0, 1)
    return crops


def _places(crop_to_frame: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """x and y in the frame of each pixel of the crops: (M, h, w) each."""
    v = torch.arange(size[0], device=crop_to_frame.device, dtype=crop_to_frame.dtype)[:, None]
    u = torch.arange(size[1], device=crop_to_frame.device, dtype=crop_to_frame.dtype)
    # Sums of products, not a matrix product: autocast would take that in half precision.
    a, b, c, d, e, f = crop_to_frame.flatten(start_dim=1)[..., None, None].unbind(dim=1)  # (M, 1, 1) each
    return a * u + b * v + c, d * u + e * v + f


def _halvings(crop_to_frame: Tensor) -> Tensor:
    """How often each crop's image is halved before it is read: (M,)."""
    a, b, _, d, e, _ = crop_to_frame.flatten(start_dim=1).unbind(dim=1)
    shrinks = (a * e - b * d).abs().sqrt()  # pixels of the frame to one of the crop
    return (shrinks.log2().sub(1e-9).ceil() - 1).clamp(min=0).long()


def _halved(image: Tensor, times: int) -> Tensor:
    """(C, H, W) -> (C, H / 2^times, W / 2^times), rounded up; what remains at the edge is averaged as it is."""
    for _ in range(times):
        image = functional.avg_pool2d(image, 2, ceil_mode=True, count_include_pad=False)
    return image


def _share(pixels: Tensor, stride: int, length: int) -> Tensor:
    """Where grid_sample looks for pixels of the frame along a side of `length` cells: -1 and 1 are its outer edges."""
    share: Tensor = (2 * cells_from_pixels(pixels, stride) + 1) / length - 1
    return share.float()
