"""Detectors that yield poses (conditions) and the boxes around them: of another model, of a file, or perturbed labels."""

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from dlcpose.codecs.affine import apply_affine, compose_affine, invert_affine, place_on_canvas
from dlcpose.codecs.pose_conditions import PoseNoise, perturb_poses, rng_for_frame
from dlcpose.detectors.base import Boxes, BoxRule, Detector
from dlcpose.detectors.pose_files import StoredPoses, read_poses
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.checkpoint_file import read_checkpoint_file
from dlcpose.structures.errors import CheckpointError, ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.instances import Floats, PoseInstances, PosePrediction
from dlcpose.structures.skeleton import Skeleton


class PoseDetector(Detector):
    """Detects animals as poses, and the boxes around them. origin: where the poses come from, as text."""

    is_trainable = False
    finds_poses = True
    origin: ClassVar[str]

    def losses(self, batch: PoseBatch) -> dict[str, Tensor]:
        """None."""
        return {}

    @abstractmethod
    def detect_poses(self, batch: PoseBatch) -> list[PoseInstances]:
        """The poses in each frame, in its pixels, by descending score; each has a keypoint at least."""

    def detect(self, batch: PoseBatch) -> list[Boxes]:
        """The boxes around the poses in each frame."""
        return [Boxes(self._boxes(each.keypoints_in_crop), each.scores) for each in self.detect_poses(batch)]

    def _boxes(self, keypoints_in_frame: Tensor) -> Tensor:
        return self.box_rule(keypoints_in_frame, keypoints_in_frame.new_full((len(keypoints_in_frame), 4), torch.nan))


class PerturbedPoseDetector(PoseDetector):
    """Labeled poses perturbed with the errors of bottom-up models, to evaluate a conditional model on its own.

    The errors of a frame are always the same. seed: of their random numbers.
    """

    needs_labels = True
    origin = "labeled poses with errors"

    def __init__(self, boxes: BoxRule, skeleton: Skeleton, *, seed: int = 0) -> None:
        super().__init__(boxes)
        self.skeleton, self.seed = skeleton, seed

    def detect_poses(self, batch: PoseBatch) -> list[PoseInstances]:
        """One pose for each labeled animal, with a score of 1."""
        return [
            self._perturb(key, keypoints[~keypoints.isnan().any(dim=-1).all(dim=-1)])
            for key, keypoints in zip(batch.keys, batch.keypoints_in_crop, strict=True)
        ]

    def _perturb(self, key: str, gt: Tensor) -> PoseInstances:
        perturbed = perturb_poses(
            gt.cpu().numpy(),
            gt.new_full((len(gt),), torch.nan).cpu().numpy(),
            self.skeleton.sigmas,
            self.skeleton.flip_order,
            PoseNoise(),
            rng_for_frame(key, self.seed),
        )
        keypoints = torch.from_numpy(perturbed.keypoints).to(gt)
        is_known = ~keypoints.isnan().any(dim=-1)
        return PoseInstances.from_keypoints(keypoints, is_known.to(gt.dtype), gt.new_ones(len(gt)))


class StoredPoseDetector(PoseDetector):
    """Poses stored in a file for each frame. predictions: its path; it is read when the first frame is needed.

    Raises DataError where the file cannot be read, and for a frame that is not in it.
    """

    origin = "poses of a file"

    def __init__(self, boxes: BoxRule, skeleton: Skeleton, predictions: str) -> None:
        super().__init__(boxes)
        self.skeleton, self.predictions = skeleton, Path(predictions)
        self.stored: StoredPoses | None = None

    def detect_poses(self, batch: PoseBatch) -> list[PoseInstances]:
        """The poses stored for each frame, in its pixels."""
        stored = self.read()
        return [
            self._in_frame(stored.poses_of(key), crop_to_image)
            for key, crop_to_image in zip(batch.keys, batch.crop_to_image, strict=True)
        ]

    def read(self) -> StoredPoses:
        """The content of the file, read once."""
        if self.stored is None:
            self.stored = read_poses(self.predictions, self.skeleton)
        return self.stored

    def _in_frame(self, poses: Any, crop_to_image: Tensor) -> PoseInstances:
        """Poses (M, K, 3) of x, y in the image and score; in a frame that was flipped, left and right are swapped."""
        matrix = crop_to_image.cpu().numpy()
        content = torch.from_numpy(poses).to(crop_to_image.device)  # (M, K, 3)
        if matrix[0, 0] * matrix[1, 1] < matrix[0, 1] * matrix[1, 0]:
            content = content[:, list(self.skeleton.flip_order)]
        image_to_crop = torch.from_numpy(invert_affine(matrix)).to(content)
        scores = content[..., 2].float().nan_to_num(0.0)
        keypoints_in_crop = apply_affine(image_to_crop, content[..., :2]).float()
        return PoseInstances.from_keypoints(keypoints_in_crop, scores).sort_by_score()


class ModelPoseDetector(PoseDetector):
    """Poses that another model predicts in the frames; it is not trained, and its weights are saved with ours.

    bottom_up: that model, a PoseModule. checkpoint: of its run, to load its weights from.
    """

    origin = "poses of a model"

    def __init__(self, boxes: BoxRule, bottom_up: Any, checkpoint: str | None = None) -> None:
        super().__init__(boxes)
        self.bottom_up = bottom_up.requires_grad_(False).eval()
        if checkpoint is not None:
            self.load(checkpoint)

    def load(self, checkpoint: str | Path) -> None:
        """Load the weights of the model's own run. Raises CheckpointError where they do not fit."""
        path = Path(checkpoint)
        try:
            state = read_checkpoint_file(path)["state_dict"]
            learned = [state[name] for name, _ in self.bottom_up.named_parameters() if name in state]
            if not all(bool(weight.isfinite().all()) for weight in learned):
                raise ValueError("its weights are not finite")
            self.bottom_up.load_state_dict(state)
            self.bottom_up.loaded_from = path
            self.is_trained = True
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"detector.checkpoint: {path} does not hold the weights of the model it describes ({reason}). "
                "Give the best.ckpt of a run of dlcpose."
            ) from error

    @torch.no_grad()
    def detect_poses(self, batch: PoseBatch) -> list[PoseInstances]:
        """The model's predictions for the frames, resized to its own input, in the frames' pixels."""
        predictions = self.bottom_up.predict_batch(fit_batch_to_canvas(self.bottom_up.frame_input, batch))
        return [
            _in_frame(prediction, crop_to_image).sort_by_score()
            for prediction, crop_to_image in zip(predictions, batch.crop_to_image, strict=True)
        ]


def pose_detector(
    boxes: BoxRule,
    skeleton: Skeleton,
    bottom_up: Any = None,
    *,
    checkpoint: str | None = None,
    predictions: str | None = None,
) -> PoseDetector:
    """The detector whose poses are those of a model or of a file: either `bottom_up` or `predictions` is given.

    Raises ConfigError where neither or both are, CheckpointError where the model predicts other keypoints.
    """
    if (bottom_up is None) == (predictions is None):
        raise ConfigError(
            f"detector: conditions come from a model or from a file, got {'neither' if bottom_up is None else 'both'}. "
            "Give detector.checkpoint=best.ckpt of a model of several animals, or detector.predictions=FILE; or take "
            "detector=perturbed_pose_boxes, which perturbs the labels."
        )
    if predictions is not None:
        return StoredPoseDetector(boxes, skeleton, predictions)
    theirs = bottom_up.skeleton.names
    if theirs != skeleton.names:
        raise CheckpointError(
            f"detector.checkpoint: {checkpoint or 'the model of the conditions'} predicts the keypoints {', '.join(theirs)}, "
            f"the conditional model {', '.join(skeleton.names)}. Give a model of the same keypoints in the same order."
        )
    return ModelPoseDetector(boxes, bottom_up, checkpoint)


def fit_batch_to_canvas(model_input: Input, batch: PoseBatch) -> PoseBatch:
    """A batch's frames resized and padded as another model reads them, without their labels.

    Frames keep the padding they have. They are scaled down on the device, which differs here and there by a gray value
    from the same model reading the image files.
    """
    size = (batch.images.shape[-2], batch.images.shape[-1])
    frame_to_canvas, scaled, canvas = place_on_canvas(model_input, size)
    images = batch.images.float()
    if scaled != size:
        images = functional.interpolate(images, scaled, mode="bilinear", align_corners=False, antialias=True)
    images = functional.pad(images, (0, canvas[1] - scaled[1], 0, canvas[0] - scaled[0]))
    canvas_to_frame = torch.from_numpy(invert_affine(frame_to_canvas)).to(batch.crop_to_image)
    labels = ("keypoints_in_crop", "visibility", "boxes_in_crop", "areas", "identities")
    return replace(
        batch,
        images=images.round().clamp(0, 255).to(torch.uint8),
        unique_in_crop=batch.unique_in_crop[:, :0],
        sizes=(),
        shown=(scaled,) * len(batch),
        crop_to_image=compose_affine(batch.crop_to_image, canvas_to_frame),
        **{name: getattr(batch, name)[:, :0] for name in labels},
    )


def points_in_frame(keypoints_in_image: Floats, crop_to_image: Tensor) -> Tensor:
    """Points of the source image in the pixels of a frame: (M, K, 2), (2, 3) -> (M, K, 2) float32 on the frame's device."""
    image_to_crop = torch.from_numpy(invert_affine(crop_to_image.cpu().numpy()))
    moved = apply_affine(image_to_crop, torch.from_numpy(keypoints_in_image).double())
    return moved.float().to(crop_to_image.device)


def _in_frame(prediction: PosePrediction, crop_to_image: Tensor) -> PoseInstances:
    """Animals of the source image in the pixels of a frame."""
    device = crop_to_image.device
    return PoseInstances.from_keypoints(
        points_in_frame(prediction.keypoints_in_image, crop_to_image),
        torch.from_numpy(prediction.keypoint_scores).to(device),
        torch.from_numpy(prediction.scores).to(device),
        identities=torch.from_numpy(prediction.identities).to(device),
    )
