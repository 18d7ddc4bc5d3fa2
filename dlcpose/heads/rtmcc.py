"""RTMCC: coordinates by classification over bins of x and of y, from a token per keypoint (RTMPose, Jiang et al. 2023)."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from dlcpose.codecs.affine import length_in_cells
from dlcpose.codecs.graph_steps import SingleAnimal
from dlcpose.codecs.peaks import into_shown
from dlcpose.codecs.simcc import bins_from_pixels, decode_bins, default_sigma, draw_bins, pixels_from_bins
from dlcpose.codecs.soft_argmax import soft_places
from dlcpose.heads.base import Head, SoftKeypoints
from dlcpose.layers.gated_attention_unit import GatedAttentionUnit, ScaleNorm
from dlcpose.losses.simcc import bin_divergence
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton


class RtmccMaps(NamedTuple):
    """Predictions and targets of an RTMCC head: about 1 at the keypoint and 0 far from it, up to a constant."""

    x: Tensor  # (B, K, W · bins_per_pixel), NaN where unsupervised
    y: Tensor  # (B, K, H · bins_per_pixel)


class RtmccHead(Head):
    """A token per keypoint of one animal, attention between them, and a distribution over bins of each axis.

    canvas: (height, width) of its input, which its layers are sized for.
    width: of a token. kernel: of the convolution that gives a map per keypoint. expansion, attended: of the attention, as
    in GatedAttentionUnit. bins_per_pixel: resolution of the axes.
    sigma: of a keypoint's Gaussian, input pixels, at least a bin; None is RTMPose's, which is √(number of bins / 16) bins.
    temperature: factor of the values before the softmax. bin_shift: of the bins against the pixels, in bins; −0.5 for
    weights of DeepLabCut and MMPose.
    A keypoint's score is the probability that the predicted distributions give to places within sigma of it, in x times
    in y. A keypoint outside the canvas is unsupervised.
    Raises ConfigError where the canvas differs from image to image or does not hold whole cells of the features.
    """

    multi_animal: ClassVar[bool] = False
    decodes_softly: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        stride: int,
        skeleton: Skeleton,
        canvas: tuple[int, int] | None,
        *,
        width: int = 256,
        kernel: int = 7,
        expansion: int = 2,
        attended: int = 128,
        bins_per_pixel: int = 2,
        sigma: float | None = None,
        temperature: float = 10.0,
        bin_shift: float = 0.0,
    ) -> None:
        super().__init__()
        if bins_per_pixel < 1 or kernel % 2 == 0:
            raise ValueError(
                f"expected bins_per_pixel of 1 or more and an odd kernel, got {bins_per_pixel} and {kernel}"
            )
        self.canvas = _checked(canvas, stride)
        cells = (self.canvas[0] // stride) * (self.canvas[1] // stride)
        self.stride = 1 / bins_per_pixel  # input pixels per bin
        self.bins_per_pixel, self.temperature, self.bin_shift = bins_per_pixel, temperature, bin_shift
        self.y_bins, self.x_bins = (side * bins_per_pixel for side in self.canvas)
        self.x_sigma, self.y_sigma = (self._sigma_in_bins(sigma, bins) for bins in (self.x_bins, self.y_bins))
        self.to_keypoints = nn.Conv2d(in_channels, len(skeleton), kernel, padding=kernel // 2)
        self.to_tokens = nn.Sequential(ScaleNorm(), nn.Linear(cells, width, bias=False))
        self.attention = GatedAttentionUnit(width, expansion=expansion, attended=attended)
        self.to_x = nn.Linear(width, self.x_bins, bias=False)
        self.to_y = nn.Linear(width, self.y_bins, bias=False)
        for layer in (self.to_x, self.to_y):  # start undecided: with torch's default it is confident of wrong places
            nn.init.normal_(layer.weight, std=0.001)

    def forward(self, features: Tensor) -> RtmccMaps:
        """Predicted values over bins from features (B, C, h, w)."""
        tokens = self.attention(self.to_tokens(self.to_keypoints(features).flatten(start_dim=2)))  # (B, K, width)
        return RtmccMaps(self.to_x(tokens).float(), self.to_y(tokens).float())

    def encode(self, batch: PoseBatch) -> RtmccMaps:
        """Gaussians over the bins, centered between bins too; NaN for keypoints outside the canvas."""
        points_in_crop = batch.keypoints_in_crop  # (B, N, K, 2)
        border = points_in_crop.new_tensor([self.canvas[1] - 0.5, self.canvas[0] - 0.5])
        inside = ((points_in_crop >= -0.5) & (points_in_crop <= border)).all(dim=-1, keepdim=True)
        points_in_bins = bins_from_pixels(points_in_crop, self.bins_per_pixel, self.bin_shift)
        x, y = points_in_bins.where(inside, torch.nan).unbind(dim=-1)
        return RtmccMaps(draw_bins(x, self.x_sigma, self.x_bins), draw_bins(y, self.y_sigma, self.y_bins))

    def loss(self, maps: RtmccMaps, targets: RtmccMaps) -> dict[str, Tensor]:
        """The Kullback-Leibler divergence along each axis."""
        return {
            "x": bin_divergence(maps.x, targets.x, temperature=self.temperature),
            "y": bin_divergence(maps.y, targets.y, temperature=self.temperature),
        }

    def decode(self, maps: RtmccMaps) -> list[PoseInstances]:
        """The most likely place of each keypoint, whatever its score; NaN where the maps are NaN."""
        return self.graph_step()([], self.graph_outputs(maps))

    def soft_keypoints(self, maps: RtmccMaps) -> SoftKeypoints:
        """The mean places of the distributions over bins, and the scores that `decode` gives."""
        bins = [soft_places(self.temperature * values) for values in (maps.x, maps.y)]  # (B, K) each
        points = pixels_from_bins(torch.stack(bins, dim=-1), self.bins_per_pixel, self.bin_shift)
        return SoftKeypoints(points, self.graph_outputs(maps)["keypoint_scores"].detach())

    def decode_shown(self, maps: RtmccMaps, shown: Sequence[tuple[int, int]]) -> list[PoseInstances]:
        """The most likely place of each keypoint within what the image shows of its frame."""
        (y, x) = (
            _only_first(values, [self.bins_per_pixel * size[axis] for size in shown])
            for axis, values in enumerate((maps.y, maps.x))
        )
        outputs = self.graph_outputs(RtmccMaps(x, y))
        return self.graph_step()([], {**outputs, "keypoints": into_shown(outputs["keypoints"], shown)})

    def graph_outputs(self, maps: RtmccMaps) -> dict[str, Tensor]:
        """The most likely places (B, K, 2) in input pixels, and their scores (B, K)."""
        x, x_scores = decode_bins(maps.x, self.x_sigma, self.temperature)  # (B, K) each
        y, y_scores = decode_bins(maps.y, self.y_sigma, self.temperature)
        keypoints_in_crop = pixels_from_bins(torch.stack((x, y), dim=-1), self.bins_per_pixel, self.bin_shift)
        return {"keypoints": keypoints_in_crop, "keypoint_scores": x_scores * y_scores}

    def graph_step(self) -> SingleAnimal:
        """One animal of these places."""
        return SingleAnimal()

    def _sigma_in_bins(self, sigma: float | None, bins: int) -> float:
        return default_sigma(bins) if sigma is None else length_in_cells(sigma, self.stride)


def _only_first(values: Tensor, counts: Sequence[int]) -> Tensor:
    """Values (B, K, bins) of which those behind the first `counts` of each image are as low as the lowest."""
    places = torch.arange(values.shape[-1], device=values.device)
    behind = places >= torch.tensor(counts, device=values.device)[:, None]  # (B, bins)
    return torch.where(behind[:, None], values.amin(dim=-1, keepdim=True), values)


def _checked(canvas: tuple[int, int] | None, stride: int) -> tuple[int, int]:
    if canvas is None:
        raise ConfigError(
            "head: RtmccHead is built for one input size, but with this input each image keeps its own. "
            "Choose input=resize input.height=256 input.width=256."
        )
    if canvas[0] % stride or canvas[1] % stride:
        raise ConfigError(
            f"head: RtmccHead needs input sides that are multiples of the features' stride, {stride} px, got "
            f"{canvas[0]}x{canvas[1]} (height x width). Choose such input.height and input.width."
        )
    return canvas
