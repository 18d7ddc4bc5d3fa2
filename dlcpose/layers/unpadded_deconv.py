"""Transposed convolutions without padding and one convolution after them, as DeepLabCut 3 stacks them."""

from collections.abc import Sequence

from torch import Tensor, nn


class UnpaddedDeconvolutions(nn.Module):
    """Transposed convolutions without padding, with ReLU between them, then a convolution where `final_kernel` is not 0.

    channels: between the layers. kernels, strides: of each transposed convolution; of n of them one of stride 2 with a 3x3
    kernel gives 2n + 1 cells for n. stride: the factor by which the resolution is meant to grow, the product of strides.
    Layers are named as in DeepLabCut's snapshots.
    Raises ValueError where the lists do not fit each other.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernels: Sequence[int],
        strides: Sequence[int],
        channels: Sequence[int] = (),
        final_kernel: int = 0,
    ) -> None:
        super().__init__()
        layers = len(kernels) + (1 if final_kernel else 0)
        if len(strides) != len(kernels) or layers == 0 or len(channels) != layers - 1:
            raise ValueError(
                "expected as many kernels as strides, and channels between all layers, got "
                f"kernels {list(kernels)}, strides {list(strides)}, channels {list(channels)}, final_kernel {final_kernel}"
            )
        self.kernels, self.strides, self.final_kernel = tuple(kernels), tuple(strides), final_kernel
        widths = [in_channels, *channels, out_channels]
        deconvolutions: list[nn.Module] = []
        for index, (kernel, stride) in enumerate(zip(kernels, strides, strict=True)):
            deconvolutions.append(nn.ConvTranspose2d(widths[index], widths[index + 1], kernel, stride=stride))
            deconvolutions.append(nn.ReLU())
        self.deconv_layers = nn.Sequential(*deconvolutions[:-1])
        self.final_conv = nn.Conv2d(widths[-2], out_channels, final_kernel) if final_kernel else nn.Identity()

    @property
    def stride(self) -> int:
        """The factor by which the resolution is meant to grow."""
        stride = 1
        for each in self.strides:
            stride *= each
        return stride

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, out_channels, h', w') of `length(h)` and `length(w)` cells."""
        maps: Tensor = self.final_conv(self.deconv_layers(features))
        return maps

    def length(self, cells: int) -> int:
        """Cells of a side of the output, of a side of the input."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            cells = (cells - 1) * stride + kernel
        return cells - self.final_kernel + 1 if self.final_kernel else cells
