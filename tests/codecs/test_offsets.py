"""The offset of every cell near a keypoint leads to it; that of peaks is tested in test_peaks.py."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from dlcpose.codecs.offsets import draw_offsets

SIZE = (14, 19)


@given(st.integers(0, 2**31 - 1), st.integers(0, 4), st.floats(0.5, 6))
def test_each_near_cell_leads_to_the_nearest_animals_keypoint_and_others_are_unsupervised(
    seed: int, animals: int, radius: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(2, animals, 3, 2, generator=generator) * torch.tensor([22.0, 17.0]) - 1.5
    points[torch.rand(2, animals, 3, generator=generator) < 0.3] = torch.nan
    offsets = draw_offsets(points, radius, SIZE)
    assert tuple(offsets.shape) == (2, 3, 2, *SIZE)
    cells = torch.cartesian_prod(torch.arange(SIZE[0]), torch.arange(SIZE[1])).flip(1).double()
    for image in range(2):
        for keypoint in range(3):
            known = points[image, :, keypoint].double()
            known = known[~known.isnan().any(dim=1)]
            led = offsets[image, keypoint].flatten(1).T.double()  # (cells, 2)
            supervised = ~led.isnan().any(dim=1)
            assert (led.isnan().any(dim=1) == led.isnan().all(dim=1)).all()
            if not len(known):
                assert not supervised.any()
                continue
            nearest = torch.from_numpy(cdist(cells, known)).amin(dim=1)
            assert supervised[nearest < radius - 1e-4].all()
            assert not supervised[nearest > radius + 1e-4].any()
            torch.testing.assert_close(led[supervised].norm(dim=1), nearest[supervised], atol=1e-4, rtol=0)
            ends = (cells + led)[supervised]
            if len(ends):
                assert cdist(ends, known).min(axis=1).max() < 1e-4


def test_the_order_of_animals_does_not_matter() -> None:
    points = torch.tensor([[[[5.0, 5.0]], [[9.0, 6.0]], [[6.5, 11.0]]]])
    first = draw_offsets(points, 4.0, SIZE)
    torch.testing.assert_close(first, draw_offsets(points.flip(1), 4.0, SIZE), equal_nan=True)


def test_the_nearest_animal_counts_and_missing_points_draw_nothing() -> None:
    points = torch.tensor([[[[5.0, 5.0], [torch.nan, torch.nan]], [[8.0, 5.0], [torch.nan, torch.nan]]]])
    offsets = draw_offsets(points, 3.0, (16, 16))[0]
    assert offsets[0, :, 5, 6].tolist() == [-1, 0]
    assert offsets[0, :, 5, 7].tolist() == [1, 0]
    assert offsets[1].isnan().all()
