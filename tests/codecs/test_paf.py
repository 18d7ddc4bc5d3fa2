"""Affinity fields: what is drawn along edges, and line integrals against a plain loop."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlcpose.codecs.paf import MIN_PROBE, PROBES, draw_pafs, score_edges

NAN = math.nan
SIZE = (20, 26)
EDGE = torch.tensor([[0, 1]])


def drawn(*animals: list[list[float]], width: float = 1.5) -> Tensor:
    """The one edge's field (2, h, w) of animals of two keypoints."""
    return draw_pafs(torch.tensor([animals]), EDGE, width, SIZE)[0, 0]


def random_scene(seed: int, animals: int, keypoints: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([SIZE[1] - 1.0, SIZE[0] - 1.0])
    return torch.rand(1, animals, keypoints, 2, generator=generator) * size


def measured(fields: Tensor, points: Tensor, edges: Tensor, **settings: Any) -> np.ndarray:
    return score_edges(fields, points.numpy(), edges.numpy(), **settings)


def integrals_by_loops(fields: Tensor, points: Tensor, edges: Tensor, samples: int) -> np.ndarray:
    """(L, P, P) of one image, each value read by hand from the four cells around it."""
    flat = fields[0].numpy().astype(np.float64)  # (L, 2, h, w)
    places = points[0].numpy().astype(np.float64)  # (K, P, 2)
    height, width = flat.shape[-2:]
    values = np.zeros((len(edges), places.shape[1], places.shape[1]))
    for edge, (first, second) in enumerate(edges.tolist()):
        for i, start in enumerate(places[first]):
            for j, end in enumerate(places[second]):
                unit = (end - start) / np.linalg.norm(end - start)
                for step in range(samples):
                    x, y = np.clip(start + (step + 0.5) / samples * (end - start), 0, [width - 1, height - 1])
                    left, upper = min(int(x), width - 2), min(int(y), height - 2)
                    for column, row in ((left, upper), (left + 1, upper), (left, upper + 1), (left + 1, upper + 1)):
                        weight = (1 - abs(x - column)) * (1 - abs(y - row))
                        values[edge, i, j] += weight * float(unit @ flat[edge, :, row, column]) / samples
    return values


def test_an_edge_is_drawn_as_the_unit_vector_within_its_width_and_nowhere_else() -> None:
    field = drawn([[4.0, 6.0], [16.0, 11.0]])
    ys, xs = torch.meshgrid(torch.arange(SIZE[0]).double(), torch.arange(SIZE[1]).double(), indexing="ij")
    fractions = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None, None]
    distance = ((xs - 4 - 12 * fractions) ** 2 + (ys - 6 - 5 * fractions) ** 2).amin(dim=0).sqrt()
    sure = (distance - 1.5).abs() > 1e-3
    unit = torch.tensor([12.0, 5.0]) / 13
    torch.testing.assert_close(
        field[:, (distance < 1.5) & sure], unit[:, None].expand(-1, int(((distance < 1.5) & sure).sum()))
    )
    assert not field[:, (distance > 1.5) & sure].any()


def test_where_edges_cross_the_nearest_counts() -> None:
    across, down = [[2.0, 10.0], [22.0, 10.0]], [[12.0, 2.0], [12.0, 18.0]]
    field = drawn(across, down)
    assert field[:, 10, 11].tolist() == [1, 0]  # on the one, a cell from the other
    assert field[:, 9, 12].tolist() == [0, 1]
    assert torch.equal(field.norm(dim=0) > 0, (drawn(across).norm(dim=0) > 0) | (drawn(down).norm(dim=0) > 0))


@given(
    seed=st.integers(0, 10**6), animals=st.integers(1, 10), half_width=st.floats(0.5, 4.0), spread=st.floats(0.0, 3.0)
)
@settings(derandomize=True)
def test_fields_are_those_of_every_cell_and_edge_by_itself(
    seed: int, animals: int, half_width: float, spread: float
) -> None:
    edges = torch.tensor([[0, 1], [2, 1]])
    middle = torch.tensor([SIZE[1] / 2, SIZE[0] / 2])
    scenes = torch.cat([random_scene(seed, animals), random_scene(seed + 1, animals)])
    scenes = (scenes - middle) * spread + middle  # of no size, and far beyond the map
    scenes[torch.rand(scenes.shape[:3], generator=torch.Generator().manual_seed(seed)) < 0.1] = NAN
    fields = draw_pafs(scenes, edges, half_width, SIZE)
    ys, xs = torch.meshgrid(torch.arange(SIZE[0]).double(), torch.arange(SIZE[1]).double(), indexing="ij")
    cells = torch.stack((xs, ys), dim=-1)  # (h, w, 2)
    for poses, drawn_of in zip(scenes.double(), fields, strict=True):
        for edge, (first, second) in enumerate(edges.tolist()):
            starts, ends = poses[:, first, None, None], poses[:, second, None, None]  # (N, 1, 1, 2)
            reach = (ends - starts).square().sum(-1).clamp(min=1e-12)
            share = (((cells - starts) * (ends - starts)).sum(-1) / reach).clamp(0, 1)  # (N, h, w)
            distances = (cells - starts - share[..., None] * (ends - starts)).norm(dim=-1).nan_to_num(math.inf)
            nearest, second_nearest = distances.sort(dim=0).values[0], distances.sort(dim=0).values[1:2]
            sure = (nearest - half_width).abs() > 1e-3
            if animals > 1:
                sure &= (second_nearest[0] - nearest > 1e-3) | (nearest > half_width)
            owner = distances.argmin(dim=0)
            unit = torch.nn.functional.normalize((ends - starts)[owner, 0, 0], dim=-1)  # (h, w, 2)
            expected = torch.where((nearest <= half_width)[..., None], unit, torch.zeros_like(unit)).permute(2, 0, 1)
            if spread > 0.01:  # else edges have no direction
                torch.testing.assert_close(drawn_of[edge][:, sure].double(), expected[:, sure], atol=1e-3, rtol=0)


def test_of_equally_near_animals_the_later_counts_and_alone_or_in_a_batch_it_is_the_same() -> None:
    across, down = [[2.0, 10.0], [22.0, 10.0]], [[12.0, 2.0], [12.0, 18.0]]
    assert drawn(across, down)[:, 10, 12].tolist() == [0, 1]
    assert drawn(down, across)[:, 10, 12].tolist() == [1, 0]
    down_and_others = [down] * 7 + [across]  # more than are drawn side by side
    assert drawn(*down_and_others, down)[:, 10, 12].tolist() == [0, 1]
    assert drawn(*down_and_others, across)[:, 10, 12].tolist() == [1, 0]
    scenes = torch.cat([random_scene(seed, 3) for seed in range(4)])
    alone = torch.cat([draw_pafs(scene[None], EDGE, 1.5, SIZE) for scene in scenes])
    assert torch.equal(draw_pafs(scenes, EDGE, 1.5, SIZE), alone)


@pytest.mark.parametrize("missing", [0, 1])
def test_an_edge_with_a_missing_end_is_not_drawn(missing: int) -> None:
    points = [[4.0, 6.0], [16.0, 11.0]]
    points[missing] = [NAN, NAN]
    assert not drawn(points).any()
    assert torch.equal(drawn(points, [[2.0, 2.0], [9.0, 2.0]]), drawn([[2.0, 2.0], [9.0, 2.0]]))


def test_nothing_is_drawn_of_no_animals_and_of_no_edges() -> None:
    assert not draw_pafs(torch.zeros(2, 0, 3, 2), EDGE, 1.5, SIZE).any()
    assert draw_pafs(torch.zeros(2, 1, 3, 2), EDGE[:0], 1.5, SIZE).shape == (2, 0, 2, *SIZE)


@given(seed=st.integers(0, 10**6), animals=st.integers(1, 4))
@settings(derandomize=True)
def test_integrals_agree_with_a_loop(seed: int, animals: int) -> None:
    edges = torch.tensor([[0, 1], [1, 2]])
    scene = random_scene(seed, animals)
    fields = draw_pafs(scene, edges, 2.0, SIZE)
    points = scene.transpose(1, 2)
    values = measured(fields, points, edges, samples=8)[0]
    expected = integrals_by_loops(fields, points, edges, samples=8)
    ends = points[0].numpy()
    long = np.stack([np.linalg.norm(ends[a][:, None] - ends[b], axis=-1) > 1 for a, b in edges.tolist()])
    passed = values != 0  # pairs that no probe saw are left at 0
    np.testing.assert_allclose(values[long & passed], expected[long & passed], atol=2e-5)
    assert expected[long & ~passed].max(initial=0.0) <= 0.75, "a pair with a field nearly all along was left out"


@given(seed=st.integers(0, 10**6))
def test_an_animal_alone_has_affinity_one_and_backwards_none(seed: int) -> None:
    scene = random_scene(seed, 1)
    fields = draw_pafs(scene, EDGE, 1.5, SIZE)
    assert measured(fields, scene.transpose(1, 2), EDGE).item() == pytest.approx(1, abs=1e-4)
    if (scene[0, 0, 1] - scene[0, 0, 0]).norm() > 1:
        assert measured(-fields, scene.transpose(1, 2), EDGE).item() == 0


@pytest.mark.parametrize("apart", [0.0, 1e-4, 0.3])
def test_coincident_ends_are_still_linked(apart: float) -> None:
    scene = torch.tensor([[[[7.3, 8.2], [7.3 + apart, 8.2]]]])
    moved = scene + torch.tensor([[0.0, 0.0], [0.0, 0.02]])  # values a little off, in any direction
    assert measured(draw_pafs(scene, EDGE, 1.5, SIZE), moved.transpose(1, 2), EDGE).item() > 0.6


def test_pairs_that_are_too_long_or_of_left_out_edges_have_no_affinity() -> None:
    scene = torch.tensor([[[[2.0, 5.0], [12.0, 5.0]]]])
    fields, points = draw_pafs(scene, EDGE, 1.5, SIZE), scene.transpose(1, 2)
    reached = [
        measured(fields, points, EDGE, max_lengths=np.array([far], np.float32)).item() for far in (10.1, 9.9, -1.0)
    ]
    assert reached == [pytest.approx(1), 0, 0]


def test_no_candidates_give_no_pairs() -> None:
    fields = torch.zeros(2, 1, 2, *SIZE)
    assert measured(fields, torch.zeros(2, 2, 0, 2), EDGE).shape == (2, 1, 0, 0)
    assert not measured(fields, torch.full((2, 2, 3, 2), NAN), EDGE).any()


def test_a_batch_is_measured_as_its_images_are() -> None:
    scenes = torch.cat([random_scene(seed, 3, keypoints=2) for seed in range(3)])
    fields, points = draw_pafs(scenes, EDGE, 1.5, SIZE), scenes.transpose(1, 2)
    together = measured(fields, points, EDGE)
    alone = np.concatenate([measured(fields[i : i + 1], points[i : i + 1], EDGE) for i in range(3)])
    np.testing.assert_allclose(together, alone)


def test_the_memory_format_of_fields_does_not_matter() -> None:
    scene, edges = random_scene(3, 3), torch.tensor([[0, 1], [1, 2], [0, 2]])
    fields, points = draw_pafs(scene, edges, 1.5, SIZE), scene.transpose(1, 2)
    expected = measured(fields, points, edges)
    assert expected.any()
    channels_last = fields.flatten(1, 2).contiguous(memory_format=torch.channels_last).unflatten(1, (3, 2))
    assert not channels_last.is_contiguous()
    inner = torch.nn.functional.pad(fields, (3, 2, 1, 4))[..., 1:-4, 3:-2]
    for laid_otherwise in (channels_last, inner, fields.transpose(3, 4).contiguous().transpose(3, 4)):
        np.testing.assert_array_equal(measured(laid_otherwise, points, edges), expected)


def test_a_field_interrupted_by_another_animal_still_has_affinity() -> None:
    scene = torch.tensor([[[[2.0, 10.0], [22.0, 10.0]]]])
    fields = draw_pafs(scene, EDGE, 1.5, SIZE)
    fields[..., 6:15] = 0  # two of the probes fall in here
    value = measured(fields, scene.transpose(1, 2), EDGE).item()
    assert MIN_PROBE < value < 1
    assert len(PROBES) == 3
