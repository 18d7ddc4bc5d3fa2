"""DeepLabCut 3's RTMCC head: places are whole bins, scores those of a sharp softmax."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dlcpose.codecs.simcc import pixels_from_bins
from dlcpose.heads.rtmcc import RtmccHead, RtmccMaps
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton


class DeepLabCutRtmccHead(RtmccHead):
    """DeepLabCut 3's `RTMCCHead`, whose snapshots it reads: the same values, and the same coordinates from them.

    decode_scales: of x and y, factors of the values before the softmax that scores come from; a keypoint's score is the
    smaller of its two. Where it is no more than that of an even distribution the keypoint is missing (NaN), which
    DeepLabCut writes as −0.5. The rest as in RtmccHead.
    """

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
        bin_shift: float = -0.5,
        decode_scales: Sequence[float] = (849.0, 849.0),
    ) -> None:
        super().__init__(
            in_channels,
            stride,
            skeleton,
            canvas,
            width=width,
            kernel=kernel,
            expansion=expansion,
            attended=attended,
            bins_per_pixel=bins_per_pixel,
            sigma=sigma,
            temperature=temperature,
            bin_shift=bin_shift,
        )
        if len(decode_scales) != 2:
            raise ValueError(f"expected decode_scales of x and y, got {list(decode_scales)}")
        self.decode_scales = tuple(decode_scales)

    def decode_shown(self, maps: RtmccMaps, shown: Sequence[tuple[int, int]]) -> list[PoseInstances]:
        """As DeepLabCut decodes, in the padding too."""
        return self.decode(maps)

    def graph_outputs(self, maps: RtmccMaps) -> dict[str, Tensor]:
        """The highest bin of each axis; NaN where the distribution is even, or the maps are NaN."""
        bins, scores = [], []
        for values, scale in zip(maps, self.decode_scales, strict=True):
            score, place = (values.nan_to_num(0.0) * scale).softmax(dim=-1).max(dim=-1)
            bins.append(place)
            scores.append(score)
        score = torch.minimum(*scores)  # (B, K)
        is_even = score <= 1 / self.x_bins
        points = torch.stack(bins, dim=-1).to(score.dtype)
        keypoints_in_crop = pixels_from_bins(points, self.bins_per_pixel, self.bin_shift)
        keypoints_in_crop = keypoints_in_crop.masked_fill(is_even[..., None], torch.nan)
        return {"keypoints": keypoints_in_crop, "keypoint_scores": score.masked_fill(is_even, 0.0)}
