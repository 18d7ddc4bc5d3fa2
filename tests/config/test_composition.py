"""Every option there is composes, every model learns a step, and a user's own part works beside them."""

import json
from pathlib import Path
from typing import Any

import hydra
import pytest
import wandb
import yaml
from hydra.core.hydra_config import HydraConfig

from dlcpose.config.compose import compose
from dlcpose.config.models import available_models
from dlcpose.instantiate import Instantiator
from dlcpose.metrics.base import builtin_infos
from dlcpose.metrics.figure_info import find_mode
from dlcpose.structures.errors import ConfigError
from tests.shells import REPOSITORY, SMALL, TINY, reason, shell
from tests.tiny_models import ALL_MODELS, composed, smallest_of_each

CONF = REPOSITORY / "conf"
OPTIONS = sorted((file.parent.name, file.stem) for file in CONF.glob("*/[!_]*.yaml"))
MODELS = [option for group, option in OPTIONS if group == "model"]
LISTS = ("callbacks", "logger", "side_head")  # groups of which several options may be taken
NEEDED = {
    ("backbone", "timm"): ["backbone.name=convnext_tiny"],
    ("unlabeled", "video"): ["unlabeled.videos=[cage.mp4]"],
    ("experiment", "few_labels"): ["unlabeled.videos=[cage.mp4]"],
    **{
        ("dataset", file.stem): ["dataset.root=somewhere"]
        for file in CONF.glob("dataset/*.yaml")
        if "root: ???" in file.read_text()
    },
    **{
        ("experiment", file.stem): ["dataset.root=somewhere"]
        for file in CONF.glob("experiment/*.yaml")
        if "/dataset: deeplabcut" in file.read_text()  # the others render theirs
    },
}
# One step, nothing kept.
ONE_STEP = (
    *("callbacks=[progress]", "+trainer.enable_checkpointing=false", "trainer.limit_train_batches=1"),
    *("trainer.limit_val_batches=1", "datamodule.batch_size=2"),
)


ALONE = ("model", "experiment", "hparams_search", "debug")  # groups whose options choose those of others
TOGETHER = {group: [option for of, option in OPTIONS if of == group] for group, _ in OPTIONS if group not in ALONE}


def test_a_value_in_place_of_keys_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^best: "):
        compose(["best=null"])


def test_options_that_have_a_key_are_found_without_composing_each(monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[Any] = []
    compose_once = hydra.compose
    monkeypatch.setattr(
        hydra, "compose", lambda *args, **kwargs: composed.append(args) or compose_once(*args, **kwargs)
    )
    with pytest.raises(ConfigError, match=r"^dataset\.root: .*dataset=coco or .*dataset=deeplabcut or .*dataset=sleap"):
        compose(["dataset.root=x"])
    assert len(composed) < len(list(CONF.glob("dataset/[!_]*.yaml")))


def chosen(group: str, option: str) -> list[str]:
    return [f"{group}=[{option}]" if group in LISTS else f"{group}={option}", *NEEDED.get((group, option), [])]


def config_with(group: str, option: str) -> dict[str, Any]:
    """A config with an option; composing takes longer than the tests, so one of each other group is tried along with it."""
    if group in ALONE:
        return composed(*chosen(group, option))
    place = TOGETHER[group].index(option)
    each = [chosen(of, options[place % len(options)]) for of, options in TOGETHER.items()]
    return composed(*(override for overrides in each for override in overrides))


# Named models are composed, built and trained by tests/test_every_model.py.
@pytest.mark.parametrize(
    ("group", "option"),
    [(group, option) for group, option in OPTIONS if group != "model" or option not in available_models()],
)
def test_every_option_composes(group: str, option: str) -> None:
    config = config_with(group, option)
    assert config["run_dir"] == str(Path("outputs/composed").absolute())
    assert "hydra" not in config
    assert find_mode(config["best"]["monitor"], builtin_infos()) is not None


@pytest.mark.parametrize(
    "group",
    sorted(
        {group for group, _ in OPTIONS}
        - {"model", "experiment", "hparams_search", "debug", "backbone", "dataset", "detector_stage"}
    ),
)
def test_every_option_is_of_settings_that_its_part_takes(group: str) -> None:
    for option in (option for of, option in OPTIONS if of == group):
        place = "callbacks" if group == "weight_averaging" else group
        node = config_with(group, option)[place]
        if (group, option) != ("logger", "mlflow"):  # an extra, and slow to import: the loggers' own test builds it
            assert (Instantiator()(node, place) is None) == (node is None)


def test_launchers_and_sweepers_compose(here: Path) -> None:
    answer = shell("train.py", "--cfg", "hydra", "hydra/launcher=parallel", "hparams_search=rates")
    assert answer.code == 0, answer.err
    content = yaml.safe_load(answer.out)["hydra"]
    assert content["launcher"]["n_jobs"] == 2
    assert content["sweeper"]["direction"] is None  # as the figures are better
    assert set(content["sweeper"]["params"]) == {"optimizer.lr", "optimizer.weight_decay"}


# One of each family and, as slow tests, the others.
@pytest.mark.parametrize(
    "model",
    [
        model
        if model in ("resnet_18", "dekr_w18", "top_down_resnet_18")
        else pytest.param(model, marks=pytest.mark.slow)
        for model in MODELS
    ],
)
def test_a_head_replaces_the_one_of_a_named_model(model: str) -> None:
    other = "heatmap" if "dekr" in model else "dekr"
    assert (
        composed(f"model={model}", f"head={other}")["head"] == composed("~model", "name=any", f"head={other}")["head"]
    )


def test_composing_leaves_hydra_as_it_was() -> None:
    before = HydraConfig.instance().cfg
    compose(["model=resnet_50"])
    assert HydraConfig.instance().cfg is before


def test_the_name_of_a_run_is_that_of_its_model_unless_given() -> None:
    assert compose(["model=dekr_w32"])["name"] == "dekr_w32"
    assert compose(["model=dekr_w32", "name=mine"])["name"] == "mine"


@pytest.mark.slow  # as tiny models all are in tests/test_every_model.py
@pytest.mark.parametrize("model", MODELS if ALL_MODELS else smallest_of_each(MODELS))
def test_every_model_takes_a_step(model: str, here: Path) -> None:
    """DLCPOSE_MODELS=all takes the larger sizes of each too."""
    answer = shell("train.py", f"model={model}", *SMALL, *ONE_STEP)
    assert answer.code == 0, answer.err
    assert "epoch 1/1: loss " in answer.out
    assert "loss nan" not in answer.out
    (run,) = (here / "outputs" / model).glob("*/*")
    assert answer.last_line == str(run)
    assert not list(run.rglob("*.ckpt"))


@pytest.mark.parametrize("name", ["test_efficientnet", pytest.param("convnext_tiny", marks=pytest.mark.slow)])
def test_any_timm_model_is_a_backbone(name: str, here: Path) -> None:
    answer = shell("train.py", "backbone=timm", f"backbone.name={name}", *SMALL, *ONE_STEP)
    assert answer.code == 0, answer.err
    assert "epoch 1/1: loss " in answer.out


# The quick one is the only schedule that watches a figure; tests/schedulers has the laws of all.
@pytest.mark.parametrize(
    "scheduler",
    [
        option if option == "plateau" else pytest.param(option, marks=pytest.mark.slow)
        for group, option in OPTIONS
        if group == "scheduler"
    ],
)
def test_every_schedule_runs(scheduler: str, here: Path) -> None:
    """In a run that validates in every second epoch."""
    epochs = ("trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2")
    answer = shell("train.py", f"scheduler={scheduler}", "optimizer=sgd", *SMALL, *TINY, *ONE_STEP, *epochs)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    ("loggers", "left"),
    [
        pytest.param("[none]", [], marks=pytest.mark.slow),
        ("[csv,tensorboard]", ["metrics.csv", "tensorboard/events.*"]),
        # Whole servers start beside these; tests/loggers has what is ours in them.
        pytest.param("[wandb]", ["wandb/offline-run-*/run-*.wandb"], marks=pytest.mark.slow),
        pytest.param(
            "[mlflow]",
            ["mlflow.db", "mlflow_run.json", "mlflow/*/artifacts/images/*.png"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_loggers_leave_what_they_should(loggers: str, left: list[str], here: Path) -> None:
    if "mlflow" in loggers:
        pytest.importorskip("mlflow", reason="mlflow is an extra: pip install 'dlcpose[mlflow]'")
    offline = ("logger.wandb.offline=true",) if "wandb" in loggers else ()
    answer = shell("train.py", f"logger={loggers}", *offline, *SMALL, *TINY, WANDB_MODE="offline")
    assert answer.code == 0, answer.err
    (run,) = (here / "outputs" / "resnet_18").glob("*/*")
    for pattern in left:
        assert [path for path in run.glob(pattern) if path.stat().st_size > 0], (pattern, sorted(run.rglob("*")))
    always = {
        ".hydra",
        "checkpoints",
        "evaluation",
        "augmentation.txt",
        "environment.txt",
        "split.json",
        "pictures",
        "train.log",
        "run.json",
    }
    made = {pattern.split("/")[0] for pattern in left} | ({"learning_curve.png"} if "metrics.csv" in left else set())
    assert {path.name for path in run.iterdir()} == always | made
    assert {path.name for path in here.iterdir()} == {"outputs"}
    if "wandb" in loggers:
        assert wandb.run is None  # the next job of a sweep gets a run of its own


OWN_HEAD = '''
"""The place of each keypoint from the mean of all features: no good, but all that a head must be."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dlcpose.heads.base import Head
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.instances import PoseInstances
from dlcpose.structures.skeleton import Skeleton


class Points(NamedTuple):
    points: Tensor  # (B, K, 2) pixels of the crop


class PointHead(Head):
    multi_animal = False

    def __init__(self, in_channels: int, stride: int, skeleton: Skeleton, *, hidden: int) -> None:
        super().__init__()
        self.stride = stride
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, hidden), nn.ReLU(),
            nn.Linear(hidden, 2 * len(skeleton)),
        )

    def forward(self, features: Tensor) -> Points:
        return Points(self.layers(features).float().unflatten(1, (-1, 2)))

    def encode(self, batch: PoseBatch) -> Points:
        return Points(batch.keypoints_in_crop[:, 0])

    def loss(self, maps: Points, targets: Points) -> dict[str, Tensor]:
        supervised = ~targets.points.isnan()
        return {"distance": (maps.points[supervised] - targets.points[supervised]).abs().mean()}

    def decode(self, maps: Points) -> list[PoseInstances]:
        return [PoseInstances.from_keypoints(points[None], torch.ones(1, len(points))) for points in maps.points]
'''


@pytest.fixture
def own(here: Path) -> Path:
    """A user's folder of options, and beside it the module that they name."""
    files = {
        "code/mylab_heads.py": OWN_HEAD,
        "mylab/head/points.yaml": "_target_: mylab_heads.PointHead\n_partial_: true\nhidden: 8\n",
        "mylab/experiment/mine.yaml": (
            "# @package _global_\ndefaults:\n  - override /head: points\nname: mine\noptimizer: {lr: 2.0e-3}\n"
        ),
    }
    for name, text in files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)
    return here


@pytest.mark.slow
def test_a_part_of_the_users_own_works_beside_ours(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(own / "code")
    answer = shell("train.py", "--config-dir", "mylab", "experiment=mine", "trust=[mylab_heads]", *SMALL, *TINY)
    assert answer.code == 0, answer.err
    assert "learning rate 0.002" in answer.out
    (run,) = (own / "outputs" / "mine").glob("*/*")
    assert "val/loss_distance" in (run / "metrics.csv").read_text()
    best = f"checkpoint={run / 'checkpoints' / 'best.ckpt'}"
    answer = shell("evaluate.py", best, "trust=[mylab_heads]")
    assert answer.code == 0, answer.err
    (again,) = (own / "outputs" / "evaluate").glob("*/*")
    figures = [json.loads((folder / "evaluation" / "metrics.json").read_text()) for folder in (run, again)]
    assert figures[0]["mean_error_px"] == figures[1]["mean_error_px"]
    # A checkpoint cannot bring code along either: whoever loads it has to trust it.
    assert "add trust=[mylab_heads]" in reason(shell("evaluate.py", best))


def test_it_is_refused_where_it_is_not_trusted(own: Path) -> None:
    said = reason(shell("train.py", "--config-dir", "mylab", "experiment=mine", *SMALL))
    assert said.startswith("head._target_: a config may not name mylab_heads.PointHead here.")
    assert "add trust=[mylab_heads]" in said
