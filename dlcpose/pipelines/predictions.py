"""From the animals of a batch, in pixels of its crops, to predictions in pixels of the source images."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlcpose.codecs.affine import apply_affine, apply_affine_to_boxes
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances, PosePrediction


def predictions_in_image(
    batch: PoseBatch, instances: Sequence[PoseInstances], boxes_in_crop: Sequence[Tensor] | None = None
) -> list[PosePrediction]:
    """Decoded animals, and the boxes (M, 4) they were detected in, moved from the crop to the source image."""
    boxes = boxes_in_crop or [each.scores.new_full((len(each), 4), torch.nan) for each in instances]
    # All of a batch in one go: from a GPU each copy of its own waits for everything before it.
    tensors = [getattr(each, name) for each in instances for name in _FIELDS]
    copied = iter(_on_cpu([*tensors, *boxes, *batch.crop_to_image]))
    instances = [PoseInstances(**{name: next(copied) for name in _FIELDS}) for _ in instances]
    boxes = [next(copied) for _ in instances]
    return [
        _prediction(key, each, box, crop_to_image)
        for key, each, box, crop_to_image in zip(batch.keys, instances, boxes, copied, strict=True)
    ]


_FIELDS = tuple(field.name for field in fields(PoseInstances))


def _on_cpu(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors as they are, on the CPU: those of one kind are copied there together."""
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return list(tensors)
    copied: dict[int, Tensor] = {}
    for dtype in {tensor.dtype for tensor in tensors}:
        places = [place for place, tensor in enumerate(tensors) if tensor.dtype == dtype]
        flat = torch.cat([tensors[place].detach().flatten() for place in places]).cpu()
        parts = torch.split(flat, [tensors[place].numel() for place in places])
        copied |= {place: part.view(tensors[place].shape) for place, part in zip(places, parts, strict=True)}
    return [copied[place] for place in range(len(tensors))]


def _prediction(key: str, instances: PoseInstances, boxes_in_crop: Tensor, crop_to_image: Tensor) -> PosePrediction:
    matrix = crop_to_image.cpu().numpy()

    def floats(tensor: Tensor) -> Any:
        return tensor.detach().float().cpu().numpy()

    return PosePrediction(
        key=key,
        keypoints_in_image=apply_affine(matrix, floats(instances.keypoints_in_crop)),
        keypoint_scores=floats(instances.keypoint_scores),
        scores=floats(instances.scores),
        identities=instances.identities.cpu().numpy().astype(np.int64),
        unique_in_image=apply_affine(matrix, floats(instances.unique_in_crop)),
        unique_scores=floats(instances.unique_scores),
        boxes_in_image=floats(apply_affine_to_boxes(crop_to_image, boxes_in_crop)),
    )
