"""The way there and back; tests/datasets/test_crops.py shows that points land where the image lands."""

import numpy as np

from dlcpose.datasets.keypoint_resize import ToCenter, ToCenterOfWhole, ToCorner


def points(*places: tuple[float, float]) -> np.ndarray:
    return np.array([[x, y, 0, 0, 7] for x, y in places], np.float32)


def test_the_two_steps_alone_change_nothing() -> None:
    start = points((0, 0), (4.25, -3), (99, 8))
    for back in (ToCenter(p=1.0), ToCenterOfWhole(p=1.0)):
        marked = ToCorner(p=1.0).apply_to_keypoints(start, shape=(20, 30, 3))
        assert marked[-1, :2].tolist() == [30, 20]
        np.testing.assert_allclose(back.apply_to_keypoints(marked, shape=(20, 30, 3)), start, atol=1e-5)


def test_rounded_scale_is_corrected() -> None:
    marked = ToCorner(p=1.0).apply_to_keypoints(points((29, 19)), shape=(20, 30, 3))
    marked[:, :2] *= 0.35  # 10.5 x 7, which came out as 10 x 7 pixels
    moved = ToCenterOfWhole(p=1.0).apply_to_keypoints(marked, shape=(7, 10, 3))
    np.testing.assert_allclose(moved[0, :2], [29.5 / 3 - 0.5, 19.5 * 0.35 - 0.5], atol=1e-5)
    assert moved[0, 4] == 7
