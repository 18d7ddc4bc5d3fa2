"""Facts about figures (title, unit, direction): a metric states them once, and reports, tables and plots read them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

Mode = Literal["min", "max"]  # the extremum of a figure that is best, as Lightning and torch call it
GROUPS = {"val": "validation", "train": "training"}  # a figure's title by the prefix of its name


@dataclass(frozen=True)
class FigureInfo:
    """Facts about one figure, or about a family of figures that differ in one parameter.

    title: in lower case, as within a sentence; `{}` stands for the parameter. unit: "" for shares and counts.
    digits: decimals that are shown; 0 is for counts. higher_is_better: None where neither direction is.
    note: one line on how to read it. headline: whether it stands on top of reports, in comparisons and in the last line
    of a run. curve: title of the plot of the learning curve that shows it, "" for none; the first figure of a plot is
    the one whose best epoch is marked. scale: what a value is multiplied by before it is shown in `unit`.
    """

    title: str
    unit: str = ""
    digits: int = 3
    higher_is_better: bool | None = None
    note: str = ""
    headline: bool = False
    curve: str = ""
    scale: float = 1.0

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "FigureInfo":
        """What `dataclasses.asdict` made of an info, unknown entries left out. Raises ValueError for other types."""
        known = {field.name: content[field.name] for field in fields(cls) if field.name in content}
        kinds = {"digits": int, "higher_is_better": bool | None, "headline": bool, "scale": int | float}
        for name, value in known.items():
            if not isinstance(value, kinds.get(name, str)):
                raise ValueError(f"{name}: expected {kinds.get(name, str)}, got {value!r}.")
        return cls(**known)

    @property
    def is_count(self) -> bool:
        """Whether the figure counts things."""
        return self.digits == 0

    @property
    def heading(self) -> str:
        """The title as it stands alone: with a capital."""
        return self.title[:1].upper() + self.title[1:]


# Figures of every run, besides those of its metrics.
RUN_FIGURES: Mapping[str, FigureInfo] = {
    "images_per_s": FigureInfo("speed", "images/s", 1, True, "of this evaluation: network and decoding", headline=True),
    "peak_memory_mb": FigureInfo("peak memory", "MB", 0, False, "of this evaluation"),
    "loss": FigureInfo("loss", digits=4, higher_is_better=False, curve="loss"),
    "loss_{}": FigureInfo("loss of {}", digits=4, higher_is_better=False),
}


def find_info(name: str, infos: Mapping[str, FigureInfo]) -> FigureInfo:
    """The facts about a figure by its full name, `pck@0.1`, `val/loss` or `true_boxes/rmse_px`.

    infos: by name, or by a pattern in which `{}` stands for the parameter (`pck@{}`). The parameter and the prefix come
    to stand in the title. A figure that no info describes has its name as title and no direction.
    """
    group, _, base = name.rpartition("/")
    key, parameter = _find_key(base, infos)
    info = FigureInfo(base) if key is None else infos[key]
    title = info.title.replace("{}", parameter)
    return replace(info, title=f"{title} ({GROUPS.get(group, group.replace('_', ' '))})" if group else title)


def find_mode(name: str, infos: Mapping[str, FigureInfo]) -> Mode | None:
    """The extremum of a figure that is best, "min" or "max"; None where its info states no direction."""
    higher_is_better = find_info(name, infos).higher_is_better
    return None if higher_is_better is None else "max" if higher_is_better else "min"


def is_described(name: str, infos: Mapping[str, FigureInfo]) -> bool:
    """Whether one of the infos is about the figure of this name."""
    return _find_key(name.rpartition("/")[2], infos)[0] is not None


def sort_figures(names: Iterable[str], infos: Mapping[str, FigureInfo]) -> list[str]:
    """Names of figures, those with a prefix after those without, each group in the order of the infos."""
    places = {key: place for place, key in enumerate(infos)}

    def rank(name: str) -> tuple[str, int]:
        group, _, base = name.rpartition("/")
        key, _ = _find_key(base, infos)
        return group, len(places) if key is None else places[key]

    return sorted(names, key=rank)


def finite_or_none(value: float) -> float | None:
    """A figure for a JSON file, which has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def headline_names(names: Iterable[str], infos: Mapping[str, FigureInfo]) -> list[str]:
    """Of these names the headline figures, in the order of the infos; of a family of figures the last one."""
    last: dict[str, str] = {}
    for name in names:
        key, _ = _find_key(name, infos)
        if key is not None and infos[key].headline:
            last[key] = name
    return [last[key] for key in infos if key in last]


def _find_key(base: str, infos: Mapping[str, FigureInfo]) -> tuple[str | None, str]:
    """The key of the infos that fits a name without prefix, and the name's parameter."""
    if base in infos:
        return base, ""
    for key in infos:
        before, is_pattern, after = key.partition("{}")
        if is_pattern and base.startswith(before) and base.endswith(after) and len(base) > len(before + after):
            return key, base[len(before) : len(base) - len(after)]
    return None, ""
