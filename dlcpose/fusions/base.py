"""All that a pipeline may know of how a condition reaches the network."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from dlcpose.codecs.pose_conditions import draw_colored, draw_stacked

# What a keypoint's bump is multiplied by, as in the paper: as the networks' first layers begin, values of at most 1
# on a few pixels would drown in the epsilon of a batch norm, and in the biases.
PEAK = 255.0


class Fusion(nn.Module, ABC):
    """Draws a condition as an image and brings it together with the crop's features.

    A fusion is built with what its signature names of: skeleton; canvas, the (height, width) of a crop; backbone, whose
    weights stay its own. channels: of the image, one for each keypoint, or three colours.
    sigma: width of a keypoint's bump, px of the crop.
    """

    def __init__(self, keypoints: int, *, sigma: float, colored: bool) -> None:
        super().__init__()
        if not sigma > 0:
            raise ValueError(f"expected a sigma above 0, got {sigma}")
        self.sigma, self.colored = sigma, colored
        self.channels = 3 if colored else keypoints

    def drawn(self, conditions_in_crop: Tensor, size: tuple[int, int]) -> Tensor:
        """The image of each crop's condition: (M, K, 2), (height, width) -> (M, channels, H, W) in [0, 1]."""
        draw = draw_colored if self.colored else draw_stacked
        return draw(conditions_in_crop, self.sigma, size)

    @abstractmethod
    def forward(self, backbone: nn.Module, images: Tensor, drawn: Tensor) -> list[Tensor]:
        """The backbone's maps of images (M, 3, H, W) under their conditions, as `drawn` draws them."""

    @abstractmethod
    def compile_networks(self, backbone: nn.Module, backend: str) -> None:
        """Have torch compile what images go through, as far as it stays the same from crop to crop."""
