"""Condition and image become one image before any backbone looks at it (BUCTD's preNet, Zhou et al. 2023)."""

from torch import Tensor, nn

from dlcpose.fusions.base import PEAK, Fusion
from dlcpose.structures.skeleton import Skeleton


class PreNet(Fusion):
    """Convolutions over the image, one over the condition, and their sum in the place of the image.

    channels: between the two convolutions over the image. sigma, coloured: as in Fusion.
    """

    def __init__(self, skeleton: Skeleton, *, channels: int = 64, sigma: float = 2.6, colored: bool = False) -> None:
        super().__init__(len(skeleton), sigma=sigma, colored=colored)
        self.of_image = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, 3, 7, padding=3),
            nn.BatchNorm2d(3),
        )
        self.of_condition = nn.Sequential(nn.Conv2d(self.channels, 3, 7, padding=3), nn.BatchNorm2d(3))

    def forward(self, backbone: nn.Module, images: Tensor, drawn: Tensor) -> list[Tensor]:
        """The backbone's maps."""
        features: list[Tensor] = backbone(self.of_image(images) + self.of_condition(PEAK * drawn))
        return features

    def compile_networks(self, backbone: nn.Module, backend: str) -> None:
        for network in (self.of_image, self.of_condition, backbone):
            network.compile(backend=backend)
