"""The table of docs/conversion.md: real labels through every format and back. `python benchmarks/round_trips.py DATA...`"""

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.readers import READERS, open_data
from dlcpose.exporters.label_formats import LABEL_FORMATS
from dlcpose.structures.errors import DataError


def main(sources: list[Path]) -> None:
    print("| data | read as | frames, animals | through | largest difference | images | lost there | lost back |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for source in sources:
        data = open_data(source)
        own = next(name for name, reader in READERS.load().items() if isinstance(data, reader))
        animals = sum(len(frame) for frame in data.frames)
        for name in LABEL_FORMATS.load():
            begin = f"| {source.name} | {own} | {len(data)}, {animals} | {name} |"
            with TemporaryDirectory() as folder:
                try:
                    print(begin, " | ".join(there_and_back(data, own, name, Path(folder))), "|", flush=True)
                except DataError as error:
                    print(begin, "refused:", str(error).partition(";")[0], "| | | |", flush=True)


def there_and_back(data: LabeledFrames, own: str, name: str, folder: Path) -> tuple[str, ...]:
    """Largest difference, images that are the same, and what was told as lost on each way."""
    there, lost = written(data, name, folder / "there")
    back, lost_back = written(there, own, folder / "back")
    place: dict[object, int] = {(stem(frame.video), frame.frame_index): i for i, frame in enumerate(back.frames)}
    place |= {Path(frame.key).stem: index for index, frame in enumerate(back.frames)}  # photos, which are of no video
    largest, same, compared = 0.0, 0, 0
    for index, frame in enumerate(data.frames):
        other = place.get((stem(frame.video), frame.frame_index) if frame.video else Path(frame.key).stem)
        if other is None:
            continue
        one, two = (by_place(each.exact_keypoints) for each in (frame, back.frames[other]))
        if one.shape != two.shape or (np.isnan(one) != np.isnan(two)).any():
            raise AssertionError(f"{frame.key}: {one} {two}")
        largest = max(largest, float(np.nanmax(np.abs(one - two), initial=0)))
        compared += 1
        same += np.array_equal(data.read_image(index), back.read_image(other))
    return f"{largest:g} px", f"{same} of {compared} the same", lost or "nothing", lost_back or "nothing"


def written(data: LabeledFrames, name: str, path: Path) -> tuple[LabeledFrames, str]:
    form = LABEL_FORMATS.load()[name]
    target = path.with_name(f"{path.name}.pkg{form.suffix}") if form.suffix else path
    losses = ", ".join(f"{loss.count} {loss.kind}" for loss in form.losses(data, target))
    form.write(data, target, fps=None)
    return READERS.load()[name].open(target), losses


def stem(video: str) -> str:
    """A video's name without what formats add or leave out."""
    return re.sub(r"(_\d+x\d+)?(\.mp4)?$", "", video)


def by_place(animals: np.ndarray) -> np.ndarray:
    """Animals in an order that does not depend on their names: (N, K, 2)."""
    return animals[np.lexsort(np.nan_to_num(animals.reshape(len(animals), -1)).T)] if len(animals) else animals


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
