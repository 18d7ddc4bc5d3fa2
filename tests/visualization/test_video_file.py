from pathlib import Path

import av
import numpy as np
import pytest

from dlcpose.structures.errors import DataError
from dlcpose.visualization.video_file import write_browser_video, write_video

SECONDS = (0.5, 0.54, 0.6, 0.9, 0.93)


def pictures(height: int, width: int, count: int = 5) -> list[np.ndarray]:
    ramp = np.linspace(0, 200, width)[None, :, None] + np.zeros((height, width, 3))
    return [(ramp + 10 * number).astype(np.uint8) for number in range(count)]


@pytest.mark.parametrize(("size", "expected"), [((64, 96), (64, 96)), ((65, 97), (66, 98))])
def test_it_is_h264_with_half_size_colors_and_keeps_times(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    path = tmp_path / "new" / "out.mp4"
    images = pictures(*size)
    assert write_browser_video(path, zip(SECONDS, images, strict=True), fps=25) == 5
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert frames[0][1].shape[:2] == expected
    np.testing.assert_allclose([time for time, _ in frames], np.array(SECONDS) - 0.5, atol=1e-4)
    for (_, decoded), image in zip(frames, images, strict=True):
        assert np.abs(decoded[: size[0], : size[1]].astype(float) - image).mean() < 4
    assert [entry.name for entry in path.parent.iterdir()] == ["out.mp4"]


def test_the_index_lies_before_the_pictures(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write_browser_video(path, zip(SECONDS, pictures(64, 96), strict=True), fps=25)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_what_fails_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match="64x40"):
        write_browser_video(path, [(0.0, pictures(40, 64)[0]), (0.1, pictures(42, 64)[0])], fps=25)
    with pytest.raises(DataError, match="none"):
        write_browser_video(path, [], fps=25)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"clip\.mp4: cannot be written"):
        write_browser_video(tmp_path / "file" / "clip.mp4", [(0.0, pictures(32, 32)[0])], fps=25)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.avi"])
@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_labeled_images_keep_their_size(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    images = pictures(*size)
    assert write_video(tmp_path / name, images, fps=10) == 5
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].average_rate == 10
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(decoded) == 5
    for got, image in zip(decoded, images, strict=True):
        assert got.shape == image.shape
        assert np.abs(got.astype(float) - image).mean() < 4
