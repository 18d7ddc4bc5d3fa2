"""Finished stretches of a prediction on disk, which survive a kill at any moment."""

import json
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlcpose.prediction.pose_rows import OF_ANIMALS, OF_FRAMES, PoseRows, joined
from dlcpose.structures.atomic_files import atomic_path, write_atomic
from dlcpose.structures.checked_values import Fields
from dlcpose.structures.data_files import parse_json, read_json
from dlcpose.structures.errors import DataError
from dlcpose.structures.file_lock import alone

SETTINGS = "settings.json"
MAX_SETTINGS = 2**24  # bytes
MAX_SECONDS = 1e12
LOCK = ".lock"
SECONDS = 5.0  # seconds between two stretches, at first: the work that a kill may lose
SHARE = 0.02  # later, this share of the time so far lies between two stretches: a day's work is some hundred files
STATE = "state."  # before the names of a state's arrays
TRACK_IDS = "track_ids"


@dataclass(frozen=True)
class Finished:
    """The frames that an earlier attempt has finished.

    frames: how many. last: the last stretch of them. seconds: by stage. state: what the next frame depends on besides.
    """

    frames: int = 0
    last: PoseRows | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    state: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


class PartialResults:
    """A folder of finished stretches, `NAME.poses.partial`.

    Stretches are written atomically and numbered; those after a gap, which something else has removed, are predicted
    again. settings: those that a resumed run must share with the first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._waiting: list[PoseRows] = []
        self._state: Mapping[str, npt.NDArray[Any]] = {}
        self._count = 0  # of stretches on disk
        self._began = self._last = time.monotonic()

    def settings(self) -> dict[str, Any] | None:
        """Those of the run that was stopped; None where there is none, or where it was stopped before they were written."""
        try:
            content = read_json(self.folder / SETTINGS, max_bytes=MAX_SETTINGS)
        except DataError:
            return None
        return content if isinstance(content, dict) else None

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Start anew. Raises OSError where the folder cannot be written."""
        self.clear()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / SETTINGS, json.dumps(dict(settings), indent=1))

    def go_on(self) -> Finished:
        """What is finished, up to the first gap; what is beyond it is removed."""
        before, self._count = Finished(), 0
        while (path := self.folder / _name(self._count)).is_file():
            each = _read(path)
            before = replace(each, frames=before.frames + each.frames)
            self._count += 1
        for path in self._written()[self._count :]:
            path.unlink()
        return before

    def add(
        self, rows: PoseRows, seconds: Mapping[str, float], state: Mapping[str, npt.NDArray[Any]] | None = None
    ) -> None:
        """Add finished frames; from time to time all that were added are written. state: what the next frame depends on."""
        self._waiting.append(rows)
        self._state = state or {}
        now = time.monotonic()
        if now - self._last >= max(SECONDS, SHARE * (now - self._began)):
            self.flush(seconds)

    def flush(self, seconds: Mapping[str, float]) -> None:
        """Write the frames added since the last stretch. seconds: of all frames so far, by stage."""
        if self._waiting:
            self._write(self.folder / _name(self._count), Finished(0, joined(self._waiting), seconds, self._state))
            self._waiting, self._count = [], self._count + 1
        self._last = time.monotonic()

    def stretches(self) -> Iterator[PoseRows]:
        """The finished stretches in order, one at a time. Raises DataError where one of them has been removed."""
        names = {path.name for path in self._written()} | {_name(number) for number in range(self._count)}
        for number in range(len(names)):
            path = self.folder / _name(number)
            if not path.is_file():
                raise DataError(
                    f"{path}: finished frames have been removed. The same command again predicts a video's anew; those of "
                    "a camera after them are kept in this folder until it is moved away."
                )
            if (rows := _read(path).last) is not None:
                yield rows

    def clear(self) -> None:
        """Remove all of it."""
        self._count, self._waiting = 0, []
        if self.folder.is_dir():
            shutil.rmtree(self.folder)

    def _written(self) -> list[Path]:
        """The stretches on disk, in order."""
        numbered = [path for path in self.folder.glob("*.npz") if path.stem.isdecimal()]
        return sorted(numbered, key=lambda path: int(path.stem))

    def _write(self, path: Path, stretch: Finished) -> None:
        rows = stretch.last
        assert rows is not None
        arrays: dict[str, Any] = {"frame_indices": rows.frame_indices, "times": rows.times, "counts": rows.counts}
        arrays |= {**rows.animals, **rows.frames, **{STATE + name: values for name, values in stretch.state.items()}}
        arrays["seconds"] = np.frombuffer(json.dumps(dict(stretch.seconds)).encode(), np.uint8)
        if rows.track_ids is not None:
            arrays[TRACK_IDS] = rows.track_ids
        with atomic_path(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)


def held(folder: Path) -> AbstractContextManager[None]:
    """Lock the place of results, so that two commands never predict one video. Raises DataError where another does."""
    taken = DataError(
        f"{folder}: another command is predicting this video. Wait for it, or give this one another --output."
    )
    return alone(folder.with_name(f".{folder.name}{LOCK}"), taken)


def _name(number: int) -> str:
    return f"{number:06d}.npz"


def _read(path: Path) -> Finished:
    try:
        _check_stored(path)
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        stated = Fields(parse_json(arrays["seconds"].tobytes(), path), f"{path}: seconds")
        seconds = {name: stated.number(name, minimum=0, maximum=MAX_SECONDS) for name in stated.content}
        animals, frames = ({name: arrays[name] for name in names} for names in (OF_ANIMALS, OF_FRAMES))
        rows = PoseRows(
            arrays["frame_indices"], arrays["times"], arrays["counts"], animals, frames, arrays.get(TRACK_IDS)
        )
        state = {name.removeprefix(STATE): values for name, values in arrays.items() if name.startswith(STATE)}
        return Finished(len(rows), rows, seconds, state)
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: cannot be read as finished frames ({type(error).__name__}). Remove the folder, or add --overwrite."
        ) from error


def _check_stored(path: Path) -> None:
    """Raises ValueError for compressed arrays, which `_write` never leaves: a few kilobytes can stand for all memory.

    They lie beside the video, in a folder that may be somebody else's.
    """
    length = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > length:
                raise ValueError(f"{entry.filename[:80]!r} in it is compressed")
