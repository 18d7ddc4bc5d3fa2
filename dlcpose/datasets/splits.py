"""Splits of a data set into train, val and test frames.

Neighboring frames of a video are nearly identical, so test frames beside train frames make figures too good. `block` and
`video` keep neighbors in one set; `random` does not, and warns. Each takes `train_frames`, the number of frames to train on:
of those that the train set would have, evenly chosen in their order, the same for any seed; the others are in no set.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from dlcpose.datasets.base import LabeledFrames
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.split import Split

logger = logging.getLogger(__name__)

Splitter = Callable[..., Split]


def block(
    data: LabeledFrames, *, val: float = 0.1, test: float = 0.2, train_frames: int | None = None, seed: int = 0
) -> Split:
    """Contiguous blocks: the last frames of each video are for test, those before them for val.

    val, test: fractions of each video's frames, rounded; what rounding leaves over is carried to the next video, so that
    of few frames in many videos the fractions come out too. seed: unused. Raises DataError when a set with a fraction
    above 0 is empty, ConfigError when the fractions leave nothing to train on.
    """
    _refuse_settings(data, "block")
    _check_fractions(val, test)
    of_train: list[FrameLabels] = []
    val_frames: list[FrameLabels] = []
    test_frames: list[FrameLabels] = []
    test_left = val_left = 0.0
    for frames in _by_video(labeled_frames(data)).values():
        test_count, test_left = _carried(test * len(frames) + test_left, len(frames))
        val_count, val_left = _carried(val * len(frames) + val_left, len(frames) - test_count)
        first_test = len(frames) - test_count
        first_val = first_test - val_count
        of_train += frames[:first_val]
        val_frames += frames[first_val:first_test]
        test_frames += frames[first_test:]
    return _split(_evenly(of_train, train_frames), val_frames, test_frames, val, test)


def video(
    data: LabeledFrames, *, val: float = 0.1, test: float = 0.2, train_frames: int | None = None, seed: int = 0
) -> Split:
    """Whole videos, drawn by seed: no frame of a test video is trained on.

    val, test: fractions of the videos, rounded, at least one video where above 0. Raises DataError when there are fewer
    videos than sets.
    """
    _refuse_settings(data, "video")
    _check_fractions(val, test)
    videos = _by_video(labeled_frames(data))
    needed = 1 + (val > 0) + (test > 0)
    if len(videos) < needed:
        raise DataError(
            f"Splitting by video needs at least {counted(needed, 'video')}, got {len(videos)} "
            f"({', '.join(videos) or 'none'}). "
            "Choose split=block, which splits within each video."
        )
    order = [list(videos)[place] for place in np.random.default_rng(seed).permutation(len(videos))]
    test_count = max(1, round(test * len(order))) if test else 0
    val_count = max(1, round(val * len(order))) if val else 0
    if test_count + val_count >= len(order):  # few videos: rounding must leave one to train on
        test_count, val_count = min(test_count, 1), min(val_count, 1)

    def frames_of(names: Sequence[str]) -> list[FrameLabels]:
        return [frame for name in sorted(names) for frame in videos[name]]

    chosen = order[:test_count], order[test_count : test_count + val_count], order[test_count + val_count :]
    of_train = _evenly(frames_of(chosen[2]), train_frames)
    return _split(of_train, frames_of(chosen[1]), frames_of(chosen[0]), val, test)


def random(
    data: LabeledFrames, *, val: float = 0.1, test: float = 0.2, train_frames: int | None = None, seed: int = 0
) -> Split:
    """Single frames, drawn by seed. Warns when several are of one video: test figures are too good then."""
    _refuse_settings(data, "random")
    _check_fractions(val, test)
    frames = labeled_frames(data)
    videos = _by_video(frames)
    if any(name and len(of_video) > 1 for name, of_video in videos.items()):
        logger.warning(
            "Frames of one video are split at random: nearly identical neighbors are in train and test, so test figures "
            "are better than on new videos. The splits block and video avoid it."
        )
    order = np.random.default_rng(seed).permutation(len(frames))
    test_count, val_count = round(test * len(frames)), round(val * len(frames))
    parts = np.split(order, [test_count, test_count + val_count])
    test_frames, val_frames, of_train = ([frames[place] for place in sorted(part)] for part in parts)
    return _split(_evenly(of_train, train_frames), val_frames, test_frames, val, test)


def stored(data: LabeledFrames, *, val: float = 0.1, train_frames: int | None = None, seed: int = 0) -> Split:
    """The data's own train and test frames. Where it has no val, a fraction of the train frames is taken.

    val: that fraction, by video where the train frames are of so many that a whole video is about that much, else by
    block. Raises DataError when the data has no split of its own.
    """
    _check_fractions(val, 0.0)
    if data.stored_split is None:
        raise DataError("The data has no split of its own. Choose split=block, split=video or split=random.")
    frames = {frame.key: frame for frame in labeled_frames(data)}
    own = {part: [frames[key] for key in keys if key in frames] for part, keys in data.stored_split.items()}
    train, test = own.get("train", []), own.get("test", [])
    if "val" in own or val == 0:
        return _split(_evenly(train, train_frames), own.get("val", []), test, 0.0, 0.0)
    # Split as a data set of its own, so that the result is the same as for data without test frames.
    is_enough = round(val * len(_by_video(train))) > 0
    inner = (video if is_enough else block)(
        _Subset(data, train), val=val, test=0.0, train_frames=train_frames, seed=seed
    )
    return Split(train=inner.train, val=inner.val, test=tuple(frame.key for frame in test))


def train_frames(data: LabeledFrames, split: Split) -> list[FrameLabels]:
    """The labels of the frames that a model is trained on, in the order of the data."""
    keys = set(split.train)
    return [frame for frame in data.frames if frame.key in keys]


def _evenly(frames: Sequence[FrameLabels], count: int | None) -> Sequence[FrameLabels]:
    """So many of the frames, evenly chosen in their order; all of them for None. Raises ConfigError where there are fewer."""
    if count is None:
        return frames
    if not 1 <= count <= len(frames):
        raise ConfigError(
            f"split.train_frames: expected null or a number from 1 to {len(frames)}, the size of the train set, got {count}."
        )
    return [frames[place] for place in np.linspace(0, len(frames) - 1, count).round().astype(int)]


def _carried(exact: float, limit: int) -> tuple[int, float]:
    """A number of frames rounded, at most limit, and what rounding leaves for the next video."""
    count = min(limit, max(0, round(exact)))
    return count, exact - count


def labeled_frames(data: LabeledFrames) -> list[FrameLabels]:
    """The frames to split: all of them, or, where an empty frame is an unlabeled one, those with a label.

    Raises DataError when no frame has a label.
    """
    with_labels = [frame for frame in data.frames if _has_label(frame)]
    if not with_labels:
        raise DataError(f"Expected frames with labels, but none of {len(data.frames)} frames has one.")
    if data.empty_is_label:
        return list(data.frames)
    if empty := len(data.frames) - len(with_labels):
        logger.warning("%s without any label left out, as unlabeled.", counted(empty, "frame"))
    return with_labels


class _Subset(LabeledFrames):
    """Some frames of a data set, to be split again."""

    def __init__(self, data: LabeledFrames, frames: Sequence[FrameLabels]) -> None:
        self.frames = frames
        self.skeleton, self.individuals = data.skeleton, data.individuals

    def read_image(self, index: int) -> np.ndarray:
        raise NotImplementedError("splits read labels only")


def _has_label(frame: FrameLabels) -> bool:
    return len(frame) > 0 or bool((~np.isnan(frame.unique_in_image)).any())


def _has_animal(frame: FrameLabels) -> bool:
    return bool((frame.visibility > 0).any() or (~np.isnan(frame.boxes_in_image).any(axis=-1)).any())


def _by_video(frames: Sequence[FrameLabels]) -> dict[str, list[FrameLabels]]:
    """The frames of each video in temporal order; frames of equal number in the order of the data."""
    videos: dict[str, list[FrameLabels]] = {name: [] for name in sorted({frame.video for frame in frames})}
    for frame in sorted(frames, key=lambda frame: frame.frame_index):
        videos[frame.video].append(frame)
    return videos


def _refuse_settings(data: LabeledFrames, split: str) -> None:
    """Raises ConfigError where the data's own split was chosen, and another is made."""
    if data.split_settings:
        raise ConfigError(
            f"split={split}: {' and '.join(data.split_settings)} choose the data's own train and test frames, which this "
            "split does not take. Choose split=stored, or leave them out of the dataset's settings."
        )


def _check_fractions(val: float, test: float) -> None:
    for name, fraction in (("val", val), ("test", test)):
        if not 0 <= fraction < 1:
            raise ConfigError(f"Expected split.{name} to be a fraction from 0 to below 1, got {fraction}.")
    if val + test >= 1:
        raise ConfigError(
            f"Expected split.val and split.test to leave frames to train on, got {val} + {test} = {val + test:g}."
        )


def _split(
    train: Sequence[FrameLabels],
    val: Sequence[FrameLabels],
    test: Sequence[FrameLabels],
    val_fraction: float,
    test_fraction: float,
) -> Split:
    for name, frames, fraction in (("val", val, val_fraction), ("test", test, test_fraction)):
        if fraction > 0 and not frames:
            raise DataError(
                f"split.{name}={fraction} of {counted(len(train) + len(val) + len(test), 'frame')} leaves the "
                f"{name} set empty. "
                f"Label more frames, raise split.{name}, set it to 0, or choose another split (block, video, random)."
            )
    for name, frames, use in (
        ("train", train, "there is nothing to learn"),
        ("val", val, "the best epoch could not be chosen"),
    ):
        if frames and not any(_has_animal(frame) for frame in frames):
            raise DataError(
                f"None of the {counted(len(frames), 'frame')} of the {name} set, such as {frames[0].key}, has a "
                f"labeled animal: {use}. "
                "Label animals in more frames, or choose another split (block, video, random)."
            )
    if not (train or val or test):
        raise DataError(
            "None of the frames that the data's own split names is there. Choose split=block or split=video."
        )
    keys = [tuple(frame.key for frame in frames) for frames in (train, val, test)]
    return Split(train=keys[0], val=keys[1], test=keys[2])
