"""Crops: pixels land where the matrices say, in any batch, antialiased, and points go to the crop and back."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from dlcpose.codecs.affine import apply_affine, invert_affine
from dlcpose.codecs.crop_images import crop_images, crop_matrices

SIZE = (64, 96)
SIZES = st.sampled_from([(256, 256), (128, 96), (64, 192), (384, 288)])


def images_of(count: int, size: tuple[int, int] = (90, 120), *, smooth: bool = False) -> Tensor:
    rng = np.random.default_rng(0)
    pictures = rng.uniform(0, 255, (count, *size, 3)).astype(np.float32)
    if smooth:
        pictures = np.stack([cv2.GaussianBlur(picture, (0, 0), 5) for picture in pictures])
        pictures = (pictures - pictures.min()) / np.ptp(pictures) * 255
    return torch.from_numpy(pictures.astype(np.uint8)).permute(0, 3, 1, 2)


def crop_of(image: Tensor, box: list[float], size: tuple[int, int] = SIZE) -> tuple[Tensor, Tensor, Tensor]:
    """The crop (C, h, w) around a box with nothing added, and the matrices of both ways."""
    there, back = crop_matrices(torch.tensor([box]), size, margin=0.0, min_size=1.0)
    return crop_images(image[None], torch.tensor([0]), back, size)[0], there, back


@pytest.mark.parametrize("box", [[10.0, 12.0, 70.0, 52.0], [-30.0, -20.0, 40.0, 30.0], [60.3, 50.7, 140.1, 95.2]])
def test_pixels_are_those_of_opencv(box: list[float]) -> None:
    image = images_of(1, smooth=True)[0]
    crop, _, back = crop_of(image, box)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpAffine(image.permute(1, 2, 0).float().numpy(), back[0].numpy(), SIZE[::-1], flags=flags)
    apart = np.abs(crop.permute(1, 2, 0).numpy() - theirs)
    # OpenCV takes places to 1/32 px, so at the black edge a few pixels differ.
    assert np.median(apart) < 0.5
    assert (apart > 4).mean() < 0.02


def test_the_whole_image_at_its_own_size_is_the_image() -> None:
    image = images_of(1, (64, 96))[0]
    crop, _, _ = crop_of(image, [-0.5, -0.5, 95.5, 63.5])
    torch.testing.assert_close(crop, image.float(), atol=2e-3, rtol=0)


@given(
    x=st.integers(30, 90),
    y=st.integers(30, 60),
    left=st.floats(5, 25),
    top=st.floats(5, 25),
    side=st.floats(20, 60),
)
def test_a_lit_pixel_and_its_keypoint_land_together(x: int, y: int, left: float, top: float, side: float) -> None:
    image = torch.zeros(1, 90, 120)
    image[0, y, x] = 255
    box = [x - left, y - top, x - left + side, y - top + side]
    crop, there, _ = crop_of(image, box, (192, 192))
    (expected,) = apply_affine(there, torch.tensor([[[float(x), float(y)]]]))[0]
    # The enlarged pixel is a tent of this half-width, and its middle is only seen where all of it lies in the crop.
    spread = 192 / side + 1
    assume(expected.min() >= spread and expected.max() <= 191 - spread)
    weights = crop[0] / crop[0].sum()
    middle = torch.stack(
        [(weights.sum(dim=0) * torch.arange(192)).sum(), (weights.sum(dim=1) * torch.arange(192)).sum()]
    )
    assert (middle - expected).abs().max() < 0.15


def test_shrinking_by_a_power_of_two_averages_all_pixels() -> None:
    image = images_of(1, (128, 192))[0]
    for times in (2, 4, 8):
        size = (128 // times, 192 // times)
        crop, _, _ = crop_of(image, [-0.5, -0.5, 191.5, 127.5], size)
        area = cv2.resize(image.permute(1, 2, 0).float().numpy(), size[::-1], interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(crop.permute(1, 2, 0), area, atol=0.05)


def test_fine_stripes_become_gray_and_not_coarse_stripes() -> None:
    stripes = torch.zeros(1, 300, 300)
    stripes[:, :, ::2] = 255
    crop, _, _ = crop_of(stripes, [-0.5, -0.5, 299.5, 299.5], (50, 50))
    assert (crop[0, 2:-2, 2:-2] - 127.5).abs().max() < 10


def test_a_batch_gives_what_each_crop_gives_alone() -> None:
    images = images_of(3)
    boxes = torch.tensor(
        [[5.0, 5.0, 50.0, 50.0], [20.0, 3.0, 118.0, 80.0], [0.0, 0.0, 400.0, 300.0], [7.0, 8.0, 9.0, 9.0]]
    )
    owners = torch.tensor([2, 0, 2, 1])
    _, back = crop_matrices(boxes, SIZE, margin=0.1, min_size=4.0)
    together = crop_images(images, owners, back, SIZE)
    for index, owner in enumerate(owners.tolist()):
        alone = crop_images(images[owner : owner + 1], torch.tensor([0]), back[index : index + 1], SIZE)[0]
        torch.testing.assert_close(together[index], alone, atol=1e-3, rtol=0)


def test_no_boxes_give_no_crops() -> None:
    crops = crop_images(images_of(2), torch.zeros(0, dtype=torch.long), torch.zeros(0, 2, 3, dtype=torch.float64), SIZE)
    assert crops.shape == (0, 3, *SIZE)


def test_beyond_the_image_is_black() -> None:
    crop, _, _ = crop_of(torch.full((3, 40, 40), 255, dtype=torch.uint8), [500.0, 500.0, 600.0, 600.0])
    assert crop.abs().max() == 0


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, width=32)


@st.composite
def boxes(draw: st.DrawFn) -> Tensor:
    """A box in a frame of up to 4000 px, sometimes without area."""
    left, top = draw(numbers(-500, 4000)), draw(numbers(-500, 4000))
    width, height = draw(st.just(0.0) | numbers(1, 2000)), draw(st.just(0.0) | numbers(1, 2000))
    return torch.tensor([[left, top, left + width, top + height]])


@given(box=boxes(), size=SIZES, margin=numbers(0, 0.5), places=st.lists(numbers(-0.5, 1.5), min_size=8, max_size=8))
def test_points_go_to_the_crop_and_back(box: Tensor, size: tuple[int, int], margin: float, places: list[float]) -> None:
    there, back = crop_matrices(box, size, margin=margin, min_size=32.0)
    sides = (box[:, 2:] - box[:, :2]).clamp(min=8)
    points = box[:, None, :2] + torch.tensor(places).view(1, 4, 2) * sides[:, None]  # (1, 4, 2), also beyond the edge
    crop = apply_affine(there, points)
    assert (apply_affine(back, crop) - points).abs().max() < 1e-3
    assert crop.dtype == points.dtype
    inverse = torch.from_numpy(invert_affine(there.numpy()))
    torch.testing.assert_close(inverse, back, atol=1e-6, rtol=1e-9)


@given(box=boxes(), size=SIZES, margin=numbers(0, 0.5), min_size=numbers(1, 64))
def test_the_crop_holds_the_grown_box_and_is_no_larger(
    box: Tensor, size: tuple[int, int], margin: float, min_size: float
) -> None:
    _, crop_to_frame = crop_matrices(box, size, margin=margin, min_size=min_size)
    height, width = size  # in float64: box sides of thousands of px have but three decimals in float32
    edges = torch.tensor([[[-0.5, -0.5], [width - 0.5, height - 0.5]]], dtype=torch.float64)  # of the outermost pixels
    shown = apply_affine(crop_to_frame, edges)[0]  # (2, 2) in the frame
    shown_sides, sides = shown[1] - shown[0], box[0, 2:].double() - box[0, :2].double()
    target = sides + 2 * margin * sides.max()
    center = (box[0, :2].double() + box[0, 2:].double()) / 2
    torch.testing.assert_close(shown.mean(dim=0), center, atol=1e-6, rtol=1e-9)
    assert shown_sides[0] / shown_sides[1] == pytest.approx(width / height)  # nothing is stretched
    assert (shown_sides >= target - 1e-4).all()
    assert shown_sides.max() >= min_size - 1e-6
    # No larger than it has to be.
    assert shown_sides.max() == pytest.approx(min_size) or (shown_sides - target).abs().min() < 1e-4


def test_a_box_of_the_crops_aspect_ratio_fills_it_to_its_outer_edges() -> None:
    there, _ = crop_matrices(torch.tensor([[9.5, 19.5, 73.5, 51.5]]), (64, 128), margin=0.0, min_size=1.0)
    # Pixel 10 of the frame becomes pixels 0 and 1 of the crop: their center is at 0.5.
    moved = apply_affine(there, torch.tensor([[[10.0, 20.0], [73.0, 51.0]]]))
    torch.testing.assert_close(moved, torch.tensor([[[0.5, 0.5], [126.5, 62.5]]]))
