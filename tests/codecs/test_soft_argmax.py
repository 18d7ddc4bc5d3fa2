import torch

from dlcpose.codecs.gaussian import draw_gaussians
from dlcpose.codecs.soft_argmax import soft_peaks, soft_places


def test_the_soft_peak_of_a_gaussian_is_its_center_whatever_its_height() -> None:
    points = 6 + 20 * torch.rand(2, 1, 5, 2, generator=torch.Generator().manual_seed(0))
    maps = draw_gaussians(points, sigma=1.5, size=(32, 32))
    for height, background in ((1.0, 0.0), (0.2, 0.0), (0.3, 0.01)):
        found = soft_peaks(maps * height + background)
        torch.testing.assert_close(found, points[:, 0], atol=0.05, rtol=0)
    torch.testing.assert_close(soft_peaks(torch.zeros(1, 1, 9, 9)), torch.full((1, 1, 2), 4.0))


def test_a_second_peak_of_nearly_the_height_gets_a_gradient() -> None:
    points = torch.tensor([[[[5.0, 16.0]], [[25.0, 16.0]]]])  # two peaks in one map
    maps = draw_gaussians(points, sigma=1.5, size=(32, 32))
    maps[..., :15] *= 0.9
    maps.requires_grad_()
    soft_peaks(maps)[..., 0].sum().backward()
    assert maps.grad is not None
    assert maps.grad[0, 0, 16, 5] < 0 < maps.grad[0, 0, 16, 25]


def test_the_soft_place_of_a_distribution_over_bins_is_its_middle() -> None:
    bins = torch.arange(64.0)
    logits = 10 * torch.exp(-((bins - 20.25) ** 2) / 8)[None, None]
    torch.testing.assert_close(soft_places(logits), torch.tensor([[20.25]]), atol=0.1, rtol=0)
