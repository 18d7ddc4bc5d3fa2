"""Tracking by conditioning through rendered frames, with stand-ins for a perfect network."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dlcpose.codecs.gaussian import draw_gaussians
from dlcpose.datasets.crops import fit_to_canvas
from dlcpose.detectors.pose_boxes import PoseDetector
from dlcpose.heads.heatmap import HeatmapMaps
from dlcpose.pipelines.base import PoseMaps
from dlcpose.pipelines.conditional_top_down import ConditionalTopDown
from dlcpose.pipelines.deeplabcut_top_down import NO_NMS
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.instances import PoseInstances
from dlcpose.tracking.ctd_tracker import CtdTracker, TrackedFrame
from tests.made_up_runs import frames_of
from tests.pipelines.made_up_conditional import conditional_of, poses

FRAMES = 12
VIDEO = frames_of(FRAMES, animals=3, height=128, width=160, animal_length=0.3, seconds_between_frames=0.04, seed=2)


class PartialDetector(PoseDetector):
    """A bottom-up model that detects some of the labeled animals in some frames."""

    origin = "labels"

    def __init__(self, like: PoseDetector, detects: Callable[[int], Sequence[int]]) -> None:
        super().__init__(like.box_rule)
        self.detects, self.calls = detects, 0

    def detect_poses(self, batch: PoseBatch) -> list[PoseInstances]:
        frame = [each.key for each in VIDEO.frames].index(batch.keys[0])
        self.calls += 1
        chosen = batch.keypoints_in_crop[0][list(self.detects(frame))]
        return [poses(chosen, [0.9] * len(chosen))]


def perfect(
    pipeline: ConditionalTopDown,
    hidden: Callable[[int], Sequence[int]] = lambda frame: (),
    grown: Callable[[int], Sequence[int]] = lambda frame: (),
) -> Callable[..., Any]:
    """A stand-in for a perfect network: the pose of the labeled animal that the condition is nearest to.

    hidden, grown: the animals that get a low score in a frame, and those whose keypoints are three times as far apart.
    """
    predict = pipeline.predict_with_conditions

    def predict_nearest(batch: PoseBatch, given: Sequence[PoseInstances]) -> Any:
        frame = [each.key for each in VIDEO.frames].index(batch.keys[0])
        gt = batch.keypoints_in_crop[0].clone()
        scores = torch.ones(len(gt))
        scores[list(hidden(frame))] = 0.02
        found = gt.clone()
        for animal in grown(frame):
            found[animal] = found[animal].nanmean(dim=0) + 3 * (found[animal] - found[animal].nanmean(dim=0))

        def decode_crops(maps: Any) -> list[PoseInstances]:
            (crops,) = maps
            indices, _ = pipeline._usable(given[0], batch)
            apart = (given[0].keypoints_in_crop[indices][:, None] - gt).norm(dim=-1).nanmean(dim=-1)  # (M, N)
            nearest = apart.argmin(dim=1).tolist()
            moved = [_moved(found[animal], crops.frame_to_crop[place]) for place, animal in enumerate(nearest)]
            return [
                PoseInstances.from_keypoints(points[None], torch.full((1, points.shape[0]), float(scores[animal])))
                for points, animal in zip(moved, nearest, strict=True)
            ]

        pipeline._maps_of_crops = lambda crops: iter([crops])  # type: ignore[assignment]
        pipeline._decode_crops = decode_crops  # type: ignore[method-assign]
        return predict(batch, given)

    return predict_nearest


def _moved(points: Tensor, matrix: Tensor) -> Tensor:
    return (points.double() @ matrix[:, :2].T + matrix[:, 2]).float()


def track(
    tracker: CtdTracker, pipeline: ConditionalTopDown, frames: Sequence[int] = range(FRAMES)
) -> list[TrackedFrame]:
    batches = [collate([fit_to_canvas(VIDEO[frame], pipeline.frame_input)]) for frame in frames]
    with torch.inference_mode():
        return [tracker.step(batch) for batch in batches]


def track_the_same_animal(tracker: CtdTracker, pipeline: ConditionalTopDown) -> list[TrackedFrame]:
    """Frames 1 to 5 after the two tracks of frame 0 have come to lie on one animal."""
    (first,) = track(tracker, pipeline, [0])
    assert len(first.track_ids) == 2
    tracker.tracks = [
        replace(each, keypoints_in_image=VIDEO.frames[0].keypoints_in_image[0] + 0.1 * each.track_id)
        for each in tracker.tracks
    ]
    return track(tracker, pipeline, range(1, 6))


def animals_of(tracked: TrackedFrame, frame: int) -> dict[int, int]:
    """The labeled animal that each track lies on."""
    gt = VIDEO.frames[frame].keypoints_in_image
    apart = np.linalg.norm(tracked.prediction.keypoints_in_image[:, None] - gt, axis=-1)  # (M, N, K)
    mean = np.nanmean(apart, axis=-1)
    assert (mean.min(axis=1) < 1).all()
    return dict(zip(tracked.track_ids.tolist(), mean.argmin(axis=1).tolist(), strict=True))


def prepared(
    detects: Callable[[int], Sequence[int]],
    hidden: Callable[[int], Sequence[int]] = lambda frame: (),
    grown: Callable[[int], Sequence[int]] = lambda frame: (),
    **settings: Any,
) -> tuple[CtdTracker, ConditionalTopDown]:
    pipeline = conditional_of(VIDEO, crops={"nms_oks": 0.9}).eval()
    pipeline.detector = PartialDetector(pipeline.detector, detects)
    pipeline.predict_with_conditions = perfect(pipeline, hidden, grown)  # type: ignore[method-assign]
    return CtdTracker(pipeline, **settings), pipeline


def test_the_video_holds_moving_animals() -> None:
    """The tests below would show nothing for animals that stand still."""
    first, last = VIDEO.frames[0].keypoints_in_image, VIDEO.frames[-1].keypoints_in_image
    assert len(first) == len(last) == 3
    assert np.nanmean(np.linalg.norm(last - first, axis=-1)) > 3


def test_each_animal_keeps_its_track_though_it_was_detected_only_once() -> None:
    tracker, pipeline = prepared(lambda frame: [0, 1, 2] if frame == 0 else [])
    named = [animals_of(each, frame) for frame, each in enumerate(track(tracker, pipeline))]
    assert sorted(named[0].values()) == [0, 1, 2]
    assert all(each == named[0] for each in named)


def test_a_new_animal_gets_a_track_of_its_own_and_a_known_one_no_second() -> None:
    tracker, pipeline = prepared(lambda frame: [0, 1, 2] if frame >= 4 else [0, 1])
    tracked = track(tracker, pipeline)
    assert [len(each.track_ids) for each in tracked] == [2] * 4 + [3] * (FRAMES - 4)
    assert set(np.concatenate([each.track_ids for each in tracked]).tolist()) == {0, 1, 2}
    assert animals_of(tracked[4], 4)[2] == 2


@pytest.mark.parametrize(("away", "comes_back_as"), [(3, 2), (5, 3)])
def test_a_track_outlives_a_short_absence_and_ends_in_a_long_one(away: int, comes_back_as: int) -> None:
    gone = range(3, 3 + away)
    tracker, pipeline = prepared(
        lambda frame: [] if frame in gone or frame == 1 else [0, 1, 2],
        lambda frame: [2] if frame in gone else [],
        max_lost=3,
    )
    tracked = track(tracker, pipeline)
    assert [len(each.track_ids) for each in tracked] == [2 if frame in gone else 3 for frame in range(FRAMES)]
    before, after = animals_of(tracked[2], 2), animals_of(tracked[-1], FRAMES - 1)
    (track_id,) = [each for each, animal in after.items() if animal == 2]
    (earlier_id,) = [each for each, animal in before.items() if animal == 2]
    assert track_id == (earlier_id if comes_back_as == 2 else 3)
    assert {each: animal for each, animal in after.items() if animal != 2} == {
        each: animal for each, animal in before.items() if animal != 2
    }


def test_a_pose_over_several_animals_is_no_animal_and_its_track_waits_for_a_better_one() -> None:
    tracker, pipeline = prepared(
        lambda frame: [0, 1, 2] if frame == 0 else [], grown=lambda frame: [1] if frame in (4, 5) else []
    )
    tracked = track(tracker, pipeline)
    assert [len(each.track_ids) for each in tracked] == [2 if frame in (4, 5) else 3 for frame in range(FRAMES)]
    assert animals_of(tracked[0], 0) == animals_of(tracked[-1], FRAMES - 1)


@pytest.mark.parametrize(("unseen", "every"), [(3, 1), (4, 1), (1, 2), (9, 2)])
def test_a_track_at_which_nothing_is_detected_ends_after_so_many_runs_of_the_detector(unseen: int, every: int) -> None:
    """Animal 1 is detected in the first frame only, though it is predicted in all."""
    tracker, pipeline = prepared(
        lambda frame: [0, 1, 2] if frame == 0 else [0, 2], max_unseen=unseen, detect_every=every
    )
    tracked = track(tracker, pipeline)
    last = (unseen + 1) * every  # the frame of the first run too many: the track ends behind it
    assert [len(each.track_ids) for each in tracked] == [3 if frame <= last else 2 for frame in range(FRAMES)]


def test_an_animal_that_is_detected_shows_one_track_of_two_that_follow_it() -> None:
    tracker, pipeline = prepared(lambda frame: [0, 1] if frame == 0 else [0], max_unseen=2)
    pipeline.settings = replace(pipeline.settings, nms_oks=NO_NMS)
    rest = track_the_same_animal(tracker, pipeline)
    assert [len(each.track_ids) for each in rest] == [2, 2, 2, 1, 1]


def test_the_detector_runs_every_nth_frame_and_whenever_there_are_no_tracks() -> None:
    tracker, pipeline = prepared(lambda frame: [] if frame < 3 else [0, 1, 2], detect_every=6)
    tracked = track(tracker, pipeline)
    assert [len(each.track_ids) for each in tracked] == [0] * 3 + [3] * (FRAMES - 3)
    assert pipeline.detector.calls == 4 + 1  # frames 0 to 3, then 6


@pytest.mark.parametrize("stopped", [1, 5, 7])
def test_a_tracker_that_is_given_another_s_state_goes_on_as_that_would(stopped: int) -> None:
    """Stopped while an animal is lost, between two detections, and after a pose that was too large."""
    made = {"max_lost": 3, "detect_every": 4}

    def again() -> tuple[CtdTracker, ConditionalTopDown]:
        return prepared(
            lambda frame: [0, 1] if frame == 0 else [0, 1, 2],
            lambda frame: [1] if frame in (4, 5, 6, 7) else [],
            lambda frame: [0] if frame == 6 else [],
            **made,
        )

    straight = track(*again())
    first, second = again(), again()
    before = track(*first, range(stopped))
    second[0].resume(first[0].state())
    both = before + track(*second, range(stopped, FRAMES))
    for one, other in zip(both, straight, strict=True):
        np.testing.assert_array_equal(one.track_ids, other.track_ids)
        np.testing.assert_array_equal(one.prediction.keypoints_in_image, other.prediction.keypoints_in_image)
    assert (
        len({track_id for each in straight for track_id in each.track_ids.tolist()}) == 4
    )  # animal 1 is lost too long


def test_two_tracks_on_one_animal_become_one() -> None:
    """A track whose animal another track has taken ends."""
    tracker, pipeline = prepared(lambda frame: [0, 1] if frame == 0 else [], max_lost=2)
    rest = track_the_same_animal(tracker, pipeline)
    assert [len(each.track_ids) for each in rest] == [1] * 5
    assert len(tracker.tracks) == 1


def test_tracking_needs_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through crops and maps: a network that predicts the brightest pixel of its crop tracks a moving light."""
    data = frames_of(1, animals=1, height=96, width=128)
    pipeline = conditional_of(data, crops={"margin": 1.0, "threshold": 0.0}).eval()

    def brightest(images: Tensor) -> PoseMaps:
        light = images[:, :1].flatten(2)
        place = light.argmax(dim=-1)  # (M, 1)
        points = torch.stack((place % images.shape[-1], place // images.shape[-1]), dim=-1).float()  # (M, 1, 2)
        cells = (points - 1.5) / 4
        size = (images.shape[-2] // 4, images.shape[-1] // 4)
        everywhere = cells[:, None].expand(-1, 1, len(data.skeleton), 2)
        return PoseMaps(HeatmapMaps(draw_gaussians(everywhere, 1.0, size), None), ())

    monkeypatch.setattr(pipeline, "forward", brightest)
    path = [(40 + 3 * step, 50 + step) for step in range(8)]
    tracker = CtdTracker(pipeline)
    found = []
    for number, (x, y) in enumerate(path):
        image = np.zeros((96, 128, 3), np.uint8)
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
        sample = data[0]
        batch = collate([fit_to_canvas(type(sample)(sample.labels, image), pipeline.frame_input)])
        seen = poses(torch.tensor([[[x, y]]]).float().expand(1, len(data.skeleton), 2), [1.0])
        pipeline.detector = PartialDetector(pipeline.detector, lambda frame: [])
        pipeline.detector.detect_poses = lambda batch, seen=seen, number=number: [
            seen if number == 0 else poses(seen.keypoints_in_crop[:0], [])
        ]
        with torch.inference_mode():
            found.append(tracker.step(batch))
    assert all(each.track_ids.tolist() == [0] for each in found)
    places = np.stack([each.prediction.keypoints_in_image[0, 0] for each in found])
    assert np.abs(places - np.array(path)).max() < 1.5


@pytest.mark.parametrize(
    "wrong", [{"max_lost": -1}, {"detect_every": 0}, {"match_oks": 0.0}, {"max_size": 0.5}, {"max_unseen": -1}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        prepared(lambda frame: [], **wrong)
