"""Crops of a batch's frames as DeepLabCut 3 cuts them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dlcpose.codecs.affine import apply_affine_to_boxes, compose_affine, invert_affine
from dlcpose.codecs.deeplabcut_crops import cut, region_around
from dlcpose.pipelines.animal_crops import AnimalCrops
from dlcpose.structures.batch import PoseBatch


def cut_deeplabcut_crops(
    frames: PoseBatch,
    boxes_in_frame: Sequence[Tensor],
    size: tuple[int, int],
    *,
    margin: float,
    with_context: bool,
) -> AnimalCrops:
    """Crops of `size` (height, width) around the boxes (M, 4) of each frame, as uint8 images without labels."""
    boxes = torch.cat(list(boxes_in_frame))  # (M, 4)
    counts = torch.tensor([len(each) for each in boxes_in_frame], device=boxes.device)
    places = torch.arange(len(counts), device=boxes.device).repeat_interleave(counts)  # (M,)
    images = frames.images.permute(0, 2, 3, 1).cpu().numpy()
    crops, matrices = np.zeros((len(boxes), *size, 3), np.uint8), np.zeros((len(boxes), 2, 3))
    for number, (place, box) in enumerate(zip(places.tolist(), boxes.double().cpu().numpy(), strict=True)):
        own_size = frames.own_sizes[place]
        region = region_around(box, own_size, size, margin=margin, with_context=with_context)
        crops[number] = cut(images[place, : own_size[0], : own_size[1]], region, size)
        matrices[number] = region.crop_to_frame(size) if all(region.size) else np.eye(3)[:2]
    crop_to_frame = torch.from_numpy(matrices).to(boxes.device)
    frame_to_crop = invert_affine(crop_to_frame)
    count, keypoints = len(boxes), frames.keypoints_in_crop.shape[2]
    batch = PoseBatch(
        keys=tuple(frames.keys[place] for place in places.tolist()),
        images=torch.from_numpy(crops).permute(0, 3, 1, 2).to(boxes.device),
        keypoints_in_crop=boxes.new_full((count, 1, keypoints, 2), torch.nan),
        visibility=torch.zeros((count, 1, keypoints), dtype=torch.int64, device=boxes.device),
        boxes_in_crop=apply_affine_to_boxes(frame_to_crop, boxes)[:, None],
        areas=boxes.new_full((count, 1), torch.nan),
        identities=torch.full((count, 1), -1, device=boxes.device),
        unique_in_crop=boxes.new_zeros((count, 0, 2)),
        crop_to_image=compose_affine(frames.crop_to_image[places], crop_to_frame),
    )
    return AnimalCrops(batch, places, frame_to_crop, crop_to_frame)
