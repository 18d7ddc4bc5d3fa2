"""DeepLabCut 3's DLCRNet backbone: a ResNet, and banks of its early features beside its last map (Lauer et al. 2022)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dlcpose.backbones.base import Backbone
from dlcpose.backbones.timm_backbone import create_network
from dlcpose.structures.errors import ConfigError

BANK = 128  # channels of each bank


class DeepLabCutDlcrnetBackbone(Backbone):
    """The backbone of DeepLabCut 3's `dlcrnet_*`, whose snapshots it reads; it has one map, banks before the last stage's.

    name: of one of timm's ResNets with bottlenecks. output_stride: dilate instead of striding beyond this. The rest as in
    Backbone. The neck `multi_scale` is the same idea with padded convolutions and gradients through the banks.
    """

    def __init__(
        self,
        name: str = "resnet50",
        *,
        output_stride: int = 16,
        pretrained: bool = False,
        checkpoint_path: str | None = None,
        frozen: bool = False,
        frozen_statistics: bool = False,
    ) -> None:
        network = Dlcrnet(name, output_stride, pretrained)
        super().__init__(
            network,
            [network.channels],
            [output_stride],
            name=f"DLCRNet of {name}",
            size_divisor=output_stride,
            checkpoint_path=checkpoint_path,
            finest_stride=1,
            frozen=frozen,
            frozen_statistics=frozen_statistics,
        )


class Dlcrnet(nn.Module):
    """The network, with layers named as in DeepLabCut's snapshots."""

    def __init__(self, name: str, output_stride: int, pretrained: bool) -> None:
        super().__init__()
        settings = {"output_stride": output_stride, "num_classes": 0, "global_pool": ""}
        self.model = create_network(name, pretrained, settings)
        if len(getattr(self.model, "layer2", ())) < 3 or not hasattr(self.model.layer2[2], "conv3"):
            raise ConfigError(f"backbone.name: expected one of timm's ResNets with bottlenecks, got {name!r}.")
        first, second = (layer[-1].conv3.out_channels for layer in (self.model.layer1, self.model.layer2))
        self.channels = 2 * BANK + self.model.num_features
        self.conv_block1 = _block(second, second, kernel=3, stride=2)
        self.conv_block2 = _block(second, BANK, kernel=1, stride=1)
        self.conv_block3 = _block(first, first, kernel=3, stride=2)
        self.conv_block4 = _block(first, first, kernel=3, stride=2)
        self.conv_block5 = _block(first, BANK, kernel=1, stride=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[(B, banks and own channels, h, w)] of images (B, 3, H, W)."""
        model = self.model
        features = model.maxpool(model.act1(model.bn1(model.conv1(images))))
        features = fine = model.layer1(features)
        for number, block in enumerate(model.layer2):
            features = block(features)
            if number == 2:  # DeepLabCut takes the third block, whatever follows
                coarse = features
        features = model.layer4(model.layer3(features))
        # No gradients go through the banks there.
        banks = (
            self.conv_block5(self.conv_block4(self.conv_block3(fine.detach()))),
            self.conv_block2(self.conv_block1(coarse.detach())),
        )
        size = features.shape[-2:]
        return [torch.cat([*(_resized(bank, size) for bank in banks), features], dim=1)]


def _block(in_channels: int, out_channels: int, *, kernel: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, kernel, stride=stride)  # not padded: a bank is a cell short
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels, momentum=0.001), nn.ReLU())


def _resized(features: Tensor, size: torch.Size) -> Tensor:
    if features.shape[-2:] == size:
        return features
    return functional.interpolate(features, tuple(size), mode="bilinear", align_corners=False, antialias=True)
