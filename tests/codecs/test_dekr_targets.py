"""Centers and their offsets to keypoints: drawn as by a plain loop, and found again."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.codecs.dekr_targets import animal_centers, draw_center_offsets, find_centers, pose_extents
from dlcpose.codecs.gaussian import draw_gaussians

SIZE = (24, 32)
NAN = float("nan")


def animals(seed: int, count: int, keypoints: int = 4) -> torch.Tensor:
    points = np.random.default_rng(seed).uniform((0, 0), (SIZE[1] - 1, SIZE[0] - 1), (1, count, keypoints, 2))
    points[:, :, 1:][np.random.default_rng(seed + 1).random((1, count, keypoints - 1)) < 0.2] = NAN
    return torch.from_numpy(points).float()


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_offsets_are_those_of_a_loop_over_cells_and_animals(seed: int, count: int) -> None:
    points = animals(seed, count)
    centers = animal_centers(points, SIZE)
    drawn = draw_center_offsets(points, centers, 4.0, SIZE)[0]
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            far = (torch.tensor([x, y]) - centers[0]).abs()
            near = [n for n in range(count) if far[n].max() <= 4]
            if not near:
                assert drawn[:, :, y, x].isnan().all()
                continue
            nearest = min(near, key=lambda n: float(far[n].square().sum()))
            expected = points[0, nearest] - torch.tensor([x, y])
            torch.testing.assert_close(drawn[:, :, y, x], expected, equal_nan=True)


def test_of_equally_near_animals_the_smaller_has_the_cell() -> None:
    small, large = torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.tensor([[-6.0, 0.0], [6.0, 0.0]])
    places = torch.tensor([[10.0, 10.0], [14.0, 10.0]])
    for pair in ((small, large), (large, small)):
        points = (torch.stack(pair) + places[:, None])[None]
        offsets = draw_center_offsets(points, animal_centers(points, SIZE), 4.0, SIZE)[0]  # (K, 2, h, w)
        found = torch.tensor([12.0, 10.0]) + offsets[:, :, 10, 12]
        torch.testing.assert_close(found[1, 0] - found[0, 0], torch.tensor(2.0))


def test_a_center_is_the_mean_of_the_keypoints_within_the_map() -> None:
    points = torch.tensor([[[[2.0, 2.0], [6.0, 4.0], [NAN, NAN]], [[30.0, 5.0], [50.0, 5.0], [NAN, NAN]]]])
    torch.testing.assert_close(animal_centers(points, SIZE)[0], torch.tensor([[4.0, 3.0], [30.0, 5.0]]))
    assert animal_centers(points + 100, SIZE).isnan().all()


def test_extents_are_diagonals_of_known_keypoints() -> None:
    points = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [NAN, NAN]], [[1.0, 1.0], [NAN, NAN], [NAN, NAN]], [[NAN] * 2] * 3])
    torch.testing.assert_close(pose_extents(points, dim=1), torch.tensor([5.0, 0.0, NAN]), equal_nan=True)


@given(st.lists(st.tuples(st.integers(0, 31), st.integers(0, 23)), min_size=1, max_size=12, unique=True))
def test_every_center_in_a_cell_of_its_own_is_found(places: list[tuple[int, int]]) -> None:
    centers = torch.tensor(places).float()[None] + torch.tensor([0.3, -0.2])  # (1, N, 2)
    body = torch.tensor([[-5.0, 1.0], [5.0, -1.0]])
    offsets = draw_center_offsets(centers[:, :, None] + body, centers, 4.0, SIZE)
    cells, values = find_centers(draw_gaussians(centers[:, :, None], 4.0, SIZE)[:, 0], offsets, 4.0, 64)
    found = {tuple(cell) for cell, value in zip(cells[0].tolist(), values[0].tolist(), strict=True) if value > 0.9}
    assert found >= set(places)
    assert values[0].diff().le(0).all()
