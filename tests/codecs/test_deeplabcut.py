"""DeepLabCut's arithmetic: conditions against OpenCV's blur, crops against slices, animals from links."""

import cv2
import numpy as np
import pytest
import torch

from dlcpose.codecs.deeplabcut_assembly import Joint, Link, assemble, best_links
from dlcpose.codecs.deeplabcut_conditions import draw_stacked_pixels
from dlcpose.codecs.deeplabcut_crops import cut, region_around
from dlcpose.codecs.deeplabcut_paf import affinities, find_peaks, smooth


def test_conditions_are_opencvs_blurred_pixels() -> None:
    poses = torch.tensor([[[10.7, 20.2], [0.0, 3.0], [torch.nan, 1.0], [40.0, 5.0]]])  # at the border, missing, outside
    expected = np.zeros((4, 24, 32))
    expected[0, 19, 9] = expected[1, 2, 31] = 255
    expected = np.stack([cv2.GaussianBlur(each, (15, 15), 0) for each in expected])
    drawn = draw_stacked_pixels(poses, 2.6, 7, (24, 32))[0]
    np.testing.assert_allclose(drawn, expected / expected.max(), atol=1e-6)


@pytest.mark.parametrize("with_context", [True, False])
def test_a_crop_of_its_own_size_is_a_slice_of_the_image(with_context: bool) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    region = region_around(np.array([10.0, 5.0, 26.0, 21.0]), (40, 60), (16, 16), with_context=with_context)
    np.testing.assert_array_equal(cut(image, region, (16, 16)), image[5:21, 10:26])
    np.testing.assert_array_equal(region.crop_to_frame((16, 16)), [[1, 0, 10], [0, 1, 5]])


def test_beyond_the_image_a_crop_is_black() -> None:
    image = np.full((40, 60, 3), 9, np.uint8)
    crop = cut(image, region_around(np.array([-8.0, -8.0, 8.0, 8.0]), (40, 60), (16, 16)), (16, 16))
    assert not crop[:8].any()
    assert not crop[:, :8].any()
    assert (crop[8:, 8:] == 9).all()


def test_without_context_what_is_missing_to_the_aspect_ratio_is_black() -> None:
    image = np.full((40, 60, 3), 9, np.uint8)
    region = region_around(np.array([10.0, 10.0, 30.0, 20.0]), (40, 60), (20, 20), with_context=False)
    crop = cut(image, region, (20, 20))
    assert (crop.any(axis=(1, 2)) == np.array([False] * 5 + [True] * 10 + [False] * 5)).all()


def joints(keypoints: int, animals: int) -> list[list[Joint]]:
    """Keypoint k of animal a at (100 a, 10 k)."""
    return [[Joint(k * animals + a, k, (100.0 * a, 10.0 * k), 0.9) for a in range(animals)] for k in range(keypoints)]


def test_links_within_animals_make_these_animals() -> None:
    rng, found = np.random.default_rng(0), joints(4, 3)
    links = []
    for first in range(4):
        for second in range(first + 1, 4):
            affinity = (np.eye(3) * 0.8 + rng.uniform(0, 0.1, (3, 3))).astype(np.float32)
            links += best_links(found[first], found[second], affinity, 0.3)
    for animal in assemble(links, 4, 3):
        assert len({joint.xy[0] for joint in animal.joints.values()}) == 1
        assert len(animal.joints) == 4
    assert len(assemble(links, 4, 3)) == 3


def test_a_link_between_animals_does_not_join_them() -> None:
    found = joints(3, 2)
    within = [Link(found[k][a], found[k + 1][a], 0.9) for a in range(2) for k in range(2)]
    astray = Link(found[0][0], found[2][1], 0.2)
    animals = assemble([*within, astray], 3, 2)
    assert sorted(sorted(animal.numbers) for animal in animals) == [[0, 2, 4], [1, 3, 5]]


def test_what_has_one_link_alone_is_no_animal() -> None:
    found = joints(4, 1)
    assert assemble([Link(found[0][0], found[1][0], 0.9)], 4, 2) == []


def test_affinity_is_the_fields_integral_whatever_its_sign() -> None:
    fields = torch.zeros(1, 1, 2, 20, 20)
    fields[0, 0, 0] = -1.0  # along x, against the edge
    starts, ends = np.array([[3, 2]]), np.array([[3, 12], [13, 2]])  # rows and columns
    np.testing.assert_allclose(affinities(fields, 0, 0, starts, ends), [[1.0, 0.0]], atol=1e-6)


def test_peaks_are_those_of_the_smoothed_map() -> None:
    heatmaps = torch.zeros(1, 2, 16, 16)
    heatmaps[0, 0, 4, 5] = heatmaps[0, 1, 11, 9] = 1.0
    smoothed = smooth(heatmaps, sigma=1.0, radius=5)
    expected = cv2.GaussianBlur(heatmaps[0, 0].numpy(), (11, 11), 1.0, borderType=cv2.BORDER_CONSTANT)
    np.testing.assert_allclose(smoothed[0, 0], expected, atol=1e-6)
    assert find_peaks(smoothed, window=5).places.tolist() == [[0, 0, 4, 5], [0, 1, 11, 9]]
