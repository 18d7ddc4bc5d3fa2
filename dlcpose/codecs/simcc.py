"""A keypoint as two distributions, one over bins of x and one over bins of y (SimCC, Li et al. 2022).

An axis of n pixels is cut into n·d bins of equal width, d to a pixel. The centre of a pixel being an integer, the axis
begins at −0.5, and the centre of bin i lies at pixel (i + 0.5)/d − 0.5: bins are the cells of a map with stride 1/d.
"""

import math

import torch
from torch import Tensor

from dlcpose.codecs.affine import cells_from_pixels, pixels_from_cells
from dlcpose.codecs.peaks import MIN_VALUE, parabolic_peak


def bins_from_pixels(points_in_crop: Tensor, bins_per_pixel: int, shift: float = 0.0) -> Tensor:
    """Pixels to bins, which lie `shift` bins further on: with 2 to a pixel, pixel x lies at bin 2x + 0.5 + shift.

    shift is −0.5 for the weights of DeepLabCut and MMPose, whose pixel x lies at bin 2x.
    """
    return cells_from_pixels(points_in_crop, 1 / bins_per_pixel) + shift


def pixels_from_bins(points_in_bins: Tensor, bins_per_pixel: int, shift: float = 0.0) -> Tensor:
    """Bins to pixels, the inverse of `bins_from_pixels`."""
    return pixels_from_cells(points_in_bins - shift, 1 / bins_per_pixel)


def default_sigma(bins: int) -> float:
    """The width, in bins, of the Gaussian that RTMPose draws on so many: the root of a sixteenth of their number."""
    return math.sqrt(bins / 16)


def draw_bins(places: Tensor, sigma: float, bins: int) -> Tensor:
    """A Gaussian for each keypoint along one axis, 1 at each animal's place; the nearest animal counts.

    places: (B, N, K) in bins, between them too, NaN where missing. sigma: in bins. Returns (B, K, bins), NaN for
    keypoints that no animal has.
    """
    if places.shape[1] == 0:
        return places.new_full((places.shape[0], places.shape[2], bins), torch.nan)
    each = torch.arange(bins, device=places.device, dtype=places.dtype)
    bumps = torch.exp(-((each - places[..., None]) ** 2) / (2 * sigma**2))  # (B, N, K, bins)
    highest = bumps.nan_to_num(-1.0).amax(dim=1)
    return highest.masked_fill(highest < 0, torch.nan)


def decode_bins(values: Tensor, reach: float, temperature: float) -> tuple[Tensor, Tensor]:
    """Where along one axis each keypoint lies, to a fraction of a bin, and how sure that is.

    values: (B, K, bins), of which softmax(temperature · values) is the distribution; a constant added to them changes
    nothing. reach: in bins. Returns places (B, K), the summit of a parabola through the logarithms of three values as in
    `refine_peaks`, which is exact for Gaussians, also at the ends; and shares (B, K) in [0, 1]: how much of the
    distribution lies within `reach` of the place. NaN and 0 where values are NaN.
    """
    known = ~values.isnan().any(dim=-1)
    finite = values.nan_to_num(0.0)
    # A softmax leaves it open what is added to all bins. Far from the keypoint, in most bins, a Gaussian is 0.
    heights = finite - finite.median(dim=-1, keepdim=True).values
    peak = heights.argmax(dim=-1)
    middle = peak.clamp(1, heights.shape[-1] - 2)
    around = [heights.gather(-1, (middle + step)[..., None])[..., 0] for step in (-1, 0, 1)]
    places = parabolic_peak(peak, middle, [height.clamp(min=MIN_VALUE).log() for height in around])  # (B, K)
    each = torch.arange(heights.shape[-1], device=values.device, dtype=places.dtype)
    near = (each - places[..., None]).abs() <= reach
    shares = ((temperature * heights).softmax(dim=-1) * near).sum(dim=-1).clamp(0, 1)
    return places.masked_fill(~known, torch.nan), shares * known
