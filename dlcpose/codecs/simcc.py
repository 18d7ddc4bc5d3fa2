"""SimCC: a keypoint as a distribution over bins of x and one over bins of y (Li et al. 2022).

An axis of n pixels has n·d bins of equal width, d per pixel. With pixel centers at whole numbers the axis begins at −0.5,
and the center of bin i lies at pixel (i + 0.5)/d − 0.5: bins are the cells of a map with stride 1/d.
"""

import math

import torch
from torch import Tensor

from dlcpose.codecs.affine import cells_from_pixels, pixels_from_cells
from dlcpose.codecs.peaks import MIN_VALUE, parabolic_peak


def bins_from_pixels(points_in_crop: Tensor, bins_per_pixel: int, shift: float = 0.0) -> Tensor:
    """Pixels to bins, shifted by `shift` bins: with 2 per pixel, pixel x lies at bin 2x + 0.5 + shift.

    shift is −0.5 for weights of DeepLabCut and MMPose, where pixel x lies at bin 2x.
    """
    return cells_from_pixels(points_in_crop, 1 / bins_per_pixel) + shift


def pixels_from_bins(points_in_bins: Tensor, bins_per_pixel: int, shift: float = 0.0) -> Tensor:
    """Bins to pixels, the inverse of `bins_from_pixels`."""
    return pixels_from_cells(points_in_bins - shift, 1 / bins_per_pixel)


def default_sigma(bins: int) -> float:
    """RTMPose's standard deviation of a target Gaussian over this many bins, in bins: √(bins / 16)."""
    return math.sqrt(bins / 16)


def draw_bins(places: Tensor, sigma: float, bins: int) -> Tensor:
    """A Gaussian per keypoint along one axis: 1 at each animal's place, the maximum where animals overlap.

    places: (B, N, K) in bins, fractions too, NaN where missing. sigma: in bins. Returns (B, K, bins), NaN for keypoints
    that no animal has.
    """
    if places.shape[1] == 0:
        return places.new_full((places.shape[0], places.shape[2], bins), torch.nan)
    bin_indices = torch.arange(bins, device=places.device, dtype=places.dtype)
    gaussians = torch.exp(-((bin_indices - places[..., None]) ** 2) / (2 * sigma**2))  # (B, N, K, bins)
    highest = gaussians.nan_to_num(-1.0).amax(dim=1)
    return highest.masked_fill(highest < 0, torch.nan)


def decode_bins(values: Tensor, radius: float, temperature: float) -> tuple[Tensor, Tensor]:
    """Each keypoint's place along one axis, to a fraction of a bin, and its score.

    values: (B, K, bins); softmax(temperature · values) is the distribution, so adding a constant changes nothing.
    radius: in bins. Returns places (B, K), refined by a parabola through the logarithms of three values as in
    `refine_peaks`, which is exact for Gaussians, also at the ends; and scores (B, K) in [0, 1], the probability within
    `radius` of the place. NaN and 0 where values are NaN.
    """
    known = ~values.isnan().any(dim=-1)
    finite = values.nan_to_num(0.0)
    # A softmax does not fix the constant. Far from the keypoint, so in most bins, a Gaussian is 0: at the (lower) median,
    # which ONNX has no operator for.
    heights = finite - finite.topk(finite.shape[-1] // 2 + 1, dim=-1).values[..., -1:]
    peak = heights.argmax(dim=-1)
    middle = peak.clamp(1, heights.shape[-1] - 2)
    around = [heights.gather(-1, (middle + step)[..., None])[..., 0] for step in (-1, 0, 1)]
    places = parabolic_peak(peak, middle, [height.clamp(min=MIN_VALUE).log() for height in around])  # (B, K)
    bin_indices = torch.arange(heights.shape[-1], device=values.device, dtype=places.dtype)
    near = (bin_indices - places[..., None]).abs() <= radius
    scores = ((temperature * heights).softmax(dim=-1) * near).sum(dim=-1).clamp(0, 1)
    return places.masked_fill(~known, torch.nan), scores * known
