"""Imported models against DeepLabCut itself: random weights and statistics, the same images, outputs and keypoints.

DLCPOSE_DEEPLABCUT_PYTHON=/path/to/python pytest tests/importers/test_deeplabcut_parity.py -m slow -s
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.importers.deeplabcut_models import Case, imported, make, raw_outputs

pytestmark = pytest.mark.slow
OUTPUTS, KEYPOINTS = 1e-4, 0.01  # largest differences: of outputs, and px
SINGLE = [Case(name) for name in ("resnet_50", "resnet_101", "hrnet_w18", "hrnet_w32", "hrnet_w48")]
SINGLE += [Case(name) for name in ("cspnext_s", "cspnext_m", "cspnext_x")]


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, float, float, float]]]:
    """The rows of the parity table, which is printed at the end."""
    rows: list[tuple[str, float, float, float]] = []
    yield rows
    print(
        "\n\n| net type | largest output | largest difference of outputs | of keypoints (px) |\n| --- | --- | --- | --- |"
    )
    for name, largest, outputs, keypoints in rows:
        print(f"| {name} | {largest:.2f} | {outputs:.1e} | {keypoints:.1e} |")


@pytest.mark.parametrize("case", SINGLE, ids=str)
def test_one_animal(case: Case, tmp_path: Path, table: list[tuple[str, float, float, float]]) -> None:
    images, theirs = make(case, tmp_path)
    predictor = imported(tmp_path)
    largest, outputs, keypoints = 0.0, 0.0, 0.0
    for index, prediction in enumerate(predictor.predict(images, batch_size=1)):
        raw = raw_outputs(predictor.pipeline, torch.from_numpy(theirs[f"{index}/input"]))
        for name, value in raw.items():
            expected = theirs[f"{index}/raw/{name}"]
            largest = max(largest, float(np.abs(expected).max()))
            outputs = max(outputs, float(np.abs(value.numpy() - expected).max()))
        their_keypoints = theirs[f"{index}/bodyparts"]
        keypoints = max(keypoints, float(np.abs(prediction.keypoints_in_image - their_keypoints[..., :2]).max()))
        np.testing.assert_allclose(prediction.keypoint_scores, their_keypoints[..., 2], atol=OUTPUTS)
    table.append((str(case), largest, outputs, keypoints))
    assert outputs < OUTPUTS
    assert keypoints < KEYPOINTS
