"""Settings of predictions; this module imports nothing heavy, so that mistakes are reported at once."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dlcpose.structures.errors import ConfigError

PRECISIONS = ("auto", "32", "bf16", "fp16")
AUTO = "auto"


@dataclass(frozen=True)
class PredictionSettings:
    """Settings of a prediction.

    start, stop, step: every `step`th frame from `start` to before `stop`. batch_size: frames that go through the
    network together, or "auto". precision: "32", "bf16", "fp16", or "auto" for bf16 where the device is faster in it
    and the first frames come out the same. crop: x1 y1 x2 y2 in pixels, x2 and y2 excluded: the part of each frame to
    predict; coordinates are always those of the full frame. detector_every: a top-down model's detector runs in every
    so many frames, in between boxes are those around the last poses. flip_test: each frame is also predicted mirrored.
    dynamic_crop: for one animal without unique keypoints, predict only around its last pose, and the whole frame again
    once it is lost. Raises ConfigError, naming the setting, for invalid values.
    """

    start: int = 0
    stop: int | None = None
    step: int = 1
    batch_size: int | str = AUTO
    precision: str = AUTO
    crop: tuple[int, int, int, int] | None = None
    detector_every: int = 1
    flip_test: bool = False
    dynamic_crop: bool = False

    def __post_init__(self) -> None:
        for name in ("start", "step", "detector_every"):
            self._expect(type(getattr(self, name)) is int, name, "a whole number")
        self._expect(self.stop is None or type(self.stop) is int, "stop", "a whole number, or nothing")
        for name in ("flip_test", "dynamic_crop"):
            self._expect(type(getattr(self, name)) is bool, name, "true or false")
        self._expect(self.start >= 0, "start", "a frame number of 0 or more")
        self._expect(self.stop is None or self.stop > self.start, "stop", f"a frame number above start={self.start}")
        self._expect(self.step >= 1, "step", "1 or more")
        self._expect(self.detector_every >= 1, "detector_every", "1 or more")
        is_number = type(self.batch_size) is int and self.batch_size >= 1
        self._expect(is_number or self.batch_size == AUTO, "batch_size", 'a number of 1 or more, or "auto"')
        self._expect(self.precision in PRECISIONS, "precision", f"one of {', '.join(map(repr, PRECISIONS))}")
        if self.crop is not None:
            is_four = isinstance(self.crop, tuple | list) and [type(each) for each in self.crop] == [int] * 4
            self._expect(is_four, "crop", "four whole numbers x1,y1,x2,y2, or nothing")
            x1, y1, x2, y2 = self.crop
            self._expect(0 <= x1 < x2 and 0 <= y1 < y2, "crop", "x1,y1,x2,y2 with 0 <= x1 < x2 and 0 <= y1 < y2")

    def _expect(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise ConfigError(f"{name}: expected {expected}, got {getattr(self, name)!r}.")

    def of_result(self) -> dict[str, Any]:
        """The settings that predictions depend on, as plain values: all but the batch size."""
        content = {**asdict(self), "crop": None if self.crop is None else list(self.crop)}
        del content["batch_size"]
        return content

    def check_crop(self, size: tuple[int, int], path: object) -> None:
        """Raises ConfigError for a crop that is not within a frame of (height, width)."""
        if self.crop is not None and (self.crop[2] > size[1] or self.crop[3] > size[0]):
            raise ConfigError(
                f"crop={','.join(map(str, self.crop))}: expected a part of the {size[1]}x{size[0]} frames of {path}. "
                f"x2 may be {size[1]} at most, y2 {size[0]}."
            )


def check_names(given: Iterable[str], method: Callable[..., Any], settings: Callable[..., Any]) -> None:
    """Raises ConfigError for a name that is none of a method's settings, which `settings` takes for it."""
    parameters = [*inspect.signature(method).parameters.values(), *inspect.signature(settings).parameters.values()]
    taken = [each.name for each in parameters if each.default is not each.empty]
    for name in given:
        if name not in taken:
            near = difflib.get_close_matches(name, taken, n=3, cutoff=0.5)
            raise ConfigError(
                f"{name}: {getattr(method, '__name__', '')} takes no such setting. Nearest: {', '.join(near or taken)}."
            )


def differences(given: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The differences of settings, as `step: 2 there, 1 here`; given: those here."""
    return [
        f"{name}: {other.get(name)} there, {given.get(name)} here"
        for name in dict.fromkeys((*given, *other))
        if given.get(name) != other.get(name)
    ]
