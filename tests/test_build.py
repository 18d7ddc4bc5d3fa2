"""From config to objects: what may be named, and what is said of what may not."""

import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import albumentations
import pytest
import pytorch_lightning as lightning
import timm.models
import torch
import torchvision
import yaml

from dlcpose.build import Instantiator, build_input, build_pipeline, build_trunk
from dlcpose.config.compose import compose
from dlcpose.structures.data_description import DataDescription
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton
from tests.made_up_runs import frames_of, option, pipeline_of, tiny_config

CONF = Path(__file__).parents[1] / "conf"
WEIGHTS = [("head.weight", torch.nn.Parameter(torch.zeros(2)))]  # as a pipeline hands them over


def refused(node: Any, where: str = "head", trust: tuple[str, ...] = ()) -> str:
    """What is said of a node; in one line."""
    with pytest.raises(ConfigError) as caught:
        Instantiator(trust)(node, where)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(where)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------ what may be named


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "builtins.eval",
        "builtins.print",
        "subprocess.Popen",
        "importlib.import_module",
        "torch.load",
        "torch.hub.load",
        "torch.utils.cpp_extension.load",
        "numpy.load",
        "pathlib.Path",
        "timmy.Model",
        "dlcposex.heads",
        "",
        None,
        3,
    ],
)
def test_what_lies_outside_the_trusted_packages_is_refused(path: Any) -> None:
    said = refused({"_target_": path, "command": "true"})
    assert "outside the packages that a config may name" in said
    assert "add trust=[" in said


def leaking_paths() -> list[str]:
    """Ways that really exist from a trusted package to something foreign, such as timm.models._hub.Path."""
    assert timm.models
    found = {}
    for name, module in list(sys.modules.items()):
        if not name.startswith(("timm.", "torchvision.", "albumentations.", "torch.nn.", "torchmetrics.")):
            continue
        for inner, value in list(vars(module).items()):
            home = getattr(value, "__module__", None)
            foreign = callable(value) and isinstance(home, str) and home.split(".")[0] != name.split(".")[0]
            if foreign and home.split(".")[0] != "torch":
                found.setdefault(home, f"{name}.{inner}")
    return sorted(found.values())


def test_a_path_that_enters_a_trusted_package_and_leaves_it_is_refused() -> None:
    paths = leaking_paths()
    assert len(paths) > 20
    for path in paths:
        refused({"_target_": path})


@pytest.mark.parametrize(
    "path",
    [
        "timm.models._hub.os.system",
        "timm.models._hub.json.loads",
        "torch.nn.modules.module.functools.partial",
        "torch.optim.optimizer.warnings.warn",
    ],
)
def test_a_path_through_a_module_that_was_imported_somewhere_is_refused(path: str) -> None:
    refused({"_target_": path, "_partial_": True})


@pytest.mark.parametrize(
    "path",
    [
        "torchvision.models.resnet18",
        "torchvision.datasets.utils.download_url",
        "timm.create_model",
        "timm.models.load_checkpoint",
        "torch.nn.functional.conv2d",  # compiled: it does not say where it was defined
        "torch.nn.init.zeros_",
        "pytorch_lightning.seed_everything",
        "albumentations.load",
        "albumentations.from_dict",
    ],
)
def test_functions_of_other_peoples_packages_are_refused(path: str) -> None:
    assert "not a class of a trusted package" in refused({"_target_": path}) or path == "albumentations.from_dict"


@pytest.mark.parametrize(
    "path",
    [
        "dlcpose.structures.atomic_files.write_atomic",
        "dlcpose.runs.provenance.git_revision",
        "dlcpose.checkpoint.read_checkpoint",
        "dlcpose.predict.load",
        "dlcpose.project.Project",
    ],
)
def test_of_our_own_package_only_parts_may_be_named(path: str) -> None:
    assert "may not be called" in refused({"_target_": path})


@pytest.mark.parametrize(
    "path", ["timm", "dlcpose", "timm.", "torch.nn..Linear", "torch.nn.modules.", "torch.nn.Lineer"]
)
def test_paths_to_nothing_are_refused(path: str) -> None:
    refused({"_target_": path})


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    assert "Nearest: HeatmapHead" in refused({"_target_": "dlcpose.heads.heatmap.HeatmapHaed"})
    assert "cannot be imported" in refused({"_target_": "dlcpose.heads.heatmpa.HeatmapHead"})


def test_a_refusal_comes_before_anything_is_built() -> None:
    node = {"_target_": "albumentations.Compose", "transforms": [{"_target_": "os.system", "command": "false"}]}
    with pytest.raises(ConfigError, match=r"augmentation\.transforms\[0\]\._target_: os\.system is outside"):
        Instantiator()(node, "augmentation")


@pytest.fixture
def mylab(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("mylab_poses")
    exec(
        "class Thing:\n    def __init__(self, *, size: int = 1): self.size = size\ndef thing(size): return size",
        vars(module),
    )
    vars(module)["system"] = __import__("os").system
    monkeypatch.setitem(sys.modules, "mylab_poses", module)
    return module


def test_trust_adds_a_package_and_only_that(mylab: ModuleType) -> None:
    assert "add trust=[mylab_poses]" in refused({"_target_": "mylab_poses.Thing"})
    instantiate = Instantiator(("mylab_poses",))
    assert instantiate({"_target_": "mylab_poses.Thing", "size": 3}, "head").size == 3
    assert instantiate({"_target_": "mylab_poses.thing", "size": 4}, "head") == 4
    refused({"_target_": "mylab_poses.system", "command": "true"}, trust=("mylab_poses",))
    refused({"_target_": "mylab_poses_of_others.Thing"}, trust=("mylab_poses",))


# ------------------------------------------------------------------------------------------------ nodes


def test_plain_values_come_out_as_they_are() -> None:
    node = {"a": [1, 2.5, None, True, "x"], "b": {"c": {}}}
    assert Instantiator()(node, "x") == node


def test_nested_nodes_are_built_from_the_inside() -> None:
    built = Instantiator()(
        {"one": {"_target_": "torch.nn.Sequential"}, "many": [{"_target_": "torch.nn.ReLU"}, 3]}, "x"
    )
    assert isinstance(built["one"], torch.nn.Sequential)
    assert isinstance(built["many"][0], torch.nn.ReLU)
    assert built["many"][1] == 3


def test_a_partial_node_waits_for_the_rest() -> None:
    late = Instantiator()({"_target_": "torch.nn.Linear", "_partial_": True, "out_features": 3}, "x")
    assert late(in_features=2).weight.shape == (3, 2)


def test_objects_reach_their_part_as_they_are() -> None:
    skeleton = Skeleton(("a",))
    assert Instantiator()({"_target_": "torch.nn.Linear", "_partial_": True}, "x").func is torch.nn.Linear
    assert Instantiator()({"inner": skeleton}, "x")["inner"] is skeleton


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (
            {"_target_": "torch.optim.AdamW", "_partial_": True, "weight_deacy": 0.1},
            "x.weight_deacy: AdamW takes no such setting. Nearest: weight_decay",
        ),
        (
            {"_target_": "albumentations.Affine", "rotat": [1, 2]},
            "x.rotat: Affine takes no such setting. Nearest: rotate",
        ),
        ({"_target_": "dlcpose.callbacks.collapse.CollapseWatch", "patiense": 3}, "Nearest: patience"),
        ({"_target_": "dlcpose.schedulers.curves.cosine", "_partial_": True, "flor": 1.0}, "Nearest: floor"),
        ({"_target_": "torch.nn.ReLU", "_convert_": "all"}, "x._convert_: ReLU takes no such setting"),
    ],
)
def test_a_misspelt_setting_is_answered_with_the_nearest(node: dict[str, Any], said: str) -> None:
    assert said in refused(node, "x")


WATCH = {"_target_": "dlcpose.callbacks.collapse.CollapseWatch"}


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("patience", "three", "int"),
        ("patience", 2.5, "int"),
        ("patience", True, "int"),
        ("patience", None, "int"),
        ("factor", "5", "float"),
        ("monitor", 5, "str"),
        ("factor", [5], "float"),
    ],
)
def test_a_value_of_another_type_is_named(setting: str, value: Any, expected: str) -> None:
    assert refused({**WATCH, setting: value}, "callbacks.collapse").startswith(
        f"callbacks.collapse.{setting}: expected {expected}, got {value!r}"
    )


def test_whole_numbers_are_numbers() -> None:
    assert Instantiator()({**WATCH, "factor": 4}, "x").factor == 4


def test_null_is_accepted_where_it_is_meant() -> None:
    node = {"_target_": "dlcpose.callbacks.pictures.PosePictures", "folder": None}
    assert Instantiator()(node, "x").folder is None
    assert "expected str or null, got 3" in refused({**node, "folder": 3}, "x")


@pytest.mark.parametrize(
    ("where", "node"),
    [
        ("callbacks.best", {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "mode": "least"}),
        ("augmentation", {"_target_": "albumentations.Affine", "scale": "large"}),
        ("augmentation", {"_target_": "albumentations.HorizontalFlip", "p": 3.0}),
        ("neck", {"_target_": "torch.nn.Linear", "in_features": 3}),
        ("head", {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 4, "kernel_size": 1, "groups": 2}),
    ],
)
def test_what_a_part_refuses_is_said_with_the_name_of_its_node(where: str, node: dict[str, Any]) -> None:
    assert "refuses its settings" in refused(node, where)


@pytest.mark.parametrize("package", [albumentations, torch.optim, lightning.callbacks, lightning.loggers])
def test_the_defaults_of_other_peoples_classes_pass_our_check_of_types(package: ModuleType) -> None:
    from dlcpose.build import _check_plain_type

    checked = 0
    for name, target in vars(package).items():
        if not inspect.isclass(target):
            continue
        for parameter in inspect.signature(target).parameters.values():
            if type(parameter.default) in (int, float, bool, str, type(None)):
                _check_plain_type(target, parameter.name, parameter.default, name)
                checked += 1
    assert checked > 10


# ------------------------------------------------------------------------------------------------ options of conf


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml")))
def test_optimizers_build(name: str) -> None:
    optimizer = Instantiator()(option("optimizer", name), "optimizer")(WEIGHTS)
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert optimizer.param_groups[0]["lr"] == option("optimizer", name)["lr"]


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "callbacks").glob("*.yaml")))
def test_callbacks_build(name: str, tmp_path: Path) -> None:
    text = (CONF / "callbacks" / f"{name}.yaml").read_text()
    composed = {
        "run_dir": str(tmp_path),
        "best.monitor": "val/mean_error_px",
        "best.mode": "min",
        "optimized_metric": "val/mean_error_px",
        "hydra:sweeper.storage": f"sqlite:///{tmp_path}/study.db",
        "hydra:sweeper.study_name": "study",
        "sweep.trial": "0",
    }
    for part, value in composed.items():
        text = text.replace(f"${{{part}}}", value)
    content = yaml.safe_load(text)
    content.pop("defaults", None)
    assert all(isinstance(built, lightning.Callback) for built in Instantiator()(content, "callbacks").values())


def test_torchvision_is_there_to_be_named() -> None:
    node = {"_target_": "torchvision.ops.FrozenBatchNorm2d", "num_features": 3}
    assert isinstance(Instantiator()(node, "x"), torchvision.ops.FrozenBatchNorm2d)


# ------------------------------------------------------------------------------------------------ pipelines


def test_numbers_that_follow_from_others_arrive() -> None:
    data = frames_of(2)
    pipeline = pipeline_of(tiny_config(), data)
    maps = pipeline(torch.zeros(1, 3, 64, 64))
    assert maps.animals.heatmaps.shape == (1, len(data.skeleton), 32, 32)
    assert pipeline.head.stride == 2
    assert pipeline.model_input == Input(64, 64, multiple_of=32)


@pytest.mark.parametrize(
    ("group", "changes", "said"),
    [
        ("optimizer", {"lr": -1.0}, "optimizer: AdamW refuses its settings: Invalid learning rate"),
        ("head", {"sigma": "wide"}, "head.sigma: expected float, got 'wide'"),
        ("head", {"deconvolutions": -1}, "head: HeatmapHead refuses its settings: expected 0 or more deconvolutions"),
        ("neck", {"stride": 3}, "neck.stride=3: the backbone has maps of strides"),
        ("backbone", {"name": "test_resent"}, "Nearest: test_resnet"),
        ("input", {"longest_side": "long"}, "input.longest_side: expected int"),
        ("head", {"_partial_": False}, "head: HeatmapHead refuses its settings"),
    ],
)
def test_mistakes_in_a_config_are_named_by_their_node(group: str, changes: dict[str, Any], said: str) -> None:
    config = tiny_config()
    config[group] = {**config[group], **changes}
    with pytest.raises(ConfigError) as caught:
        pipeline_of(config, frames_of(2)).optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_head_that_is_none_is_refused() -> None:
    config = tiny_config(head={"_target_": "dlcpose.necks.identity.Identity", "_partial_": True})
    instantiate = Instantiator()
    trunk = build_trunk(config, instantiate)
    with pytest.raises(ConfigError, match="head: "):
        build_pipeline(config, instantiate, DataDescription(Skeleton(("a",)), Input(64, 64)), trunk=trunk)


def test_a_head_for_one_animal_is_refused_for_several() -> None:
    with pytest.raises(ConfigError, match="HeatmapHead"):
        pipeline_of(tiny_config(), frames_of(2, animals=2))


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "input").glob("*.yaml")))
def test_inputs_suit_the_backbone(name: str) -> None:
    config = tiny_config(input=compose([f"input={name}"])["input"])
    trunk = build_trunk(config, Instantiator())
    made = build_input(config, Instantiator(), trunk, [(50, 70), (90, 30)])
    assert made.multiple_of == 32
    assert made.canvas is None or all(side % 32 == 0 for side in made.canvas)
