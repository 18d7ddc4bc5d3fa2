"""Detectors that know poses: those a model finds, those a file says that one found, or labels with errors."""

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from dlcpose.codecs.affine import apply_affine, invert_affine, place_on_canvas
from dlcpose.codecs.boxes import compose_affine
from dlcpose.codecs.pose_conditions import PoseNoise, perturb_poses, rng_for_frame
from dlcpose.detectors.base import Boxes, BoxRule, Detector
from dlcpose.detectors.pose_files import StoredPoses, read_poses
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.checkpoint_file import read_checkpoint_file
from dlcpose.structures.errors import CheckpointError, ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.instances import Floats, PoseInstances, PosePrediction, instances_of
from dlcpose.structures.skeleton import Skeleton


class PoseDetector(Detector):
    """Finds animals as poses; the boxes are those around them. origin: of the poses, in words."""

    learns = False
    origin: ClassVar[str]

    def losses(self, batch: PoseBatch) -> dict[str, Tensor]:
        """None."""
        return {}

    @abstractmethod
    def find(self, batch: PoseBatch) -> list[PoseInstances]:
        """The poses in each frame, in its pixels, the surest first; each has a keypoint at least."""

    def detect(self, batch: PoseBatch) -> list[Boxes]:
        """The boxes around the poses in each frame."""
        return [Boxes(self._around(each.keypoints_in_crop), each.scores) for each in self.find(batch)]

    def _around(self, keypoints_in_frame: Tensor) -> Tensor:
        return self.rule(keypoints_in_frame, keypoints_in_frame.new_full((len(keypoints_in_frame), 4), torch.nan))


class PerturbedPoseDetector(PoseDetector):
    """The labelled poses with the errors of a bottom-up model: what a model makes of conditions where there are none.

    Each frame's errors are always the same. seed: of their chance.
    """

    needs_labels = True
    origin = "poses drawn from the labels, with errors"

    def __init__(self, boxes: BoxRule, skeleton: Skeleton, *, seed: int = 0) -> None:
        super().__init__(boxes)
        self.skeleton, self.seed = skeleton, seed

    def find(self, batch: PoseBatch) -> list[PoseInstances]:
        """One pose for each labelled animal, with a score of 1."""
        return [
            self._of_frame(key, keypoints[~keypoints.isnan().any(dim=-1).all(dim=-1)])
            for key, keypoints in zip(batch.keys, batch.keypoints_in_crop, strict=True)
        ]

    def _of_frame(self, key: str, gt: Tensor) -> PoseInstances:
        drawn = perturb_poses(
            gt.cpu().numpy(),
            gt.new_full((len(gt),), torch.nan).cpu().numpy(),
            self.skeleton.sigmas,
            self.skeleton.flip_order,
            PoseNoise(),
            rng_for_frame(key, self.seed),
        )
        return _certain(torch.from_numpy(drawn.keypoints).to(gt))


class StoredPoseDetector(PoseDetector):
    """Poses that a file holds for each frame. predictions: its path; it is read when the first frame is looked at.

    Raises DataError where the file cannot be read, and for a frame that it says nothing of.
    """

    origin = "poses of a file"

    def __init__(self, boxes: BoxRule, skeleton: Skeleton, predictions: str) -> None:
        super().__init__(boxes)
        self.skeleton, self.predictions = skeleton, Path(predictions)
        self.stored: StoredPoses | None = None

    def find(self, batch: PoseBatch) -> list[PoseInstances]:
        """The poses stored for each frame, brought to where the frame shows them."""
        stored = self.read()
        return [
            self._in_frame(stored.of(key), crop_to_image)
            for key, crop_to_image in zip(batch.keys, batch.crop_to_image, strict=True)
        ]

    def read(self) -> StoredPoses:
        """What the file holds."""
        if self.stored is None:
            self.stored = read_poses(self.predictions, self.skeleton)
        return self.stored

    def _in_frame(self, poses: Any, crop_to_image: Tensor) -> PoseInstances:
        """Poses (M, K, 3) of x, y in the image and score; a frame that was mirrored has changed left and right."""
        matrix = crop_to_image.cpu().numpy()
        content = torch.from_numpy(poses).to(crop_to_image.device)  # (M, K, 3)
        if matrix[0, 0] * matrix[1, 1] < matrix[0, 1] * matrix[1, 0]:
            content = content[:, list(self.skeleton.flip_order)]
        image_to_crop = torch.from_numpy(invert_affine(matrix)).to(content)
        scores = content[..., 2].float().nan_to_num(0.0)
        found = instances_of(apply_affine(image_to_crop, content[..., :2]).float(), scores)
        return _surest_first(found)


class ModelPoseDetector(PoseDetector):
    """Poses that another model finds in the frames; it stays as it is, and its weights are saved with ours.

    bottom_up: the pipeline of that model. checkpoint: its run's, to take the weights from.
    """

    origin = "poses of a model"

    def __init__(self, boxes: BoxRule, bottom_up: Any, checkpoint: str | None = None) -> None:
        super().__init__(boxes)
        self.bottom_up = bottom_up.requires_grad_(False).eval()
        if checkpoint is not None:
            self.load(checkpoint)

    def load(self, checkpoint: str | Path) -> None:
        """Take over the weights of the model's own run. Raises CheckpointError where they are not there."""
        path = Path(checkpoint)
        try:
            state = read_checkpoint_file(path)["state_dict"]
            learned = [state[name] for name, _ in self.bottom_up.named_parameters() if name in state]
            if not all(bool(weight.isfinite().all()) for weight in learned):
                raise ValueError("its weights are not finite")
            self.bottom_up.load_state_dict(state)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"detector.checkpoint: {path} does not hold the weights of the model it describes ({reason}). "
                "Give the best.ckpt of a run of dlcpose."
            ) from error

    @torch.no_grad()
    def find(self, batch: PoseBatch) -> list[PoseInstances]:
        """What the model finds in the frames, brought to its own input and back."""
        seen = fit_batch_to_canvas(self.bottom_up.model_input, batch)
        return [
            _surest_first(_in_pixels_of(prediction, batch.crop_to_image[index]))
            for index, prediction in enumerate(self.bottom_up.predict_batch(seen))
        ]


def conditions(
    boxes: BoxRule,
    skeleton: Skeleton,
    bottom_up: Any = None,
    *,
    checkpoint: str | None = None,
    predictions: str | None = None,
) -> PoseDetector:
    """The detector whose poses are a model's, or those of a file: one of `bottom_up` and `predictions` is given.

    Raises ConfigError where neither or both are, CheckpointError where the model finds other keypoints.
    """
    if (bottom_up is None) == (predictions is None):
        raise ConfigError(
            f"detector: conditions come from a model or from a file, got {'neither' if bottom_up is None else 'both'}. "
            "Give detector.checkpoint=best.ckpt of a run that finds several animals, or detector.predictions=FILE; or take "
            "detector=perturbed_pose_boxes, which draws them from labels."
        )
    if predictions is not None:
        return StoredPoseDetector(boxes, skeleton, predictions)
    theirs = bottom_up.skeleton.names
    if theirs != skeleton.names:
        raise CheckpointError(
            f"detector.checkpoint: {checkpoint or 'the model of the conditions'} finds the keypoints {', '.join(theirs)}, "
            f"the conditioned model {', '.join(skeleton.names)}. Give a model of the same keypoints in the same order."
        )
    return ModelPoseDetector(boxes, bottom_up, checkpoint)


def fit_batch_to_canvas(model_input: Input, batch: PoseBatch) -> PoseBatch:
    """A batch's frames as another model wants to see them, without their labels.

    Frames are taken with the padding they have. What has to shrink is averaged on the device, which differs by a grey
    value here and there from what the model was shown of image files.
    """
    size = (batch.images.shape[-2], batch.images.shape[-1])
    frame_to_canvas, scaled, canvas = place_on_canvas(model_input, size)
    images = batch.images.float()
    if scaled != size:
        images = functional.interpolate(images, scaled, mode="bilinear", align_corners=False, antialias=True)
    images = functional.pad(images, (0, canvas[1] - scaled[1], 0, canvas[0] - scaled[0]))
    canvas_to_frame = torch.from_numpy(invert_affine(frame_to_canvas)).to(batch.crop_to_image)
    background = ("keypoints_in_crop", "visibility", "boxes_in_crop", "areas", "identities")
    return replace(
        batch,
        images=images.round().clamp(0, 255).to(torch.uint8),
        unique_in_crop=batch.unique_in_crop[:, :0],
        sizes=(),
        crop_to_image=compose_affine(batch.crop_to_image, canvas_to_frame.expand(len(batch), 2, 3)),
        **{name: getattr(batch, name)[:, :0] for name in background},
    )


def points_in_frame(keypoints_in_image: Floats, crop_to_image: Tensor) -> Tensor:
    """Points of the source image in the pixels of a frame that was cut out of it: (M, K, 2), (2, 3) -> (M, K, 2)."""
    image_to_crop = torch.from_numpy(invert_affine(crop_to_image.cpu().numpy()))
    moved = apply_affine(image_to_crop, torch.from_numpy(keypoints_in_image).double())
    return moved.float().to(crop_to_image.device)


def _in_pixels_of(prediction: PosePrediction, crop_to_image: Tensor) -> PoseInstances:
    """Animals of the source image in the pixels of a frame that was cut out of it."""
    device = crop_to_image.device
    return instances_of(
        points_in_frame(prediction.keypoints_in_image, crop_to_image),
        torch.from_numpy(prediction.keypoint_scores).to(device),
        torch.from_numpy(prediction.scores).to(device),
        identities=torch.from_numpy(prediction.identities).to(device),
    )


def _certain(keypoints_in_frame: Tensor) -> PoseInstances:
    """Poses (N, K, 2) that nobody doubts."""
    return instances_of(
        keypoints_in_frame,
        (~keypoints_in_frame.isnan().any(dim=-1)).to(keypoints_in_frame.dtype),
        keypoints_in_frame.new_ones(len(keypoints_in_frame)),
    )


def _surest_first(found: PoseInstances) -> PoseInstances:
    """Poses with a keypoint, in the order of their scores."""
    known = ~found.keypoints_in_crop.isnan().any(dim=-1).all(dim=-1)
    order = found.scores.argsort(descending=True, stable=True)
    order = order[known[order]]
    each = ("keypoints_in_crop", "keypoint_scores", "scores", "identities")
    return replace(found, **{name: getattr(found, name)[order] for name in each})
