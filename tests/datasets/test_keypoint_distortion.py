import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from dlcpose.datasets.keypoint_distortion import invert_distortion

SIZE = (70, 90)


@given(st.integers(0, 2**31 - 1), st.floats(0, 4))
def test_following_the_map_back_and_forth_is_standing_still(seed: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    shift = np.stack([ndimage.gaussian_filter(rng.normal(size=SIZE), 10) for _ in range(2)])
    shift *= strength / np.abs(shift).max()
    map_x = (np.arange(SIZE[1]) + shift[0]).astype(np.float32)
    map_y = (np.arange(SIZE[0])[:, None] + shift[1]).astype(np.float32)
    points = rng.uniform(8, (SIZE[1] - 9, SIZE[0] - 9), (20, 2))
    bent = invert_distortion(map_x, map_y, points)
    came_from = np.stack([ndimage.map_coordinates(each, bent[:, ::-1].T, order=1) for each in (map_x, map_y)], axis=-1)
    np.testing.assert_allclose(came_from, points, atol=0.02)


def test_points_outside_move_with_the_nearest_edge() -> None:
    map_x = np.tile(np.arange(SIZE[1], dtype=np.float32) + 3, (SIZE[0], 1))  # read from 3 px further right
    map_y = np.tile(np.arange(SIZE[0], dtype=np.float32)[:, None], (1, SIZE[1]))
    np.testing.assert_allclose(
        invert_distortion(map_x, map_y, np.array([[-50.0, 20.0], [300.0, 99.0]])), [[-53, 20], [297, 99]]
    )
