from pathlib import Path

import numpy as np
import pytest

from dlcpose.datasets.datamodule import PoseDataModule
from dlcpose.datasets.video_clips import BatchWithClips, VideoClips
from dlcpose.datasets.video_frames import VideoFrames
from dlcpose.structures.errors import DataError
from dlcpose.structures.input import Input
from tests.datasets.numbered_videos import number_of, write_numbered
from tests.made_up_runs import frames_of, halves, run_of, tiny_config

INPUT = Input(height=64, width=96)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return [write_numbered(folder / f"{name}.mp4", frames) for name, frames in (("a", 60), ("b", 30))]


def numbers_in(clips: VideoClips) -> list[list[int]]:
    return [
        [number_of(frame[:57]) for frame in clip] for clip in clips.load()
    ]  # 48 x 80 scaled to 57 x 96, padded below


def test_clips_are_consecutive_frames_from_all_of_the_videos(videos: list[Path]) -> None:
    clips = VideoClips(videos, INPUT, count=6, frames=3, per_batch=2, seed=0, start=4, stop=50, step=2)
    numbers = numbers_in(clips)
    assert all(np.diff(clip).tolist() == [2, 2] for clip in numbers)
    assert all(clip[0] >= 4 and clip[-1] < 50 for clip in numbers)
    assert {video for video, _ in clips.places} == {0, 1}
    assert numbers == [list(frames) for _, frames in clips.numbers]
    again = VideoClips(videos, INPUT, count=6, frames=3, per_batch=2, seed=0, start=4, stop=50, step=2)
    np.testing.assert_array_equal(clips.draw(5), again.draw(5))
    assert clips.draw(5).shape == (2, 3, 64, 96, 3)
    assert any(not np.array_equal(clips.draw(5), clips.draw(seed)) for seed in range(6, 12))


def test_frames_read_together_are_those_read_one_by_one(videos: list[Path]) -> None:
    frames = VideoFrames(videos[0])
    for numbers in ([0, 1, 2], [9, 13, 14], [57, 58, 59]):
        together = frames.read_several(numbers)
        assert [number_of(image) for image in together] == numbers
    for image, number in zip(together, numbers, strict=True):
        np.testing.assert_array_equal(image, frames.read(number))
    with pytest.raises(DataError, match="below 60"):
        frames.read_several([58, 60])


def test_videos_too_short_for_a_clip_and_of_several_sizes_are_refused(videos: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"b\.mp4: expected a clip of 31 frames"):
        VideoClips(videos, INPUT, count=2, frames=31, per_batch=1, seed=0)
    other = write_numbered(tmp_path / "other.mp4", 5, size=(48, 96))
    with pytest.raises(DataError, match="one size"):
        VideoClips([videos[1], other], Input(), count=2, frames=3, per_batch=1, seed=0)


def test_a_batch_has_its_clips_and_a_resumed_epoch_goes_on_with_the_same(videos: list[Path]) -> None:
    data = frames_of(8)
    model, module = run_of(tiny_config(), data)
    clips = VideoClips(videos, model.frame_input, count=8, frames=3, per_batch=1, seed=0)

    def batches(begun: int) -> list[BatchWithClips]:
        again = PoseDataModule(
            data, halves(data), model.frame_input, module.schedule, seed=0, batch_size=2, workers=0, clips=clips
        )
        again.begun = (0, begun)
        return list(again.train_dataloader())

    whole, rest = batches(0), batches(1)
    assert len(whole) == 2
    assert whole[0].clips.shape == (1, 3, 3, 64, 64)
    assert whole[0].to("cpu").clips is not None
    assert (whole[1].keys, whole[1].clips.tolist()) == (rest[0].keys, rest[0].clips.tolist())
    # Beside the clips nothing of a batch changes.
    for plain, with_clips in zip(module.train_dataloader(), whole, strict=True):
        np.testing.assert_array_equal(plain.images, with_clips.images)
