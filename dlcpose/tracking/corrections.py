"""Manual corrections of likely swaps: read from an untrusted file, and applied to tracks."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from dlcpose.structures.data_files import read_json, shown
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.tracking.track import in_columns

FORMAT, VERSION = "dlcpose-corrections", 1
MAX_BYTES, MAX_ENTRIES = 8 * 2**20, 20_000
Action = Literal["keep", "swap_from", "swap_between"]
ACTIONS = get_args(Action)
KEYS = {"format", "version", "video", "tracks", "corrections"}
ENTRY_KEYS = {"frame", "a", "b", "action"}  # and `to`, of a swap_between


@dataclass(frozen=True)
class Correction:
    """One decision about columns a and b of the uncorrected tracks: keep, or swap them.

    keep: nothing changes. swap_from: from frame `frame` to the end. swap_between: from `frame` to before `to`.
    """

    frame: int
    a: int
    b: int
    action: Action
    to: int | None = None


@dataclass(frozen=True)
class Corrections:
    """Decisions, in any order, for tracks of the video with this fingerprint. tracks: `tracks_digest` of those looked at."""

    video: str
    tracks: str
    corrections: tuple[Correction, ...]


def read_corrections(path: Path) -> Corrections:
    """The corrections of a file that a review page saved.

    Raises DataError when it cannot be read, is too large, or holds anything that is not expected.
    """
    return _checked(read_json(path, max_bytes=MAX_BYTES, finite=True), str(path))


def corrections_as_dict(corrections: Corrections) -> dict[str, Any]:
    """What a corrections file holds, as the review page writes it."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "video": corrections.video,
        "tracks": corrections.tracks,
        "corrections": [correction_as_dict(each) for each in corrections.corrections],
    }


def correction_as_dict(correction: Correction) -> dict[str, Any]:
    """One entry of such a file."""
    end = {} if correction.to is None else {"to": correction.to}
    return {"frame": correction.frame, "a": correction.a, "b": correction.b, "action": correction.action, **end}


def tracks_digest(tracks: PoseTracks) -> str:
    """A hash of tracks: of the frames and the keypoints in each column, but not of the animals' names."""
    digest = hashlib.sha256(np.ascontiguousarray(tracks.frame_indices, dtype="<i8").tobytes())
    keypoints = np.nan_to_num(tracks.keypoints_in_image, nan=-1e9)  # NaNs differ in their bits
    digest.update(np.ascontiguousarray(keypoints, dtype="<f4").tobytes())
    return digest.hexdigest()[:32]


def apply_corrections(tracks: PoseTracks, corrections: Corrections) -> PoseTracks:
    """Tracks with two columns exchanged wherever a correction says so; the order of the corrections does not matter.

    A correction's a and b are columns of the uncorrected tracks, as they were reviewed: the animal that is in column a
    after earlier corrections continues in column b. swap_between swaps at both frames. Raises DataError for corrections
    of another video or of other tracks, or with frames or columns that do not exist.
    """
    _check_belongs(tracks, corrections)
    swaps: list[tuple[int, int, int]] = []
    for each in corrections.corrections:
        if each.action != "keep":
            swaps += [(frame, each.a, each.b) for frame in (each.frame, each.to) if frame is not None]
    columns = np.empty((len(tracks), len(tracks.individuals)), np.int64)  # of each animal, by corrected name
    current, begin = np.arange(len(tracks.individuals)), 0  # from the row `begin` on
    for frame, a, b in sorted(swaps, key=lambda swap: swap[0]):
        row = int(np.searchsorted(tracks.frame_indices, frame))
        columns[begin:row] = current  # each row is written once: a file may have many thousand swaps
        current, begin = np.where(current == a, b, np.where(current == b, a, current)), row
    columns[begin:] = current
    return in_columns(tracks, columns)


def _check_belongs(tracks: PoseTracks, corrections: Corrections) -> None:
    if corrections.video != tracks.video.fingerprint:
        raise DataError(
            f"corrections: they are of the video {corrections.video}, but these tracks are of {tracks.video.path} "
            f"({tracks.video.fingerprint}). Give the corrections of this video."
        )
    if corrections.tracks != tracks_digest(tracks):
        raise DataError(
            f"corrections: they were made for other tracks of {tracks.video.path}: other poses, another number of animals, "
            "or other settings. Track as before, or review these tracks."
        )
    last = max(int(tracks.frame_indices[-1]) if len(tracks) else 0, tracks.video.frames - 1)
    for number, each in enumerate(corrections.corrections):
        where = f"corrections: entry {number + 1}"
        if max(each.a, each.b) >= len(tracks.individuals):
            raise DataError(
                f"{where}: expected animals from 0 to {len(tracks.individuals) - 1}, got {each.a} and {each.b}."
            )
        if each.frame > last or (each.to is not None and each.to > last + 1):
            given = f"{each.frame}" if each.to is None else f"{each.frame} to {each.to}"
            raise DataError(
                f"{where}: expected frames from 0 to {last}, got {given}. Save it from the review page again."
            )


def _checked(content: Any, path: str) -> Corrections:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: expected corrections, with format {FORMAT!r}. Save them from the review page.")
    if type(content.get("version")) is not int or content["version"] != VERSION:
        raise DataError(f"{path}: expected version {VERSION} of corrections, got {shown(content.get('version'))}.")
    if unknown := sorted(set(content) - KEYS):
        raise DataError(f"{path}: expected only {', '.join(sorted(KEYS))}, got {str(unknown[0])[:40]!r} too.")
    video, tracks, entries = content.get("video"), content.get("tracks"), content.get("corrections")
    for name, value in (("video", video), ("tracks", tracks)):
        if not isinstance(value, str) or not 0 < len(value) <= 200:
            raise DataError(f"{path}: expected a fingerprint under `{name}`.")
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        raise DataError(f"{path}: expected a list of at most {MAX_ENTRIES} under `corrections`.")
    checked = tuple(_entry(each, f"{path}: entry {place + 1}") for place, each in enumerate(entries))
    return Corrections(str(video), str(tracks), checked)


def _entry(content: Any, where: str) -> Correction:
    if not isinstance(content, dict) or not ENTRY_KEYS <= set(content) <= {*ENTRY_KEYS, "to"}:
        raise DataError(f"{where}: expected frame, a, b, action and, for swap_between, to.")
    if content["action"] not in ACTIONS:
        raise DataError(f"{where}: expected an action of {', '.join(ACTIONS)}, got {str(content['action'])[:40]!r}.")
    numbers = {name: content[name] for name in ("frame", "a", "b", "to") if name in content}
    for name, value in numbers.items():
        if type(value) is not int or not 0 <= value < 2**31:
            raise DataError(f"{where}: expected a whole number from 0 for {name}, got {str(value)[:40]!r}.")
    if content["a"] == content["b"]:
        raise DataError(f"{where}: expected two animals, got {content['a']} twice.")
    if (content["action"] == "swap_between") != ("to" in content):
        raise DataError(f"{where}: `to` belongs to swap_between, and to no other action.")
    if "to" in content and content["to"] <= content["frame"]:
        raise DataError(f"{where}: expected `to` after frame {content['frame']}, got {content['to']}.")
    return Correction(content["frame"], content["a"], content["b"], cast(Action, content["action"]), content.get("to"))
