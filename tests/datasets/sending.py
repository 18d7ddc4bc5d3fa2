"""`python sending.py PORT FRAMES FPS`: a stream of numbered frames on the loopback, at its own pace whoever listens.

In a process of its own, as a camera is: PyAV holds Python's lock while it waits for a listener.
"""

import sys
import time

import av
import numpy as np

BITS = 10


def image(number: int) -> np.ndarray:
    """The bar code of numbered_videos.bar_code."""
    bars = [(number >> bit & 1) * 255 for bit in range(BITS)]
    return np.broadcast_to(np.repeat(bars, 8).astype(np.uint8)[None, :, None], (48, 80, 3)).copy()


def main() -> None:
    port, frames, fps = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    with av.open(f"tcp://127.0.0.1:{port}?listen=1", "w", format="mpegts", options={"flush_packets": "1"}) as out:
        stream = out.add_stream("mpeg2video", rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = 48, 80, "yuv420p", 4_000_000
        stream.codec_context.max_b_frames, stream.codec_context.gop_size = 0, 1
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(image(number), format="rgb24")
            frame.pts = number
            out.mux(stream.encode(frame))
            time.sleep(1 / fps)
        out.mux(stream.encode(None))


if __name__ == "__main__":
    main()
