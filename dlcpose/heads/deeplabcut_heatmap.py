"""DeepLabCut 3's heatmaps of one animal: linear outputs, unpadded deconvolutions, location refinement in pixels."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from dlcpose.codecs.peaks import highest_cells
from dlcpose.heads.heatmap import HeatmapHeadBase, HeatmapMaps
from dlcpose.layers.unpadded_deconv import UnpaddedDeconvolutions
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton


class DeepLabCutHeatmapHead(HeatmapHeadBase):
    """DeepLabCut 3's `HeatmapHead`, whose snapshots it reads: the same maps, and the same coordinates from them.

    kernels, strides, channels, final_kernel: as in UnpaddedDeconvolutions. The maps have a cell more than the stride says;
    places are counted from the first all the same.
    offset_std: input pixels that an output of 1 of the location refinement stands for. pixel_shift: what is added to
    coordinates, input pixels; DeepLabCut puts the center of a cell half a pixel farther than the center of the pixels that
    it covers.
    The rest as in HeatmapHeadBase. Without offsets the keypoint is the center of the highest cell.
    """

    def __init__(
        self,
        in_channels: int,
        stride: float,
        skeleton: Skeleton,
        *,
        heatmap_loss: Callable[[Tensor, Tensor], Tensor],
        kernels: Sequence[int] = (3,),
        strides: Sequence[int] = (2,),
        channels: Sequence[int] = (),
        final_kernel: int = 0,
        sigmoid: bool = False,
        offsets: bool = True,
        offset_std: float = 7.2801,
        pixel_shift: float = 0.5,
        sigma: float = 11.33,
        offset_radius: float = 17.0,
        offset_weight: float = 0.05,
        ignore_missing: bool = False,
    ) -> None:
        def layers(out_channels: int) -> UnpaddedDeconvolutions:
            return UnpaddedDeconvolutions(
                in_channels,
                out_channels,
                kernels=kernels,
                strides=strides,
                channels=channels,
                final_kernel=final_kernel,
            )

        heatmap_layers, offset_layers = layers(len(skeleton)), layers(2 * len(skeleton)) if offsets else None
        super().__init__(
            heatmap_layers,
            offset_layers,
            stride / heatmap_layers.stride,
            heatmap_loss=heatmap_loss,
            sigma=sigma,
            ignore_missing=ignore_missing,
            offset_radius=offset_radius,
            offset_weight=offset_weight,
            sigmoid=sigmoid,
            refinement=highest_cells,
            pixel_shift=pixel_shift,
        )
        self.feature_stride, self.length_of_maps = stride, heatmap_layers.length
        self.cells_per_unit = offset_std / self.stride

    def forward(self, features: Tensor) -> HeatmapMaps:
        """Predicted maps from features (B, C, h, w), offsets in cells."""
        heatmaps, offsets = super().forward(features)
        return HeatmapMaps(heatmaps, None if offsets is None else self.cells_per_unit * offsets)

    def decode_shown(self, maps: HeatmapMaps, shown: Sequence[tuple[int, int]]) -> list[PoseInstances]:
        """As DeepLabCut decodes, in the padding too."""
        return self.decode(maps)

    def map_size(self, batch: PoseBatch) -> tuple[int, int]:
        """(h, w) of the maps of a batch's images, which end a cell or more beyond them."""
        height, width = (math.ceil(side / self.feature_stride) for side in batch.images.shape[-2:])
        return self.length_of_maps(height), self.length_of_maps(width)
