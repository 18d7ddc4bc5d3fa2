"""DeepLabCut's TokenPose: its neck's weights in our layers and back, without DeepLabCut."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dlcpose.codecs.pos_embed import sine_pos_embed
from dlcpose.deeplabcut_layout.parts.tokenpose import PATCHES, POSITIONS, TransformerWeights
from dlcpose.importers.deeplabcut import read_model
from dlcpose.structures.errors import CheckpointError
from tests.importers import layouts

PATCH, GRID, WIDTH, LAYERS, CHANNELS = (2, 4), (3, 5), 8, 2, 6
NAMES = (
    *(
        "0.fn.norm.weight",
        "0.fn.norm.bias",
        "0.fn.fn.to_qkv.weight",
        "0.fn.fn.to_out.0.weight",
        "0.fn.fn.to_out.0.bias",
    ),
    *("1.fn.norm.weight", "1.fn.norm.bias", "1.fn.fn.net.0.weight", "1.fn.fn.net.0.bias", "1.fn.fn.net.3.weight"),
    "1.fn.fn.net.3.bias",
)
MAP = TransformerWeights(PATCH, GRID, WIDTH, LAYERS)


def theirs() -> dict[str, Tensor]:
    """A neck's weights; those of the layers of any shape."""
    torch.manual_seed(0)
    layers = [
        f"neck.transformer{group}.layers.{layer}.{name}" for group in (1, 2, 3) for layer in (0, 1) for name in NAMES
    ]
    return {
        **{name: torch.randn(3) for name in layers},
        "neck.keypoint_token": torch.randn(1, 4, WIDTH),
        "neck.patch_to_embedding.bias": torch.randn(WIDTH),
        PATCHES: torch.randn(WIDTH, PATCH[0] * PATCH[1] * CHANNELS),
        POSITIONS: sine_pos_embed(GRID, WIDTH).flatten(end_dim=1)[None],
    }


def test_weights_go_there_and_back() -> None:
    weights, back = theirs(), MAP.to_theirs(MAP.to_ours(theirs()))
    assert back.keys() == weights.keys()
    assert all(MAP.is_theirs(name) for name in weights)
    for name, value in weights.items():
        torch.testing.assert_close(back[name], value)


def test_the_convolution_reads_patches_as_the_linear_layer_does() -> None:
    weights = theirs()
    features = torch.randn(1, CHANNELS, GRID[0] * PATCH[0], GRID[1] * PATCH[1])
    patches = features.reshape(1, CHANNELS, GRID[0], PATCH[0], GRID[1], PATCH[1]).permute(0, 2, 4, 3, 5, 1)
    expected = functional.linear(patches.reshape(1, GRID[0] * GRID[1], -1), weights[PATCHES])  # (1, patches, width)
    found = functional.conv2d(features, MAP.to_ours(weights)["head.heatmap_layers.embed.weight"], stride=PATCH)
    torch.testing.assert_close(found.flatten(start_dim=2).transpose(1, 2), expected)


def test_other_positions_are_refused() -> None:
    with pytest.raises(CheckpointError, match=POSITIONS):
        MAP.to_ours(theirs() | {POSITIONS: torch.zeros(1, GRID[0] * GRID[1], WIDTH)})


@pytest.mark.parametrize(
    ("net_type", "model"), [("animaltokenpose_base", "tokenpose_base"), ("dlcrnet_ms5", "dlcrnet_stride16_ms5")]
)
def test_net_types_of_other_names_are_models_here(net_type: str, model: str, tmp_path: Path) -> None:
    folder = layouts.write(tmp_path / "model", described=layouts.config() | {"net_type": net_type})
    assert read_model(folder).overrides[0] == f"model={model}"
