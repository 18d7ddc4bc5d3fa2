"""Feature pyramid network: deep features added to finer ones, which lets a small backbone localize (Lin et al. 2017)."""

from collections.abc import Sequence

from torch import Tensor, nn

from dlcpose.layers.resizing import resized_to
from dlcpose.necks.base import Neck


class FeaturePyramid(Neck):
    """Laterals from every level down to `level`, added from the deepest upwards, then one 3x3 convolution.

    level: of the output, the finest by default, see Neck. channels: of the laterals and the output. smooth_levels: a 3x3
    convolution on each deeper level too, before it is enlarged and the next finer one is added.
    Source: Lin et al. 2017 (FPN), section 3, with only its finest output; the convolutions between levels are those of
    Ronneberger et al. 2015 (U-Net).
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        *,
        level: int = 0,
        channels: int = 128,
        smooth_levels: bool = False,
    ) -> None:
        super().__init__(strides, level, channels)
        self.laterals = nn.ModuleList(nn.Conv2d(count, channels, 1) for count in in_channels[self.level :])
        deeper = len(self.laterals) - 1 if smooth_levels else 0
        self.smooth_deeper = nn.ModuleList(_smoothing(channels) for _ in range(deeper))
        self.smooth = _smoothing(channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """(B, channels, h, w) at the level's stride."""
        levels = [lateral(each) for lateral, each in zip(self.laterals, features[self.level :], strict=True)]
        merged: Tensor = levels.pop()
        while levels:
            if self.smooth_deeper:
                merged = self.smooth_deeper[len(levels) - 1](merged)
            finer = levels.pop()
            merged = finer + resized_to(finer.shape[-2:], merged)
        smoothed: Tensor = self.smooth(merged)
        return smoothed


def _smoothing(channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
    )
