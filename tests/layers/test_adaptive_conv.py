"""The grouped deformable convolution against torchvision's."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import deform_conv2d

from dlcpose.layers.adaptive_conv import AdaptiveConvBlock, adaptive_conv

GRID = torch.tensor([[y, x] for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)])  # (9, 2)


def by_torchvision(features: Tensor, taps: Tensor, weight: Tensor) -> Tensor:
    """taps (B, G, 9, 2, h, w), x before y, from the cell."""
    groups, out, channels, _ = weight.shape
    from_grid = taps.flip(3) - GRID[:, :, None, None]  # (B, G, 9, 2, h, w), y before x
    return deform_conv2d(features, from_grid.flatten(1, 3), weight.reshape(groups * out, channels, 3, 3), padding=1)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("groups", "channels", "height", "width"), [(3, 5, 7, 9), (1, 2, 1, 6), (4, 15, 8, 5)])
def test_outputs_and_gradients_are_torchvisions(
    groups: int, channels: int, height: int, width: int, dtype: torch.dtype, close: float
) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, groups * channels, height, width)
    # Also far outside; an exact border between two cells has no one derivative and does not come up by chance.
    taps = GRID.flip(1)[:, :, None, None] + 2 * torch.randn(2, groups, 9, 2, height, width)
    weight = torch.randn(groups, channels, channels, 9) / (9 * channels) ** 0.5
    toward = torch.randn(2, groups * channels, height, width)
    results = []
    for operation in (adaptive_conv, by_torchvision):
        inputs = [tensor.to(dtype, copy=True).requires_grad_() for tensor in (features, taps, weight)]
        output = operation(*inputs)
        (output * toward).mean().backward()
        results.append((output, *(tensor.grad for tensor in inputs)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=close, rtol=close)


def test_it_starts_as_a_regular_convolution() -> None:
    torch.manual_seed(0)
    block, features = AdaptiveConvBlock(3, 4).eval(), torch.randn(2, 12, 6, 8)
    plain = functional.conv2d(features, block.weight.reshape(12, 4, 3, 3), padding=1, groups=3)
    torch.testing.assert_close(block(features), (block.norm(plain) + features).relu(), atol=1e-5, rtol=1e-5)


def test_a_shift_moves_the_taps_and_a_rotation_rotates_them() -> None:
    """A block that reads the tap on its left: moved, turned, and turned the other way."""
    block, features = AdaptiveConvBlock(1, 1).eval(), torch.zeros(1, 1, 9, 9)
    features[0, 0, 4, 4] = 1.0
    block.weight.data = torch.zeros(1, 1, 1, 9)
    block.weight.data[..., 3] = 1.0  # the tap at (y, x) = (0, −1)
    for affine, seen_at in (
        ([1, 0, 0, 1, 0, 0], (4, 5)),
        ([1, 0, 0, 1, 2, 1], (2, 4)),  # shift by y 2, x 1
        ([0, 1, -1, 0, 0, 0], (5, 4)),  # the tap on the left is now the one above: matrix @ (0, −1) = (−1, 0)
        ([0, -1, 1, 0, 0, 0], (3, 4)),
    ):
        block.affine.bias.data = torch.tensor(affine, dtype=torch.float32)
        lit = block(features)[0, 0]
        lit[4, 4] = 0  # the residual
        assert divmod(int(lit.argmax()), 9) == seen_at


def test_under_autocast_it_agrees_to_the_digits_of_bfloat16() -> None:
    torch.manual_seed(0)
    block, features = AdaptiveConvBlock(3, 5).eval(), torch.randn(1, 15, 64, 64)
    nn.init.normal_(block.affine.weight, std=0.01)
    exact = block(features)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = block(features)
    assert (rounded.float() - exact).abs().mean() < 0.01 * exact.abs().mean()
