"""Write an evaluation folder: metrics.json, tables, COCO files, pictures, and a report that shows them."""

import csv
import io
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.table import Table

from dlcpose.datasets.base import LabeledFrames
from dlcpose.exporters.coco import coco_labels, coco_results, image_ids, unique_results
from dlcpose.metrics.base import EvaluatedFrames
from dlcpose.metrics.figure_info import FigureInfo, finite_or_none
from dlcpose.metrics.matching import MatchedAnimals, labeled_animals
from dlcpose.metrics.per_keypoint import Row, per_keypoint
from dlcpose.reports.evaluation_page import Example, render_report
from dlcpose.reports.figure_table import figure_rows, format_number
from dlcpose.structures.atomic_files import atomic_folder, write_atomic
from dlcpose.structures.counted import counted
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.printable import printable
from dlcpose.structures.sample import Image
from dlcpose.visualization.pictures import add_legend, contact_sheet, crop_around, draw_poses, write_picture
from dlcpose.visualization.plots import plot_learning
from dlcpose.visualization.terminal import plain

logger = logging.getLogger(__name__)
Array = npt.NDArray[Any]
WORST, TYPICAL = 8, 4  # pictures shown in the report
WIDE = 120  # characters of a screen that has room for notes on the figures
CLOSE_SIDE = 560  # px of each


def write_evaluation(
    folder: Path,
    *,
    data: LabeledFrames,
    indices: Sequence[int],
    frames: EvaluatedFrames,
    figures: Mapping[str, float],
    infos: Mapping[str, FigureInfo],
    title: str,
    pictures: int = 200,
) -> None:
    """Write an evaluation of frames, where frames.labels[i] is data.frames[indices[i]].

    The folder gets metrics.json (flat, NaN as null), metrics_info.json (the facts about them, `infos`),
    per_keypoint.csv, predictions.json and labels.json (COCO; with unique_predictions.json where there are unique
    keypoints), pictures/ of at most `pictures` frames, evenly chosen, worst.png, and report.html. All is written beside
    it and renamed at the end; an evaluation that was there before is replaced.
    """
    predictions, matched = frames.predictions, frames.matched
    if sizeless := int(np.isnan(matched.sizes).sum()):
        logger.warning(
            "%d of %s labeled at fewer than two places, and so without a size: PCK leaves them out, "
            "and OKS counts them as detected only within about a pixel unless the data states their area.",
            sizeless,
            counted(len(matched.sizes), "animal"),
        )
    rows = per_keypoint(frames)
    with atomic_folder(folder, replace=True) as partial:
        _write_json(
            partial / "metrics.json", {name: finite_or_none(value) for name, value in figures.items()}, indent=2
        )
        _write_json(partial / "metrics_info.json", {name: asdict(info) for name, info in infos.items()}, indent=2)
        write_atomic(partial / "per_keypoint.csv", _as_csv(rows))
        _write_coco(partial, data, indices, predictions)
        drawn, worst, typical = 0, list[Example](), list[Example]()
        with only_warned_of("the pictures of the test frames"):
            drawn = _write_pictures(partial / "pictures", data, indices, predictions, pictures)
            worst, typical = _examples(data, indices, frames)
            if worst:
                sheet = contact_sheet([each.image for each in worst], [each.caption for each in worst], tile=400)
                write_picture(partial / "worst.png", add_legend(sheet, data.skeleton))
        with only_warned_of("report.html"):
            drawn_of_all = (drawn, len(indices))
            page = render_report(title, figures, infos, rows, data.skeleton, matched, worst, typical, drawn_of_all)
            write_atomic(partial / "report.html", page)


@contextmanager
def only_warned_of(what: str) -> Iterator[None]:
    """Within it, errors of drawing only warn, so that the figures of a training are kept; a full disk is an error."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # drawing libraries may fail for any name or number
        reason = printable(f"{type(error).__name__}: {error}", max_length=200)
        logger.warning("%s could not be drawn (%s). The figures and tables are complete without.", what, reason)


def figure_table(figures: Mapping[str, float], infos: Mapping[str, FigureInfo], *, width: int) -> Table:
    """The figures as a table for a screen of so many characters; the notes, which report.html has too, need a wide one."""
    heads = ("figure", "value", "name") + (("what it is",) if width >= WIDE else ())
    table = Table(*heads, header_style="bold", title_justify="left")
    table.columns[1].justify = "right"
    for row in figure_rows(figures, infos):
        table.add_row(*map(plain, (row.title, row.value, row.name, row.note)[: len(heads)]))
    return table


def learning_curve(metrics_csv: Path, png: Path, infos: Mapping[str, FigureInfo]) -> None:
    """Draw the learning curve of a run from the metrics.csv of Lightning's CSVLogger, where rows hold one series each.

    A file without a finished epoch leaves no picture and a warning.
    """
    try:
        table = pd.read_csv(metrics_csv)
    except pd.errors.EmptyDataError:
        table = pd.DataFrame()
    if "epoch" not in table and "step" in table:
        table = table.assign(epoch=table["step"])
    series = [name for name in table.columns if name.startswith(("train/", "val/"))]
    if "epoch" not in table or not series or table[series].isna().all(axis=None):
        logger.warning("%s: no epoch was logged, so there is no learning curve.", metrics_csv)
        return
    with only_warned_of(str(png)):
        write_atomic(png, plot_learning(table, infos))


def errors_of_frames(matched: MatchedAnimals) -> Array:
    """The mean error of each frame, NaN without labels: (F,) pixels.

    A keypoint that is not predicted counts with its animal's size as error, where there is one.
    """
    errors = np.where(np.isnan(matched.errors), matched.sizes[:, None], matched.errors)
    known = matched.labeled & ~np.isnan(errors)
    count = len(matched.false_positives)
    sums = np.bincount(matched.frames, np.where(known, errors, 0.0).sum(axis=1), count)
    numbers = np.bincount(matched.frames, known.sum(axis=1), count)
    return np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan)


def _write_coco(
    folder: Path, data: LabeledFrames, indices: Sequence[int], predictions: Sequence[PosePrediction]
) -> None:
    labels = coco_labels(data, indices)
    ids = image_ids(labels)
    _write_json(folder / "labels.json", labels)
    _write_json(folder / "predictions.json", coco_results(predictions, ids))
    if data.skeleton.unique:
        _write_json(folder / "unique_predictions.json", unique_results(predictions, ids))


def _write_pictures(
    folder: Path, data: LabeledFrames, indices: Sequence[int], predictions: Sequence[PosePrediction], max_pictures: int
) -> int:
    """Draw at most max_pictures frames, evenly chosen, and return how many were drawn."""
    chosen = np.unique(np.linspace(0, len(indices) - 1, min(max_pictures, len(indices))).round().astype(int))
    names = picture_names([data.frames[index].key for index in indices])
    for place in chosen.tolist():
        picture = _draw(data, indices[place], predictions[place])
        # JPEG: a photograph takes twenty times as long as PNG, and five times the space.
        write_picture(folder / f"{names[place]}.jpg", add_legend(picture, data.skeleton))
    if len(chosen) < len(indices):
        logger.info("%d of %s drawn: evaluation.pictures=N draws N.", len(chosen), counted(len(indices), "frame"))
    return len(chosen)


def picture_names(keys: Sequence[str]) -> list[str]:
    """A unique file name without suffix for each key, of characters that every file system takes."""
    names: list[str] = []
    taken: set[str] = set()
    for key in keys:
        stem = re.sub(r"\.[A-Za-z0-9]{1,5}$", "", key.removeprefix("labeled-data/"))
        name = base = re.sub(r"[^\w.-]+", "_", stem).strip("._")[-120:] or "frame"
        number = 2
        while name.lower() in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name.lower())
        names.append(name)
    return names


def _examples(
    data: LabeledFrames, indices: Sequence[int], frames: EvaluatedFrames
) -> tuple[list[Example], list[Example]]:
    """Close-ups of the worst frames, worst first, and of those nearest the median error."""
    matched = frames.matched
    errors = errors_of_frames(matched)
    false_negatives = np.bincount(matched.frames[~matched.is_matched], minlength=len(errors))
    falling = [int(f) for f in np.argsort(-np.nan_to_num(errors, nan=-1.0), kind="stable") if not math.isnan(errors[f])]
    worst = falling[: min(WORST, (len(falling) + 1) // 2)]
    rest = [f for f in falling if f not in worst]
    middle = np.median(errors[falling]) if falling else 0.0
    typical = sorted(sorted(rest, key=lambda f: abs(errors[f] - middle))[:TYPICAL])

    def example(f: int) -> Example:
        counts = [(false_negatives[f], "false negatives"), (matched.false_positives[f], "false positives")]
        also = "".join(f", {count} {what}" for count, what in counts if count)
        caption = (
            f"{format_number(errors[f], 1, 'px')}{also} · {data.frames[indices[f]].key.removeprefix('labeled-data/')}"
        )
        return Example(_draw(data, indices[f], frames.predictions[f], close_up=True), caption)

    return [example(f) for f in worst], [example(f) for f in typical]


def _draw(data: LabeledFrames, index: int, prediction: PosePrediction, *, close_up: bool = False) -> Image:
    sample = data[index]
    gt, pred = labeled_animals(sample.labels), prediction.keypoints_in_image
    unique, unique_labels = prediction.unique_in_image, sample.labels.unique_in_image
    boxes = prediction.boxes_in_image
    image, corner = sample.image, np.zeros(2)
    if close_up:
        points = (gt.reshape(-1, 2), pred.reshape(-1, 2), boxes.reshape(-1, 2))
        image, corner = crop_around(image, np.concatenate(points))
    return draw_poses(
        image,
        pred - corner,
        data.skeleton,
        scores=prediction.keypoint_scores,
        labels_in_image=gt - corner,
        unique_in_image=unique - corner,
        unique_labels_in_image=unique_labels - corner,
        boxes_in_image=boxes - np.tile(corner, 2),
        box_scores=prediction.scores,
        scale=CLOSE_SIDE / max(image.shape[:2]) if close_up else None,
    )


def _as_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: "" if value != value else value for name, value in row.items()} for row in rows)
    return text.getvalue()


def _write_json(path: Path, content: Any, indent: int | None = None) -> None:
    write_atomic(path, json.dumps(content, indent=indent, allow_nan=False) + "\n")
