"""Snapshots of DeepLabCut 3: what is imported computes what the snapshot's weights say, and what is not fails clearly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from dlcpose.importers.deeplabcut import read_model
from dlcpose.importers.imported import write_checkpoint
from dlcpose.predict import load
from dlcpose.structures.errors import DlcposeError
from tests.importers import layouts


def expected_keypoints(image: np.ndarray, *, refined: bool = True) -> np.ndarray:
    """What DeepLabCut predicts, computed by torch's functions from the layout's weights: (K, 2).

    refined: whether by location refinement, else the centers of cells.
    """
    pixels = (image / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    images = torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float()
    weights = layouts.head_weights(len(layouts.BODYPARTS))
    with torch.no_grad():
        features = layouts.backbone().forward_features(images)
        heatmaps, offsets = (
            functional.conv_transpose2d(
                features, weights[f"{head}.deconv_layers.0.weight"], weights[f"{head}.deconv_layers.0.bias"], stride=2
            )[0]
            for head in ("heatmap_head", "locref_head")
        )
    places = []
    for keypoint, heatmap in enumerate(heatmaps):
        row, column = divmod(int(heatmap.argmax()), heatmap.shape[1])
        moved = 7.2801 * refined * offsets[2 * keypoint : 2 * keypoint + 2, row, column].numpy()
        places.append(np.array([8 * column + 4, 8 * row + 4]) + moved)
    return np.stack(places)


def test_an_imported_model_predicts_what_its_weights_say(tmp_path: Path) -> None:
    write_checkpoint(read_model(layouts.write(tmp_path / "model")), tmp_path / "model.ckpt")
    predictor = load(tmp_path / "model.ckpt", device="cpu")
    rng = np.random.default_rng(0)
    for size in ((64, 96), (70, 51)):  # also of a size that is no multiple of the stride
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        (found,) = predictor.predict([image])
        np.testing.assert_allclose(found.keypoints_in_image[0], expected_keypoints(image), atol=1e-3)
    assert predictor.skeleton.names == tuple(layouts.BODYPARTS)
    assert predictor.skeleton.pairs == ((1, 2),)


def test_location_refinement_that_is_switched_off_moves_nothing(tmp_path: Path) -> None:
    described = layouts.config()
    described["model"]["heads"]["bodypart"]["predictor"]["location_refinement"] = False
    folder = layouts.write(tmp_path / "model", described=described)
    write_checkpoint(read_model(folder), tmp_path / "model.ckpt")
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    (found,) = load(tmp_path / "model.ckpt", device="cpu").predict([image])
    np.testing.assert_allclose(found.keypoints_in_image[0], expected_keypoints(image, refined=False), atol=1e-3)


def test_the_best_snapshot_is_taken_and_another_can_be_named(tmp_path: Path) -> None:
    folder = layouts.write(tmp_path / "model")
    best = folder / "train" / "snapshot-best-005.pt"
    other = best.with_name("snapshot-200.pt")
    other.write_bytes(best.read_bytes())
    best.with_name("snapshot-detector-300.pt").write_bytes(b"")
    assert read_model(folder).source == best
    assert read_model(folder / "train").source == best
    assert read_model(other).source == other
    assert read_model(folder, snapshot=other).source == other


def _without_config(folder: Path) -> None:
    (folder / "train" / "pytorch_config.yaml").unlink()


def _tensorflow(folder: Path) -> None:
    (folder / "train" / "snapshot-best-005.pt").rename(folder / "train" / "snapshot-1030000.index")


def _cut_short(folder: Path) -> None:
    path = folder / "train" / "snapshot-best-005.pt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _objects(folder: Path) -> None:
    content = layouts.snapshot()
    content["metadata"]["metrics"] = {"metrics/test.rmse": np.float64(3.0)}
    torch.save(content, folder / "train" / "snapshot-best-005.pt")


def _something_else(folder: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, folder / "train" / "snapshot-best-005.pt")


def _missing_layer(folder: Path) -> None:
    content = layouts.snapshot()
    del content["model"]["backbone.model.layer3.0.conv1.weight"]
    torch.save(content, folder / "train" / "snapshot-best-005.pt")


def _surplus_layer(folder: Path) -> None:
    content = layouts.snapshot()
    content["model"]["neck.transformer.weight"] = torch.zeros(3)
    torch.save(content, folder / "train" / "snapshot-best-005.pt")


def _diverged(folder: Path) -> None:
    content = layouts.snapshot()
    content["model"]["heads.bodypart.heatmap_head.deconv_layers.0.bias"][0] = torch.nan
    torch.save(content, folder / "train" / "snapshot-best-005.pt")


def _complex(folder: Path) -> None:
    content = layouts.snapshot()
    name = "heads.bodypart.heatmap_head.deconv_layers.0.bias"
    content["model"][name] = content["model"][name].to(torch.complex64)
    torch.save(content, folder / "train" / "snapshot-best-005.pt")


def _layers(**layers: Any) -> Callable[[Path], None]:
    head = layouts.config()["model"]["heads"]["bodypart"]
    changed = {name: {**head[name], **layers} for name in ("heatmap_config", "locref_config")}
    return _head(**{**head, **changed})


def _endless_number(folder: Path) -> None:
    (folder / "train" / "pytorch_config.yaml").write_text("net_type: 1" + ":00" * 100_000)


def _detector_of_smaller_images(folder: Path) -> None:
    torch.save({"model": {}}, folder / "train" / "snapshot-detector-best-005.pt")
    detector = {
        "model": {"type": "SSDLite"},
        "data": {"colormode": "RGB", "inference": {"normalize_images": True, "resize": {"height": 64, "width": 64}}},
    }
    _config(lambda c: c.update(method="td", detector=detector))(folder)


def _head(**head: Any) -> Callable[[Path], None]:
    return _config(lambda c: c["model"]["heads"].update(bodypart=head))


def _config(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        described = layouts.config()
        change(described)
        layouts.write(folder / "new", described=described)
        (folder / "new" / "train" / "pytorch_config.yaml").replace(folder / "train" / "pytorch_config.yaml")

    return changed


@pytest.mark.parametrize(
    ("corrupt", "said"),
    [
        (_without_config, r"pytorch_config.yaml: no such file"),
        (_tensorflow, r"TensorFlow model of DeepLabCut 2"),
        (_cut_short, r"cut short"),
        (_objects, r"numpy.*could run code"),
        (_something_else, r"weights under `model`"),
        (_missing_layer, r"backbone.network.layer3.0.conv1.weight \(not in the file\)"),
        (_surplus_layer, r"neck.transformer.weight \(belongs to no part"),
        (_diverged, r"not finite"),
        (_complex, r"torch.complex64 in the file, torch.float32 in the model"),
        # A terabyte, and layers without end: neither is made to be compared with the weights.
        (_layers(kernel_size=[300_000]), r"96x3x300000x300000 in the model"),
        (
            _config(lambda c: c["model"]["backbone"].update(type="CSPNeXt", deepen_factor=1e5)),
            r"snapshot-best-005.pt: .*more than \d+ layers for 94 tensors",
        ),
        (
            _layers(channels=[96] * 20_000, kernel_size=[3] * 20_000, strides=[1] * 20_000),
            r"locref_config: expected at most 100 layers, got 20000",
        ),
        (_layers(strides=[1.5]), r"strides: expected whole numbers, got \[1.5\]"),
        (
            _config(lambda c: c["model"]["heads"]["bodypart"]["predictor"].update(locref_std=10**400)),
            r"locref_std: expected a number, got 1000",
        ),
        (
            _head(
                type="DEKRHead", heatmap_config={"channels": [64]}, offset_config={}, predictor={}, target_generator={}
            ),
            r"heatmap_config.num_blocks: expected a whole number, got nothing",
        ),
        (
            _head(
                type="DEKRHead",
                heatmap_config={"channels": [64], "num_blocks": 1},
                offset_config={"num_blocks": 2},
                predictor={"use_heatmap": False},
                target_generator={},
            ),
            r"heatmap_config.channels: expected 2 whole numbers or more, got \[64\]",
        ),
        (
            _head(
                type="DLCRNetHead",
                heatmap_config={"channels": [], "kernel_size": [], "strides": []},
                predictor={"graph": [[0, 1]]},
                target_generator={"generators": 1.5},
            ),
            r"target_generator.generators: expected a list, got 1.5",
        ),
        (
            _head(type="DLCRNetHead", predictor={"graph": [[0, "nose"]]}),
            r"graph: expected pairs of numbers of keypoints",
        ),
        (
            _config(lambda c: c["model"]["backbone"].update(model_name="${oc.env:HOME}")),
            r"no model '\$\{oc.env:HOME\}'",
        ),
        (_layers(strides=[0]), r"head: DeepLabCutHeatmapHead refuses its settings: .*zero"),
        (
            _config(lambda c: c["metadata"].update(bodyparts=["a", "b"])),
            r"heatmap_layers.*3 in the file, 2 in the model",
        ),
        (_config(lambda c: c["model"]["backbone"].update(type="ResNext")), r"backbone.type: .*'ResNext'.*ResNet"),
        (_config(lambda c: c.update(net_type="resnet_5000")), r"net_type: .*resnet_5000.*resnet_50"),
        (_config(lambda c: c.update(method="up")), r"method: .*'up'.*bu"),
        (_config(lambda c: c["data"]["inference"].update(resize={"height": 64})), r"inference.resize"),
        (_detector_of_smaller_images, r"detector.data.inference.resize: .*images are changed by 'resize'"),
        (
            _head(type="DLCRNetHead", predictor={"add_discarded": True}),
            r"add_discarded: .*imports False alone, got True",
        ),
        (_head(type="DLCRNetHead", predictor={"force_fusion": True}), r"force_fusion: .*imports False alone, got True"),
        (
            _head(type="RTMCCHead", gau_cfg={}, predictor={"apply_softmax": False}),
            r"apply_softmax: .*imports True alone, got False",
        ),
        (
            _config(lambda c: c["model"]["heads"].update(identity={"predictor": {"apply_sigmoid": False}})),
            r"identity.predictor.apply_sigmoid: .*imports True alone, got False",
        ),
        (_endless_number, r"pytorch_config.yaml: expected yaml.*a number of"),
        (_config(lambda c: c["metadata"].update(bodyparts=["a", "a", "b"])), r"pytorch_config.yaml: .*more than once"),
        (
            _config(lambda c: c["metadata"].update(bodyparts=["a", "b", "c\0"])),
            r"pytorch_config.yaml: .*plain characters",
        ),
        (_config(lambda c: c["model"]["heads"].pop("bodypart")), r"heads: expected a head `bodypart`"),
        (_config(lambda c: c["model"]["backbone"].pop("model_name")), r"model_name: expected a text, got nothing"),
    ],
)
def test_what_cannot_be_imported_is_said_in_one_line(
    corrupt: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    folder = layouts.write(tmp_path / "model")
    corrupt(folder)
    with pytest.raises(DlcposeError, match=said) as caught:
        write_checkpoint(read_model(folder), tmp_path / "model.ckpt")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model.ckpt").exists()
