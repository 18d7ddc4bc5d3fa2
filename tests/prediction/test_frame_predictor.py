"""Poses in frames that come one after the other are those of each frame alone."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from dlcpose.predict import Predictor
from dlcpose.prediction.frame_predictor import Frame, FramePredictor
from dlcpose.prediction.loaded_model import LoadedModel
from dlcpose.prediction.stage_times import STAGES
from dlcpose.structures.errors import CheckpointError
from dlcpose.structures.instances import PosePrediction
from tests.prediction.made_up_models import CPU, MODELS, bottom_up, frames, single_animal, top_down

NAMES = ("keypoints_in_image", "keypoint_scores", "scores", "identities", "boxes_in_image", "unique_in_image")


def assert_same(one: PosePrediction, other: PosePrediction, atol: float = 1e-3) -> None:
    for name in NAMES:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=atol, rtol=0, err_msg=name)


def named(images: list[np.ndarray]) -> Iterator[Frame]:
    return (Frame(str(number), image) for number, image in enumerate(images))


def all_of(predictor: FramePredictor, images: list[np.ndarray]) -> list[PosePrediction]:
    return [each for some in predictor.predict(named(images)) for each in some]


@pytest.mark.parametrize("name", MODELS)
def test_video_frame_is_predicted_like_a_single_image(name: str) -> None:
    model = MODELS[name]()
    images = frames(7, animals=2)
    alone = [Predictor(model).predict([image])[0] for image in images]
    assert any(len(each) for each in alone)
    for batch_size in (1, 3, 8):
        found = all_of(FramePredictor(model.pipeline, CPU, batch_size=batch_size), images)
        assert [each.key for each in found] == [str(number) for number in range(7)]
        for one, other in zip(found, alone, strict=True):
            assert_same(one, other)


def test_frames_of_unlike_size_never_share_a_batch() -> None:
    model = single_animal("native")
    images = frames(3)
    mixed = [images[0], images[1][:40], np.tile(images[2], (2, 2, 1)), images[0]]
    found = all_of(FramePredictor(model.pipeline, CPU, batch_size=4), mixed)
    for image, one in zip(mixed, found, strict=True):
        assert_same(one, Predictor(model).predict([image])[0])


def test_cropped_frame_has_coordinates_of_the_full_frame() -> None:
    model = single_animal("native")
    image = frames(1)[0]
    part = np.ascontiguousarray(image[8:56, 16:64])
    (here,) = all_of(FramePredictor(model.pipeline, CPU, origin=(16, 8)), [part])
    (there,) = Predictor(model).predict([part])
    np.testing.assert_allclose(here.keypoints_in_image, there.keypoints_in_image + np.array([16, 8]), atol=1e-4)


def test_seconds_by_stage() -> None:
    predictor = FramePredictor(single_animal().pipeline, CPU)
    all_of(predictor, frames(3))
    seconds = predictor.times.as_dict()
    assert tuple(seconds) == STAGES
    assert min(seconds[stage] for stage in ("prepare", "forward", "postprocess")) > 0


@pytest.mark.parametrize("is_live", [False, True])
def test_frames_are_taken_as_they_are_needed(is_live: bool) -> None:
    taken = []

    def endless() -> Iterator[Frame]:
        for number in range(10_000):
            taken.append(number)
            yield Frame(str(number), image)

    image = frames(1)[0]
    predictor = FramePredictor(single_animal().pipeline, CPU, batch_size=1, is_live=is_live)
    stream = predictor.predict(endless())
    for number in range(3):
        assert next(stream)[0].key == str(number)
        assert len(taken) == number + (1 if is_live else 2)
    stream.close()


@pytest.mark.parametrize("place", ["frames", "compute", "decode"])
def test_an_error_comes_where_the_prediction_would(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = single_animal()
    images = frames(6)
    if place == "frames":
        images[4] = images[4][..., 0]
    else:
        name = {"compute": "compute_maps", "decode": "decode_maps"}[place]
        own, calls = getattr(model.pipeline, name), []

        def failing(*arguments):
            calls.append(1)
            if len(calls) == 3:
                raise ValueError("third")
            return own(*arguments)

        monkeypatch.setattr(model.pipeline, name, failing)
    with pytest.raises(ValueError, match=r"third|4: expected an image"):
        all_of(FramePredictor(model.pipeline, CPU, batch_size=2), images)


# ------------------------------------------------------------------------------------------------------- mirrored frames


@pytest.mark.parametrize("make", [single_animal, top_down, bottom_up])
def test_flip_test_is_equivariant_to_mirroring(make) -> None:
    model: LoadedModel = make()
    order = list(model.pipeline.skeleton.flip_order)
    image = frames(1, animals=2)[0]
    predictor = FramePredictor(model.pipeline, CPU, flip_test=True)
    ours, theirs = all_of(predictor, [image, np.ascontiguousarray(image[:, ::-1])])
    if make is not single_animal:  # which animals there are is the plain frame's word
        assert len(ours)
        assert len(theirs)
        return
    mirrored = theirs.keypoints_in_image[:, order] * np.array([-1, 1]) + np.array([image.shape[1] - 1, 0])
    np.testing.assert_allclose(ours.keypoints_in_image, mirrored, atol=0.02)
    np.testing.assert_allclose(ours.keypoint_scores, theirs.keypoint_scores[:, order], atol=1e-4)


# ------------------------------------------------------------------------------------------------ frames that need the last


def test_between_the_detector_s_frames_boxes_are_those_around_the_last_poses(monkeypatch: pytest.MonkeyPatch) -> None:
    model = top_down()
    images = frames(9, animals=2)
    own, looked = model.pipeline.detector.detect, []
    monkeypatch.setattr(model.pipeline.detector, "detect", lambda batch: (looked.append(batch.keys[0]), own(batch))[1])
    monkeypatch.setattr("dlcpose.prediction.regions.MIN_SCORE", 0.0)
    found = all_of(FramePredictor(model.pipeline, CPU, detector_every=4), images)
    assert looked == ["0", "4", "8"]
    for before, after in itertools.pairwise(found[:4]):
        for box in after.boxes_in_image:  # each lies around a pose of the frame before
            inside = (before.keypoints_in_image >= box[:2] - 1) & (before.keypoints_in_image <= box[2:] + 1)
            clip_boxes = np.clip(before.keypoints_in_image, -0.5, 63.5) == before.keypoints_in_image
            assert (inside | ~clip_boxes).all(axis=(1, 2)).any()


def test_with_a_flip_test_both_are_predicted_in_the_boxes_around_the_last_poses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = top_down()
    images = frames(9, animals=2)
    whole = all_of(FramePredictor(model.pipeline, CPU, batch_size=1, flip_test=True), images)
    detect, looked = model.pipeline.detector.detect, []
    compute, given = model.pipeline.compute_maps, []

    def counted(batch):
        looked.append(batch.keys[0])
        return detect(batch)

    def noted(batch, **boxes):
        given.extend(each.boxes_in_frame for each in boxes.get("boxes", ()))
        return compute(batch, **boxes)

    monkeypatch.setattr(model.pipeline.detector, "detect", counted)
    monkeypatch.setattr(model.pipeline, "compute_maps", noted)
    monkeypatch.setattr("dlcpose.prediction.regions.MIN_SCORE", 0.0)
    found = all_of(FramePredictor(model.pipeline, CPU, detector_every=4, flip_test=True), images)
    assert looked == ["0", "0", "4", "4", "8", "8"]  # the frame and its mirror image
    for number in (0, 4, 8):
        assert_same(found[number], whole[number])
    assert len(given) == 2 * 6
    for plain, mirrored in zip(given[::2], given[1::2], strict=True):
        expected = plain[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1]) + torch.tensor([63, 0, 63, 0])
        torch.testing.assert_close(mirrored, expected)


def test_detector_runs_again_after_an_empty_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    model = top_down()
    own, looked = model.pipeline.detector.detect, []
    monkeypatch.setattr(model.pipeline.detector, "detect", lambda batch: (looked.append(batch.keys[0]), own(batch))[1])
    monkeypatch.setattr("dlcpose.prediction.regions.MIN_SCORE", 2.0)
    all_of(FramePredictor(model.pipeline, CPU, detector_every=4), frames(6, animals=2))
    assert looked == [str(number) for number in range(6)]


def test_one_animal_is_looked_for_around_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = single_animal("native")
    shapes = []
    own = model.pipeline.compute_maps
    monkeypatch.setattr(
        model.pipeline, "compute_maps", lambda batch: (shapes.append(tuple(batch.images.shape[-2:])), own(batch))[1]
    )
    (image,) = frames(1, side=256)
    found = all_of(FramePredictor(model.pipeline, CPU, dynamic_crop=True), [image] * 3)
    assert shapes[0] == (256, 256)
    assert all(each.keypoints_in_image.shape == (1, len(model.pipeline.skeleton), 2) for each in found)
    shapes.clear()
    monkeypatch.setattr("dlcpose.prediction.frame_predictor.is_lost", lambda prediction: True)
    again = all_of(FramePredictor(model.pipeline, CPU, dynamic_crop=True), [image] * 3)
    whole = Predictor(model).predict([image])[0]
    for each in again:  # lost: the whole frame counts
        assert_same(each, whole)


@pytest.mark.parametrize("settings", [{"detector_every": 4}, {"dynamic_crop": True}, {}])
def test_going_on_gives_what_one_go_gives(settings: dict) -> None:
    model = top_down() if "detector_every" in settings else single_animal("native")
    images = frames(10, animals=2)
    whole = all_of(FramePredictor(model.pipeline, CPU, batch_size=2, **settings), images)
    predictor = FramePredictor(model.pipeline, CPU, batch_size=2, **settings)
    rest = predictor.predict(list(named(images))[6:], after=whole[5], done=6)
    for one, other in zip([each for some in rest for each in some], whole[6:], strict=True):
        assert_same(one, other, atol=0.0)


@pytest.mark.parametrize(
    ("name", "part"),
    [*((name, "backbone") for name in MODELS), ("letterbox", "head"), ("bottom_up", "head"), ("top_down", "detector")],
)
def test_weights_that_are_finite_but_absurd_predict_nothing_in_silence(name: str, part: str) -> None:
    model = MODELS[name]()
    with torch.no_grad():
        for weight in getattr(model.pipeline, part).parameters():
            weight.mul_(1e30 if weight.ndim > 1 else 1)
    said = rf"^model: {'its detector: ' if part == 'detector' else ''}the network gave "
    with pytest.raises(CheckpointError, match=said) as caught:
        Predictor(model).predict(frames(1, animals=2))
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=said):
        all_of(FramePredictor(model.pipeline, CPU, batch_size=2), frames(2, animals=2))
