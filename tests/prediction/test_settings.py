"""What can be chosen, and what is refused before the first frame."""

from typing import Any

import pytest

from dlcpose.config.compose import compose
from dlcpose.predict import Predictor
from dlcpose.prediction.loaded_model import check_settings
from dlcpose.prediction.settings import PredictionSettings, differences
from dlcpose.structures.errors import ConfigError
from tests.made_up_runs import frames_of, option, pipeline_of, tiny_config
from tests.pipelines.made_up_top_down import top_down_config
from tests.prediction.made_up_models import bottom_up, single_animal, top_down


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": -1},
        {"start": 1.5},
        {"stop": 5, "start": 5},
        {"stop": "end"},
        {"step": 0},
        {"batch_size": 0},
        {"batch_size": "many"},
        {"batch_size": True},
        {"precision": "64"},
        {"crop": (5, 0, 5, 10)},
        {"crop": (-1, 0, 5, 10)},
        {"crop": (1, 2, 3)},
        {"crop": (0, 0, 32.5, 32)},
        {"crop": (0, 0, True, 32)},
        {"crop": "0,0,32,32"},
        {"crop": 5},
        {"detector_every": 0},
        {"flip_test": "yes"},
        {"dynamic_crop": 1},
    ],
)
def test_what_makes_no_sense_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"^{next(iter(wrong))}: expected"):
        PredictionSettings(**wrong)


def test_a_misspelled_setting_is_named_with_the_nearest() -> None:
    predictor = Predictor(single_animal())
    with pytest.raises(ConfigError, match=r"^batchsize: predict_video takes no such setting\. Nearest: batch_size"):
        predictor.predict_video("v.mp4", batchsize=3)
    with pytest.raises(ConfigError, match=r"^progres: predict_video takes no such setting\. Nearest: progress"):
        predictor.predict_video("v.mp4", progres=print)
    with pytest.raises(ConfigError, match=r"^maxlost: follow takes no such setting\. Nearest: max_lost"):
        predictor.follow([], maxlost=3)
    with pytest.raises(ConfigError, match=r"^maxlost: follow_video takes no such setting\. Nearest: max_lost"):
        predictor.follow_video("v.mp4", "v.poses.h5", maxlost=3)


def test_a_precision_that_there_is_not_is_named() -> None:
    predictor = Predictor(single_animal())
    for method in (predictor.follow, predictor.predict_stream):
        with pytest.raises(ConfigError, match=r"^precision: expected"):
            method([], precision="half")


def test_what_a_model_cannot_do_is_named() -> None:
    single, several, boxes = single_animal().pipeline, bottom_up().pipeline, top_down().pipeline
    assert (single.finds_one_animal, several.finds_one_animal, boxes.finds_one_animal) == (True, False, False)
    for pipeline, settings in ((single, {"dynamic_crop": True}), (boxes, {"detector_every": 3}), (several, {})):
        check_settings(PredictionSettings(**settings), pipeline)
    refused = [
        (single, {"detector_every": 2}),
        (several, {"detector_every": 2}),
        (several, {"dynamic_crop": True}),
        (boxes, {"dynamic_crop": True}),
    ]
    for pipeline, settings in refused:
        with pytest.raises(ConfigError, match=f"^{next(iter(settings))}"):
            check_settings(PredictionSettings(**settings), pipeline)
    in_labels = pipeline_of(top_down_config(), frames_of(2), to_train=False)
    with pytest.raises(ConfigError, match=r"^checkpoint: this model predicts in ground-truth boxes"):
        check_settings(PredictionSettings(), in_labels)


def test_unique_keypoints_are_looked_for_in_whole_frames() -> None:
    """A corner of the arena need not be in a crop around the animal."""
    unique = compose(["side_head=unique"])["side_head"]
    config = tiny_config(input=option("input", "native"), side_head=unique)
    pipeline = pipeline_of(config, frames_of(2, unique_points=2), to_train=False)
    assert pipeline.finds_one_animal
    check_settings(PredictionSettings(flip_test=True), pipeline)
    with pytest.raises(ConfigError, match=rf"^dynamic_crop: .*{pipeline.skeleton.unique[0]}.*Leave it out"):
        check_settings(PredictionSettings(dynamic_crop=True), pipeline)


def test_unique_keypoints_that_a_model_does_not_look_for_are_no_hindrance() -> None:
    pipeline = pipeline_of(tiny_config(input=option("input", "native")), frames_of(2, unique_points=2), to_train=False)
    assert pipeline.skeleton.unique
    check_settings(PredictionSettings(dynamic_crop=True), pipeline)


def test_a_crop_lies_within_the_frames() -> None:
    PredictionSettings(crop=(0, 0, 64, 48)).check_crop((48, 64), "v.mp4")
    for crop in ((0, 0, 65, 48), (0, 0, 64, 49)):
        with pytest.raises(ConfigError, match=r"^crop=.*64x48 frames of v\.mp4"):
            PredictionSettings(crop=crop).check_crop((48, 64), "v.mp4")


def test_results_do_not_depend_on_the_batch_size() -> None:
    first, second = PredictionSettings(batch_size=2).of_result(), PredictionSettings(batch_size=8).of_result()
    assert differences(first, second) == []
    other = PredictionSettings(step=2, crop=(0, 0, 5, 5)).of_result()
    assert differences(first, other) == ["step: 2 there, 1 here", "crop: [0, 0, 5, 5] there, None here"]
