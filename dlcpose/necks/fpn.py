"""A top-down pyramid that brings deep features to a fine stride: what lets a small backbone localise."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from dlcpose.structures.errors import ConfigError


class FeaturePyramid(nn.Module):
    """Laterals from every level down to `stride`, added from the deepest upwards, then one 3x3 convolution.

    channels: of the laterals and the output. stride: of the output, one of the backbone's.
    Raises ConfigError when the backbone has no map of that stride.
    Source: Lin et al. 2017 (FPN), section 3, with only its finest output.
    """

    def __init__(
        self, in_channels: Sequence[int], strides: Sequence[int], *, channels: int = 128, stride: int = 4
    ) -> None:
        super().__init__()
        if stride not in strides:
            raise ConfigError(
                f"neck.stride={stride}: the backbone has maps of strides {list(strides)}. "
                f"Take neck.stride={min(strides)} or a backbone with a map of stride {stride}."
            )
        self.out_channels, self.stride = channels, stride
        self.finest = list(strides).index(stride)
        self.laterals = nn.ModuleList(nn.Conv2d(count, channels, 1) for count in in_channels[self.finest :])
        self.smooth = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, channels, h, w) at the neck's stride."""
        levels = [lateral(level) for lateral, level in zip(self.laterals, features[self.finest :], strict=True)]
        merged: Tensor = levels.pop()
        while levels:
            finer = levels.pop()
            merged = finer + functional.interpolate(merged, size=finer.shape[-2:], mode="bilinear", align_corners=False)
        smoothed: Tensor = self.smooth(merged)
        return smoothed
