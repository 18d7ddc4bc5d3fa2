"""Transposed convolutions that double the resolution of features, as heatmap heads stack them."""

from torch import nn


def deconvolutions(in_channels: int, channels: int, out_channels: int, count: int, *, batch_norm: bool) -> nn.Module:
    """`count` 3x3 transposed convolutions that each double height and width exactly; a 1x1 convolution for 0.

    channels: between them, each followed by batch norm (optional) and ReLU. Source: DeepLabCut's heatmap heads, whose
    maps are a cell smaller each time.
    """
    if count == 0:
        return nn.Conv2d(in_channels, out_channels, 1)
    layers: list[nn.Module] = []
    for _ in range(count - 1):
        layers.append(_double(in_channels, channels, bias=not batch_norm))
        layers += [nn.BatchNorm2d(channels)] if batch_norm else []
        layers.append(nn.ReLU(inplace=True))
        in_channels = channels
    return nn.Sequential(*layers, _double(in_channels, out_channels, bias=True))


def deconvolution_blocks(in_channels: int, channels: int, count: int) -> list[nn.Module]:
    """`count` 4x4 transposed convolutions with batch norm and ReLU, each of which doubles height and width exactly.

    Source: Xiao et al. 2018 (SimpleBaseline), section 2.
    """
    layers: list[nn.Module] = []
    for _ in range(count):
        layers += [
            nn.ConvTranspose2d(in_channels, channels, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
        in_channels = channels
    return layers


def _double(in_channels: int, out_channels: int, *, bias: bool) -> nn.Module:
    return nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=bias)
