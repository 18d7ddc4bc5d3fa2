"""Crops of a batch's frames as DeepLabCut 3 cuts them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dlcpose.codecs.affine import invert_affine
from dlcpose.codecs.deeplabcut_crops import cut, region_around
from dlcpose.pipelines.animal_crops import AnimalCrops, boxes_of_frames, crops_without_labels
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
    boxes, places = boxes_of_frames(boxes_in_frame)
    images = frames.images.permute(0, 2, 3, 1).cpu().numpy()
    crops, matrices = np.zeros((len(boxes), *size, 3), np.uint8), np.zeros((len(boxes), 2, 3))
    for number, (place, box) in enumerate(zip(places.tolist(), boxes.double().cpu().numpy(), strict=True)):
        own_size = frames.own_sizes[place]
        region = region_around(box, own_size, size, margin=margin, with_context=with_context)
        crops[number] = cut(images[place, : own_size[0], : own_size[1]], region, size)
        matrices[number] = region.crop_to_frame(size) if all(region.size) else np.eye(3)[:2]
    crop_to_frame = torch.from_numpy(matrices).to(boxes.device)
    images_of_crops = torch.from_numpy(crops).permute(0, 3, 1, 2).to(boxes.device)
    return crops_without_labels(frames, images_of_crops, boxes, places, invert_affine(crop_to_frame), crop_to_frame)
