"""What the losses on videos say of clips whose poses are known."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.unlabeled.pose_pca import PosePca
from dlcpose.unlabeled.temporal_smoothness import TemporalSmoothness
from dlcpose.unlabeled.video import UnlabeledVideos, VideoObjective

RNG = np.random.default_rng(0)
SPAN = RNG.normal(size=(3, 10)) * 30  # directions in which poses of five keypoints vary
MIDDLE = RNG.uniform(50, 150, 10)


def poses(count: int) -> np.ndarray:
    """Poses (P, 5, 2) within a subspace of three dimensions."""
    return (MIDDLE + RNG.normal(size=(count, 3)) @ SPAN).reshape(count, 5, 2)


def sure(points: Tensor) -> Tensor:
    return torch.ones(points.shape[:-1])


def test_a_still_clip_loses_nothing_and_only_what_leaps_counts() -> None:
    loss = TemporalSmoothness(epsilon=5.0)
    still = torch.from_numpy(poses(1)).float()[None].expand(1, 6, 5, 2)
    assert loss(still, sure(still)) == 0
    walking = still + torch.arange(6.0)[None, :, None, None] * torch.tensor([3.0, 4.0])  # 5 px a frame
    assert float(loss(walking, sure(walking))) == pytest.approx(0, abs=1e-4)
    leaping = still.clone()
    leaping[0, 3, 2] += torch.tensor([0.0, 35.0])  # there and back: 30 px too far, in 2 of 25 steps
    assert float(loss(leaping, sure(leaping))) == pytest.approx(2 * 30 / 25, rel=1e-5)
    unsure = sure(leaping)
    unsure[0, 3, 2] = 0.01
    assert loss(leaping, unsure) == 0


def test_a_pose_in_the_span_of_the_labels_loses_nothing_and_others_what_lies_outside() -> None:
    loss = PosePca(explained=1.0, epsilon=0.0)
    loss.fit(poses(40))
    assert len(loss.components) == 3
    inside = torch.from_numpy(poses(6)).float()[None]
    assert float(loss(inside, sure(inside))) == pytest.approx(0, abs=1e-3)
    # Against numpy's least squares.
    outside = inside + torch.from_numpy(RNG.normal(0, 5, (1, 6, 5, 2))).float()
    centered = outside.flatten(2)[0].double().numpy() - loss.mean.double().numpy()
    share, *_ = np.linalg.lstsq(SPAN.T, centered.T, rcond=None)
    rest = (centered - (SPAN.T @ share).T).reshape(6, 5, 2)
    np.testing.assert_allclose(loss.errors(outside)[0], np.linalg.norm(rest, axis=-1), atol=1e-2)


def test_the_labels_themselves_lose_nothing_though_they_do_not_lie_within_the_subspace() -> None:
    labels = poses(40) + RNG.normal(0, 1, (40, 5, 2))
    labels[3, 2] = np.nan  # does not count
    loss = PosePca(explained=0.95)
    loss.fit(labels)
    assert len(loss.components) <= 3
    assert loss.epsilon > 0.5
    known = torch.from_numpy(np.delete(labels, 3, axis=0)).float()[None]
    assert float(loss(known, sure(known))) == pytest.approx(0, abs=1e-5)
    with pytest.raises(DataError, match=r"losses\.pose_pca"):
        PosePca().fit(labels[:9])


@pytest.mark.parametrize("loss", [TemporalSmoothness(epsilon=0.0), PosePca(epsilon=0.0)])
def test_gradients_flow_and_are_finite_also_where_nothing_moves(loss: Any) -> None:
    loss.fit(poses(40))
    points = torch.from_numpy(poses(1)).float()[None].repeat(1, 4, 1, 1)
    points[0, 2, 1] += 40
    points.requires_grad_()
    loss(points, sure(points)).backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()
    assert points.grad[0, 2, 1].abs().max() > 0


def test_losses_begin_to_count_when_the_network_knows_something() -> None:
    objective = VideoObjective({"smooth": TemporalSmoothness(weight=2.0, epsilon=0.0)}, begin=0.4, full=0.6)
    assert [objective.strength(share) for share in (0.0, 0.39, 0.6, 1.0)] == [0, 0, 1, 1]
    assert objective.strength(0.5) == pytest.approx(0.5)
    moving = torch.arange(3.0)[None, :, None, None].expand(1, 3, 2, 2) * 3
    assert float(objective(moving, sure(moving), 0.5)["smooth"]) == pytest.approx(0.5 * 2 * 3 * 2**0.5)
    assert VideoObjective({}, begin=1.0, full=1.0).strength(1.0) == 1


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"videos": []}, r"unlabeled\.videos"),
        ({"start": -1}, r"unlabeled\.start"),
        ({"start": 5, "stop": 5}, r"unlabeled\.stop"),
        ({"frames": 1}, r"unlabeled\.frames"),
        ({"begin": 0.5, "full": 0.4}, r"unlabeled\.full"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        UnlabeledVideos(**{"videos": ["a.mp4"], "losses": {}, **settings})
    with pytest.raises(ConfigError, match="weight"):
        TemporalSmoothness(weight=-1.0)


def test_videos_that_are_not_there_are_named() -> None:
    with pytest.raises(DataError, match=r"unlabeled\.videos: gone\.mp4"):
        _ = UnlabeledVideos(["gone.mp4"], {}).paths
    with pytest.raises(DataError, match=r"unlabeled\.videos: gone/\*\.mp4"):
        _ = UnlabeledVideos(["gone/*.mp4"], {}).paths
