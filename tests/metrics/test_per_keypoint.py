import numpy as np
import pandas as pd
from hypothesis import given, settings

from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.metrics.per_keypoint import per_keypoint
from dlcpose.structures.sample import labels_of
from dlcpose.structures.skeleton import Skeleton
from tests.metrics.made_up import SHAPE, SKELETON, as_table, at, herd, prediction_of, seeds


@given(seed=seeds)
@settings(max_examples=10, deadline=None)
def test_rows_agree_with_pandas(seed: int) -> None:
    labels, predictions = herd(seed, most=1, missing=0.2)
    table = as_table(labels, predictions)
    table["error"] = ((table.x - table.fx) ** 2 + (table.y - table.fy) ** 2) ** 0.5
    table = table[table.x.notna()]
    table["score"] = table.score.where(table.fx.notna())
    by_name = table.groupby("keypoint").agg(
        labeled=("x", "size"),
        mean_error_px=("error", "mean"),
        median_error_px=("error", "median"),
        rmse_px=("error", lambda errors: (errors**2).mean() ** 0.5),
        mean_score=("score", "mean"),
        false_negatives=("error", lambda errors: errors.isna().sum()),
    )
    ours = pd.DataFrame(per_keypoint(EvaluatedFrames(predictions, labels, SKELETON))).set_index("keypoint")
    kept = ours.loc[[name for name in SKELETON.names if name in by_name.index], by_name.columns]
    pd.testing.assert_frame_equal(kept.sort_index(), by_name, check_dtype=False, check_names=False, rtol=1e-5)


def test_keypoints_of_false_negatives_count_and_unique_keypoints_follow() -> None:
    skeleton = Skeleton(names=SKELETON.names, unique=("corner",))
    gt = np.stack([SHAPE + 100, at(500, 100)])
    labels = [labels_of("a.png", (480, 640), gt, unique_in_image=np.array([[10, 10]], np.float32))]
    found = SHAPE[None] + 100
    found[0, 4] = np.nan
    prediction = prediction_of("a.png", found, unique=np.array([[13, 14]]), unique_scores=np.array([0.5]))
    rows = {row["keypoint"]: row for row in per_keypoint(EvaluatedFrames([prediction], labels, skeleton))}
    assert [rows[name]["false_negatives"] for name in SKELETON.names] == [1, 1, 1, 1, 2]
    assert rows["snout"]["pck@0.05"] == 0.5
    assert rows["tailtip"]["pck@0.1"] == 0
    assert np.isnan(rows["tailtip"]["mean_error_px"])
    assert (rows["corner"]["labeled"], rows["corner"]["mean_error_px"], rows["corner"]["mean_score"]) == (1, 5, 0.5)
