"""Animals followed through rendered frames, by a network that is told where they are or learns nothing at all."""

from collections.abc import Callable, Sequence
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
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.instances import PoseInstances
from dlcpose.tracking.ctd_tracker import CtdTracker, TrackedFrame
from tests.made_up_runs import frames_of
from tests.pipelines.made_up_conditional import conditional_of, poses

FRAMES = 12
VIDEO = frames_of(FRAMES, animals=3, height=128, width=160, animal_length=0.3, seconds_between_frames=0.04, seed=2)


class Seen(PoseDetector):
    """A bottom-up model that sees some of the labelled animals in some frames."""

    origin = "labels"

    def __init__(self, like: PoseDetector, sees: Callable[[int], Sequence[int]]) -> None:
        super().__init__(like.rule)
        self.sees, self.looked = sees, 0

    def find(self, batch: PoseBatch) -> list[PoseInstances]:
        frame = [each.key for each in VIDEO.frames].index(batch.keys[0])
        self.looked += 1
        chosen = batch.keypoints_in_crop[0][list(self.sees(frame))]
        return [poses(chosen, [0.9] * len(chosen))]


def exact(
    pipeline: ConditionalTopDown, hidden: Callable[[int], Sequence[int]] = lambda frame: ()
) -> Callable[..., Any]:
    """A stand-in for a perfect network: the pose of the labelled animal that the condition is nearest to."""
    predict = pipeline.predict_with_conditions

    def told(batch: PoseBatch, found: Sequence[PoseInstances]) -> Any:
        frame = [each.key for each in VIDEO.frames].index(batch.keys[0])
        gt = batch.keypoints_in_crop[0].clone()
        there = torch.ones(len(gt))
        there[list(hidden(frame))] = 0.02

        def answer(crops: Any) -> list[PoseInstances]:
            conditions = torch.stack([each.keypoints_in_crop for each in found])[0][pipeline_kept(crops)]
            apart = (conditions[:, None] - gt).norm(dim=-1).nanmean(dim=-1)  # (M, N)
            meant = apart.argmin(dim=1)
            moved = [_moved(gt[each], crops.frame_to_crop[place]) for place, each in enumerate(meant.tolist())]
            return [
                PoseInstances.from_keypoints(points[None], torch.full((1, points.shape[0]), float(there[each])))
                for points, each in zip(moved, meant.tolist(), strict=True)
            ]

        def pipeline_kept(crops: Any) -> Tensor:
            return pipeline._asked(found[0], batch)[0]

        pipeline._found_in = answer  # type: ignore[method-assign]
        return predict(batch, found)

    return told


def _moved(points: Tensor, matrix: Tensor) -> Tensor:
    return (points.double() @ matrix[:, :2].T + matrix[:, 2]).float()


def followed_of(
    follower: CtdTracker, pipeline: ConditionalTopDown, frames: Sequence[int] = range(FRAMES)
) -> list[TrackedFrame]:
    batches = [collate([fit_to_canvas(VIDEO[frame], pipeline.frame_input)]) for frame in frames]
    with torch.inference_mode():
        return [follower.step(batch) for batch in batches]


def who(followed: TrackedFrame, frame: int) -> dict[int, int]:
    """The labelled animal that each track lies on."""
    gt = VIDEO.frames[frame].keypoints_in_image
    apart = np.linalg.norm(followed.prediction.keypoints_in_image[:, None] - gt, axis=-1)  # (M, N, K)
    mean = np.nanmean(apart, axis=-1)
    assert (mean.min(axis=1) < 1).all()
    return dict(zip(followed.tracks.tolist(), mean.argmin(axis=1).tolist(), strict=True))


def prepared(
    sees: Callable[[int], Sequence[int]], hidden: Callable[[int], Sequence[int]] = lambda frame: (), **settings: Any
) -> tuple[CtdTracker, ConditionalTopDown]:
    pipeline = conditional_of(VIDEO, pipeline={"nms_oks": 0.9}).eval()
    pipeline.detector = Seen(pipeline.detector, sees)
    pipeline.predict_with_conditions = exact(pipeline, hidden)  # type: ignore[method-assign]
    return CtdTracker(pipeline, **settings), pipeline


def test_the_video_holds_moving_animals() -> None:
    """The law below would be empty for animals that stand still, or are never near each other."""
    first, last = VIDEO.frames[0].keypoints_in_image, VIDEO.frames[-1].keypoints_in_image
    assert len(first) == len(last) == 3
    assert np.nanmean(np.linalg.norm(last - first, axis=-1)) > 3


def test_each_animal_keeps_its_track_though_it_was_seen_only_once() -> None:
    follower, pipeline = prepared(lambda frame: [0, 1, 2] if frame == 0 else [])
    named = [who(each, frame) for frame, each in enumerate(followed_of(follower, pipeline))]
    assert sorted(named[0].values()) == [0, 1, 2]
    assert all(each == named[0] for each in named)


def test_a_new_animal_gets_a_track_of_its_own_and_a_known_one_no_second() -> None:
    follower, pipeline = prepared(lambda frame: [0, 1, 2] if frame >= 4 else [0, 1])
    followed = followed_of(follower, pipeline)
    assert [len(each.tracks) for each in followed] == [2] * 4 + [3] * (FRAMES - 4)
    assert set(np.concatenate([each.tracks for each in followed]).tolist()) == {0, 1, 2}
    assert who(followed[4], 4)[2] == 2


@pytest.mark.parametrize(("away", "comes_back_as"), [(3, 2), (5, 3)])
def test_a_track_outlives_a_short_absence_and_ends_in_a_long_one(away: int, comes_back_as: int) -> None:
    gone = range(3, 3 + away)
    follower, pipeline = prepared(
        lambda frame: [] if frame in gone or frame == 1 else [0, 1, 2],
        lambda frame: [2] if frame in gone else [],
        lost_after=3,
    )
    followed = followed_of(follower, pipeline)
    assert [len(each.tracks) for each in followed] == [2 if frame in gone else 3 for frame in range(FRAMES)]
    before, after = who(followed[2], 2), who(followed[-1], FRAMES - 1)
    (track,) = [track for track, animal in after.items() if animal == 2]
    (known,) = [track for track, animal in before.items() if animal == 2]
    assert track == (known if comes_back_as == 2 else 3)
    assert {track: animal for track, animal in after.items() if animal != 2} == {
        track: animal for track, animal in before.items() if animal != 2
    }


def test_the_detector_looks_as_often_as_asked_and_wherever_nobody_is_known() -> None:
    follower, pipeline = prepared(lambda frame: [] if frame < 3 else [0, 1, 2], search_every=6)
    followed = followed_of(follower, pipeline)
    assert [len(each.tracks) for each in followed] == [0] * 3 + [3] * (FRAMES - 3)
    assert pipeline.detector.looked == 4 + 1  # frames 0 to 3, then 6


def test_two_tracks_on_one_animal_become_one() -> None:
    """What lost its animal to another's does not go on beside it."""
    follower, pipeline = prepared(lambda frame: [0, 1] if frame == 0 else [], lost_after=2)
    (first,) = followed_of(follower, pipeline, [0])
    follower.tracks = [
        type(each)(each.number, VIDEO.frames[0].keypoints_in_image[0] + 0.1 * each.number) for each in follower.tracks
    ]
    rest = followed_of(follower, pipeline, range(1, 6))
    assert len(first.tracks) == 2
    assert [len(each.tracks) for each in rest] == [1] * 5
    assert len(follower.tracks) == 1


def test_what_a_network_sees_is_followed_without_any_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through crops and maps: a network that finds the brightest pixel of its crop follows a moving light."""
    data = frames_of(1, animals=1, height=96, width=128)
    pipeline = conditional_of(data, pipeline={"margin": 1.0, "threshold": 0.0}).eval()

    def brightest(images: Tensor) -> PoseMaps:
        light = images[:, :1].flatten(2)
        place = light.argmax(dim=-1)  # (M, 1)
        points = torch.stack((place % images.shape[-1], place // images.shape[-1]), dim=-1).float()  # (M, 1, 2)
        cells = (points - 1.5) / 4
        size = (images.shape[-2] // 4, images.shape[-1] // 4)
        everywhere = cells[:, None].expand(-1, 1, len(data.skeleton), 2)
        return PoseMaps(HeatmapMaps(draw_gaussians(everywhere, 1.0, size), None), ())

    monkeypatch.setattr(pipeline, "forward", brightest)
    track = [(40 + 3 * step, 50 + step) for step in range(8)]
    follower = CtdTracker(pipeline)
    found = []
    for number, (x, y) in enumerate(track):
        image = np.zeros((96, 128, 3), np.uint8)
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
        sample = data[0]
        batch = collate([fit_to_canvas(type(sample)(sample.labels, image), pipeline.frame_input)])
        seen = poses(torch.tensor([[[x, y]]]).float().expand(1, len(data.skeleton), 2), [1.0])
        pipeline.detector = Seen(pipeline.detector, lambda frame: [])
        pipeline.detector.find = lambda batch, seen=seen, number=number: [
            seen if number == 0 else poses(seen.keypoints_in_crop[:0], [])
        ]
        with torch.inference_mode():
            found.append(follower.step(batch))
    assert all(each.tracks.tolist() == [0] for each in found)
    places = np.stack([each.prediction.keypoints_in_image[0, 0] for each in found])
    assert np.abs(places - np.array(track)).max() < 1.5


@pytest.mark.parametrize("wrong", [{"lost_after": -1}, {"search_every": 0}, {"same": 0.0}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected lost_after of 0 or more"):
        prepared(lambda frame: [], **wrong)
