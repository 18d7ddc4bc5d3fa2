from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageOps

from dlcpose.datasets.base import image_file_size, read_image_file
from dlcpose.structures.errors import DataError
from tests.datasets.counted_frames import CountedFrames

PICTURE = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)


def test_an_image_is_read_as_pillow_reads_it(tmp_path: Path) -> None:
    PillowImage.fromarray(PICTURE).save(tmp_path / "ünï cödé.png")
    image = read_image_file(tmp_path / "ünï cödé.png")
    np.testing.assert_array_equal(image, PICTURE)
    assert image.flags.c_contiguous
    assert image_file_size(tmp_path / "ünï cödé.png") == (7, 5)


@pytest.mark.parametrize("kind", ["gray", "gray 16", "alpha"])
def test_other_kinds_of_image_become_rgb(tmp_path: Path, kind: str) -> None:
    stored = {
        "gray": PICTURE[..., 0],
        "gray 16": PICTURE[..., 0].astype(np.uint16) * 257,
        "alpha": np.dstack([PICTURE, np.full((7, 5), 9, np.uint8)]),
    }[kind]
    cv2.imwrite(str(tmp_path / "a.png"), stored)
    image = read_image_file(tmp_path / "a.png")
    assert (image.shape, image.dtype) == ((7, 5, 3), np.uint8)
    if kind != "alpha":
        np.testing.assert_array_equal(image, np.repeat(PICTURE[..., :1], 3, axis=2))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_read_upright_as_pillow_turns_it(tmp_path: Path, orientation: int, suffix: str) -> None:
    path, exif = tmp_path / f"a.{suffix}", PillowImage.Exif()
    exif[0x0112] = orientation
    smooth = cv2.GaussianBlur(cv2.resize(PICTURE, (40, 56)), (0, 0), 4)  # so that lossy formats differ little
    stored = PillowImage.fromarray(smooth)
    stored.save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    stored.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored))
    image = read_image_file(path)
    assert image.shape == upright.shape == (*image_file_size(path), 3)
    assert np.abs(image.astype(int) - upright).mean() < (5 if suffix == "jpg" else 1e-9)
    # Labels whose size is only that of the stored pixels were made on those.
    as_stored = read_image_file(path, size=(56, 40))
    expected = smooth if orientation in (5, 6, 7, 8) else upright
    assert np.abs(as_stored.astype(int) - expected).mean() < (5 if suffix == "jpg" else 1e-9)


def test_images_of_unknown_range_or_of_too_many_pixels_are_refused(tmp_path: Path) -> None:
    PillowImage.fromarray(PICTURE[..., 0].astype(np.float32)).save(tmp_path / "float.tif")
    PillowImage.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 10**6
    with pytest.raises(DataError, match=r"float\.tif.*32"):
        read_image_file(tmp_path / "float.tif")
    for read in (read_image_file, image_file_size):
        with pytest.raises(DataError, match=r"bomb\.png.*30000x30000"):
            read(tmp_path / "bomb.png")


def test_an_image_beyond_pillows_limit_has_a_size(tmp_path: Path) -> None:
    PillowImage.new("1", (14_000, 13_000)).save(tmp_path / "large.png")
    assert image_file_size(tmp_path / "large.png") == (13_000, 14_000)


@pytest.mark.parametrize("content", [None, b"", b"no picture at all", "cut"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "a.png"
    if content == "cut":
        cv2.imwrite(str(path), PICTURE)
        path.write_bytes(path.read_bytes()[:20])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    for read in (read_image_file, image_file_size):
        with pytest.raises(DataError, match=r"a\.png") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_an_image_of_another_size_than_its_labels_is_refused() -> None:
    frames = CountedFrames([(6, 8), (6, 8)], last_is_wrong=True)
    assert frames[0].image.shape == (6, 8, 3)
    with pytest.raises(DataError, match=r"frame 1.*8x6.*8x5"):
        frames[1]


def test_the_most_animals_a_frame_can_hold() -> None:
    frames = CountedFrames([(6, 8)])
    assert frames.max_animals == 1
    frames.individuals = ("a", "b", "c")
    assert frames.max_animals == 3
    frames.individuals, frames.frames = (), []
    assert frames.max_animals == 1
