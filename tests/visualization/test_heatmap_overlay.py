import numpy as np

from dlcpose.visualization.heatmap_overlay import draw_heatmap

IMAGE = np.full((40, 60, 3), 120, np.uint8)


def test_the_warmest_place_is_the_highest_cell_of_the_map() -> None:
    shares = np.zeros((4, 6), np.float32)
    shares[1, 4] = 0.02
    drawn = draw_heatmap(IMAGE, shares)
    assert drawn.shape == IMAGE.shape
    assert drawn.dtype == np.uint8
    warmth = drawn[..., 0].astype(float) - drawn[0, 0, 0]
    ys, xs = np.indices(warmth.shape)
    # The cell covers pixels 40 to 49 and 10 to 19: its center lies between two of them.
    assert abs((xs * warmth).sum() / warmth.sum() - 44.5) < 0.1
    assert abs((ys * warmth).sum() / warmth.sum() - 14.5) < 0.1
    assert (drawn[0, 0] == drawn[0, 0, 0]).all()  # gray where nothing is looked at
    assert drawn[0, 0, 0] < 120


def test_only_shares_among_each_other_count() -> None:
    shares = np.random.default_rng(0).random((4, 6), np.float32)
    np.testing.assert_array_equal(draw_heatmap(IMAGE, shares), draw_heatmap(IMAGE, shares / 64))


def test_nothing_looked_at_is_an_image_in_gray() -> None:
    for nothing in (np.zeros((4, 6), np.float32), np.full((4, 6), np.nan, np.float32)):
        drawn = draw_heatmap(IMAGE, nothing)
        assert (drawn == drawn[0, 0, 0]).all()
