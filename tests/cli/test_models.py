"""What the list of models says, against what others counted."""

import json

import pytest
import torch
from typer.testing import CliRunner

from dlcpose.build import build_pipeline
from dlcpose.cli.app import build_app
from dlcpose.config.compose import compose
from dlcpose.config.models import available_models, describe, multi_animal_models
from dlcpose.instantiate import Instantiator
from dlcpose.structures.data_description import DataDescription
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton

# Counted by instantiating DeepLabCut 3's resnet_50.yaml and resnet_101.yaml with head_bodyparts.yaml (heatmaps and
# location refinement, 17 keypoints, 256x256), and HRNet/DEKR's README for w32 and w48.
SLOW = pytest.mark.slow
COUNTED = {
    "resnet_50": (24_448_115, 8.347, (256, 256)),
    "resnet_101": (43_440_243, 13.196, (256, 256)),
    "dekr_w32": (29_561_182, 45.405, (512, 512)),
    "dekr_w48": (65_684_590, 141.558, (640, 640)),
}


@pytest.mark.parametrize(
    "name", [name if name in ("resnet_50", "dekr_w32") else pytest.param(name, marks=SLOW) for name in COUNTED]
)
def test_sizes_are_those_that_others_counted(name: str) -> None:
    parameters, gmacs, size = COUNTED[name]
    row = describe(name, keypoints=17, size=size)
    assert row.parameters == parameters
    # Ours counts every product, theirs not quite each (an adaptive convolution's offsets, say).
    assert row.gmacs == pytest.approx(gmacs, rel=0.01)


def test_what_is_described_is_what_is_built() -> None:
    row, config, instantiate = describe("resnet_18", keypoints=5), compose(["model=resnet_18"]), Instantiator()
    skeleton = Skeleton(tuple("abcde"))
    pipeline = build_pipeline(config, instantiate, DataDescription(skeleton, Input(64, 64))).eval()
    assert row.parameters == sum(weight.numel() for weight in pipeline.parameters())
    with torch.no_grad():
        maps = pipeline(torch.zeros(1, 3, 64, 64)).animals
    assert maps.heatmaps.shape == (1, 5, 64 // row.stride, 64 // row.stride)


def test_multi_animal_models() -> None:
    several = multi_animal_models()
    assert set(several) <= set(available_models())
    families = ("dekr_", "dlcrnet_", "bottom_up_", "top_down_", "ctd_")
    assert set(several) == {name for name in available_models() if name.startswith(families)}
    assert describe(several[0]).animals == "several"


def test_the_table_has_a_row_for_each_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlcpose.config.models.available_models", lambda: ["resnet_18"])
    table = CliRunner().invoke(build_app(), ["models"], env={"COLUMNS": "80"})
    assert table.exit_code == 0, table.output
    assert any(line.split()[:1] == ["resnet_18"] for line in table.output.splitlines())


@pytest.mark.slow  # builds every model
def test_the_table_and_the_json_list_every_model(monkeypatch: pytest.MonkeyPatch) -> None:
    content = CliRunner().invoke(build_app(), ["models", "--json"])
    assert content.exit_code == 0
    rows = {row["name"]: row for row in json.loads(content.stdout)}
    assert list(rows) == available_models()
    few = ["dekr_w18", "dlcrnet_stride16_ms5", "resnet_50"]  # it takes a while to build all of them once more
    monkeypatch.setattr("dlcpose.config.models.available_models", lambda: few)
    table = CliRunner().invoke(build_app(), ["models"], env={"COLUMNS": "80"})
    assert table.exit_code == 0
    for name in few:
        row = rows[name]
        (line,) = [line for line in table.output.splitlines() if line.split()[:1] == [name]]
        for text in (
            f"{row['parameters'] / 1e6:.2f}",
            f"{row['gmacs']:.2f}",
            f"{row['stride']:g}",
            row["animals"],
            row["license"],
        ):
            assert text in line
    assert "…" not in table.output  # names are there to be copied
    assert (rows["resnet_50"]["license"], rows["cspnext_m"]["license"]) == ("apache-2.0", "")
    assert rows["resnet_50"]["parameters"] == COUNTED["resnet_50"][0]
    assert rows["resnet_50"]["gmacs"] == pytest.approx(8.347, abs=0.01)
    assert rows["resnet_50"]["animals"] == "one"
