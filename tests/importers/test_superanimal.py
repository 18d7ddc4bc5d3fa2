"""SuperAnimal snapshots, which come without a config, are recognized by their keys."""

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from dlcpose.importers.deeplabcut import read_model
from dlcpose.importers.superanimal import BIRD, QUADRUPED, TOP_VIEW_MOUSE, recognized_config
from dlcpose.structures.errors import DataError


def resnet_snapshot(keypoints: int) -> dict[str, Tensor]:
    """The names and shapes of superanimal_*_resnet_50.pt, without values."""
    with torch.device("meta"):
        network = timm.create_model("resnet50_gn", output_stride=16, num_classes=0)
        heads = {
            f"heads.bodypart.{head}.deconv_layers.0": torch.nn.ConvTranspose2d(2048, outputs, 3, stride=2)
            for head, outputs in (("heatmap_head", keypoints), ("locref_head", 2 * keypoints))
        }
    weights = {f"backbone.model.{name}": value for name, value in network.state_dict().items()}
    for name, layer in heads.items():
        weights |= {f"{name}.{kind}": value for kind, value in layer.state_dict().items()}
    return weights


@pytest.mark.parametrize("names", [QUADRUPED, TOP_VIEW_MOUSE, BIRD])
def test_a_published_model_is_recognized_by_its_keys(names: tuple[str, ...]) -> None:
    config = recognized_config(resnet_snapshot(len(names)), None, Path("superanimal.pt"))
    assert config.bodyparts == names
    assert (config.net_type, config.method) == ("resnet_50", "td")
    assert config.model.node("heads").node("bodypart").node("heatmap_config").integers("strides") == [2]


def test_a_snapshot_without_a_config_is_read_and_its_license_said(tmp_path: Path) -> None:
    weights = {name: torch.zeros(value.shape) for name, value in resnet_snapshot(len(QUADRUPED)).items()}
    path = tmp_path / "superanimal_quadruped_resnet_50.pt"
    torch.save({"model": weights}, path)
    model = read_model(path)
    assert not model.left_over
    assert model.license is not None
    assert len(model.weights) == len(weights)


def test_of_an_unknown_one_the_nearest_layouts_are_named() -> None:
    with pytest.raises(DataError, match="Nearest layouts: SuperAnimal's"):
        recognized_config({"encoder.weight": torch.zeros(1)}, None, Path("unknown.pt"))
    with pytest.raises(DataError, match="27 and 39 and 42; this one has 5"):
        recognized_config(resnet_snapshot(5), None, Path("unknown.pt"))
