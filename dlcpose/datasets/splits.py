"""Which frames are for learning, for choosing, and for the final figures.

Neighbouring frames of a video are nearly the same picture: a model that has seen one has seen the other. `block` and
`video` keep them in one set, `random` does not and says so.
"""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from dlcpose.datasets.base import LabelledFrames
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.sample import FrameLabels
from dlcpose.structures.split import Split

logger = logging.getLogger(__name__)

Splitter = Callable[..., Split]


def block(data: LabelledFrames, *, val: float = 0.1, test: float = 0.2, seed: int = 0) -> Split:
    """Contiguous blocks: of each video's frames, by number, the last are for test and those before them for val.

    val, test: fractions of each video's frames, rounded. seed is not needed. Raises DataError when a set that is asked
    for comes out empty, ConfigError when the fractions leave nothing.
    """
    _check_fractions(val, test)
    train_frames: list[FrameLabels] = []
    val_frames: list[FrameLabels] = []
    test_frames: list[FrameLabels] = []
    for frames in _by_video(labelled_frames(data)).values():
        first_test = len(frames) - round(test * len(frames))
        first_val = max(0, first_test - round(val * len(frames)))
        train_frames += frames[:first_val]
        val_frames += frames[first_val:first_test]
        test_frames += frames[first_test:]
    return _split(train_frames, val_frames, test_frames, val, test)


def video(data: LabelledFrames, *, val: float = 0.1, test: float = 0.2, seed: int = 0) -> Split:
    """Whole videos, drawn by seed: no frame of a test video is ever trained on.

    val, test: fractions of the videos, rounded but at least one video where not 0. Raises DataError when there are
    fewer videos than sets.
    """
    _check_fractions(val, test)
    videos = _by_video(labelled_frames(data))
    needed = 1 + (val > 0) + (test > 0)
    if len(videos) < needed:
        raise DataError(
            f"Splitting by video needs at least {needed} videos, got {len(videos)} ({', '.join(videos) or 'none'}). "
            "Take split=block, which cuts within each video."
        )
    order = [list(videos)[place] for place in np.random.default_rng(seed).permutation(len(videos))]
    of_test = max(1, round(test * len(order))) if test else 0
    of_val = max(1, round(val * len(order))) if val else 0
    if of_test + of_val >= len(order):  # few videos: rounding must not take the last one from training
        of_test, of_val = min(of_test, 1), min(of_val, 1)

    def frames_of(names: Sequence[str]) -> list[FrameLabels]:
        return [frame for name in sorted(names) for frame in videos[name]]

    chosen = order[:of_test], order[of_test : of_test + of_val], order[of_test + of_val :]
    return _split(frames_of(chosen[2]), frames_of(chosen[1]), frames_of(chosen[0]), val, test)


def random(data: LabelledFrames, *, val: float = 0.1, test: float = 0.2, seed: int = 0) -> Split:
    """Single frames, drawn by seed. Warns when several come from one video: the figures will flatter then."""
    _check_fractions(val, test)
    frames = labelled_frames(data)
    videos = _by_video(frames)
    if any(name and len(of_video) > 1 for name, of_video in videos.items()):
        logger.warning(
            "Frames of one video are split at random: neighbours that look alike stand on both sides, and figures on "
            "test come out better than on new videos. Take split=block or split=video for honest ones."
        )
    order = np.random.default_rng(seed).permutation(len(frames))
    of_test, of_val = round(test * len(frames)), round(val * len(frames))
    parts = np.split(order, [of_test, of_test + of_val])
    test_frames, val_frames, train_frames = ([frames[place] for place in sorted(part)] for part in parts)
    return _split(train_frames, val_frames, test_frames, val, test)


def stored(data: LabelledFrames, *, val: float = 0.1, seed: int = 0) -> Split:
    """The data's own train and test frames. Where it has no val, that is taken from the train part.

    val: fraction of the train part, by video where it has several, else by block. Raises DataError when the data has no
    split of its own.
    """
    _check_fractions(val, 0.0)
    if data.stored_split is None:
        raise DataError("The data has no split of its own. Take split=block, split=video or split=random.")
    frames = {frame.key: frame for frame in labelled_frames(data)}
    own = {part: [frames[key] for key in keys if key in frames] for part, keys in data.stored_split.items()}
    train, test = own.get("train", []), own.get("test", [])
    if "val" in own or val == 0:
        return _split(train, own.get("val", []), test, 0.0, 0.0)
    # The train part as data of its own, so that the cuts are the same as for data that holds nothing else.
    inner = (video if len(_by_video(train)) > 1 else block)(_Part(data, train), val=val, test=0.0, seed=seed)
    return Split(train=inner.train, val=inner.val, test=tuple(frame.key for frame in test))


def labelled_frames(data: LabelledFrames) -> list[FrameLabels]:
    """The frames that say something: all of them, or those with a label where an empty frame was only not labelled.

    Raises DataError when no frame has a label.
    """
    with_labels = [frame for frame in data.frames if _has_label(frame)]
    if not with_labels:
        raise DataError(f"Expected frames with labels, but none of {len(data.frames)} frames has one.")
    if data.empty_is_label:
        return list(data.frames)
    if empty := len(data.frames) - len(with_labels):
        logger.warning("%d frames without any label are in none of the sets.", empty)
    return with_labels


class _Part(LabelledFrames):
    """Some frames of a data set, for a split within a split."""

    def __init__(self, data: LabelledFrames, frames: Sequence[FrameLabels]) -> None:
        self.frames = frames
        self.skeleton, self.individuals = data.skeleton, data.individuals

    def read_image(self, index: int) -> np.ndarray:
        raise NotImplementedError("a split looks at labels only")


def _has_label(frame: FrameLabels) -> bool:
    return len(frame) > 0 or bool((~np.isnan(frame.unique_in_image)).any())


def _shows_an_animal(frame: FrameLabels) -> bool:
    return bool((frame.visibility > 0).any() or (~np.isnan(frame.boxes_in_image).any(axis=-1)).any())


def _by_video(frames: Sequence[FrameLabels]) -> dict[str, list[FrameLabels]]:
    """Videos by name, each with its frames by number (by place in the data where numbers are alike)."""
    videos: dict[str, list[FrameLabels]] = {name: [] for name in sorted({frame.video for frame in frames})}
    for frame in sorted(frames, key=lambda frame: frame.frame_index):
        videos[frame.video].append(frame)
    return videos


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
                f"split.{name}={fraction} of {len(train) + len(val) + len(test)} frames leaves the {name} set empty. "
                f"Label more frames, raise split.{name}, set it to 0, or split another way (block, video, random)."
            )
    for name, frames, use in (
        ("train", train, "nothing could be learnt"),
        ("val", val, "no figure could tell the best epoch"),
    ):
        if frames and not any(_shows_an_animal(frame) for frame in frames):
            raise DataError(
                f"None of the {len(frames)} frames of the {name} set, such as {frames[0].key}, has a labelled animal: {use}. "
                "Label animals in more frames, or split another way (block, video, random)."
            )
    keys = [tuple(frame.key for frame in frames) for frames in (train, val, test)]
    return Split(train=keys[0], val=keys[1], test=keys[2])
