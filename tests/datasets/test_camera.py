"""The newest frame of a stream, over the loopback of this machine."""

import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from dlcpose.datasets.camera import CameraReader, without_credentials
from dlcpose.structures.errors import DataError
from tests.datasets.numbered_videos import number_of


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def sending(frames: int, fps: float) -> Iterator[str]:
    """The address of a stream of numbered frames."""
    port = free_port()
    script = Path(__file__).with_name("sending.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(port), str(frames), str(fps)], stderr=subprocess.DEVNULL
    )
    try:
        _wait_until_listening(port)
        yield f"tcp://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _wait_until_listening(port: int) -> None:
    """As long as the system's table of sockets does not show it: to connect would take the only place there is."""
    listening = f"0100007F:{port:04X} 00000000:0000 0A"
    for _ in range(200):
        if listening in Path("/proc/net/tcp").read_text(encoding="utf-8"):
            return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens on {port}")


QUICK = {"probesize": "5000", "analyzeduration": "0"}


def test_who_is_quick_sees_frames_in_order() -> None:
    with sending(60, 100) as source:
        reader = CameraReader(source, options=QUICK)
        frames = list(reader)
    numbers = [number_of(frame.image) for frame in frames]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] >= 58
    assert [frame.index for frame in frames] == sorted({frame.index for frame in frames})
    assert all(np.diff([frame.time for frame in frames]) > 0)
    latency = reader.latency()
    assert 0 < latency.p50 <= latency.p99


def test_who_is_slow_sees_the_newest() -> None:
    with sending(100, 100) as source:
        reader = CameraReader(source, options=QUICK)
        seen = []
        for frame in reader:
            seen.append(number_of(frame.image))
            time.sleep(0.1)
    assert seen == sorted(set(seen))
    assert 3 <= len(seen) < 40
    assert max(np.diff(seen)) > 4
    latency = reader.latency()
    assert latency.skipped > 30
    assert latency.p50 >= 0.1
    assert latency.p99 < 2  # not the backlog of a queue


def test_who_stops_listening_ends_it() -> None:
    with sending(50, 100) as source:
        for number, _ in enumerate(CameraReader(source, options=QUICK)):
            if number == 3:
                break
    assert not [thread for thread in threading.enumerate() if thread.name == "camera"]


def test_unopenable_source_is_reported() -> None:
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1: cannot be read as a camera"):
        list(CameraReader("tcp://127.0.0.1:1"))


def test_an_unknown_format_is_reported() -> None:
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1: cannot be read as a camera .*nonsense"):
        list(CameraReader("tcp://127.0.0.1:1", format="nonsense"))


class Container:
    """What PyAV opens, with frames of some sizes, or errors in their place, one after the other was taken."""

    def __init__(self, *frames: tuple[int, int] | Exception) -> None:
        self.frames = frames
        self.streams = SimpleNamespace(video=[SimpleNamespace()])

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *error: object) -> None: ...

    def decode(self, stream: object) -> Iterator[av.VideoFrame]:
        for each in self.frames:
            if isinstance(each, Exception):
                raise each
            yield av.VideoFrame(*each, "rgb24")
            time.sleep(0.2)


def test_frames_of_another_size_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "open", lambda *_, **__: Container((32, 16), (32, 16), (64, 16), (64, 16)))
    with pytest.raises(DataError, match=r"cam: frame 2: expected 32x16 .*, got 64x16"):
        list(CameraReader("cam"))
    monkeypatch.setattr(av, "open", lambda *_, **__: Container((32, 16), (32, 16)))
    assert len(list(CameraReader("cam"))) == 2


def test_an_error_within_the_thread_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "open", lambda *_, **__: Container((32, 16), MemoryError()))
    with pytest.raises(MemoryError):
        list(CameraReader("cam"))


def test_silent_source_is_reported() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(DataError, match=r"no frame came for 0\.5 s|cannot be read as a camera"):
            list(CameraReader(f"tcp://127.0.0.1:{server.getsockname()[1]}", timeout=0.5))


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://user:hush@10.0.0.5:554/live/1", "rtsp://10.0.0.5:554/live/1"),
        ("http://10.0.0.5/cgi?user=me&pwd=hush", "http://10.0.0.5/cgi"),
        ("http://10.0.0.5/cgi?mail=a@b&pwd=hush", "http://10.0.0.5/cgi"),
        ("rtsp://user:hu@sh@10.0.0.5/live", "rtsp://10.0.0.5/live"),
        ("rtsp://user:hu/sh@10.0.0.5/live", "rtsp://10.0.0.5/live"),
        ("rtsp://user:hu?sh@10.0.0.5/live?x=1", "rtsp://10.0.0.5/live"),
        ("/dev/video0", "/dev/video0"),
        ("video=Camera@2?", "video=Camera@2?"),
    ],
)
def test_a_name_of_a_source_holds_no_password(source: str, shown: str) -> None:
    assert without_credentials(source) == shown


def test_an_error_of_a_source_holds_no_password() -> None:
    source = "".join(("tcp://user:hu", "sh@127.0.0.1:1?token=hu", "sh"))  # in pieces: a traceback quotes this line
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1") as caught:
        list(CameraReader(source))
    assert "hush" not in "".join(traceback.format_exception(caught.value))
