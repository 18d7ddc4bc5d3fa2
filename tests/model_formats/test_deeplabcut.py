"""Models exported to DeepLabCut: what comes back is what was exported, and what DeepLabCut does not have is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dlcpose.checkpoint import read_checkpoint
from dlcpose.importers.deeplabcut import read_model
from dlcpose.importers.imported import write_checkpoint
from dlcpose.importers.source import read_source
from dlcpose.model_formats.registry import ExportRequest, export_model
from dlcpose.predict import load
from dlcpose.structures.errors import CheckpointError, ConfigError, DataError
from tests.importers import layouts
from tests.tiny_models import composed, tiny


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """An imported model."""
    write_checkpoint(read_model(layouts.write(tmp_path / "model")), tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def test_an_imported_model_goes_back_as_it_came(checkpoint: Path, tmp_path: Path) -> None:
    export_model("deeplabcut", ExportRequest(read_checkpoint(checkpoint), tmp_path / "exported"))
    back = torch.load(tmp_path / "exported" / "train" / "snapshot-000.pt", weights_only=True)["model"]
    original = layouts.snapshot()["model"]
    assert back.keys() == original.keys()
    for name, value in original.items():
        torch.testing.assert_close(back[name], value)
    write_checkpoint(read_model(tmp_path / "exported"), tmp_path / "again.ckpt")
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    (expected,), (found,) = (load(path).predict([image]) for path in (checkpoint, tmp_path / "again.ckpt"))
    np.testing.assert_array_equal(found.keypoints_in_image, expected.keypoints_in_image)


def test_the_file_for_live_holds_config_and_weights(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--output"):
        export_model("dlclive", ExportRequest(read_checkpoint(checkpoint), tmp_path / "live.txt"))
    export_model("dlclive", ExportRequest(read_checkpoint(checkpoint), tmp_path / "live.pt"))
    content = torch.load(tmp_path / "live.pt", weights_only=True)
    assert content["config"]["metadata"]["bodyparts"] == layouts.BODYPARTS
    assert content["pose"].keys() == layouts.snapshot()["model"].keys()
    yaml.safe_dump(content["config"])  # plain values


def test_the_file_for_live_is_imported_again(checkpoint: Path, tmp_path: Path) -> None:
    live = tmp_path / "live.pt"
    export_model("dlclive", ExportRequest(read_checkpoint(checkpoint), live))
    write_checkpoint(read_source(live), tmp_path / "again.ckpt")
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    (expected,), (found,) = (load(path).predict([image]) for path in (checkpoint, tmp_path / "again.ckpt"))
    np.testing.assert_array_equal(found.keypoints_in_image, expected.keypoints_in_image)
    with pytest.raises(DataError, match="exported model has its config and detector"):
        read_source(live, config=tmp_path / "model" / "train" / "pytorch_config.yaml")


@pytest.mark.parametrize("key", ["pose", "detector"])
def test_an_exported_model_with_something_else_for_weights_is_refused(
    key: str, checkpoint: Path, tmp_path: Path
) -> None:
    live = tmp_path / "live.pt"
    export_model("dlclive", ExportRequest(read_checkpoint(checkpoint), live))
    torch.save({**torch.load(live, weights_only=True), key: {"weight": "heavy"}}, live)
    with pytest.raises(CheckpointError, match=key):
        read_source(live)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("model=resnet_50", "input=native"), "head: DeepLabCut has no HeatmapHead"),
        (("model=resnet_50", "head=deeplabcut_heatmap"), "input: .*native size"),
        (("backbone=timm", "backbone.name=convnext_atto", "input=native"), "backbone.name: .*convnext_atto"),
        (("model=top_down_resnet_50",), "pipeline: DeepLabCut has no TopDown"),
    ],
)
def test_what_deeplabcut_does_not_have_is_refused(overrides: tuple[str, ...], said: str) -> None:
    from dlcpose.deeplabcut_layout.written import described_for_deeplabcut
    from dlcpose.structures.skeleton import Skeleton

    config = tiny(composed(*overrides))
    config["backbone"]["name"] = composed(*overrides)["backbone"]["name"]
    canvas = None if "input=native" in overrides else (64, 64)
    with pytest.raises(ConfigError, match=said):
        described_for_deeplabcut(config, Skeleton(("a", "b")), ("animal",), channels=32, canvas=canvas)


@pytest.mark.parametrize("edges", ["skeleton", "near"])
def test_the_graph_of_a_paf_head_is_the_one_it_was_trained_with(edges: str) -> None:
    from dlcpose.deeplabcut_layout.written import described_for_deeplabcut
    from dlcpose.structures.skeleton import Skeleton

    config = composed("model=resnet_50", "head=deeplabcut_paf", f"head/edges={edges}", "side_head=[none]")
    skeleton = Skeleton(("nose", "ear", "tail"), edges=((0, 1), (2, 1)))
    described = described_for_deeplabcut(config, skeleton, ("one", "two"), channels=32, canvas=None)
    graph = described["model"]["heads"]["bodypart"]["predictor"]["graph"]
    assert graph == ([[0, 1], [1, 2]] if edges == "skeleton" else [[0, 1], [0, 2], [1, 2]])
