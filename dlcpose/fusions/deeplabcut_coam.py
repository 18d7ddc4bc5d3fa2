"""CoAM with pose conditions rendered, and brought to the size of the maps, as DeepLabCut 3 does."""

from torch import Tensor, nn
from torch.nn import functional

from dlcpose.codecs.deeplabcut_conditions import draw_stacked_pixels
from dlcpose.fusions.base import PEAK
from dlcpose.fusions.coam import Coam, ConditionalAttention
from dlcpose.structures.skeleton import Skeleton


class ResizedAttention(ConditionalAttention):
    """The condition is resized, to as many columns as the map has rows and as many rows as it has columns, as there.

    Where a crop is not square, its cells therefore ask for other cells than their own: trained weights depend on that.
    """

    def condition_of(self, rendered: Tensor) -> Tensor:
        """(M, condition channels, w, h), which are convolved so; queries are its cells in order."""
        size = self.size[::-1]
        return functional.interpolate(PEAK * rendered, size, mode="bilinear", align_corners=False, antialias=True)


class DeepLabCutCoam(Coam):
    """DeepLabCut 3's `HRNetCoAM`, whose snapshots it reads.

    sigma, radius: of the blur, px of the crop. The rest as in Coam.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        canvas: tuple[int, int],
        backbone: nn.Module,
        *,
        before: str = "stage3",
        dropout: float = 0.1,
        sigma: float = 2.6,
        radius: int = 7,
    ) -> None:
        super().__init__(skeleton, canvas, backbone, before=before, dropout=dropout, sigma=sigma)
        self.radius = radius

    @property
    def attention_class(self) -> type[ConditionalAttention]:
        """What is put on each map."""
        return ResizedAttention

    def render(self, conditions_in_crop: Tensor, size: tuple[int, int]) -> Tensor:
        """The condition of each crop: (M, K, 2), (height, width) -> (M, K, H, W) in [0, 1]."""
        return draw_stacked_pixels(conditions_in_crop, self.sigma, self.radius, size)
