from pathlib import Path

import cv2
import numpy as np
import pytest

from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton
from dlcpose.visualization.pictures import (
    _shorten,
    add_legend,
    check_picture_output,
    contact_sheet,
    crop_around,
    dot_radius,
    draw_poses,
    keypoint_colors,
    write_picture,
)
from tests.metrics.made_up import SHAPE, SKELETON, at

GRAY = np.full((200, 300, 3), 90, np.uint8)
ONE = Skeleton(names=("nose",))


def middle_of(change: np.ndarray) -> np.ndarray:
    """The center of what was drawn, x and y."""
    weight = np.abs(change.astype(float) - 90).sum(axis=-1)
    ys, xs = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(xs * weight).sum(), (ys * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.5, 0.5])
@pytest.mark.parametrize("point", [(40.0, 50.0), (100.3, 77.8)])
def test_a_dot_lies_where_its_keypoint_is_at_any_scale(scale: float, point: tuple[float, float]) -> None:
    drawn = draw_poses(GRAY, np.array([[point]]), ONE, scale=scale)
    assert drawn.shape == (200 * scale, 300 * scale, 3)
    np.testing.assert_allclose(middle_of(drawn), (np.array(point) + 0.5) * scale - 0.5, atol=0.15)


def test_the_image_itself_is_left_alone_and_small_ones_are_enlarged() -> None:
    image = GRAY.copy()
    drawn = draw_poses(image, SHAPE[None] + 100, SKELETON, labels_in_image=SHAPE[None] + 105)
    assert (image == 90).all()
    assert max(drawn.shape) >= 480


def test_what_is_missing_or_far_outside_is_not_drawn() -> None:
    missing = np.full((1, 5, 2), np.nan)
    far = np.full((1, 5, 2), -5000.0)
    for points in (missing, far, far + 1e9, np.zeros((0, 5, 2))):
        for labels in (None, missing, points, np.zeros((0, 5, 2))):
            assert (draw_poses(GRAY, points, SKELETON, labels_in_image=labels) == 90).all()


def test_dots_do_not_cover_small_animals_of_which_keypoints_are_missing() -> None:
    picture = np.zeros((1000, 1000, 3), np.uint8)
    whole = np.stack([at(60, 90), at(220, 90)])
    partial = whole.copy()
    partial[:, 2] = np.nan
    single = np.full((3, 5, 2), np.nan)
    single[:, 0] = 500
    assert dot_radius(picture, whole) < dot_radius(picture, whole[:0])
    assert dot_radius(picture, partial) <= dot_radius(picture, whole)
    assert dot_radius(picture, np.concatenate([whole, single])) == dot_radius(picture, whole)


def test_a_low_score_is_fainter() -> None:
    points = np.array([[[100.0, 100.0]]])
    sure, unsure = (draw_poses(GRAY, points, ONE, scores=np.array([[score]])).astype(int) for score in (1.0, 0.1))
    assert np.abs(sure - 90).sum() > 2 * np.abs(unsure - 90).sum() > 0


def test_an_error_is_a_line_from_the_label_to_its_own_prediction() -> None:
    skeleton = Skeleton(names=SKELETON.names)
    gt = np.stack([at(60, 90), at(220, 90)])
    found = np.stack([at(220, 99), at(60, 99)])
    plain = draw_poses(GRAY, found, skeleton, scale=4)
    drawn = draw_poses(GRAY, found, skeleton, labels_in_image=gt, scale=4)
    changed = (plain != drawn).any(axis=-1)
    assert not changed[:, 4 * 110 : 4 * 170].any()  # nothing is joined across the two animals
    assert changed[round(4 * 134.5), round(4 * 60.5)]  # half-way between a tail's base and its label


def test_points_of_the_arena_are_drawn() -> None:
    arena = np.array([[20.0, 30.0], [np.nan, 1]])
    drawn = draw_poses(GRAY, np.zeros((0, 5, 2)), SKELETON, unique_in_image=arena, scale=1)
    np.testing.assert_allclose(middle_of(drawn), arena[0], atol=0.3)


@pytest.mark.parametrize("count", [1, 4, 12, 24])
def test_every_keypoint_has_a_color_of_its_own(count: int) -> None:
    assert len(set(keypoint_colors(count))) == count
    assert min(max(color) for color in keypoint_colors(count)) > 150  # to be seen on dark fur


def test_a_closer_look_holds_the_animal_and_its_corner_leads_back() -> None:
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    points = np.concatenate([at(600, 60), [[np.nan, np.nan]]])
    part, (left, top) = crop_around(image, points)
    left, top = int(left), int(top)
    assert part.shape[0] == part.shape[1] < 480
    np.testing.assert_array_equal(part, image[top : top + part.shape[0], left : left + part.shape[1]])
    inside = at(600, 60)[(at(600, 60) >= 0).all(axis=1)] - (left, top)
    assert ((inside >= 0) & (inside < part.shape[0])).all()
    whole, corner = crop_around(image, np.array([[0.0, 0], [639, 479]]))
    assert whole.shape == image.shape
    assert (corner == 0).all()
    assert crop_around(image, np.full((3, 2), np.nan))[0].shape == image.shape


def test_a_contact_sheet_has_a_place_for_each_image() -> None:
    images = [np.full((60 + 20 * i, 100, 3), 10 + i, np.uint8) for i in range(5)]
    sheet = contact_sheet(images, ["short", "…", "x" * 300, "", "ümlaut"], columns=3, tile=100)
    assert sheet.shape[1] == 3 * 110 + 10
    for i in range(5):
        assert (sheet == 10 + i).all(axis=-1).sum() > 5000
    with pytest.raises(ValueError, match="caption"):
        contact_sheet(images, ["one"])
    with pytest.raises(ValueError, match="caption"):
        contact_sheet([], [])


def test_a_legend_is_added_below_and_long_ones_wrap() -> None:
    picture = add_legend(GRAY, SKELETON)
    np.testing.assert_array_equal(picture[:200], GRAY)
    many = add_legend(GRAY, Skeleton(names=tuple(f"keypoint number {k}" for k in range(24))))
    assert many.shape[0] > picture.shape[0] > 200
    assert many.shape[1] == 300


def test_a_png_is_read_back_in_its_colors_and_nothing_else_is_left(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    write_picture(tmp_path / "new" / "a.png", image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new" / "a.png"))[..., ::-1], image)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_dots_keep_their_colors_in_a_jpeg(tmp_path: Path) -> None:
    image, colors = GRAY.copy(), {20: (255, 0, 0), 40: (0, 200, 255), 60: (255, 0, 255)}
    for x, color in colors.items():
        image[30:33, x : x + 3] = color
    write_picture(tmp_path / "a.jpg", image)
    read = cv2.imread(str(tmp_path / "a.jpg"))[..., ::-1]
    for x, color in colors.items():
        assert np.abs(read[31, x + 1].astype(int) - color).max() < 25  # 44 to 58 with colors at half the resolution


@pytest.mark.parametrize(
    ("name", "start"), [("a.PNG", b"\x89PNG"), ("a.jpg", b"\xff\xd8\xff"), ("a.jpeg", b"\xff\xd8\xff")]
)
def test_a_picture_is_of_the_kind_that_its_name_says(tmp_path: Path, name: str, start: bytes) -> None:
    check_picture_output(tmp_path / name, "--sheet")
    write_picture(tmp_path / name, GRAY)
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("name", ["a.gif", "a", "."])
def test_a_name_of_no_picture_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--sheet"):
        check_picture_output(Path(name), "--sheet")
    with pytest.raises(ValueError, match="png"):
        write_picture(Path(name), GRAY)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_box_is_drawn_along_its_sides_and_fainter_where_it_is_less_sure(scale: float) -> None:
    boxes, background = np.array([[50.0, 40.0, 250.0, 160.0]]), np.full((1, 1, 2), np.nan)
    sure, unsure = (
        draw_poses(GRAY, background, ONE, boxes_in_image=boxes, box_scores=np.array([score]), scale=scale)
        for score in (1.0, 0.1)
    )
    np.testing.assert_allclose(middle_of(sure), (np.array([150.0, 100.0]) + 0.5) * scale - 0.5, atol=0.3)
    ys, xs = np.nonzero((sure != 90).any(axis=-1))
    edges = (boxes[0] + 0.5) * scale - 0.5
    np.testing.assert_allclose([xs.min(), ys.min(), xs.max(), ys.max()], edges, atol=6)
    assert (sure[round(70 * scale) : round(130 * scale), round(80 * scale) : round(220 * scale)] == 90).all()
    assert np.abs(sure.astype(int) - 90).sum() > 2 * np.abs(unsure.astype(int) - 90).sum() > 0


def test_boxes_that_are_not_known_or_far_outside_are_not_drawn() -> None:
    for boxes in (np.full((1, 4), np.nan), np.full((1, 4), -5000.0), np.zeros((0, 4))):
        background = np.full((len(boxes), 1, 2), np.nan)
        assert (draw_poses(GRAY, background, ONE, boxes_in_image=boxes, box_scores=np.ones(len(boxes))) == 90).all()


@pytest.mark.parametrize(
    ("caption", "shown"),
    [
        ("4.1 px · a/1.png", "4.1 px · a/1.png"),
        ("4.1 px, 2 false negatives · a_long_name_of_a_video.mp4/001074", "4.1 px, 2 false negatives · …4/001074"),
        ("a_long_name_of_a_folder/another_long_name/001074.png", "…_folder/another_long_name/001074.png"),
    ],
)
def test_captions_keep_what_is_told_of_a_frame_and_the_end_of_its_name(caption: str, shown: str) -> None:
    class Letters:
        """A font of one width."""

        def getlength(self, text: str) -> int:
            return len(text)

    assert _shorten(caption, 37, Letters()) == shown


def test_names_with_line_ends_are_written_on_one_line() -> None:
    image = np.zeros((64, 96, 3), np.uint8)
    drawn = add_legend(image, Skeleton(("a\nb", "\x1b[2J")))
    assert drawn.shape[0] > 64
    assert contact_sheet([image], ["img\n0.png"], tile=96).shape == contact_sheet([image], ["img0.png"], tile=96).shape
