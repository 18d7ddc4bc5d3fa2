"""Points that move smoothly, with noise and gaps, for tests of filters."""

import numpy as np

from dlcpose.postprocessing.time_axis import TimeAxis


def even_axis(rows: int, *, fps: float = 25.0, step: int = 1) -> TimeAxis:
    frames = np.arange(rows, dtype=np.int64) * step
    return TimeAxis(frames, frames / fps, step, True)


def uneven_axis(rows: int, *, seed: int = 0) -> TimeAxis:
    seconds = np.cumsum(np.random.default_rng(seed).uniform(0.01, 0.09, rows))
    return TimeAxis(np.arange(rows, dtype=np.int64), seconds, 1, False)


def walk(rows: int, *, animals: int = 2, keypoints: int = 3, missing: float = 0.0, seed: int = 0) -> np.ndarray:
    """(T, N, K, 2) float64 pixels: sums of slow waves, noise of 1 px, a share of the points missing."""
    rng = np.random.default_rng(seed)
    time = np.arange(rows)[:, None, None, None] / 40
    shape = (1, animals, keypoints, 2)
    smooth = sum(rng.uniform(5, 30, shape) * np.sin(time * rate + rng.uniform(0, 6, shape)) for rate in (1, 2.3))
    points = 100 + smooth + rng.normal(0, 1, (rows, *shape[1:]))
    points[rng.random(points.shape[:3]) < missing] = np.nan
    return points
