"""ViTPose's two decoders from coarse features to heatmaps; the classic one is also SimpleBaseline's and TransPose-R's."""

from collections.abc import Callable

from torch import Tensor, nn

from dlcpose.codecs.peaks import refine_peaks
from dlcpose.heads.heatmap import HeatmapHeadBase
from dlcpose.layers.deconv import deconvolution_blocks
from dlcpose.structures.skeleton import Skeleton


class DeconvolutionHead(HeatmapHeadBase):
    """4x4 deconvolutions, each with batch norm and ReLU and each doubling the resolution, then a 1x1 convolution.

    deconvolutions: 2 are ViTPose's classic decoder, 3 SimpleBaseline's, 1 TransPose-R's, 0 HRNet's. channels: between them.
    The rest as in HeatmapHeadBase.
    Sources: Xiao et al. 2018 (SimpleBaseline), section 2; Xu et al. 2022 (ViTPose), section 3.1.
    """

    def __init__(
        self,
        in_channels: int,
        stride: int,
        skeleton: Skeleton,
        *,
        heatmap_loss: Callable[[Tensor, Tensor], Tensor],
        deconvolutions: int = 2,
        channels: int = 256,
        sigma: float = 8.0,
        ignore_missing: bool = False,
        sigmoid: bool = True,
        refinement: Callable[[Tensor, Tensor], Tensor] = refine_peaks,
        align_corners: bool = False,
        pixel_shift: float = 0.0,
    ) -> None:
        if deconvolutions < 0:
            raise ValueError(f"expected 0 or more deconvolutions, got {deconvolutions}")
        blocks = deconvolution_blocks(in_channels, channels, deconvolutions)
        super().__init__(
            nn.Sequential(*blocks, nn.Conv2d(channels if blocks else in_channels, len(skeleton), 1)),
            None,
            stride / 2**deconvolutions,
            heatmap_loss=heatmap_loss,
            sigma=sigma,
            ignore_missing=ignore_missing,
            sigmoid=sigmoid,
            refinement=refinement,
            align_corners=align_corners,
            pixel_shift=pixel_shift,
        )


class InterpolationHead(HeatmapHeadBase):
    """ReLU, bilinear upsampling and one 3x3 convolution: ViTPose's simple decoder.

    factor: of the upsampling. The rest as in HeatmapHeadBase. Source: Xu et al. 2022 (ViTPose), section 3.1.
    """

    def __init__(
        self,
        in_channels: int,
        stride: int,
        skeleton: Skeleton,
        *,
        heatmap_loss: Callable[[Tensor, Tensor], Tensor],
        factor: int = 4,
        sigma: float = 8.0,
        ignore_missing: bool = False,
        sigmoid: bool = True,
        refinement: Callable[[Tensor, Tensor], Tensor] = refine_peaks,
        align_corners: bool = False,
        pixel_shift: float = 0.0,
    ) -> None:
        if factor < 1:
            raise ValueError(f"expected a factor of 1 or more, got {factor}")
        layers = nn.Sequential(
            nn.ReLU(),  # not in place: side heads read the same features
            nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False),
            nn.Conv2d(in_channels, len(skeleton), 3, padding=1),
        )
        super().__init__(
            layers,
            None,
            stride / factor,
            heatmap_loss=heatmap_loss,
            sigma=sigma,
            ignore_missing=ignore_missing,
            sigmoid=sigmoid,
            refinement=refinement,
            align_corners=align_corners,
            pixel_shift=pixel_shift,
        )
