"""PreNet: image and condition fused into one image."""

import torch
from torch import nn

from dlcpose.fusions.prenet import PreNet
from dlcpose.structures.skeleton import Skeleton


class Same(nn.Module):
    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images]


def test_the_backbone_sees_the_sum_of_both_paths() -> None:
    torch.manual_seed(0)
    fusion = PreNet(Skeleton(("a", "b"))).eval()
    images = torch.randn(2, 3, 32, 96)
    nothing = torch.full((2, 2, 2), torch.nan)
    somebody = torch.tensor([[[10.0, 12.0], [30.0, 20.0]]]).expand(2, -1, -1)
    with torch.no_grad():
        without, with_one = (fusion(Same(), images, fusion.render(poses, (32, 96)))[0] for poses in (nothing, somebody))
    assert without.shape == images.shape
    changed = (with_one - without).abs().amax(dim=1)[0]  # (H, W)
    assert changed[12, 10] > 0
    assert changed[20, 30] > 0
    # A 7x7 window on a Gaussian of 2.6 px: nothing changes far away.
    assert changed[:, 80:].max() == 0


def test_conditions_reach_the_network_at_the_scale_of_images() -> None:
    """With a Gaussian of height 1, the epsilon of the batch norm would hide it."""
    torch.manual_seed(0)
    fusion = PreNet(Skeleton(tuple("abcd"))).train()
    poses = torch.rand(8, 4, 2) * 60 + 2
    features = fusion.condition_layers(255.0 * fusion.render(poses, (64, 64)))
    assert 0.8 < float(features.var()) < 1.2
