"""What a model learns from videos without labels: their clips and the losses on them, checked before anything is trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcpose.codecs.affine import apply_affine, place_on_canvas
from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.splits import train_frames
from dlcpose.datasets.video_clips import VideoClips
from dlcpose.instantiate import Instantiator
from dlcpose.pipelines.base import PoseModule
from dlcpose.pipelines.clip_losses import check_learns_from_clips
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.split import Split
from dlcpose.unlabeled.video import UnlabeledVideos


def unlabeled_videos(config: Mapping[str, Any], instantiate: Instantiator) -> UnlabeledVideos | None:
    """The videos of a config, None where it has none. Raises DataError where one is not there."""
    if not config["unlabeled"]:
        return None
    videos = instantiate(config["unlabeled"], "unlabeled")
    if not isinstance(videos, UnlabeledVideos):
        raise ConfigError("unlabeled: expected an option of this group, got none. Take unlabeled=video.")
    _ = videos.paths
    return videos


def unlabeled_clips(
    config: Mapping[str, Any], videos: UnlabeledVideos | None, model: PoseModule, data: LabeledFrames, split: Split
) -> VideoClips | None:
    """The clips for a model, with the losses on them fitted to its training labels; None without videos, or losses.

    Raises ConfigError for a model that cannot learn from them, DataError for videos and labels that do not serve.
    """
    if videos is None or not videos.losses:
        return None
    head = None if model.estimator is None else model.estimator.head
    check_learns_from_clips(model, finds_one_animal=model.finds_one_animal, head=head)
    poses = [
        apply_affine(place_on_canvas(model.frame_input, (frame.height, frame.width))[0], frame.keypoints_in_image)
        for frame in train_frames(data, split)
    ]
    for loss in videos.losses.values():
        loss.fit(np.concatenate(poses).astype(np.float64))
    return videos.open_clips(model.frame_input, config["seed"])
