"""The review page: alone, safe, and in a real browser its keys make the corrections that they say."""

import base64
import json
import re
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dlcpose.datasets.video import VideoReader
from dlcpose.structures.errors import DataError
from dlcpose.structures.pose_tracks import PoseTracks
from dlcpose.tracking.corrections import Correction, apply_corrections, read_corrections, tracks_digest
from dlcpose.tracking.result import SwapCandidate
from dlcpose.tracking.review import decisions_of, write_review
from tests.datasets.numbered_videos import as_frames, write_numbered
from tests.shells import chromium
from tests.structures.made_up_tracks import made_up_tracks

FRAMES = 60
EVIL = '</script><img src=x onerror="document.title=1">'


def tracks_of(*names: str) -> PoseTracks:
    tracks = made_up_tracks(frames=FRAMES, animals=len(names), missing=0.1)
    return replace(tracks, individuals=names)


def images(tracks: PoseTracks, count: int = FRAMES) -> Any:
    rng = np.random.default_rng(0)
    shape = (tracks.video.height, tracks.video.width, 3)
    return as_frames(rng.integers(0, 255, shape).astype(np.uint8) for _ in range(count))


CANDIDATES = [
    SwapCandidate(frame=30, a=0, b=1, margin=0.4, from_frame=28, to_frame=32),
    SwapCandidate(frame=12, a=1, b=2, margin=1.1, from_frame=10, to_frame=12),
    SwapCandidate(frame=50, a=0, b=2, margin=2.5, from_frame=49, to_frame=50),
]


def content_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def decoded(picture: str) -> np.ndarray:
    jpeg = np.frombuffer(base64.b64decode(picture.split(",")[1]), np.uint8)
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE), float)


def test_the_page_holds_a_clip_for_each_candidate_and_needs_nothing_else(tmp_path: Path) -> None:
    tracks = tracks_of("Ada", "Bob", "Cleo")
    assert write_review(tmp_path / "r.html", tracks, CANDIDATES, images(tracks)) == 3
    page = (tmp_path / "r.html").read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?!data:)\w+:|@import|url\(|https?://""", page)
    content = content_of(page)
    assert content["names"] == ["Ada", "Bob", "Cleo"]
    assert [(each["frame"], each["a"], each["b"]) for each in content["clips"]] == [(30, 0, 1), (12, 1, 2), (50, 0, 2)]
    for clip in content["clips"]:
        assert len(clip["frames"]) == len(clip["pictures"]) == len(clip["poses"])
        assert clip["frame"] in clip["frames"]
        assert min(clip["frames"]) < clip["from"]
        assert all(picture.startswith("data:image/jpeg;base64,") for picture in clip["pictures"])


def test_points_lie_where_they_lie_in_the_picture(tmp_path: Path) -> None:
    """A lit pixel at a keypoint is at the keypoint's place in the clip's picture."""
    tracks = tracks_of("Ada", "Bob", "Cleo")
    place = np.round(tracks.keypoints_in_image[30, 0, 0]).astype(int)
    points = tracks.keypoints_in_image.copy()
    points[30, 0, 0] = place
    tracks = replace(tracks, keypoints_in_image=points)
    image = np.zeros((tracks.video.height, tracks.video.width, 3), np.uint8)
    image[place[1], place[0]] = 255
    write_review(tmp_path / "r.html", tracks, CANDIDATES[:1], as_frames([image] * FRAMES))
    clip = content_of((tmp_path / "r.html").read_text())["clips"][0]
    spot = clip["frames"].index(30)
    picture = decoded(clip["pictures"][spot])
    picture[picture < 60] = 0
    ys, xs = np.mgrid[: picture.shape[0], : picture.shape[1]]
    center = np.array([(xs * picture).sum(), (ys * picture).sum()]) / picture.sum() + 0.5
    np.testing.assert_allclose(clip["poses"][spot][0][0], center, atol=0.6)


def test_names_cannot_bring_a_script_along(tmp_path: Path) -> None:
    tracks = tracks_of(EVIL, "Bob", "Cleo")
    tracks = replace(tracks, video=replace(tracks.video, path=f"/data/{EVIL}.mp4".replace("/script", "script")))
    write_review(tmp_path / "r.html", tracks, CANDIDATES, images(tracks))
    page = (tmp_path / "r.html").read_text()
    assert "<img" not in page
    assert page.count("</script>") == 2
    assert content_of(page)["names"][0] == EVIL


def test_page_without_candidates(tmp_path: Path) -> None:
    tracks = tracks_of("Ada", "Bob")
    assert write_review(tmp_path / "r.html", tracks, [], images(tracks)) == 0
    assert "nothing to decide" in (tmp_path / "r.html").read_text()


def test_a_video_that_ends_too_soon_is_refused(tmp_path: Path) -> None:
    tracks = tracks_of("Ada", "Bob", "Cleo")
    with pytest.raises(DataError, match="ends after 20"):
        write_review(tmp_path / "r.html", tracks, CANDIDATES, images(tracks, 20))
    assert not (tmp_path / "r.html").exists()


def test_behind_a_frame_that_is_missing_clips_show_the_frames_of_their_poses(tmp_path: Path) -> None:
    """Frame n is as bright as 4 n; 12 and 27 could not be decoded, 27 has no poses, as of such frames."""
    whole = tracks_of("Ada", "Bob", "Cleo")
    tracks = made_up_tracks(frame_indices=[number for number in range(FRAMES) if number != 27], animals=3, missing=0.1)
    tracks = replace(tracks, individuals=whole.individuals)
    gray = [np.full((tracks.video.height, tracks.video.width, 3), 4 * number, np.uint8) for number in range(FRAMES)]
    assert write_review(tmp_path / "r.html", tracks, CANDIDATES, as_frames(gray, missing=(12, 27))) == 3
    for clip in content_of((tmp_path / "r.html").read_text())["clips"]:
        assert len(clip["frames"]) == len(clip["pictures"]) == len(clip["poses"]) > 20
        assert not {12, 27} & set(clip["frames"])
        for number, picture in zip(clip["frames"], clip["pictures"], strict=True):
            assert decoded(picture).mean() == pytest.approx(4 * number, abs=1.5)


def test_a_swap_of_which_no_frame_could_be_decoded_is_left_out(tmp_path: Path) -> None:
    tracks = tracks_of("Ada", "Bob", "Cleo")
    frames = (frame for frame in images(tracks) if frame.index > 34)
    assert write_review(tmp_path / "r.html", tracks, CANDIDATES[1:], frames) == 1
    page = (tmp_path / "r.html").read_text()
    assert "1 of 2 likely swaps" in page
    assert [clip["frame"] for clip in content_of(page)["clips"]] == [50]


def test_a_swap_near_the_end_of_a_video_whose_clock_jumps_is_reviewed(tmp_path: Path) -> None:
    milliseconds = [40 * number + (200 if number >= 30 else 0) for number in range(FRAMES)]
    reader = VideoReader(write_numbered(tmp_path / "jump.mp4", FRAMES, milliseconds=milliseconds))
    tracks = replace(made_up_tracks(frames=FRAMES, animals=2, size=(48, 80)), individuals=("Ada", "Bob"))
    near_end = SwapCandidate(frame=58, a=0, b=1, margin=0.4, from_frame=57, to_frame=58)
    assert write_review(tmp_path / "r.html", tracks, [near_end], reader) == 1
    assert content_of((tmp_path / "r.html").read_text())["clips"][0]["frames"][-1] == FRAMES - 1


def in_browser(page: Path, script: str) -> str:
    """The page as a browser has it after a script ran in it."""
    command = chromium(page.parent / "profile")
    if command is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    page.write_text(
        page.read_text(encoding="utf-8").replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8"
    )
    arguments = [*command, "--window-size=1100,900", "--virtual-time-budget=4000", "--dump-dom", page.as_uri()]
    return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120).stdout


PRESS = """
const press = (...keys) => keys.forEach((key) => document.dispatchEvent(new KeyboardEvent("keydown", {key})));
const realUrl = URL.createObjectURL;
URL.createObjectURL = (blob) => {
  blob.text().then((text) => { document.body.dataset.saved = text; });
  return realUrl.call(URL, blob);
};
HTMLAnchorElement.prototype.click = function () { document.body.dataset.name = this.download; };
"""


def test_keys_in_a_real_browser_make_corrections_that_can_be_replayed(tmp_path: Path) -> None:
    tracks = tracks_of(EVIL, "Bob", "Cleo")
    page = tmp_path / "r.html"
    write_review(page, tracks, CANDIDATES, images(tracks))
    # Keep; swap two frames after the likeliest; swap between the likeliest and three frames later; look at the first again.
    script = (
        PRESS
        + """
      press("k");
      press("ArrowRight", "ArrowRight", "s", "n");
      press("b", "ArrowRight", "ArrowRight", "ArrowRight", "b");
      press("p", "p", "w");
    """
    )
    dumped = in_browser(page, script)
    saved = re.search(r'data-saved="(.*?)"', dumped, re.DOTALL)
    assert saved is not None
    assert 'data-name="corrections.json"' in dumped
    path = tmp_path / "corrections.json"
    path.write_text(unescape(saved[1]))
    corrections = read_corrections(path)
    assert (corrections.video, corrections.tracks) == (tracks.video.fingerprint, tracks_digest(tracks))
    assert corrections.corrections == (
        Correction(30, 0, 1, "keep"),
        Correction(14, 1, 2, "swap_from"),
        Correction(50, 0, 2, "swap_between", 53),
    )
    apply_corrections(tracks, corrections)
    assert "3 of 3 decided" in dumped
    assert "<title>1</title>" not in dumped
    assert dumped.count("<li") == 3


def test_swap_between_takes_the_frames_that_are_likely_unless_others_were_stepped_to(tmp_path: Path) -> None:
    tracks, page = tracks_of("Ada", "Bob", "Cleo"), tmp_path / "r.html"
    stretches = [
        SwapCandidate(frame=20, a=0, b=1, margin=0.4, from_frame=18, to_frame=42, until=40),
        SwapCandidate(frame=20, a=1, b=2, margin=0.5, from_frame=18, to_frame=42, until=40),
    ]
    write_review(page, tracks, stretches, images(tracks))
    dumped = in_browser(page, PRESS + 'press("b", "n", "ArrowRight", "b", "ArrowRight", "ArrowRight", "b", "w");')
    (tmp_path / "c.json").write_text(unescape(re.search(r'data-saved="(.*?)"', dumped, re.DOTALL)[1]))  # type: ignore[index]
    assert read_corrections(tmp_path / "c.json").corrections == (
        Correction(20, 0, 1, "swap_between", 40),
        Correction(21, 1, 2, "swap_between", 23),
    )


def test_the_page_shows_names_as_the_corrections_will_leave_them(tmp_path: Path) -> None:
    tracks = tracks_of("Ada", "Bob", "Cleo")
    page = tmp_path / "r.html"
    write_review(page, tracks, CANDIDATES, images(tracks))
    # Of every column and frame, the animal that the page names there.
    script = (
        PRESS
        + """
      press("s", "n", "s", "n", "b", "ArrowRight", "b", "w");
      document.body.dataset.animals = JSON.stringify([...Array(60).keys()].map(animalsAt));
    """
    )
    dumped = in_browser(page, script)
    (tmp_path / "c.json").write_text(unescape(re.search(r'data-saved="(.*?)"', dumped, re.DOTALL)[1]))  # type: ignore[index]
    corrected = apply_corrections(tracks, read_corrections(tmp_path / "c.json"))
    animals = json.loads(unescape(re.search(r'data-animals="(.*?)"', dumped)[1]))  # type: ignore[index]
    for frame in range(FRAMES):
        np.testing.assert_array_equal(
            corrected.keypoints_in_image[frame][animals[frame]], tracks.keypoints_in_image[frame], err_msg=f"{frame}"
        )


def test_a_second_round_keeps_the_decisions_of_the_first(tmp_path: Path) -> None:
    tracks, page = tracks_of("Ada", "Bob", "Cleo"), tmp_path / "r.html"
    first = (
        Correction(32, 0, 1, "swap_from"),
        Correction(50, 0, 2, "swap_between", 53),
        Correction(3, 0, 1, "swap_from"),  # at no clip of the page
    )
    write_review(page, tracks, CANDIDATES, images(tracks), decisions=first)
    content = content_of(page.read_text())
    assert [each and (each["frame"], each["action"]) for each in content["decisions"]] == [
        *((32, "swap_from"), None, (50, "swap_between"))
    ]
    assert [each["frame"] for each in content["others"]] == [3]
    assert decisions_of(tracks, CANDIDATES, first) == [0, None, 1]
    dumped = in_browser(
        page, PRESS + 'press("n", "k", "w"); document.body.dataset.animals = JSON.stringify(animalsAt(40));'
    )
    (tmp_path / "c.json").write_text(unescape(re.search(r'data-saved="(.*?)"', dumped, re.DOTALL)[1]))  # type: ignore[index]
    saved = read_corrections(tmp_path / "c.json")
    assert set(saved.corrections) == {*first, Correction(12, 1, 2, "keep")}
    animals = json.loads(unescape(re.search(r'data-animals="(.*?)"', dumped)[1]))  # type: ignore[index]
    corrected = apply_corrections(tracks, saved)
    np.testing.assert_array_equal(corrected.keypoints_in_image[40][animals], tracks.keypoints_in_image[40])
