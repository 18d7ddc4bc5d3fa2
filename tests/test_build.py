"""From config to objects: what may be named, and what is said of what may not."""

import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import albumentations
import pytest
import pytorch_lightning as lightning
import torch
import yaml

from dlcpose.build import build_input, build_pipeline, build_trunk, with_direction
from dlcpose.config.compose import compose
from dlcpose.instantiate import Instantiator, complete_with_run, parts_in
from dlcpose.metrics.base import builtin_infos
from dlcpose.structures.data_description import DataDescription
from dlcpose.structures.errors import CheckpointError, ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton
from dlcpose.targets import PLACES
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

STRANGERS = [
    *("os.system", "builtins.eval", "subprocess.Popen", "importlib.import_module", "pathlib.Path", "numpy.load"),
    *("torch.load", "torch.hub.load", "torch.utils.cpp_extension.load", "torch.nn.Linear", "torch.nn.Sequential"),
    *("timm.create_model", "timm.data.readers.reader_wds.ReaderWds", "timm.models.os.system", "timmy.Model"),
    *("torchvision.models.resnet18", "torchvision.datasets.Kinetics", "torchvision.datasets.ImageFolder"),
    *("pytorch_lightning.cli.LightningCLI", "pytorch_lightning.loggers.csv_logs.CSVLogger"),
    *("pytorch_lightning.loggers.csv_logs.ExperimentWriter", "pytorch_lightning.callbacks.ModelCheckpoint"),
    *("pytorch_lightning.callbacks.LambdaCallback", "pytorch_lightning.seed_everything", "sympy.sympify"),
    *("albumentations.load", "albumentations.Lambda", "albumentations.FDA", "torchmetrics.MeanMetric"),
    *("dlcpose.structures.interrupts.end_with", "dlcpose.callbacks.requeue.requeue", "dlcpose.predict.load"),
    *("dlcpose.structures.atomic_files.write_atomic", "dlcpose.checkpoint.read_checkpoint", "dlcpose.heads.base.Head"),
    *("dlcposex.heads", "", "dlcpose", "timm.", "torch.nn..Linear", None, 3),
]


@pytest.mark.parametrize("path", STRANGERS)
def test_what_is_not_listed_for_a_place_is_refused_in_every_place(path: Any) -> None:
    for group in PLACES:
        said = refused({"_target_": path, "_partial_": True}, f"{group}.x" if PLACES[group].several else group)
        assert "a config may not name" in said


def test_what_may_stand_in_one_place_may_not_in_another() -> None:
    for group, place in PLACES.items():
        for other in PLACES:
            for path in {*PLACES[other].names, *own_parts(other)} - {*place.names, *own_parts(group)}:
                said = refused({"_target_": path}, f"{group}.x" if place.several else group)
                assert "a config may not name" in said


@pytest.mark.parametrize(
    "node",
    [
        {"in_channels": {"_target_": "torch.optim.AdamW"}},
        {"heatmap_loss": {"inner": {"_target_": "dlcpose.losses.heatmap.mean_squared_error"}}},
        {"heatmap_loss": [{"_target_": "dlcpose.heads.heatmap.HeatmapHead"}]},
    ],
)
def test_parts_stand_only_where_a_part_takes_them(node: dict[str, Any]) -> None:
    said = refused({"_target_": "dlcpose.heads.heatmap.HeatmapHead", "_partial_": True, **node}, "head")
    assert said.startswith("head.")


LIBRARIES = """
torch.optim: ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax NAdam RAdam RMSprop Rprop SGD
pytorch_lightning: Trainer
pytorch_lightning.callbacks: DeviceStatsMonitor EarlyStopping GradientAccumulationScheduler LearningRateMonitor
    ModelSummary RichModelSummary Timer
albumentations: AdditiveNoise AdvancedBlur Affine AtLeastOneBBoxRandomCrop AutoContrast BBoxSafeRandomCrop BboxParams Blur
    CLAHE CenterCrop ChannelDropout ChannelShuffle ChromaticAberration CoarseDropout ColorJitter Compose
    ConstrainedCoarseDropout Crop CropAndPad D4 Defocus Downscale ElasticTransform Emboss Equalize Erasing FancyPCA
    GaussNoise GaussianBlur GlassBlur GridDistortion GridDropout GridElasticDeform HEStain HorizontalFlip
    HueSaturationValue ISONoise Illumination ImageCompression InvertImg KeypointParams LongestMaxSize MedianBlur
    Morphological MotionBlur MultiplicativeNoise NoOp OneOf OneOrOther OpticalDistortion Pad PadIfNeeded Perspective
    PiecewiseAffine PixelDropout PlanckianJitter PlasmaBrightnessContrast PlasmaShadow Posterize RGBShift
    RandomBrightnessContrast RandomCrop RandomCropFromBorders RandomFog RandomGamma RandomGravel RandomGridShuffle
    RandomOrder RandomRain RandomResizedCrop RandomRotate90 RandomScale RandomShadow RandomSizedBBoxSafeCrop
    RandomSizedCrop RandomSnow RandomSunFlare RandomToneCurve Resize RingingOvershoot Rotate SafeRotate SaltAndPepper
    SelectiveChannelTransform Sequential Sharpen ShiftScaleRotate ShotNoise SmallestMaxSize Solarize SomeOf Spatter
    SquareSymmetry Superpixels ThinPlateSpline ToGray ToRGB ToSepia Transpose UnsharpMask VerticalFlip XYMasking ZoomBlur
"""


def test_what_of_other_packages_may_be_built_is_known_here() -> None:
    """Whoever widens the list says so twice. Add what you have looked at: what its constructor reads, writes and calls."""
    listed = set()
    for package, names in re.findall(r"^([\w.]+):((?:[^\n]|\n )+)", LIBRARIES, re.MULTILINE):
        listed |= {f"{package}.{name}" for name in names.split()}
    named = {path for place in PLACES.values() for path in place.names}
    assert {path for path in named if not path.startswith("dlcpose.")} == listed


def own_parts(group: str) -> list[str]:
    """All that may be built in a place of our own package."""
    place = PLACES[group]
    if place.own is None:
        return []
    package = importlib.import_module(place.own)
    inner = [module.name for module in pkgutil.walk_packages(getattr(package, "__path__", []), f"{place.own}.")]
    return [path for name in (place.own, *inner) for path in parts_in(name, place)]


@pytest.mark.parametrize("group", sorted(PLACES))
def test_what_may_be_built_is_there_public_and_of_its_kind(group: str) -> None:
    place, instantiate = PLACES[group], Instantiator()
    for path in (*place.names, *own_parts(group)):
        if "mlflow" in path:
            pytest.importorskip("mlflow", reason="mlflow is an extra")
        found = instantiate._target(path, f"{group}.x", place)
        top = path.split(".")[0]
        assert found.__module__.split(".")[0] == top, f"{path} comes from {found.__module__}"
        assert not found.__name__.startswith("_")


@pytest.mark.parametrize(
    ("group", "path"),
    [
        ("head", "dlcpose.heads.dekr.DekrHead"),
        ("loss", "dlcpose.losses.heatmap.mean_squared_error"),
        ("callbacks", "dlcpose.callbacks.collapse.CollapseWatch"),
        ("metric", "dlcpose.metrics.pck.PercentageOfCorrectKeypoints"),
        ("dataset", "dlcpose.datasets.coco.CocoFrames"),
    ],
)
def test_a_part_of_a_package_of_ours_needs_no_list(group: str, path: str) -> None:
    assert path in own_parts(group)


def test_misspelled_name_suggests_the_nearest() -> None:
    said = refused({"_target_": "dlcpose.heads.heatmap.HeatmapHaed"})
    assert "Nearest: HeatmapHead" in said
    assert "trust=" not in said
    assert "albumentations.Rotate" in refused({"_target_": "albumentations.Rotat"}, "augmentation.transforms[0]")


CANARY = {"_target_": "dlcpose.callbacks.pictures.PosePictures", "frames": 4}


def test_everything_is_checked_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []

    def build(self: Any, frames: int) -> None:
        built.append(frames)

    monkeypatch.setattr("dlcpose.callbacks.pictures.PosePictures.__init__", build)
    for second in ({"_target_": "os.system", "command": "false"}, {**CANARY, "framse": 3}, {**CANARY, "frames": 3.5}):
        with pytest.raises(ConfigError):
            Instantiator()({"first": CANARY, "second": second}, "callbacks")
    assert built == []
    Instantiator()({"first": CANARY}, "callbacks")
    assert built == [4]


def test_a_module_that_is_not_listed_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stranger_of_tests.py").write_text(f"open({str(tmp_path / 'it ran')!r}, 'w')\nclass Head: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    refused({"_target_": "stranger_of_tests.Head"})
    assert not (tmp_path / "it ran").exists()
    assert isinstance(Instantiator(("stranger_of_tests",))({"_target_": "stranger_of_tests.Head"}, "head"), object)
    assert (tmp_path / "it ran").exists()
    monkeypatch.delitem(sys.modules, "stranger_of_tests")


@pytest.mark.parametrize(
    ("where", "target"),
    [
        ("callbacks.last", "dlcpose.callbacks.preemption.LastCheckpoint"),
        ("callbacks.best", "dlcpose.callbacks.best.BestCheckpoint"),
        ("callbacks.pictures", "dlcpose.callbacks.pictures.PosePictures"),
        ("callbacks.paf_graph_pruning", "dlcpose.callbacks.paf_graph_pruning.PafGraphPruning"),
        ("logger.csv", "dlcpose.loggers.csv_logger.ContinuedCSVLogger"),
        ("logger.tensorboard", "dlcpose.loggers.tensorboard_logger.TensorBoardTracker"),
    ],
)
def test_configs_may_not_set_where_a_part_writes(where: str, target: str, tmp_path: Path) -> None:
    names = inspect.signature(Instantiator()._target(target, where, PLACES[where.split(".")[0]])).parameters
    assert not {"path", "dirpath", "folder", "save_dir", "root_dir", "default_root_dir"} & set(names)
    for partial in (False, True):
        said = refused({"_target_": target, "_partial_": partial, "run_dir": str(tmp_path)}, where)
        assert said.startswith(f"{where}.run_dir: the run says where")


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


@pytest.mark.parametrize("path", [["os.system"], "mylab poses.Thing", "[mylab].Thing"], ids=str)
def test_no_package_is_named_to_be_trusted_that_there_cannot_be(path: Any) -> None:
    assert "trust=" not in refused({"_target_": path})


def test_trust_adds_a_package_and_only_that(mylab: ModuleType) -> None:
    for inside in ("", ".heads", ".heads.maps"):  # one answer is enough for all of its modules
        assert "add trust=[mylab_poses] to" in refused({"_target_": f"mylab_poses{inside}.Thing"})
    instantiate = Instantiator(("mylab_poses",))
    assert instantiate({"_target_": "mylab_poses.Thing", "size": 3}, "head").size == 3
    assert instantiate({"_target_": "mylab_poses.thing", "size": 4}, "head") == 4
    assert "not trusted" in refused({"_target_": "mylab_poses.system", "command": "true"}, trust=("mylab_poses",))
    refused({"_target_": "mylab_poses_of_others.Thing"}, trust=("mylab_poses",))


# ------------------------------------------------------------------------------------------------ nodes


def test_plain_values_come_out_as_they_are() -> None:
    node = {"a": [1, 2.5, None, True, "x"], "b": {"c": {}}}
    assert Instantiator()(node, "x") == node


def test_nested_nodes_are_built_from_the_inside() -> None:
    flip = {"_target_": "albumentations.HorizontalFlip"}
    built = Instantiator()(
        {"_target_": "albumentations.OneOf", "transforms": [flip, flip]}, "augmentation.transforms[0]"
    )
    assert [type(step) for step in built.transforms] == [albumentations.HorizontalFlip] * 2


def test_a_partial_node_waits_for_the_rest() -> None:
    late = Instantiator()({"_target_": "dlcpose.necks.fpn.FeaturePyramid", "_partial_": True, "channels": 3}, "neck")
    assert late(in_channels=(2, 4), strides=(4, 8)).out_channels == 3


def test_objects_reach_their_part_as_they_are() -> None:
    skeleton = Skeleton(("a",))
    assert Instantiator()({"inner": skeleton}, "x")["inner"] is skeleton


@pytest.mark.parametrize(
    ("where", "node", "said"),
    [
        (
            "optimizer",
            {"_target_": "torch.optim.AdamW", "_partial_": True, "weight_deacy": 0.1},
            "optimizer.weight_deacy: AdamW takes no such setting. Nearest: weight_decay",
        ),
        (
            "augmentation.transforms[0]",
            {"_target_": "albumentations.Affine", "rotat": [1, 2]},
            "augmentation.transforms[0].rotat: Affine takes no such setting. Nearest: rotate",
        ),
        ("callbacks.x", {"_target_": "dlcpose.callbacks.collapse.CollapseWatch", "patiense": 3}, "Nearest: patience"),
        (
            "scheduler",
            {"_target_": "dlcpose.schedulers.curves.cosine", "_partial_": True, "flor": 1.0},
            "Nearest: floor",
        ),
        (
            "neck",
            {"_target_": "dlcpose.necks.identity.Identity", "_convert_": "all"},
            "neck._convert_: Identity takes no",
        ),
    ],
)
def test_misspelled_setting_suggests_the_nearest(where: str, node: dict[str, Any], said: str) -> None:
    assert said in refused(node, where)


WATCH = {"_target_": "dlcpose.callbacks.collapse.CollapseWatch", "monitor": "val/loss", "mode": "min"}


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
    assert Instantiator()({**WATCH, "factor": 4}, "callbacks.x").factor == 4


def test_null_is_accepted_where_it_is_meant() -> None:
    node = {"_target_": "dlcpose.callbacks.paf_graph_pruning.PafGraphPruning", "count": None}
    assert Instantiator()(node, "callbacks.x").count is None
    assert "expected int or null, got 'many'" in refused({**node, "count": "many"}, "callbacks.x")


@pytest.mark.parametrize("value", ["ab", [1, "a"], {"a": 1}, 3])
def test_lists_are_lists_of_what_they_are_annotated_with(value: Any) -> None:
    node = {"_target_": "dlcpose.metrics.pck.PercentageOfCorrectKeypoints", "fractions": value}
    assert "expected a list of float" in refused(node, "metric.pck")


@pytest.mark.parametrize(
    ("where", "node"),
    [
        ("callbacks.stop", {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "x", "mode": "least"}),
        ("augmentation.transforms[0]", {"_target_": "albumentations.Affine", "scale": "large"}),
        ("augmentation.transforms[0]", {"_target_": "albumentations.HorizontalFlip", "p": 3.0}),
        ("neck", {"_target_": "dlcpose.necks.identity.Identity"}),
    ],
)
def test_what_a_part_refuses_is_said_with_the_name_of_its_node(where: str, node: dict[str, Any]) -> None:
    assert "refuses its settings" in refused(node, where)


def test_a_part_within_another_is_named_in_full(tmp_path: Path) -> None:
    missing = str(tmp_path / "backbone.name")
    node = {**option("backbone", "resnet_18"), "name": "test_resnet", "checkpoint_path": missing}
    with pytest.raises(CheckpointError) as caught:
        Instantiator()(node, "detector.backbone")
    assert str(caught.value) == f"detector.backbone.checkpoint_path: no such file: {missing}."
    with pytest.raises(ConfigError, match=r"^detector\.backbone\.name: timm .* has no model 'resnot18'"):
        Instantiator()({**node, "name": "resnot18"}, "detector.backbone")


@pytest.mark.parametrize("package", [albumentations, torch.optim, lightning.callbacks, lightning.loggers])
def test_the_defaults_of_other_peoples_classes_pass_our_check_of_types(package: ModuleType) -> None:
    from dlcpose.settings import check_types

    checked = 0
    for name, target in vars(package).items():
        if not inspect.isclass(target):
            continue
        for parameter in inspect.signature(target).parameters.values():
            if type(parameter.default) in (int, float, bool, str, type(None)):
                check_types(target, {parameter.name: parameter.default}, name)
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
        "...best.monitor": "val/mean_error_px",  # of the run that the callbacks are of
        "optimized_metric": "val/mean_error_px",
        "hydra:sweeper.storage": f"sqlite:///{tmp_path}/study.db",
        "hydra:sweeper.study_name": "study",
        "sweep.trial": "0",
    }
    for part, value in composed.items():
        text = text.replace(f"${{{part}}}", value)
    content = yaml.safe_load(text)
    content.pop("defaults", None)
    for part, built in Instantiator()(content, "callbacks").items():
        directed = with_direction(built, f"callbacks.{part}", builtin_infos())
        assert isinstance(complete_with_run(directed, f"callbacks.{part}", tmp_path, "mine"), lightning.Callback)


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
        ("head", {"deconvolutions": -1}, "head.deconvolutions: expected at least 0, got -1"),
        ("neck", {"level": 7}, "neck.level=7: the backbone has"),
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


def test_a_head_that_is_none_is_refused(mylab: ModuleType) -> None:
    config = tiny_config(head={"_target_": "mylab_poses.Thing", "_partial_": True})
    instantiate = Instantiator(("mylab_poses",))
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


@pytest.mark.parametrize("package", ["no_such_package", "no_such_package.heads", "", ".heads"])
def test_a_package_that_is_not_there_cannot_be_trusted(package: str) -> None:
    with pytest.raises(ConfigError, match=r"^trust=\[.*\]: no such package"):
        Instantiator((package,))
