"""The table of docs/conversion.md: real labels through every format and back. `python benchmarks/round_trips.py DATA...`"""

import argparse
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from report import Report

from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.readers import READERS, open_data
from dlcpose.exporters.label_formats import LABEL_FORMATS
from dlcpose.structures.errors import DataError


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path, nargs="+", metavar="DATA")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    report = Report("Real labels through every format and back")
    for source in arguments.sources:
        data = open_data(source)
        own = next(name for name, reader in READERS.load().items() if isinstance(data, reader))
        animals = sum(len(frame) for frame in data.frames)
        for name in LABEL_FORMATS.load():
            begin = {"data": source.name, "read as": own, "frames, animals": f"{len(data)}, {animals}", "through": name}
            with TemporaryDirectory() as folder:
                try:
                    report.add({**begin, **there_and_back(data, own, name, Path(folder))})
                except DataError as error:
                    report.add({**begin, "largest difference": f"refused: {str(error).partition(';')[0]}"})
    report.finish(arguments.json)


def there_and_back(data: LabeledFrames, own: str, name: str, folder: Path) -> dict[str, str]:
    """Largest difference, images that are the same, and what was listed as lost in each direction."""
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
    return {
        "largest difference": f"{largest:g} px",
        "images": f"{same} of {compared} the same",
        "lost there": lost or "nothing",
        "lost back": lost_back or "nothing",
    }


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
    main()
