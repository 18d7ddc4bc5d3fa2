"""Counts of images, animals, false negatives and false positives."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from dlcpose.metrics.base import EvaluatedFrames, Metric
from dlcpose.metrics.figure_info import FigureInfo


@dataclass(frozen=True)
class Counts(Metric):
    """`images`, `animals` (labeled ones), `false_negatives` and `false_positives`, after matching (`match_animals`)."""

    figures: ClassVar[Mapping[str, FigureInfo]] = {
        "images": FigureInfo("images", digits=0, note="evaluated"),
        "animals": FigureInfo("animals", digits=0, note="labeled"),
        "false_negatives": FigureInfo(
            "false negatives", "", 0, False, "labeled animals without a prediction within their length", headline=True
        ),
        "false_positives": FigureInfo(
            "false positives", "", 0, False, "predicted animals where none is labeled", headline=True
        ),
    }

    def __call__(self, frames: EvaluatedFrames) -> dict[str, float]:
        """The figures, whole numbers."""
        matched = frames.matched
        return {
            "images": len(frames.labels),
            "animals": len(matched.is_matched),
            "false_negatives": int((~matched.is_matched).sum()),
            "false_positives": int(matched.false_positives.sum()),
        }
