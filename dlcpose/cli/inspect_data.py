"""`dlcpose inspect DATA`: what a data set holds, and what looks wrong in it, before anything is trained on it."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dlcpose.structures.errors import DataError, DlcposeError
from dlcpose.structures.sample import FrameLabels, Image
from dlcpose.structures.skeleton import Skeleton

if TYPE_CHECKING:
    from rich.console import Console

    from dlcpose.datasets.base import LabelledFrames

SAME_PLACE = 0.01  # px: nearer than this, two keypoints were put on one another
CLEARLY_BESIDE = 0.05  # of the body axis: a pair less far apart across it says nothing of left and right
MAJORITY = 0.8  # so many animals must agree before one that differs is suspected
FEWEST_ANIMALS = 5  # below this a majority means nothing
PICTURES = 16


@dataclass(frozen=True)
class KeypointCount:
    """How often a keypoint of the animals in the data is labelled, missing, or labelled outside its image."""

    name: str
    labelled: int
    missing: int
    out_of_frame: int


@dataclass(frozen=True)
class Swap:
    """A left/right pair of one animal that lies the other way round than in most animals."""

    key: str
    animal: int
    left: str
    right: str

    def __str__(self) -> str:
        return f"{self.key}: {self.left} and {self.right} of animal {self.animal} are probably swapped"


@dataclass(frozen=True)
class Inspection:
    """What a data set holds: counts, and frames to look at again.

    sizes: number of frames by (height, width). empty: frames without any animal. duplicate_images: keys of frames whose
    pixels are the same. duplicate_keypoints and unreadable: one line each.
    """

    frames: int
    empty: int
    animals: int
    individuals: tuple[str, ...]
    videos: Mapping[str, int]
    sizes: Mapping[tuple[int, int], int]
    keypoints: tuple[KeypointCount, ...]
    swaps: tuple[Swap, ...]
    duplicate_images: tuple[tuple[str, ...], ...]
    duplicate_keypoints: tuple[str, ...]
    unreadable: tuple[str, ...]

    @property
    def findings(self) -> list[str]:
        """Everything that looks wrong, one line each."""
        return [
            *self.unreadable,
            *(f"{', '.join(keys)}: the images are the same" for keys in self.duplicate_images),
            *(str(swap) for swap in self.swaps),
            *self.duplicate_keypoints,
        ]


def inspect_command(data: Path, out: Path = Path("inspection.png")) -> None:
    """Count what a data set holds, list what looks wrong in it, and draw some of its frames into a picture."""
    import typer
    from rich.console import Console

    try:
        inspection = inspect(open_data(data), out)
    except DlcposeError as error:
        typer.echo(f"dlcpose: {error}", err=True)
        raise typer.Exit(code=1) from error
    _print(inspection, Console())
    typer.echo(f"Pictures: {out}")


def open_data(path: Path) -> "LabelledFrames":
    """The reader that fits a path: a DeepLabCut project's folder, a COCO json, or a folder that has one.

    Raises DataError where none fits.
    """
    from dlcpose.datasets.coco import CocoFrames, coco_files, image_root
    from dlcpose.datasets.deeplabcut import DeepLabCutFrames

    if not path.exists():
        raise DataError(f"{path}: expected a data set, got nothing at this path. Correct the path.")
    if path.name == "config.yaml":
        return DeepLabCutFrames(path.parent)
    if (path / "config.yaml").is_file():
        return DeepLabCutFrames(path)
    if path.suffix == ".json":
        return CocoFrames(image_root(path), annotations=str(path.resolve()))
    files = coco_files(path) if path.is_dir() else []
    if len(files) == 1:
        return open_data(files[0])
    expected = "a folder with config.yaml (DeepLabCut), a COCO json or a folder with one"
    if files:
        raise DataError(f"{path}: expected {expected}, got {[file.name for file in files]}. Name one of them.")
    raise DataError(f"{path}: expected {expected}, got neither.")


def inspect(data: "LabelledFrames", out: Path | None) -> Inspection:
    """Count and check a data set; every image is decoded. Writes a contact sheet of some frames to `out`, if given."""
    unreadable, hashes = [], defaultdict(list)
    for index, frame in enumerate(data.frames):
        try:
            image = data[index].image
        except DataError as error:
            unreadable.append(str(error))
            continue
        digest = hashlib.sha256(image.tobytes()).digest()
        hashes[image.shape, digest].append(frame.key)
    inspection = Inspection(
        frames=len(data.frames),
        empty=sum(len(frame) == 0 for frame in data.frames),
        animals=sum(len(frame) for frame in data.frames),
        individuals=data.individuals,
        videos=Counter(frame.video for frame in data.frames if frame.video),
        sizes=Counter((frame.height, frame.width) for frame in data.frames),
        keypoints=tuple(_count_keypoints(data.frames, data.skeleton)),
        swaps=tuple(find_swaps(data.frames, data.skeleton)),
        duplicate_images=tuple(tuple(keys) for keys in hashes.values() if len(keys) > 1),
        duplicate_keypoints=tuple(_coinciding(data.frames, data.skeleton)),
        unreadable=tuple(unreadable),
    )
    if out is not None:
        _draw(data, inspection, out)
    return inspection


def find_swaps(frames: Sequence[FrameLabels], skeleton: Skeleton) -> list[Swap]:
    """Left/right pairs that lie the other way round than in most animals.

    Seen along the body, left lies on one side in all pictures that are taken from one side (from above, say). The body's
    axis is drawn between the two points of the midline that lie farthest apart: unpaired keypoints, and the middles of
    the other pairs. Where less than 80 % of the animals agree, as in pictures from all around, nothing is suspected.
    """
    animals = [
        (frame.key, number, points) for frame in frames for number, points in enumerate(frame.keypoints_in_image)
    ]
    if not animals:
        return []
    points_in_image = np.stack([points for _, _, points in animals]).astype(np.float64)  # (A, K, 2)
    swaps = []
    for left, right in skeleton.pairs:
        for sides in _sides(points_in_image, skeleton, left, right):  # (A,) each
            agreeing = (sides > 0).sum(), (sides < 0).sum()
            if sum(agreeing) < FEWEST_ANIMALS or max(agreeing) <= MAJORITY * sum(agreeing):
                continue
            unusual = 1 if agreeing[0] < agreeing[1] else -1
            swaps += [
                Swap(*animals[place][:2], skeleton.names[left], skeleton.names[right])
                for place in np.flatnonzero(sides == unusual)
            ]
    return sorted(swaps, key=lambda swap: (swap.key, swap.animal))


def _sides(
    points_in_image: npt.NDArray[np.float64], skeleton: Skeleton, left: int, right: int
) -> Iterable[npt.NDArray[np.int64]]:
    """On which side of its body axis each animal's left lies, 1 or -1, and 0 where that is not clear: (A,) for each axis.

    Animals whose ends of the longest axis are not labelled are judged along the next longest, among themselves.
    """
    midline = _midline(points_in_image, skeleton, left, right)  # (A, M, 2)
    axes = list(combinations(range(midline.shape[1]), 2))
    lengths = [np.linalg.norm(midline[:, head] - midline[:, tail], axis=-1) for head, tail in axes]  # (A,) each
    usual = [np.median(length[~np.isnan(length)]) if (~np.isnan(length)).any() else 0.0 for length in lengths]
    across = points_in_image[:, right] - points_in_image[:, left]  # (A, 2)
    judged = np.isnan(across).any(axis=-1)  # (A,)
    for place in np.argsort(usual)[::-1]:
        head, tail = axes[place]
        along = midline[:, head] - midline[:, tail]
        usable = ~judged & (lengths[place] > 0)  # NaN is not
        with np.errstate(invalid="ignore", divide="ignore"):
            beside = (along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]) / lengths[place] ** 2
        yield np.where(usable & (np.abs(beside) > CLEARLY_BESIDE), np.sign(beside), 0).astype(np.int64)
        judged |= usable


def _midline(
    points_in_image: npt.NDArray[np.float64], skeleton: Skeleton, left: int, right: int
) -> npt.NDArray[np.float64]:
    """Points that a swap of this pair does not move: (A, M, 2)."""
    paired = {index for pair in skeleton.pairs for index in pair}
    single = [points_in_image[:, index] for index in range(len(skeleton)) if index not in paired]
    middles = [
        (points_in_image[:, first] + points_in_image[:, second]) / 2
        for first, second in skeleton.pairs
        if (first, second) != (left, right)
    ]
    return np.stack([*single, *middles], axis=1) if single or middles else np.zeros((len(points_in_image), 0, 2))


def _count_keypoints(frames: Sequence[FrameLabels], skeleton: Skeleton) -> Iterable[KeypointCount]:
    animals = [(frame, points) for frame in frames for points in frame.keypoints_in_image]
    arenas = [(frame, frame.unique_in_image) for frame in frames]
    for names, owners in ((skeleton.names, animals), (skeleton.unique, arenas)):
        for place, name in enumerate(names):
            points = [(frame, points[place]) for frame, points in owners]
            labelled = [(frame, point) for frame, point in points if not np.isnan(point).any()]
            out_of_frame = sum(
                not (-0.5 <= x <= frame.width - 0.5 and -0.5 <= y <= frame.height - 0.5) for frame, (x, y) in labelled
            )
            yield KeypointCount(name, len(labelled), len(points) - len(labelled), out_of_frame)


def _coinciding(frames: Sequence[FrameLabels], skeleton: Skeleton) -> Iterable[str]:
    for frame in frames:
        for number, points in enumerate(frame.keypoints_in_image):
            apart = np.linalg.norm(points[:, None] - points[None], axis=-1)  # (K, K), NaN where one is missing
            for first, second in np.argwhere(np.triu(apart <= SAME_PLACE, k=1)):
                names = f"{skeleton.names[first]} and {skeleton.names[second]}"
                yield f"{frame.key}: {names} of animal {number} are at the same place"


def _draw(data: "LabelledFrames", inspection: Inspection, out: Path) -> None:
    """The frames with findings first, then some spread evenly over the data."""

    from dlcpose.visualization.pictures import contact_sheet, draw_poses, write_png

    wrong = {swap.key: f"{swap.left}/{swap.right}?" for swap in inspection.swaps}
    places = {frame.key: index for index, frame in enumerate(data.frames)}
    suspects = [places[key] for key in wrong]
    spread = np.linspace(0, len(data.frames) - 1, min(PICTURES, len(data.frames))).round().astype(int).tolist()
    images: list[Image] = []
    captions: list[str] = []
    for index in dict.fromkeys([*suspects[: PICTURES // 2], *spread]):
        try:
            sample = data[index]
        except DataError:  # told already
            continue
        images.append(draw_poses(sample.image, sample.labels.keypoints_in_image, data.skeleton))
        key = sample.labels.key
        captions.append(f"{Path(key).name} {wrong.get(key, '')}".strip())
    if not images:
        return
    write_png(out, contact_sheet(images[:PICTURES], captions[:PICTURES], columns=4, tile=320))


def _print(inspection: Inspection, console: "Console") -> None:
    from rich.table import Table

    sizes = ", ".join(f"{width}x{height} ({count})" for (height, width), count in inspection.sizes.items())
    facts = Table(show_header=False, box=None)
    for name, fact in (
        ("frames", f"{inspection.frames}, {inspection.empty} of them without an animal"),
        ("videos", ", ".join(f"{video} ({count})" for video, count in inspection.videos.items()) or "not stated"),
        ("animals", f"{inspection.animals} {', '.join(inspection.individuals)}".strip()),
        ("image sizes", sizes),
    ):
        facts.add_row(name, fact)
    console.print(facts)
    table = Table("keypoint", "labelled", "missing", "out of frame")
    for count in inspection.keypoints:
        table.add_row(count.name, str(count.labelled), str(count.missing), str(count.out_of_frame))
    console.print(table)
    console.print(f"{len(inspection.findings)} findings" if inspection.findings else "nothing looks wrong")
    for finding in inspection.findings:
        console.print(f"- {finding}", markup=False, highlight=False, soft_wrap=True)
