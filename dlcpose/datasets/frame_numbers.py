"""Number the decoded frames of a video, also after damage that has swallowed frames."""

import heapq

STEADY = 10  # frames at one distance make a constant rate


class FrameNumbers:
    """Counts decoded frames and, in a damaged video, those that could not be decoded.

    In an undamaged video a frame's number is the number of frames before it: packets that show nothing (VP8's hidden
    frames, B-frames before the first key frame) are no frames. After damage, packets whose time stamp lies between two
    frames were frames too; where even the packets are gone, a constant frame rate gives their number. has_clock:
    whether time stamps are times, not the packets' own count (AVI). missing: ranges of numbers that could not be
    decoded. damaged: numbers of frames that the decoder patched up. jumps: numbers of frames before which the clock of
    an otherwise constant rate jumps, without any sign of damage: either the camera has dropped frames, or the file has
    lost them; numbers count the frames that are there. uncertain_from: after damage without a clock, the frame from
    which on numbers may be too low; None else. cut_after: the last frame, where the container states a later end; None else.
    leading: how many frames come before the first key frame of a video that was cut there, such as a transport stream. No
    decoder shows them, and like all tools this counts from the first that is shown.
    """

    def __init__(self, *, has_clock: bool = True) -> None:
        self.has_clock = has_clock
        self.uncertain_from: int | None = None
        self.next = 0
        self.discarded = 0  # packets that an edit list hides
        self.missing: list[range] = []
        self.damaged: list[int] = []
        self.jumps: list[int] = []
        self.cut_after: int | None = None
        self.leading = 0
        self._is_before_key = True
        self._before_key: list[int] = []  # time stamps of packets before the first key frame
        self._is_damaged = False
        self._has_order = True  # whether time stamps rise, so that lost frames between two others can be counted
        self._pending: list[int] = []  # heap of the time stamps of packets whose frame has not come out
        self._failures = 0  # packets that gave an error since the last frame
        self._last: int | None = None
        self._longest = 0  # time stamps from a frame to the next, at most
        self._step: int | None = None  # time stamps from frame to frame while they are all alike, 0 once they are not

    def take_packet(
        self, pts: int | None, *, is_hidden: bool = False, is_corrupt: bool = False, is_key: bool = True
    ) -> None:
        """Register a packet that goes to the decoder. is_key: whether decoding can begin with it."""
        self._is_damaged |= is_corrupt
        self._is_before_key &= not is_key
        if self._is_before_key and not is_hidden and pts is not None:
            self._before_key.append(pts)
        if is_hidden:
            self.discarded += 1
        elif pts is not None:
            heapq.heappush(self._pending, pts)

    def take_failure(self) -> None:
        """Register that a packet could not be decoded."""
        self._is_damaged = True
        self._failures += 1

    def number(self, pts: int | None, *, is_corrupt: bool = False) -> int | None:
        """The number of the next frame in presentation order; None for one that is out of order, by damage."""
        self._is_damaged |= is_corrupt
        if self._is_damaged and self.uncertain_from is None and not (self.has_clock and self._has_order):
            self.uncertain_from = self.next
        if pts is None or (self._last is not None and pts <= self._last):
            if self._is_damaged and self._has_order:
                return None
            self._has_order = False  # as H.264 in AVI
        if not self.next and pts is not None and not self._is_damaged:
            self.leading = sum(each < pts for each in self._before_key)
        lost = self._lost_before(pts)
        if lost:
            self.missing.append(range(self.next, self.next + lost))
            self.next += lost
        elif pts is not None:
            self._note_step(pts)
        if is_corrupt:
            self.damaged.append(self.next)
        if pts is not None and self._last is not None:
            self._longest = max(self._longest, pts - self._last)
        self._failures, self._last = 0, pts
        self.next += 1
        return self.next - 1

    def end(
        self, declared: int, declared_end: float | None = None, *, is_cut: bool = False, is_short: bool = False
    ) -> None:
        """Register the end of the file. is_cut: whether it ends within the last frame. is_short: whether it lacks what comes
        after that.

        declared: the container's number of frames, 0 where it states none. declared_end: the time stamp at which the last
        frame ends by what the container states, None where it does not.
        """
        if is_cut and self.next and self.next - 1 not in self.damaged:
            self.damaged.append(self.next - 1)
        swallowed = (len(self._pending) if self._has_order else self._failures) if self._is_damaged else 0
        lost = max(swallowed, declared - self.discarded - self.leading - self.next)
        if lost > 0:
            self.missing.append(range(self.next, self.next + lost))
        else:
            self.uncertain_from = None  # as many as there should be
            # The last frame may be shown for longer than the others, but hardly for longer than any of them.
            if declared_end is not None and self._last is not None and self._longest:
                is_short |= declared_end - self._last > 1.5 * self._longest
            self.cut_after = self.next - 1 if is_short and self.next else None

    def _lost_before(self, pts: int | None) -> int:
        """How many frames were lost between the last one and this."""
        before = 0
        while pts is not None and self._pending and self._pending[0] <= pts:
            before += heapq.heappop(self._pending) < pts
        if not self._is_damaged:
            return 0
        if pts is None or not self._has_order:
            return self._failures
        absent = round((pts - self._last) / self._step) - 1 if self._step and self._last is not None else 0
        return max(before, absent)

    def _note_step(self, pts: int) -> None:
        if self._last is None or not self._has_order:
            return
        step = pts - self._last
        if self._step is None:
            self._step = step
        elif self._step and self.has_clock and self.next > STEADY and step > 1.5 * self._step:
            self.jumps.append(self.next)
        elif abs(step - self._step) > max(1, self._step // 20):  # a container's clock rounds
            self._step = 0


def ranges_as_text(ranges: list[range], most: int = 5) -> str:
    """Ranges of frame numbers for a message: `88 to 98, 120, ...`."""
    texts = [str(each.start) if len(each) == 1 else f"{each.start} to {each.stop - 1}" for each in ranges[:most]]
    return ", ".join(texts) + (f" and {len(ranges) - most} more stretches" if len(ranges) > most else "")
