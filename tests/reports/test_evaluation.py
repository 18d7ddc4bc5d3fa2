import base64
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from markupsafe import escape
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console

from dlcpose.datasets.base import LabeledFrames
from dlcpose.metrics.base import EvaluatedFrames, builtin_infos, figures_of
from dlcpose.metrics.counts import Counts
from dlcpose.metrics.figure_info import FigureInfo
from dlcpose.metrics.matching import match_frames
from dlcpose.metrics.oks import ObjectKeypointSimilarity
from dlcpose.metrics.pck import PercentageOfCorrectKeypoints
from dlcpose.metrics.pixel_error import PixelError
from dlcpose.reports import evaluation as evaluation_module
from dlcpose.reports.evaluation import (
    errors_of_frames,
    figure_table,
    learning_curve,
    picture_names,
    write_evaluation,
)
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import labels_of
from dlcpose.structures.skeleton import Skeleton
from tests.exporters.made_up_frames import MadeUpFrames
from tests.metrics.made_up import SHAPE, SKELETON, at, empty, herd, prediction_of

METRICS = {
    "error": PixelError(),
    "pck": PercentageOfCorrectKeypoints(),
    "oks": ObjectKeypointSimilarity(),
    "counts": Counts(),
}
INFOS = builtin_infos()


def write(folder: Path, data: LabeledFrames, predictions: Sequence[PosePrediction], figures: dict, **more: Any) -> None:
    """An evaluation of all frames, in the order of `indices` where they are given."""
    indices = more.pop("indices", range(len(data)))
    frames = EvaluatedFrames(predictions, [data.frames[index] for index in indices], data.skeleton)
    more = {"title": "t", "infos": INFOS, **more}
    write_evaluation(folder, data=data, indices=indices, frames=frames, figures=figures, **more)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """An evaluation of several animals, and its figures."""
    labels, predictions = herd(11)
    order = np.random.default_rng(0).permutation(len(labels)).tolist()
    predictions = [predictions[i] for i in order]
    figures = figures_of(METRICS, EvaluatedFrames(predictions, [labels[i] for i in order], SKELETON))
    figures |= {"images_per_s": 98.7, "box_ap": float("nan"), "my_own_figure": 1.25}
    folder = tmp_path_factory.mktemp("run") / "evaluation"
    write(folder, MadeUpFrames(labels), predictions, figures, indices=order, title="<b>Mice</b> & men", pictures=5)
    return folder, figures


def test_all_files_are_there_and_nothing_else(evaluated: tuple[Path, dict[str, float]]) -> None:
    folder, _ = evaluated
    assert sorted(path.name for path in folder.iterdir()) == [
        "labels.json",
        "metrics.json",
        "metrics_info.json",
        "per_keypoint.csv",
        "pictures",
        "predictions.json",
        "report.html",
        "worst.png",
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["evaluation"]
    pictures = list((folder / "pictures").iterdir())
    assert len(pictures) == 5
    assert all(re.fullmatch(r"v_img\d{3}\.jpg", path.name) for path in pictures)
    assert all(cv2.imread(str(path)) is not None for path in [*pictures, folder / "worst.png"])


def test_the_files_scored_again_by_pycocotools_give_the_same_figures(
    evaluated: tuple[Path, dict[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, figures = evaluated
    coco = COCO(str(folder / "labels.json"))
    evaluation = COCOeval(coco, coco.loadRes(str(folder / "predictions.json")), "keypoints")
    evaluation.params.kpt_oks_sigmas = np.array(coco.dataset["categories"][0]["sigmas"])
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    ours = [figures[name] for name in ("oks_ap", "oks_ap50", "oks_ap75", "oks_ar")]
    assert 0 < ours[0] < 1
    assert ours == pytest.approx([evaluation.stats[i] for i in (0, 1, 2, 5)], abs=1e-12)


def test_figures_are_written_flat_and_undefined_ones_as_null(evaluated: tuple[Path, dict[str, float]]) -> None:
    folder, figures = evaluated

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no json")

    written = json.loads((folder / "metrics.json").read_text(), parse_constant=refuse)
    assert list(written) == list(figures)
    assert written["box_ap"] is None
    assert {**written, "box_ap": 0} == {**figures, "box_ap": 0}
    for name in ("false_negatives", "images"):
        assert isinstance(written[name], int), name


def test_the_facts_about_the_figures_are_written_beside_them(evaluated: tuple[Path, dict[str, float]]) -> None:
    folder, _ = evaluated
    content = json.loads((folder / "metrics_info.json").read_text())
    assert {name: FigureInfo.from_dict(info) for name, info in content.items()} == INFOS


def test_the_table_of_keypoints_is_read_by_pandas(evaluated: tuple[Path, dict[str, float]]) -> None:
    folder, figures = evaluated
    table = pd.read_csv(folder / "per_keypoint.csv")
    assert table.keypoint.tolist() == list(SKELETON.names)
    found = table.labeled - table.false_negatives
    assert (table.mean_error_px * found).sum() / found.sum() == pytest.approx(figures["mean_error_px"])


def test_the_page_needs_nothing_else_and_shows_the_figures(evaluated: tuple[Path, dict[str, float]]) -> None:
    folder, figures = evaluated
    page = (folder / "report.html").read_text()
    sources = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"'\s>)]+)""", page)
    assert len(sources) >= 2 + 6
    for source in sources:
        kind, content = re.fullmatch(r"data:image/(png|jpeg);base64,(.+)", source).groups()
        assert cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR) is not None, kind
    assert not re.search(r"https?://|file://|<script|@import", page)
    assert "<b>" not in page
    assert "&lt;b&gt;Mice" in page
    assert f"{figures['mean_error_px']:.2f} px" in page
    assert f"{figures['oks_ap']:.3f}" in page
    assert all(name in page for name in (*SKELETON.names, "my_own_figure", "98.7 images/s"))
    assert "(7 were left out, evenly)" in page


def test_a_second_evaluation_replaces_the_first(tmp_path: Path) -> None:
    labels, predictions = herd(1, frames=2, most=1)
    folder = tmp_path / "deep" / "evaluation"
    for figures in ({"images": 1}, {"images": 2}):
        write(folder, MadeUpFrames(labels), predictions, figures)
        assert json.loads((folder / "metrics.json").read_text()) == figures
        (folder / "old.txt").touch()
    (folder / "old.txt").unlink()
    assert not list(folder.glob("old*"))
    assert [path.name for path in folder.parent.iterdir()] == ["evaluation"]


def test_a_failed_evaluation_leaves_what_was_there(tmp_path: Path) -> None:
    class Broken(MadeUpFrames):
        def read_image(self, index: int) -> np.ndarray:
            raise OSError("the disk is gone")

    labels, predictions = herd(1, frames=2, most=1)
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "metrics.json").write_text("{}")
    with pytest.raises(OSError, match="disk"):
        write(folder, Broken(labels), predictions, {"images": 2})
    assert [path.name for path in tmp_path.rglob("*")] == ["evaluation", "metrics.json"]


@pytest.mark.parametrize("fails", ["read_image", "render_report"])
def test_an_evaluation_whose_pictures_fail_has_its_figures(
    tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("ParseException: $\\frac{$")

    labels, predictions = herd(1, frames=2, most=1)
    monkeypatch.setattr(
        *{"read_image": (MadeUpFrames, fails), "render_report": (evaluation_module, fails)}[fails], fail
    )
    write(tmp_path / "e", MadeUpFrames(labels), predictions, {"images": 2})
    assert json.loads((tmp_path / "e" / "metrics.json").read_text()) == {"images": 2}
    for name in ("per_keypoint.csv", "labels.json", "predictions.json"):
        assert (tmp_path / "e" / name).is_file()
    assert (tmp_path / "e" / "report.html").is_file() == (fails == "read_image")
    assert "could not be drawn" in caplog.text


@pytest.mark.parametrize("case", ["nothing found", "nothing labeled", "no frames"])
def test_hopeless_cases_are_written_too(tmp_path: Path, case: str) -> None:
    labels = [
        labels_of("a.png", (120, 160), SHAPE[None] + (60, 40)),
        labels_of("b.png", (120, 160), np.zeros((0, 5, 2))),
    ]
    if case == "nothing labeled":
        labels = [labels_of("a.png", (120, 160), np.full((1, 5, 2), np.nan))]
    predictions = [prediction_of("a.png", SHAPE[None])] if case == "nothing labeled" else empty(labels)
    if case == "no frames":
        labels, predictions = [], []
    figures = figures_of(METRICS, EvaluatedFrames(predictions, labels, SKELETON))
    write(tmp_path / "e", MadeUpFrames(labels), predictions, figures, title=case)
    assert case in (tmp_path / "e" / "report.html").read_text()


def test_animals_without_a_size_give_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    points = np.full((2, 5, 2), np.nan)
    points[0], points[1, 0] = SHAPE, 7
    labels = [labels_of("a.png", (480, 640), points)]
    with caplog.at_level(logging.WARNING):
        write(tmp_path / "e", MadeUpFrames(labels), empty(labels), {})
    assert "1 of 2 animals" in caplog.text


def test_frames_without_a_picture_are_told_with_the_setting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels, predictions = herd(3)
    caplog.set_level(logging.INFO)
    write(tmp_path / "some", MadeUpFrames(labels), predictions, {"oks_ap": 0.5}, pictures=2)
    assert f"2 of {len(labels)} frames drawn: evaluation.pictures=N" in caplog.text
    caplog.clear()
    write(tmp_path / "all", MadeUpFrames(labels), predictions, {"oks_ap": 0.5}, pictures=len(labels))
    assert "drawn" not in caplog.text


def test_unique_keypoints_are_written(tmp_path: Path) -> None:
    skeleton = Skeleton(names=SKELETON.names, unique=("corner",))
    labels = [labels_of("a.png", (480, 640), SHAPE[None], unique_in_image=np.array([[10, 10]], np.float32))]
    found = [prediction_of("a.png", SHAPE[None], unique=np.array([[13, 14]]))]
    data = MadeUpFrames(labels, skeleton)
    write(tmp_path / "e", data, found, {})
    (entry,) = json.loads((tmp_path / "e" / "unique_predictions.json").read_text())
    assert entry["unique_keypoints"] == [13, 14, 2]
    assert "corner" in (tmp_path / "e" / "report.html").read_text()


def test_the_error_of_a_frame_counts_false_negatives_by_their_size() -> None:
    labels = [
        labels_of("a.png", (480, 640), np.stack([at(100, 100), at(500, 100)])),
        labels_of("b.png", (480, 640), np.zeros((0, 5, 2))),
        labels_of("c.png", (480, 640), SHAPE[None]),
    ]
    predictions = [
        prediction_of("a.png", SHAPE[None] + (103, 104)),
        prediction_of("b.png", SHAPE[None]),
        prediction_of("c.png", SHAPE[None]),
    ]
    errors = errors_of_frames(match_frames(predictions, labels, SKELETON))
    np.testing.assert_allclose(errors, [(5 + 115) / 2, np.nan, 0], atol=1e-4)


def test_names_of_pictures_are_safe_and_differ() -> None:
    keys = [
        "labeled-data/m4/img1.png",
        "labeled-data/m4/img1.jpg",
        "../../etc/passwd",
        "C:\\x\\y.png",
        "M4/IMG1.png",
        "...",
        "",
    ]
    names = picture_names(keys)
    assert names[0] == "m4_img1"
    assert len({name.lower() for name in names}) == len(keys)
    assert all(re.fullmatch(r"\w[\w.-]*", name) for name in names)


def test_the_table_shows_every_figure(evaluated: tuple[Path, dict[str, float]]) -> None:
    _, figures = evaluated
    console = Console(width=200, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    console.print(figure_table({**figures, "true_boxes/rmse_px": 3.25}, INFOS, width=200))
    text = console.export_text()
    assert all(name in text for name in figures)
    assert re.search(r"Root mean square error \(true boxes\)\s*│\s*3\.25 px", text)


def test_on_a_narrow_screen_each_figure_has_one_line(evaluated: tuple[Path, dict[str, float]]) -> None:
    _, figures = evaluated
    console = Console(width=80, record=True, file=open("/dev/null", "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    console.print(figure_table(figures, INFOS, width=80))
    assert len(console.export_text().splitlines()) == len(figures) + 4  # a head and three rules


def test_the_headings_of_the_page_s_tables_may_wrap(evaluated: tuple[Path, dict[str, float]]) -> None:
    """In one line each they are wider than the page: the last column was behind a scrollbar."""
    page = (evaluated[0] / "report.html").read_text()
    (style,) = re.findall(r"^th \{(.*)\}$", page, re.MULTILINE)
    assert "nowrap" not in style


def test_the_learning_curve_is_drawn_from_rows_with_gaps(tmp_path: Path) -> None:
    rows = []
    for epoch in range(5):
        rows.append({"epoch": epoch, "step": epoch, "train/loss": 1 / (epoch + 1), "val/loss": np.nan})
        rows.append({"epoch": epoch, "step": epoch, "val/loss": 2 / (epoch + 1), "val/mean_error_px": 50 / (epoch + 1)})
    pd.DataFrame(rows).to_csv(tmp_path / "metrics.csv", index=False)
    learning_curve(tmp_path / "metrics.csv", tmp_path / "curve.png", INFOS)
    assert cv2.imread(str(tmp_path / "curve.png")).std() > 5
    pd.DataFrame(rows)[["step", "train/loss"]].to_csv(tmp_path / "metrics.csv", index=False)
    learning_curve(tmp_path / "metrics.csv", tmp_path / "loss.png", INFOS)
    assert cv2.imread(str(tmp_path / "loss.png")).shape[1] < cv2.imread(str(tmp_path / "curve.png")).shape[1]


def test_the_learning_curve_has_a_panel_for_each_kind_of_figure_that_was_logged(tmp_path: Path) -> None:
    widths = []
    logged = {"epoch": [0, 1], "train/loss": [2.0, 1.0]}
    for more in ({}, {"val/mean_error_px": [9.0, 5.0]}, {"val/oks_ap": [0.0, 0.5]}, {"val/box_ap": [np.nan, np.nan]}):
        logged |= more
        pd.DataFrame(logged).to_csv(tmp_path / "metrics.csv", index=False)
        learning_curve(tmp_path / "metrics.csv", tmp_path / "curve.png", INFOS)
        widths.append(cv2.imread(str(tmp_path / "curve.png")).shape[1])
    assert widths == [widths[0], 2 * widths[0], 3 * widths[0], 3 * widths[0]]  # nothing was logged of the last


@pytest.mark.parametrize("content", ["", "epoch,step\n0,1\n", "epoch,step,val/loss\n0,1,\n"])
def test_no_epoch_leaves_no_curve_and_a_warning(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "metrics.csv").write_text(content)
    with caplog.at_level(logging.WARNING):
        learning_curve(tmp_path / "metrics.csv", tmp_path / "curve.png", INFOS)
    assert "no learning curve" in caplog.text
    assert not (tmp_path / "curve.png").exists()


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("ear[left]", "ear[/right]", r"$\frac{$", "_tail", "no\x1b[2Jse")
    labels, predictions = herd(2, frames=2, most=1)
    skeleton = Skeleton(names=names)
    write(tmp_path / "e", MadeUpFrames(labels, skeleton), predictions, {f"mine/{name}": 1.0 for name in names})
    assert all(escape(name) in (tmp_path / "e" / "report.html").read_text() for name in names[:3])
    console = Console(width=200)
    console.print(figure_table(dict.fromkeys(names, 1.0), INFOS, width=200))
    shown = capsys.readouterr().out
    assert all(name in shown for name in names[:4])
    assert "\x1b[2J" not in shown


def test_the_template_travels_with_the_package() -> None:
    import dlcpose.reports

    assert (Path(dlcpose.reports.__path__[0]) / "report.html.j2").is_file()
