"""PreNet with pose conditions rendered as DeepLabCut 3 does."""

from torch import Tensor

from dlcpose.codecs.deeplabcut_conditions import draw_stacked_pixels
from dlcpose.fusions.prenet import PreNet
from dlcpose.structures.skeleton import Skeleton


class DeepLabCutPreNet(PreNet):
    """DeepLabCut 3's `CondPreNet`, whose snapshots it reads.

    sigma, radius: of the blur, px of the crop. The rest as in PreNet.
    """

    def __init__(self, skeleton: Skeleton, *, channels: int = 64, sigma: float = 2.6, radius: int = 7) -> None:
        super().__init__(skeleton, channels=channels, sigma=sigma)
        self.radius = radius

    def render(self, conditions_in_crop: Tensor, size: tuple[int, int]) -> Tensor:
        """The condition of each crop: (M, K, 2), (height, width) -> (M, K, H, W) in [0, 1]."""
        return draw_stacked_pixels(conditions_in_crop, self.sigma, self.radius, size)
