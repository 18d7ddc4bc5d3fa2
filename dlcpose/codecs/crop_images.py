"""Crop and resize boxes from a batch of images, antialiased, on their device.

A frame is the image that boxes are in, a crop the part of it that a head sees.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dlcpose.codecs.affine import cells_from_pixels


class CropMatrices(NamedTuple):
    """The maps between M crops and their frames: matrices (M, 2, 3) float64 of both directions."""

    frame_to_crop: Tensor
    crop_to_frame: Tensor


def crop_matrices(boxes_in_frame: Tensor, size: tuple[int, int], *, margin: float, min_size: float) -> CropMatrices:
    """The maps between frame and crop of (height, width) for each box (M, 4).

    A box is grown on all sides by `margin` times its longer side, then about its center to the crop's aspect ratio, and
    scaled by one factor so that its outer edges are those of the crop's outermost pixels. min_size: pixels of the
    frame that the crop's longer side shows at least; the box of a single keypoint has no size of its own.
    """
    boxes = boxes_in_frame.double()
    height, width = size
    sides = boxes[:, 2:] - boxes[:, :2]  # (M, 2)
    sides = sides + 2 * margin * sides.amax(dim=-1, keepdim=True)
    scale = (sides / sides.new_tensor([width, height])).amax(dim=-1)  # (M,) pixels of the frame per pixel of the crop
    scale = scale.clamp(min=min_size / max(size))
    crop_center = sides.new_tensor([(width - 1) / 2, (height - 1) / 2])
    box_center = (boxes[:, :2] + boxes[:, 2:]) / 2
    return CropMatrices(
        frame_to_crop=_scale_and_shift(1 / scale, crop_center - box_center / scale[:, None]),
        crop_to_frame=_scale_and_shift(scale, box_center - crop_center * scale[:, None]),
    )


def crop_images(images: Tensor, owners: Tensor, crop_to_frame: Tensor, size: tuple[int, int]) -> Tensor:
    """Crops of (height, width) sampled from images by their matrices, bilinear, black beyond the edges.

    images: (B, C, H, W). owners: (M,) index of each crop's image. crop_to_frame: (M, 2, 3) float64.
    Returns (M, C, h, w) float32. A crop that shrinks its image more than twofold is sampled from averages of 2x2, 4x4, ...
    pixels, so that at most a factor of two is left: bilinear sampling alone would skip pixels.
    """
    x, y = _sample_points(crop_to_frame, size)  # (M, h, w) each
    halvings = _halvings(crop_to_frame).tolist()
    crops = images.new_empty((len(owners), images.shape[1], *size), dtype=torch.float32)
    of_source: dict[tuple[int, int], list[int]] = {}
    for index, source in enumerate(zip(owners.tolist(), halvings, strict=True)):
        of_source.setdefault(source, []).append(index)
    for (owner, times), indices in of_source.items():
        # All crops of an image are sampled at once from that image: grid_sample wants a copy for each otherwise.
        image = _halved(images[owner].float(), times)
        count, (height, width) = len(indices), size
        grid = torch.stack(
            (_grid_place(x[indices], 2**times, image.shape[-1]), _grid_place(y[indices], 2**times, image.shape[-2])),
            dim=-1,
        )
        sampled = functional.grid_sample(image[None], grid.view(1, count * height, width, 2), align_corners=False)
        crops[indices] = sampled[0].view(-1, count, height, width).transpose(0, 1)
    return crops


def _scale_and_shift(scale: Tensor, shift: Tensor) -> Tensor:
    """(M,), (M, 2) -> (M, 2, 3)."""
    return torch.cat([torch.diag_embed(scale[:, None].expand(-1, 2)), shift[..., None]], dim=-1)


def _sample_points(crop_to_frame: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """x and y in the frame of each pixel of the crops: (M, h, w) each."""
    v = torch.arange(size[0], device=crop_to_frame.device, dtype=crop_to_frame.dtype)[:, None]
    u = torch.arange(size[1], device=crop_to_frame.device, dtype=crop_to_frame.dtype)
    a, b, c, d, e, f = crop_to_frame.flatten(start_dim=1)[..., None, None].unbind(dim=1)  # (M, 1, 1) each
    return a * u + b * v + c, d * u + e * v + f


def _halvings(crop_to_frame: Tensor) -> Tensor:
    """How often each crop's image is halved before it is sampled: (M,)."""
    a, b, _, d, e, _ = crop_to_frame.flatten(start_dim=1).unbind(dim=1)
    shrinks = (a * e - b * d).abs().sqrt()  # pixels of the frame per pixel of the crop
    return (shrinks.log2().sub(1e-9).ceil() - 1).clamp(min=0).long()


def _halved(image: Tensor, times: int) -> Tensor:
    """(C, H, W) -> (C, H / 2^times, W / 2^times), rounded up; an odd row or column at the edge is averaged by itself."""
    for _ in range(times):
        image = functional.avg_pool2d(image, 2, ceil_mode=True, count_include_pad=False)
    return image


def _grid_place(pixels: Tensor, stride: int, length: int) -> Tensor:
    """Pixels of the frame in grid_sample's units along a side of `length` cells, whose outer edges are −1 and 1."""
    place: Tensor = (2 * cells_from_pixels(pixels, stride) + 1) / length - 1
    return place.float()
