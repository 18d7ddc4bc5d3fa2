"""Which box is an animal's own."""

import math

import pytest
import torch

from dlcpose.detectors.box_rules import around_keypoints, stored

NAN = math.nan
POINTS = torch.tensor(
    [
        [[10.0, 20.0], [50.0, 40.0], [NAN, NAN]],  # two keypoints
        [[10.0, 20.0], [NAN, NAN], [NAN, NAN]],  # one
        [[NAN, NAN], [NAN, NAN], [NAN, NAN]],  # none
    ]
)
OWN = torch.tensor([[0.0, 10.0, 60.0, 50.0]]).expand(3, 4)
UNKNOWN = torch.full((3, 4), NAN)
AROUND = [6.0, 16.0, 54.0, 44.0]  # a tenth of 40 px on each side
POINT = [2.0, 12.0, 18.0, 28.0]  # 16 px about (10, 20)


@pytest.mark.parametrize(
    ("rule", "boxes", "expected"),
    [
        (around_keypoints, OWN, [AROUND, OWN[0].tolist(), OWN[0].tolist()]),
        (around_keypoints, UNKNOWN, [AROUND, POINT, [NAN] * 4]),
        (stored, OWN, [OWN[0].tolist()] * 3),
        (stored, UNKNOWN, [AROUND, POINT, [NAN] * 4]),
    ],
)
def test_rules(rule, boxes, expected) -> None:
    found = rule(POINTS, boxes, margin=0.1, min_size=16.0)
    torch.testing.assert_close(found, torch.tensor(expected), equal_nan=True)
    many = rule(POINTS.expand(2, 3, 3, 2), boxes.expand(2, 3, 4), margin=0.1, min_size=16.0)  # (B, N, ...)
    torch.testing.assert_close(many, torch.tensor(expected).expand(2, 3, 4), equal_nan=True)


def test_a_stored_box_without_area_gets_the_smallest() -> None:
    box = stored(POINTS[:1], torch.tensor([[5.0, 5.0, 5.0, 5.0]]), min_size=16.0)
    torch.testing.assert_close(box, torch.tensor([[-3.0, -3.0, 13.0, 13.0]]))
