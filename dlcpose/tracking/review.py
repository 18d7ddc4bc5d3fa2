"""A page for the manual review of likely swaps: clips, keys, and a corrections file to save."""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from dlcpose.datasets.video import VideoFrame, frames_to
from dlcpose.structures.atomic_files import write_output
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.structures.sample import Image
from dlcpose.tracking.corrections import FORMAT, VERSION, Correction, correction_as_dict, tracks_digest
from dlcpose.tracking.result import SwapCandidate
from dlcpose.visualization.page_template import page_template

Array = npt.NDArray[Any]
SIDE = 360  # px of a clip's longer side
QUALITY = 72
SECONDS_AROUND = 0.8  # shown before and after an encounter
MAX_FRAMES = 60  # of a clip; longer ones skip frames evenly


@dataclass
class _Clip:
    """The clip of one candidate. corner: (2,) px of the frame, side: px of the square around the animals."""

    candidate: SwapCandidate
    frames: list[int]
    corner: Array
    side: int
    pictures: dict[int, str] = field(default_factory=dict)


def write_review(
    path: Path,
    tracks: PoseTracks,
    candidates: Sequence[SwapCandidate],
    frames: Iterable[VideoFrame],
    *,
    decisions: Sequence[Correction] = (),
    most: int = 100,
) -> int:
    """Write the page for the likeliest `most` swaps and return how many are on it.

    frames: those of the video, as VideoReader gives them; they are read once, and not all are kept. Frames that could
    not be decoded are left out of the clips, and a swap without any frame is left out of the page. The page needs no
    network and no other file. It saves corrections for these tracks that `read_corrections` reads, and begins with
    `decisions`, which were made before. Raises DataError where the video ends before a frame that is needed.
    """
    clips = [_clip(tracks, each) for each in candidates[:most]]
    _take_pictures(clips, frames, tracks)
    clips = [clip for clip in clips if clip.pictures]
    page = page_template(Path(__file__).with_name("review.html.j2")).render(
        title=Path(tracks.video.path).name,
        shown=len(clips),
        candidates=len(candidates),
        decisions=len(decisions),
        data=Markup(_for_script(_content(tracks, clips, decisions))),
    )
    write_output(path, page.encode())
    return len(clips)


def _clip(tracks: PoseTracks, candidate: SwapCandidate) -> _Clip:
    first, last = _shown_frames(tracks, candidate)
    rows = np.flatnonzero((tracks.frame_indices >= first) & (tracks.frame_indices <= last))
    if len(rows) > MAX_FRAMES:
        ends = [number for number in (candidate.frame, candidate.until) if number is not None]
        thinned = rows[:: math.ceil(len(rows) / MAX_FRAMES)]
        rows = np.unique(np.append(thinned, np.searchsorted(tracks.frame_indices, ends)))
    points = tracks.keypoints_in_image[rows][:, [candidate.a, candidate.b]].reshape(-1, 2)
    points = points[~np.isnan(points).any(axis=-1)]
    height, width = tracks.video.height, tracks.video.width
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(2), np.array([width, height]))
    side = round(float(np.clip((high - low).max() * 1.3 + 24, 64, max(height, width))))
    corner = np.round((low + high) / 2 - side / 2).astype(int)
    corner = np.maximum(np.minimum(corner, (width - side, height - side)), 0)
    return _Clip(candidate, [int(number) for number in tracks.frame_indices[rows]], corner, side)


def _shown_frames(tracks: PoseTracks, candidate: SwapCandidate) -> tuple[int, int]:
    """The first and the last frame of a candidate's clip."""
    around = max(2, round(SECONDS_AROUND * (_known_fps(tracks) or 25.0)))
    return candidate.from_frame - around, candidate.to_frame + around


def _known_fps(tracks: PoseTracks) -> float | None:
    """Frames per second; None where the video does not tell."""
    return tracks.video.fps if math.isfinite(tracks.video.fps) and tracks.video.fps > 0 else None


def _take_pictures(clips: list[_Clip], frames: Iterable[VideoFrame], tracks: PoseTracks) -> None:
    needed: dict[int, list[_Clip]] = {}
    for clip in clips:
        for number in clip.frames:
            needed.setdefault(number, []).append(clip)
    if not needed:
        return
    last = max(needed)
    for frame in frames_to(last, frames, f"{tracks.video.path}: frame {last} is needed for the review"):
        for clip in needed.get(frame.index, ()):
            clip.pictures[frame.index] = _picture(frame.image, clip)


def _picture(image: Image, clip: _Clip) -> str:
    left, top = (int(value) for value in clip.corner)
    part = image[top : top + clip.side, left : left + clip.side]
    scale = SIDE / clip.side
    size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    resized = cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    jpeg = cv2.imencode(".jpg", np.ascontiguousarray(resized[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


def _content(tracks: PoseTracks, clips: Sequence[_Clip], decisions: Sequence[Correction]) -> dict[str, Any]:
    before = [correction_as_dict(each) for each in decisions]
    of_clips = decisions_of(tracks, [clip.candidate for clip in clips], decisions)
    return {
        "format": FORMAT,
        "version": VERSION,
        "video": tracks.video.fingerprint,
        "tracks": tracks_digest(tracks),
        "names": list(tracks.individuals),
        "edges": [list(edge) for edge in tracks.skeleton.edges],
        "fps": _known_fps(tracks),
        "clips": [_clip_content(tracks, clip) for clip in clips],
        "decisions": [None if place is None else before[place] for place in of_clips],
        "others": [each for place, each in enumerate(before) if place not in of_clips],
        # What a browser keeps of another round of review is not of this one.
        "round": hashlib.sha256(json.dumps(before).encode()).hexdigest()[:16] if before else "",
    }


def decisions_of(
    tracks: PoseTracks, candidates: Sequence[SwapCandidate], decisions: Sequence[Correction]
) -> list[int | None]:
    """For each candidate the place of the decision about it: of the same two animals, in its clip, the nearest."""
    windows = [_shown_frames(tracks, candidate) for candidate in candidates]
    pairs = [
        (abs(each.frame - candidate.frame), place, number)
        for number, (candidate, (first, last)) in enumerate(zip(candidates, windows, strict=True))
        for place, each in enumerate(decisions)
        if (each.a, each.b) == (candidate.a, candidate.b) and first <= each.frame <= last
    ]
    of_candidates: list[int | None] = [None] * len(candidates)
    for _, place, number in sorted(pairs):
        if of_candidates[number] is None and place not in of_candidates:
            of_candidates[number] = place
    return of_candidates


def _clip_content(tracks: PoseTracks, clip: _Clip) -> dict[str, Any]:
    frames = [number for number in clip.frames if number in clip.pictures]  # those that could be decoded
    rows = np.searchsorted(tracks.frame_indices, frames)
    scale = SIDE / clip.side
    # The center of the top left pixel is (0, 0) in the frame, and (0.5, 0.5) on a canvas.
    poses = (tracks.keypoints_in_image[rows] - clip.corner + 0.5) * scale  # (F, N, K, 2)
    return {
        "frame": clip.candidate.frame,
        "a": clip.candidate.a,
        "b": clip.candidate.b,
        "margin": round(clip.candidate.margin, 2),
        "from": clip.candidate.from_frame,
        "to": clip.candidate.to_frame,
        "until": clip.candidate.until,
        "frames": frames,
        "pictures": [clip.pictures[number] for number in frames],
        "poses": [[[_point(point) for point in animal] for animal in frame] for frame in poses],
    }


def _point(point: Array) -> list[float] | None:
    return None if np.isnan(point).any() else [round(float(value), 1) for value in point]


def _for_script(content: Mapping[str, Any]) -> str:
    """Json that is safe in a script element: names come from untrusted files and must not end it."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
