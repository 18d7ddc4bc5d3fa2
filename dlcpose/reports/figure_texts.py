"""What the flat names of figures mean, in words for a screen or a page."""

import math
from collections.abc import Mapping
from typing import NamedTuple


class FigureText(NamedTuple):
    """A figure in words: its flat name, what it is, its value with digits and unit, and what is to be known of it."""

    name: str
    title: str
    value: str
    note: str


TEXTS: dict[str, tuple[str, int, str, str]] = {  # title, digits, unit, note
    "mean_error_px": ("Mean error", 2, "px", "mean distance from the label; DeepLabCut calls it RMSE"),
    "median_error_px": ("Median error", 2, "px", "half of the keypoints are nearer than this"),
    "rmse_px": ("Root mean square error", 2, "px", "outliers weigh more than in the mean"),
    "shift_x_px": (
        "Shift to the right",
        2,
        "px",
        "median of found − labelled; far from 0, coordinates are off somewhere",
    ),
    "shift_y_px": ("Shift downwards", 2, "px", "median of found − labelled; far from 0, coordinates are off somewhere"),
    "unique_error_px": ("Mean error of arena points", 2, "px", "points that belong to no animal"),
    "pck": ("PCK", 3, "", "share of labelled keypoints found within this fraction of the animal's size"),
    "kept": (
        "RankSampler of confident keypoints",
        3,
        "",
        "of all labelled keypoints, those found with at least this score",
    ),
    "oks_ap": ("OKS AP", 3, "", "average precision over OKS 0.50 to 0.95, by pycocotools"),
    "oks_ap50": ("OKS AP50", 3, "", "average precision at OKS 0.50"),
    "oks_ap75": ("OKS AP75", 3, "", "average precision at OKS 0.75"),
    "oks_ar": ("OKS AR", 3, "", "average recall over OKS 0.50 to 0.95"),
    "dlc_rmse": ("DeepLabCut RMSE", 2, "px", "as DeepLabCut 3 counts it"),
    "dlc_rmse_pcutoff": ("DeepLabCut RMSE above pcutoff", 2, "px", "as DeepLabCut 3 counts it"),
    "dlc_map": ("DeepLabCut mAP", 2, "%", "as DeepLabCut 3 counts it"),
    "dlc_mar": ("DeepLabCut mAR", 2, "%", "as DeepLabCut 3 counts it"),
    "images": ("Images", 0, "", "scored"),
    "animals": ("Animals", 0, "", "labelled"),
    "false_negatives": ("Missed animals", 0, "", "labelled, and none found within their length"),
    "false_positives": ("Invented animals", 0, "", "found where none is labelled"),
    "identity_accuracy": (
        "Identity accuracy",
        3,
        "",
        "of found animals whose individual is known, those named rightly",
    ),
    "hota": ("HOTA", 3, "", "of tracks: detection and association, over OKS 0.05 to 0.95"),
    "idf1": ("IDF1", 3, "", "of tracks: share of animals, labelled and found, with one lasting name"),
    "mota": ("MOTA", 3, "", "of tracks: 1 − (missed + invented + switches) / labelled"),
    "switches": ("Identity switches", 0, "", "of tracks: an animal goes on under another name"),
    "clip_frames": ("Length of a clip", 0, "frames", "of those that figures of tracks are taken over; the mean"),
    "images_per_s": ("Speed", 1, "images/s", "of this evaluation, model and decoding"),
    "peak_memory_mb": ("Peak memory", 0, "MB", "of this evaluation"),
    "box_ap": ("Box AP", 3, "", "average precision of boxes over IoU 0.50 to 0.95, by pycocotools"),
    "box_ap50": ("Box AP50", 3, "", "average precision of boxes at IoU 0.50"),
    "box_ar": ("Box AR", 3, "", "average recall of boxes over IoU 0.50 to 0.95"),
}


def in_words(figures: Mapping[str, float]) -> list[FigureText]:
    """Every figure in words, the known ones first and in a lasting order; an unknown one keeps its name."""
    order = {name: place for place, name in enumerate(TEXTS)}

    def rank(name: str) -> tuple[str, int]:
        group, _, rest = name.rpartition("/")
        return group, order.get(rest.partition("@")[0], len(order))

    texts = [figure_text(name, figures[name]) for name in sorted(figures, key=rank)]
    length = figures.get("clip_frames", math.nan)
    # A figure of tracks says nothing without the clips' length: the longer they are, the more there is to be mixed up.
    return [
        text._replace(note=f"{text.note}; clips of {length:.0f} frames")
        if text.note.startswith("of tracks") and not math.isnan(length)
        else text
        for text in texts
    ]


def figure_text(name: str, value: float) -> FigureText:
    """One figure in words; `pck@0.1` and `true_boxes/rmse_px` are read by their parts."""
    group, _, rest = name.rpartition("/")
    base, _, threshold = rest.partition("@")
    title, digits, unit, note = TEXTS.get(base, (rest, 3, "", ""))
    if threshold:
        title += f" at {threshold}" if base in ("pck", "kept") else f" above score {threshold}"
    if group:
        title += f" ({group.replace('_', ' ')})"
    return FigureText(name, title, number_text(value, digits, unit), note)


def number_text(value: float, digits: int, unit: str = "") -> str:
    """A number with so many digits and its unit, a dash for what is not defined."""
    if math.isnan(value):
        return "–"
    return f"{value:.{digits}f}" + (f" {unit}" if unit else "")
