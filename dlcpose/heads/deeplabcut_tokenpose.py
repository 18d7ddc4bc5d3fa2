"""DeepLabCut 3's TokenPose: three groups of narrow transformer layers, and heatmaps read at their highest cells."""

from collections.abc import Callable, Sequence

from torch import Tensor

from dlcpose.codecs.peaks import highest_cells
from dlcpose.heads.heatmap import HeatmapMaps
from dlcpose.heads.tokenpose import TokenPoseHead
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton


class DeepLabCutTokenPoseHead(TokenPoseHead):
    """DeepLabCut 3's `Transformer` neck and `TransformerHead`, whose snapshots it reads: the same maps and coordinates.

    Its layers are those of TokenPose-L, but for a feed-forward width of 3 and positions that are added again from the second
    group on. pixel_shift: what is added to coordinates, input pixels; DeepLabCut puts the center of a cell half a pixel
    farther than the center of the pixels that it covers. The keypoint is the center of the highest cell.
    The rest as in TokenPoseHead.
    """

    def __init__(
        self,
        in_channels: int,
        stride: int,
        skeleton: Skeleton,
        canvas: tuple[int, int] | None,
        *,
        heatmap_loss: Callable[[Tensor, Tensor], Tensor],
        patch: Sequence[int] = (4, 4),
        width: int = 192,
        layers: int = 6,
        heads: int = 8,
        feed_forward: int = 3,
        hidden: int | None = None,
        map_stride: int = 4,
        pixel_shift: float = 0.5,
        sigma: float = 11.33,
        ignore_missing: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            stride,
            skeleton,
            canvas,
            heatmap_loss=heatmap_loss,
            patch=patch,
            width=width,
            layers=layers,
            heads=heads,
            feed_forward=feed_forward,
            groups=3,
            repeat_positions_from=1,
            hidden=hidden,
            map_stride=map_stride,
            sigma=sigma,
            ignore_missing=ignore_missing,
        )
        self.pixel_shift, self.refinement = pixel_shift, highest_cells

    def decode_shown(self, maps: HeatmapMaps, shown: Sequence[tuple[int, int]]) -> list[PoseInstances]:
        """As DeepLabCut decodes, in the padding too."""
        return self.decode(maps)
