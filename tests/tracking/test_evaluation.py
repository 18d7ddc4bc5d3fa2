"""Figures of tracks in an evaluation: only where there are clips, and what they say of known mistakes."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.structures.instances import PosePrediction
from dlcpose.tracking.evaluation import TrackingFigures, clips_of

DATA = SyntheticFrames(
    frames=80, videos=2, animals=3, coming_and_going=False, seconds_between_frames=0.04, animal_length=0.2, seed=1
)


def predictions_of(data: SyntheticFrames, **changed: Any) -> list[PosePrediction]:
    """Everything where it is, in random order."""
    rng = np.random.default_rng(0)
    found = []
    for frame in data.frames:
        order = rng.permutation(len(frame))
        points = frame.keypoints_in_image[order]
        scores = np.where(np.isnan(points).any(axis=-1), 0, 0.9).astype(np.float32)
        found.append(
            PosePrediction(
                key=frame.key,
                keypoints_in_image=points,
                keypoint_scores=scores,
                scores=scores.mean(axis=1),
                identities=np.full(len(frame), -1, np.int64),
                unique_in_image=np.zeros((0, 2), np.float32),
                unique_scores=np.zeros(0, np.float32),
                boxes_in_image=np.full((len(frame), 4), np.nan, np.float32),
            )
        )
    return found


def test_perfect_poses_make_perfect_tracks() -> None:
    figures = TrackingFigures()(EvaluatedFrames(predictions_of(DATA), DATA.frames, DATA.skeleton))
    assert figures == pytest.approx({"hota": 1, "idf1": 1, "mota": 1, "switches": 0, "clip_frames": 40}, abs=0.02)


def test_the_order_of_the_frames_means_nothing() -> None:
    predictions = predictions_of(DATA)
    order = np.random.default_rng(1).permutation(len(predictions))
    frames = EvaluatedFrames(predictions, DATA.frames, DATA.skeleton)
    mixed = EvaluatedFrames(
        [predictions[place] for place in order], [DATA.frames[place] for place in order], DATA.skeleton
    )
    assert TrackingFigures()(mixed) == TrackingFigures()(frames)


def test_animals_of_one_clip_are_not_those_of_another_however_they_are_numbered() -> None:
    far = [
        replace(frame, identities=np.array([0, 10_000, 10_001])[frame.identities]) if frame.video == first else frame
        for first in [DATA.frames[0].video]
        for frame in DATA.frames
    ]
    near = EvaluatedFrames(predictions_of(DATA), DATA.frames, DATA.skeleton)
    assert TrackingFigures()(replace(near, labels=far)) == TrackingFigures()(near)


def test_undetected_animals_are_false_negatives() -> None:
    background = [
        replace(
            each,
            keypoints_in_image=np.full_like(each.keypoints_in_image, np.nan),
            scores=np.zeros(len(each), np.float32),
        )
        for each in predictions_of(DATA)
    ]
    figures = TrackingFigures()(EvaluatedFrames(background, DATA.frames, DATA.skeleton))
    assert (figures["hota"], figures["idf1"], figures["mota"], figures["switches"]) == (0, 0, 0, 0)


@pytest.mark.parametrize("broken", ["gaps", "unknown", "one", "short"])
def test_without_a_clip_there_are_no_figures(broken: str) -> None:
    frames = list(DATA.frames)
    if broken == "gaps":
        frames = [replace(frame, frame_index=frame.frame_index * 2) for frame in frames]
    elif broken == "unknown":
        frames = [replace(frame, identities=np.full(len(frame), -1, np.int64)) for frame in frames]
    elif broken == "one":
        frames = list(SyntheticFrames(frames=80, videos=2, animals=1).frames)
    else:
        frames = frames[:16]
    assert clips_of(frames, min_frames=10) == []
