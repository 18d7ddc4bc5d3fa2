import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import ConvexHull

from dlcpose.datasets.synthetic.rendering import Capsules, Layer, Light, composite, contains, join, measure, render

SIZE = (48, 64)
FLAT = Light(1.0, 0.0, 0.0, 0.0)
PLAIN = np.ones((128, 128), np.float32)


def capsule(
    start: tuple[float, float],
    end: tuple[float, float],
    radii: tuple[float, float],
    *,
    color: tuple[float, float, float] = (200, 100, 50),
    opacity: float = 1.0,
) -> Capsules:
    place = [np.array([values], float) for values in (start, end, radii, color)]
    return Capsules(*place, np.array([opacity]), np.zeros(1))


def drawn(shape: Capsules) -> Layer:
    layer = render(shape, SIZE, FLAT, PLAIN, np.eye(2, 3))
    assert layer is not None
    return layer


def coverage(shape: Capsules) -> np.ndarray:
    canvas = np.zeros((*SIZE, 1), np.float32)
    layer = drawn(shape)
    height, width = layer.alpha.shape[:2]
    canvas[layer.top : layer.top + height, layer.left : layer.left + width] = layer.alpha
    return canvas[..., 0]


def centroid(weights: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(weights.shape)
    return np.array([(weights * columns).sum(), (weights * rows).sum()]) / weights.sum()


inside_x = st.floats(14, 48)
inside_y = st.floats(14, 32)


@given(x=inside_x, y=inside_y, radius=st.floats(1.2, 9))
def test_disc_is_rendered_at_its_coordinates(x: float, y: float, radius: float) -> None:
    np.testing.assert_allclose(centroid(coverage(capsule((x, y), (x, y), (radius, radius)))), (x, y), atol=0.08)


@given(
    x=inside_x, y=inside_y, angle=st.floats(0, 6.3), length=st.floats(0, 10), radii=st.tuples(*[st.floats(1.5, 4)] * 2)
)
def test_what_is_drawn_has_the_area_and_place_of_the_hull_of_two_circles(
    x: float, y: float, angle: float, length: float, radii: tuple[float, float]
) -> None:
    end = (x + length * np.cos(angle), y + length * np.sin(angle))
    turns = np.linspace(0, 2 * np.pi, 200)
    ring = np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    hull = ConvexHull(np.concatenate([np.array((x, y)) + radii[0] * ring, np.array(end) + radii[1] * ring]))
    shape = capsule((x, y), end, radii)
    painted = coverage(shape)
    box, area = measure(shape, SIZE)
    assert painted.sum() == pytest.approx(hull.volume, rel=0.08)  # scipy calls a polygon's area its volume
    assert area == pytest.approx(hull.volume, rel=0.08)
    np.testing.assert_allclose(box, np.concatenate([hull.min_bound, hull.max_bound]), atol=1e-2)
    rows, columns = np.nonzero(painted > 0.5)
    np.testing.assert_allclose(box, [columns.min(), rows.min(), columns.max(), rows.max()], atol=1.3)


@given(x=inside_x, y=inside_y, angle=st.floats(0, 6.3), length=st.floats(2, 10))
def test_a_point_is_contained_where_its_pixel_is_painted(x: float, y: float, angle: float, length: float) -> None:
    shape = capsule((x, y), (x + length * np.cos(angle), y + length * np.sin(angle)), (3.0, 2.0))
    painted = coverage(shape)
    rows, columns = np.indices(SIZE)
    inside = contains(shape, np.stack([columns.ravel(), rows.ravel()], axis=-1).astype(float)).reshape(SIZE)
    assert inside[painted > 0.9].all()
    assert not inside[painted < 0.1].any()


def test_what_comes_later_lies_on_top_and_see_through_parts_hide_nothing() -> None:
    below = capsule((20, 20), (40, 20), (6, 6), color=(255, 0, 0))
    above = capsule((30, 10), (30, 30), (3, 3), color=(0, 255, 0))
    glass = capsule((30, 10), (30, 30), (3, 3), color=(0, 255, 0), opacity=0.5)
    canvas = np.zeros((*SIZE, 3), np.float32)
    composite(canvas, drawn(join([below, above])))
    assert canvas[20, 30, 1] > 200 > 10 > canvas[20, 30, 0]
    canvas = np.zeros((*SIZE, 3), np.float32)
    composite(canvas, drawn(join([below, glass])))
    assert min(canvas[20, 30, :2]) > 80
    point = np.array([[30.0, 20.0]])
    assert contains(above, point).all()
    assert not contains(glass, point).any()


def test_a_shape_across_the_edge_is_the_same_shape_cut() -> None:
    shape = capsule((2.3, 20.7), (-6.0, 25.0), (5, 3))
    moved = capsule((22.3, 20.7), (14.0, 25.0), (5, 3))
    np.testing.assert_allclose(coverage(shape)[:, :12], coverage(moved)[:, 20:32], atol=0.13)  # two of 16 parts
    assert render(capsule((-40, 5), (-30, 5), (4, 4)), SIZE, FLAT, PLAIN, np.eye(2, 3)) is None
    assert measure(capsule((-40, 5), (-30, 5), (4, 4)), SIZE)[1] == 0


def test_the_lit_side_is_brighter() -> None:
    shape = capsule((32, 24), (32, 24), (10, 10), color=(128, 128, 128))
    canvas = np.zeros((*SIZE, 3), np.float32)
    composite(canvas, render(shape, SIZE, Light(1.0, 0.0, 0.8, 0.0), PLAIN, np.eye(2, 3)))
    assert canvas[24, 38, 0] > canvas[24, 26, 0] + 10
