"""Base class of fusions, which bring a pose condition and a crop together."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from dlcpose.codecs.pose_conditions import draw_colored, draw_stacked

# What a rendered condition is multiplied by before the network, as in the paper: with freshly initialized layers, values of
# at most 1 on a few pixels would drown in the epsilon of a batch norm, and in the biases.
PEAK = 255.0


class Fusion(nn.Module, ABC):
    """Renders a condition as an image and fuses it with the crop, before the backbone or inside it.

    A fusion is built with what its signature names of: skeleton; canvas, the (height, width) of a crop; backbone, whose
    weights stay its own. channels: of the rendered condition, one for each keypoint, or the three of a color image.
    sigma: standard deviation of a keypoint's Gaussian, px of the crop.
    """

    def __init__(self, keypoints: int, *, sigma: float, colored: bool) -> None:
        super().__init__()
        if not sigma > 0:
            raise ValueError(f"expected a sigma above 0, got {sigma}")
        self.sigma, self.colored = sigma, colored
        self.channels = 3 if colored else keypoints

    def render(self, conditions_in_crop: Tensor, size: tuple[int, int]) -> Tensor:
        """The condition of each crop as an image: (M, K, 2), (height, width) -> (M, channels, H, W) in [0, 1]."""
        draw = draw_colored if self.colored else draw_stacked
        return draw(conditions_in_crop, self.sigma, size)

    @abstractmethod
    def forward(self, backbone: nn.Module, images: Tensor, rendered: Tensor) -> list[Tensor]:
        """The backbone's feature maps of images (M, 3, H, W), given the rendered conditions (M, channels, H, W)."""

    @abstractmethod
    def compile_networks(self, backbone: nn.Module, backend: str) -> None:
        """Have torch compile the networks that images pass through, as far as this fusion allows."""
