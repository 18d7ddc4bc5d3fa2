import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dlcpose.codecs.oks import compute_oks, oks_areas
from tests.metrics.made_up import SKELETON, animal_shapes, seeds

SIGMAS = np.array(SKELETON.sigmas)


def computed_by_pycocotools(found: np.ndarray, gt: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """(M, N), from computeOks called directly on hand-written annotations; found animals by falling score."""
    visible = ~np.isnan(gt).any(axis=-1)
    with contextlib.redirect_stdout(io.StringIO()):
        labelled, scored = COCO(), COCO()
        for coco, poses, seen in ((labelled, gt, visible), (scored, found, np.ones(found.shape[:2], bool))):
            coco.dataset = {
                "images": [{"id": 1}],
                "categories": [{"id": 1, "name": "animal"}],
                "annotations": [
                    {
                        "id": i + 1,
                        "image_id": 1,
                        "category_id": 1,
                        "iscrowd": 0,
                        "bbox": [0, 0, 1, 1],
                        "area": float(areas[i]) if coco is labelled else 1.0,
                        "score": 1.0 - 0.01 * i,
                        "num_keypoints": int(seen[i].sum()),
                        "keypoints": np.concatenate(
                            [np.nan_to_num(poses[i]), 2 * seen[i][:, None]], axis=1, dtype=float
                        )
                        .ravel()
                        .tolist(),
                    }
                    for i in range(len(poses))
                ],
            }
            coco.createIndex()
        evaluation = COCOeval(labelled, scored, "keypoints")
        evaluation.params.kpt_oks_sigmas = SIGMAS
        evaluation.params.imgIds, evaluation.params.catIds = [1], [1]
        evaluation._prepare()
        return np.asarray(evaluation.computeOks(1, 1))


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_oks_agrees_with_pycocotools(seed: int) -> None:
    random = np.random.default_rng(seed)
    gt = animal_shapes(random, 3)
    found = np.concatenate([gt + random.normal(0, 8, gt.shape), animal_shapes(random, 1)])
    gt[1:][random.random((2, 5)) < 0.3] = np.nan
    gt[:, 0] = animal_shapes(random, 3)[:, 0]  # never an animal without any label
    areas = random.uniform(500, 20000, 3)
    np.testing.assert_allclose(
        compute_oks(found, gt, areas, SIGMAS), computed_by_pycocotools(found, gt, areas), rtol=1e-6, atol=1e-12
    )


def test_a_keypoint_at_its_label_counts_one_and_a_missing_one_nothing() -> None:
    gt = animal_shapes(np.random.default_rng(0), 1)
    found = gt.copy()
    found[0, 3] = np.nan
    assert compute_oks(gt, gt, np.array([900.0]), SIGMAS)[0, 0] == 1
    assert compute_oks(found, gt, np.array([900.0]), SIGMAS)[0, 0] == pytest.approx(4 / 5)


def test_what_has_no_label_or_no_area_has_no_similarity() -> None:
    gt = np.stack([np.full((5, 2), np.nan), np.ones((5, 2))])
    assert np.isnan(compute_oks(np.ones((1, 5, 2)), gt, np.array([9.0, np.nan]), SIGMAS)).all()


def test_no_animals_give_an_empty_matrix() -> None:
    none, one = np.zeros((0, 5, 2)), np.ones((1, 5, 2))
    assert compute_oks(none, one, np.ones(1), SIGMAS).shape == (0, 1)
    assert compute_oks(one, none, np.ones(0), SIGMAS).shape == (1, 0)


def test_different_numbers_of_keypoints_are_refused() -> None:
    with pytest.raises(ValueError, match="got 4, 5 and 5"):
        compute_oks(np.ones((1, 4, 2)), np.ones((1, 5, 2)), np.ones(1), SIGMAS)


def test_the_area_is_the_data_s_else_the_keypoints_box_and_never_nothing() -> None:
    gt = np.full((4, 3, 2), np.nan)
    gt[0, 0], gt[0, 2] = (2, 3), (12, 7)
    gt[1, 0], gt[1, 2] = (2, 3), (12, 7)
    gt[2, 1] = (5, 5)
    areas = oks_areas(np.array([123.0, np.nan, np.nan, np.nan]), gt)
    assert areas.tolist() == [123, 40, 1, 1]
