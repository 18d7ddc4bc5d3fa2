"""PreNet (BUCTD, Zhou et al. 2023): convolutions that fuse condition and image into one image for any backbone."""

from torch import Tensor, nn

from dlcpose.fusions.base import PEAK, Fusion
from dlcpose.structures.skeleton import Skeleton


class PreNet(Fusion):
    """Two convolutions over the image, one over the condition; the backbone takes their sum in place of the image.

    channels: between the two convolutions over the image. sigma, colored: as in Fusion.
    """

    def __init__(self, skeleton: Skeleton, *, channels: int = 64, sigma: float = 2.6, colored: bool = False) -> None:
        super().__init__(len(skeleton), sigma=sigma, colored=colored)
        self.image_layers = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, 3, 7, padding=3),
            nn.BatchNorm2d(3),
        )
        self.condition_layers = nn.Sequential(nn.Conv2d(self.channels, 3, 7, padding=3), nn.BatchNorm2d(3))

    def forward(self, backbone: nn.Module, images: Tensor, rendered: Tensor) -> list[Tensor]:
        """The backbone's feature maps."""
        features: list[Tensor] = backbone(self.image_layers(images) + self.condition_layers(PEAK * rendered))
        return features

    def compile_networks(self, backbone: nn.Module, backend: str) -> None:
        """Have torch compile both branches and the backbone."""
        for network in (self.image_layers, self.condition_layers, backbone):
            network.compile(backend=backend)
