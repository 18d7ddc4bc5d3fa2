"""Points on a heatmap: the value between cells, and the summit next to a point."""

import torch
from torch import Tensor
from torch.nn import functional

from dlcpose.codecs.peaks import refine_peaks


def sample_bilinear(maps: Tensor, points_in_map: Tensor) -> Tensor:
    """Values of maps (B, K, h, w) at points (B, K, P, 2) between cells, bilinear: (B, K, P); 0 at NaN.

    Beyond the outermost cells their own value counts.
    """
    batch, keypoints, height, width = maps.shape
    size = points_in_map.new_tensor([width, height])
    places = ((2 * points_in_map + 1) / size - 1).view(batch * keypoints, 1, -1, 2)
    values = functional.grid_sample(
        maps.reshape(batch * keypoints, 1, height, width),
        places.nan_to_num(0.0),
        padding_mode="border",
        align_corners=False,
    )
    return values.view(points_in_map.shape[:-1]).masked_fill(points_in_map.isnan().any(dim=-1), 0.0)


def refine_to_peak(maps: Tensor, points_in_map: Tensor, radius: float) -> Tensor:
    """Each point moved uphill to the summit of its map, to a fraction of a cell: (B, K, h, w), (B, K, P, 2) -> the latter.

    A point whose summit lies further off than `radius` cells stays where it is, as does one outside the map.
    """
    height, width = maps.shape[-2:]
    border = torch.tensor([width - 1, height - 1], device=maps.device)
    cells = points_in_map.nan_to_num(0.0).round().long()
    inside = ((cells >= 0) & (cells <= border)).all(dim=-1)
    cells = cells.clamp(min=0).minimum(border)
    steps = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2)).to(maps.device)  # (9, 2)
    flat = maps.flatten(start_dim=2)[:, :, None].expand(-1, -1, cells.shape[2], -1)  # (B, K, P, h·w)
    for _ in range(int(radius) + 1):
        around = (cells[..., None, :] + steps).clamp(min=0).minimum(border)  # (B, K, P, 9, 2)
        highest = flat.gather(-1, around[..., 1] * width + around[..., 0]).argmax(dim=-1)  # (B, K, P)
        cells = around.gather(-2, highest[..., None, None].expand(*highest.shape, 1, 2))[..., 0, :]
    summits = refine_peaks(maps, cells)
    near = (summits - points_in_map).norm(dim=-1) <= radius  # NaN is not
    return summits.where((near & inside)[..., None], points_in_map)
