"""Inspection of a data set: counts, findings, and a contact sheet of frames."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from dlcpose.augmentations.auto import AutoAugmentation
from dlcpose.codecs.pose_variation import animal_shares
from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.label_checks import KeypointCount, Swap, count_keypoints, find_coinciding, find_swaps
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import DataError
from dlcpose.structures.input import letterbox
from dlcpose.structures.sample import Image
from dlcpose.visualization.pictures import contact_sheet, draw_poses, write_picture
from dlcpose.visualization.terminal import plain

PICTURES = 16


@dataclass(frozen=True)
class Inspection:
    """Counts of a data set, and suspected errors in it.

    empty: number of frames without any animal. videos: number of frames by video. sizes: number of frames by (height,
    width). augmentation: what augmentation=auto would choose from the labels, a line each. duplicate_images: keys of frames
    with the same pixels. coinciding and unreadable: one line each.
    """

    frames: int
    empty: int
    animals: int
    individuals: tuple[str, ...]
    videos: Mapping[str, int]
    sizes: Mapping[tuple[int, int], int]
    keypoints: tuple[KeypointCount, ...]
    augmentation: tuple[str, ...]
    swaps: tuple[Swap, ...]
    duplicate_images: tuple[tuple[str, ...], ...]
    coinciding: tuple[str, ...]
    unreadable: tuple[str, ...]

    @property
    def findings(self) -> list[str]:
        """Everything that looks wrong, one line each."""
        return [
            *self.unreadable,
            *(f"{', '.join(keys)}: the images are the same" for keys in self.duplicate_images),
            *(str(swap) for swap in self.swaps),
            *self.coinciding,
        ]


def inspect_frames(data: LabeledFrames) -> Inspection:
    """Count and check the labels and images of a data set; every image is decoded."""
    unreadable, keys_by_pixels = [], defaultdict(list)
    for index, frame in enumerate(data.frames):
        try:
            image = data[index].image
        except DataError as error:
            unreadable.append(str(error))
            continue
        digest = hashlib.sha256(image.tobytes()).digest()
        keys_by_pixels[image.shape, digest].append(frame.key)
    return Inspection(
        frames=len(data.frames),
        empty=sum(len(frame) == 0 for frame in data.frames),
        animals=sum(len(frame) for frame in data.frames),
        individuals=data.individuals,
        videos=Counter(frame.video for frame in data.frames if frame.video),
        sizes=Counter((frame.height, frame.width) for frame in data.frames),
        keypoints=tuple(count_keypoints(data.frames, data.skeleton)),
        augmentation=_augmentation_choices(data),
        swaps=tuple(find_swaps(data.frames, data.skeleton)),
        duplicate_images=tuple(tuple(keys) for keys in keys_by_pixels.values() if len(keys) > 1),
        coinciding=tuple(find_coinciding(data.frames, data.skeleton)),
        unreadable=tuple(dict.fromkeys(unreadable)),  # a missing video gives one line, not one for each frame
    )


def _augmentation_choices(data: LabeledFrames) -> tuple[str, ...]:
    """What augmentation=auto would choose from all labels for a model of whole frames."""
    if not any(len(frame) for frame in data.frames):
        return ()
    model_input = letterbox([(frame.height, frame.width) for frame in data.frames], 32, animal_shares(data.frames))
    _, choices = AutoAugmentation().choose(data.frames, data.skeleton, model_input, may_crop=True)
    return choices


def write_contact_sheet(data: LabeledFrames, inspection: Inspection, out: Path) -> bool:
    """Write a picture of up to 16 frames with their labels: suspected swaps first, the others evenly chosen.

    Returns whether there was a frame to draw.
    """
    suspected = {swap.key: f"{swap.left}/{swap.right}?" for swap in inspection.swaps}
    places = {frame.key: index for index, frame in enumerate(data.frames)}
    evenly = np.linspace(0, len(data.frames) - 1, min(PICTURES, len(data.frames))).round().astype(int).tolist()
    first = [places[key] for key in suspected][: PICTURES // 2]
    images: list[Image] = []
    captions: list[str] = []
    for index in dict.fromkeys([*first, *evenly]):
        try:
            sample = data[index]
        except DataError:  # `inspect_frames` has listed the image as unreadable among the findings
            continue
        labels = sample.labels
        images.append(
            draw_poses(sample.image, labels.keypoints_in_image, data.skeleton, unique_in_image=labels.unique_in_image)
        )
        key = labels.key
        captions.append(f"{Path(key).name} {suspected.get(key, '')}".strip())
    if images:
        write_picture(out, contact_sheet(images[:PICTURES], captions[:PICTURES], columns=4, tile=320))
    return bool(images)


def inspection_table(inspection: Inspection) -> Group:
    """The inspection for the screen: facts, a table of keypoints, and how many findings there are.

    The choices of augmentation are long lines, which commands print as they are.
    """
    sizes = ", ".join(f"{width}x{height} ({count})" for (height, width), count in inspection.sizes.items())
    facts = Table(show_header=False, box=None)
    for name, fact in (
        ("frames", f"{inspection.frames}, {inspection.empty} of them without an animal"),
        ("videos", ", ".join(f"{video} ({count})" for video, count in inspection.videos.items()) or "not stated"),
        ("animals", f"{inspection.animals} {', '.join(inspection.individuals)}".strip()),
        ("image sizes", sizes),
    ):
        facts.add_row(name, plain(fact))
    table = Table("keypoint", "labeled", "missing", "out of frame")
    for count in inspection.keypoints:
        table.add_row(plain(count.name), str(count.labeled), str(count.missing), str(count.out_of_frame))
    found = len(inspection.findings)
    summary = counted(found, "finding") if found else "nothing looks wrong"
    return Group(facts, table, Text(summary))
