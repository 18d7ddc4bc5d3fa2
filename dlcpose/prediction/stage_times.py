"""Seconds of each stage of a prediction."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

STAGES = ("decode", "prepare", "forward", "postprocess", "write")


class StageTimes:
    """Seconds by stage, thread-safe. Stages overlap, so their sum may exceed the total."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds to a stage."""
        with self._lock:
            self._seconds[stage] += seconds

    @contextmanager
    def measured(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - began)

    def add_all(self, seconds: Mapping[str, float]) -> None:
        """Add seconds of several stages, such as of an earlier attempt."""
        for stage, each in seconds.items():
            if stage in self._seconds:
                self.add(stage, each)

    def as_dict(self) -> dict[str, float]:
        """Seconds by stage."""
        with self._lock:
            return dict(self._seconds)
