"""Prediction from a checkpoint alone: no Hydra, no data set, and the same poses to the last bit."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dlcpose.predict import Predictor, load
from dlcpose.structures.errors import CheckpointError, ConfigError, DataError, InputError
from dlcpose.structures.instances import PosePrediction
from tests.made_up_runs import checkpoint_of, frames_of, option, tiny_config

ROOT = Path(__file__).parents[1]
DATA = frames_of(4)
IMAGES = [DATA.read_image(index) for index in range(4)]
MIXED = [IMAGES[0], IMAGES[1][:50], np.tile(IMAGES[2], (2, 2, 1)), IMAGES[3]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def predictor(checkpoint: Path) -> Predictor:
    return load(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    config = tiny_config(input=option("input", "native"))
    return load(checkpoint_of(tmp_path_factory.mktemp("native"), config), device="cpu")


def assert_alike(first: PosePrediction, second: PosePrediction, atol: float = 1e-3) -> None:
    for name in ("keypoints_in_image", "keypoint_scores", "scores"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), atol=atol, rtol=0)


SCRIPT = """
import json, sys
import numpy as np
import dlcpose
images = np.load(sys.argv[2])
found = dlcpose.load(sys.argv[1], device="cpu").predict(list(images), batch_size=4)
poses = [[value.hex() for value in each.keypoints_in_image.astype(float).ravel()] for each in found]
print(json.dumps({"poses": poses, "modules": sorted(name for name in sys.modules if "." not in name)}))
"""


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_bits_without_hydra_and_without_the_data(
    checkpoint: Path, tmp_path: Path
) -> None:
    here = load(checkpoint, device="cpu").predict(IMAGES, batch_size=4)
    np.save(tmp_path / "images.npy", np.stack(IMAGES))
    command = [sys.executable, "-c", SCRIPT, str(checkpoint), str(tmp_path / "images.npy")]
    done = subprocess.run(command, cwd=tmp_path, env=_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout.splitlines()[-1])
    assert not {"hydra", "omegaconf"} & set(there["modules"])
    assert there["poses"] == [[value.hex() for value in each.keypoints_in_image.astype(float).ravel()] for each in here]


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_model_outlives_its_data(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    _write_coco(folder)
    from dlcpose.datasets.coco import CocoFrames

    path = checkpoint_of(tmp_path, tiny_config(), CocoFrames(folder))
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert len(load(path, device="cpu").predict(IMAGES)) == 4


def _write_coco(folder: Path) -> None:
    images, labels = [], []
    for number, image in enumerate(IMAGES):
        cv2.imwrite(str(folder / f"{number}.png"), image)
        images.append({"id": number, "file_name": f"{number}.png", "height": 64, "width": 64})
        points = [10, 10 + number, 2, 40, 40, 2]
        labels.append({"id": number, "image_id": number, "category_id": 1, "keypoints": points, "num_keypoints": 2})
        labels[-1] |= {"bbox": [5, 5, 40, 40], "area": 1600, "iscrowd": 0}
    kinds = [{"id": 1, "name": "mouse", "keypoints": ["a", "b"], "skeleton": []}]
    (folder / "labels.json").write_text(json.dumps({"images": images, "annotations": labels, "categories": kinds}))


def test_a_notebook_shows_a_predictor_in_one_line(predictor: Predictor) -> None:
    assert repr(predictor) == f"Predictor(BottomUp, {len(predictor.skeleton)} keypoints, on cpu)"


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("kind", ["letterbox", "native"])
def test_single_image_is_predicted_as_in_a_batch(predictor: Predictor, native: Predictor, kind: str, size: int) -> None:
    model = predictor if kind == "letterbox" else native
    together = model.predict(MIXED, batch_size=size)
    assert [each.key for each in together] == ["0", "1", "2", "3"]
    for image, among in zip(MIXED, together, strict=True):
        assert_alike(model.predict([image])[0], among)


def test_at_native_size_unlike_images_never_share_a_batch(native: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[list[tuple[int, ...]]] = []
    predict_batch = Predictor._predict_batch
    monkeypatch.setattr(
        Predictor,
        "_predict_batch",
        lambda self, samples, way: (
            shapes.append([each.image.shape for each in samples]) or predict_batch(self, samples, way)
        ),
    )
    native.predict([IMAGES[0], IMAGES[1], *MIXED, IMAGES[0]], batch_size=3)
    assert all(len(set(batch)) == 1 for batch in shapes)
    assert max(len(batch) for batch in shapes) == 3


def test_paths_and_arrays_give_the_same(predictor: Predictor, tmp_path: Path) -> None:
    for number, image in enumerate(MIXED):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image[..., ::-1])
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    from_paths = predictor.predict([paths[0], str(paths[1]), paths[2], MIXED[3]])
    assert [each.key for each in from_paths] == [str(paths[0]), str(paths[1]), str(paths[2]), "3"]
    for one, other in zip(from_paths, predictor.predict(MIXED), strict=True):
        assert_alike(one, other)


def test_predictions_have_the_shapes_they_promise(predictor: Predictor) -> None:
    keypoints = len(predictor.skeleton)
    assert predictor.skeleton == DATA.skeleton
    for prediction in predictor.predict(IMAGES):
        assert prediction.keypoints_in_image.shape == (1, keypoints, 2)
        assert prediction.keypoints_in_image.dtype == np.float32
        assert prediction.keypoint_scores.shape == (1, keypoints)
        assert ((prediction.keypoint_scores >= 0) & (prediction.keypoint_scores <= 1)).all()
        assert prediction.identities.dtype == np.int64
        assert prediction.unique_in_image.shape == (0, 2)


def test_no_images_give_no_predictions(predictor: Predictor) -> None:
    assert predictor.predict([]) == []
    assert list(predictor.stream(iter(()), 4)) == []


def test_images_may_come_from_a_generator_and_are_taken_as_they_are_needed(predictor: Predictor) -> None:
    taken = []

    def frames():
        for number in range(6):
            taken.append(number)
            yield str(number), IMAGES[number % 4]

    stream = predictor.stream(frames(), 2)
    assert [each.key for each in next(stream)] == ["0", "1"]
    assert len(taken) <= 3
    assert [each.key for batch in stream for each in batch] == ["2", "3", "4", "5"]


@pytest.mark.parametrize(("names", "known"), [(("black", "white"), ("black", "white")), (("black",), ()), ((), ())])
def test_animals_have_names_where_the_data_names_all(
    names: tuple[str, ...], known: tuple[str, ...], tmp_path: Path
) -> None:
    data = frames_of(4, animals=2)
    data.individuals = names
    assert data.max_animals == 2
    head = {**option("head", "part_affinity"), "channels": 16, "edges": option("head/edges", "all")}
    head["heatmap_loss"] = option("loss", "binary_cross_entropy")
    head.pop("defaults", None)
    path = checkpoint_of(tmp_path, tiny_config(head=head), data)
    assert load(path, device="cpu").individuals == known


def test_images_and_seconds_are_counted(checkpoint: Path) -> None:
    predictor = load(checkpoint, device="cpu")
    predictor.predict(IMAGES, batch_size=3)
    assert predictor.images == 4
    assert predictor.seconds > 0


@pytest.mark.parametrize(
    "image",
    [
        IMAGES[0].astype(np.float32) / 255,
        IMAGES[0][..., 0],
        np.dstack([IMAGES[0], IMAGES[0][..., :1]]),
        IMAGES[0].transpose(2, 0, 1),
        IMAGES[0].astype(np.int64),
        IMAGES[0][:0],
        np.stack(IMAGES),
    ],
)
def test_an_array_that_is_no_image_is_refused(predictor: Predictor, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"1: expected an image \(H, W, 3\) uint8 RGB, got \("):
        predictor.predict([IMAGES[0], image])


def test_mistakes_are_named(predictor: Predictor, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected a list of images, got one path"):
        predictor.predict(str(tmp_path / "a.png"))
    with pytest.raises(DataError, match=r"a\.png"):
        predictor.predict([tmp_path / "a.png"])
    with pytest.raises(ValueError, match="batch_size, of at least 1, got 0"):
        predictor.predict(IMAGES, batch_size=0)
    for batch_size in (2.5, "auto"):
        with pytest.raises(InputError, match="batch_size"):
            predictor.predict(IMAGES, batch_size=batch_size)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load(tmp_path / "gone.ckpt")
    with pytest.raises(InputError, match=r"trust=\['mylab'\]"):
        load(checkpoint, trust="mylab")


@pytest.mark.parametrize("frame", ["a.png", IMAGES[0].astype(np.float32), [[0, 0, 0]]])
def test_what_is_no_frame_of_a_stream_is_refused(predictor: Predictor, frame: object) -> None:
    with pytest.raises(InputError, match="1: expected an image"):
        list(predictor.predict_stream([IMAGES[0], frame], batch_size=1))


def test_a_device_that_is_not_there_is_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"no CUDA device.*device=cpu"):
        load(checkpoint, device="cuda")


def test_a_device_without_64_bit_floats_is_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(ConfigError, match=r"^device=mps: .*64-bit.*device=cpu"):
        load(checkpoint, device="mps")
