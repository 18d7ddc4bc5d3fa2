"""Exported to ONNX and read again: the same predictions as torch's, through the same code."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import dlcpose
from dlcpose.checkpoint import read_checkpoint
from dlcpose.exporters.pose_file import read_provenance
from dlcpose.model_formats.registry import ExportRequest, export_model
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PosePrediction
from tests.datasets.numbered_videos import write_numbered
from tests.model_formats.made_up_checkpoints import CONFIGS, data_of, top_down, write_checkpoint
from tests.pipelines.made_up_top_down import GROUND_TRUTH

onnx = pytest.importorskip("onnx", reason="an extra: pip install 'dlcpose[onnx]'")
ort = pytest.importorskip("onnxruntime", reason="an extra: pip install 'dlcpose[onnx]'")


def request_of(name: str, folder: Path, **settings: object) -> ExportRequest:
    checkpoint = write_checkpoint(folder / f"{name}.ckpt", CONFIGS[name](), data_of(name))
    output = folder / (name if name == "top_down" else f"{name}.onnx")
    return ExportRequest(read_checkpoint(checkpoint), output, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExportRequest]:
    """Each kind of model, written once."""
    folder = tmp_path_factory.mktemp("exported")
    requests = {name: request_of(name, folder) for name in CONFIGS}
    for request in requests.values():
        export_model("onnx", request)
    return requests


def frames(height: int = 64, width: int = 64, count: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, height // 8, width // 8, 3), np.uint8)
    return [cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in small]


def assert_alike(ours: list[PosePrediction], theirs: list[PosePrediction]) -> None:
    assert [len(each) for each in ours] == [len(each) for each in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert len(one)
        for name in ("keypoint_scores", "scores", "boxes_in_image"):
            np.testing.assert_allclose(getattr(other, name), getattr(one, name), atol=1e-3, err_msg=name)
        assert_places_alike(one.keypoints_in_image, other.keypoints_in_image)


def assert_places_alike(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Within 1e-3 px, but for a few: random weights have flat peaks, whose place rounding moves."""
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    shifts = np.nan_to_num(np.linalg.norm(ours - theirs, axis=-1))
    assert np.quantile(shifts, 0.97) <= 1e-3
    assert shifts.max() < 0.1


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("count", [1, 5])
def test_predictions_equal_torchs(name: str, count: int, exported: dict[str, ExportRequest]) -> None:
    request = exported[name]
    predictor = dlcpose.load(request.output, device="cpu")
    torchs = dlcpose.load(request.checkpoint.path, device="cpu")
    assert predictor.skeleton == torchs.skeleton
    assert_alike(torchs.predict(frames(count=count)), predictor.predict(frames(count=count)))


@pytest.mark.parametrize("name", ["native", "dekr", "part_affinity", "top_down"])
def test_images_of_another_size_too(name: str, exported: dict[str, ExportRequest]) -> None:
    request, shown = exported[name], frames(96, 128)
    torchs, predictor = (dlcpose.load(path, device="cpu") for path in (request.checkpoint.path, request.output))
    assert_alike(torchs.predict(shown), predictor.predict(shown))


def many_animals_at_most(name: str) -> dict[str, Any]:
    config = CONFIGS[name]()
    config["detector" if name == "top_down" else "head"]["max_animals"] = 100
    return config


@pytest.mark.parametrize(
    ("name", "format_name", "output"),
    [
        ("dekr", "torchscript", "model.ts"),
        ("part_affinity", "torchscript", "model.ts"),
        ("part_affinity", "onnx", "model.onnx"),
        ("top_down", "torchscript", "folder"),
        ("top_down", "onnx", "folder"),
    ],
)
def test_images_with_fewer_cells_than_there_may_be_animals(
    name: str, format_name: str, output: str, tmp_path: Path
) -> None:
    """A graph keeps as many peaks as it was traced with; the check of the export asks it of images that are smaller."""
    checkpoint = write_checkpoint(tmp_path / "best.ckpt", many_animals_at_most(name), data_of(name))
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), frames(32, 32, count=1)[0])
    request = ExportRequest(read_checkpoint(checkpoint), tmp_path / output, images=(small,))
    assert "checked against torch" in export_model(format_name, request)[-1]


def test_real_images(exported: dict[str, ExportRequest], shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "openfield-Pranav-2018-10-30" / "labeled-data" / "m4s1"
    images = tuple(sorted(folder.glob("*.png"))[:3])
    request = exported["letterbox"]
    again = ExportRequest(request.checkpoint, tmp_path / "again.onnx", images=images)
    lines = export_model("onnx", again)
    assert "3 given images" in lines[-1]
    torchs, predictor = (dlcpose.load(path, device="cpu") for path in (request.checkpoint.path, again.output))
    # A graph does not know what is padding, so a peak of random weights may be there: for both it is a part of the image.
    squares = [
        cv2.copyMakeBorder(cv2.imread(str(path))[..., ::-1], 0, 160, 0, 0, cv2.BORDER_CONSTANT) for path in images
    ]
    assert_alike(torchs.predict(squares), predictor.predict(squares))
    for pred in predictor.predict(images):  # of 640 x 480
        assert (pred.keypoints_in_image >= -0.5).all()
        assert (pred.keypoints_in_image <= [639.5, 479.5]).all()


def test_a_video_gives_the_same_table(exported: dict[str, ExportRequest], tmp_path: Path) -> None:
    shown = frames()
    video = write_numbered(tmp_path / "a.mp4", 10, size=(64, 64), image_of=lambda number: shown[number % 5])
    for name, settings in (("letterbox", {"flip_test": True}), ("top_down", {"detector_every": 3})):
        request = exported[name]
        torchs, predictor = (dlcpose.load(path, device="cpu") for path in (request.checkpoint.path, request.output))
        one, other = (each.predict_video(video, precision="32", **settings) for each in (torchs, predictor))
        assert_places_alike(one.keypoints_in_image, other.keypoints_in_image)
        np.testing.assert_array_equal(other.frame_indices, one.frame_indices)


def test_another_program_finds_what_it_needs_in_the_file(exported: dict[str, ExportRequest]) -> None:
    """onnxruntime alone: pixels in, keypoints in pixels of the input out."""
    request = exported["letterbox"]
    session = ort.InferenceSession(request.output, providers=["CPUExecutionProvider"])
    assert "nose" in session.get_modelmeta().custom_metadata_map["dlcpose"]
    image = cv2.resize(frames()[0], (64, 64))
    keypoints, scores = session.run(
        ["keypoints", "keypoint_scores"], {"images": image.transpose(2, 0, 1)[None].astype(np.uint8)}
    )
    count = len(dlcpose.load(request.output).skeleton)
    assert (keypoints.shape, scores.shape) == ((1, count, 2), (1, count))


def test_peaks_of_a_bottom_up_model_are_candidates(exported: dict[str, ExportRequest]) -> None:
    request = exported["part_affinity"]
    session = ort.InferenceSession(request.output, providers=["CPUExecutionProvider"])
    image = frames()[0]
    (peaks,) = session.run(["peaks"], {"images": image.transpose(2, 0, 1)[None].astype(np.uint8)})
    assert (np.diff(peaks[..., 2], axis=-1) <= 0).all()
    (found,) = dlcpose.load(request.checkpoint.path, device="cpu").predict([image])
    for keypoint, candidates in enumerate(peaks[0]):
        for point in found.keypoints_in_image[:, keypoint]:
            if not np.isnan(point).any():
                assert np.linalg.norm(candidates[:, :2] - point, axis=-1).min() < 1e-3


def test_half_precision_reports_its_error(exported: dict[str, ExportRequest], tmp_path: Path) -> None:
    request = exported["letterbox"]
    half = ExportRequest(request.checkpoint, tmp_path / "half.onnx", precision="fp16")
    lines = export_model("onnx", half)
    assert half.output.stat().st_size < 0.7 * request.output.stat().st_size
    assert "jump" in lines[-1]
    predictor = dlcpose.load(half.output)
    with pytest.raises(ConfigError, match="precision=32"):
        predictor.predict_video("a.mp4", precision="32")
    assert len(predictor.predict(frames())) == 5


def test_what_does_not_agree_is_not_written(
    exported: dict[str, ExportRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = exported["letterbox"]
    other = ExportRequest(request.checkpoint, tmp_path / "other.onnx")
    with torch.no_grad():
        ours = request.pipeline
        changed = ExportRequest(request.checkpoint, tmp_path / "other.onnx").pipeline
        for weight in changed.parameters():
            weight.mul_(1.5)
    monkeypatch.setattr("dlcpose.model_formats.onnx.estimator_of", lambda pipeline: changed)
    assert other.pipeline is not ours
    with pytest.raises(ConfigError, match="nothing is written"):
        export_model("onnx", other)
    assert list(tmp_path.iterdir()) == []


def test_ground_truth_boxes_are_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "best.ckpt", top_down(GROUND_TRUTH), data_of("top_down"))
    with pytest.raises(ConfigError, match=r"^detector: GroundTruthDetector"):
        export_model("onnx", ExportRequest(read_checkpoint(checkpoint), tmp_path / "out"))


@pytest.mark.parametrize(("name", "output"), [("top_down", "a.onnx"), ("letterbox", "folder")])
def test_the_output_has_the_form_of_the_model(
    name: str, output: str, exported: dict[str, ExportRequest], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"^--output"):
        export_model("onnx", ExportRequest(exported[name].checkpoint, tmp_path / output))


def test_predictions_name_the_exported_file(exported: dict[str, ExportRequest], tmp_path: Path) -> None:
    from dlcpose.prediction.settings import PredictionSettings
    from dlcpose.prediction.video import write_video_poses

    shown = frames()
    video = write_numbered(tmp_path / "a.mp4", 5, size=(64, 64), image_of=lambda number: shown[number % 5])
    for name, file in (("letterbox", "letterbox.onnx"), ("top_down", "top_down/pose.onnx")):
        model = dlcpose.load(exported[name].output).model
        write_video_poses(model, video, tmp_path / f"{name}.poses.h5", PredictionSettings())
        _, provenance = read_provenance(tmp_path / f"{name}.poses.h5")
        assert provenance.checkpoint.endswith(file)
        assert len(provenance.checkpoint_hash) == 64
