"""A checkpoint holds all that prediction needs, and nothing in a file that calls itself one can run."""

import io
import math
import pickle
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.build import build_from_description
from dlcpose.checkpoint import (
    FORMAT,
    Description,
    embed_bottom_up_model,
    match_weights,
    read_checkpoint,
    restore,
    versions,
    without_pretrained_weights,
)
from dlcpose.instantiate import Instantiator
from dlcpose.predict import load
from dlcpose.structures.errors import CheckpointError, ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton
from dlcpose.structures.split import Split
from dlcpose.structures.weights_file import read_weights_file
from dlcpose.targets import PLACES
from tests.made_up_runs import checkpoint_of, frames_of, tiny_config

INPUT = Input(64, 64).as_dict()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of(tmp_path_factory.mktemp("run"))


@pytest.fixture
def content(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, weights_only=True)


def said_of(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        restore(read_checkpoint(path), Instantiator())
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def test_a_description_survives_the_file(tmp_path: Path) -> None:
    description = Description(
        config={"a": {"lr": 1e-5, "names": ["é", None, True]}, "b": []},
        skeleton=Skeleton(("a", "b"), ((0, 1),), ((0, 1),), (0.1, 0.3), ("x",)),
        model_input=Input(64, 96, keep_aspect=False, multiple_of=32, mean=(0, 0.5, 1)),
        split=Split(("one", "two"), ("three",), ()),
        individuals=("mus1", "mus2"),
        max_animals=2,
    )
    torch.save({"state_dict": {"w": torch.ones(2)}, "dlcpose": description.as_dict()}, tmp_path / "a.ckpt")
    read = read_checkpoint(tmp_path / "a.ckpt")
    assert read.description == description
    assert read.weights["w"].tolist() == [1, 1]


def test_a_run_leaves_a_checkpoint_that_is_whole(checkpoint: Path, content: dict[str, Any]) -> None:
    described = content["dlcpose"]
    assert described["format"] == FORMAT
    assert isinstance(described["config"], str)
    assert described["versions"] == versions()
    assert {"python", "dlcpose", "torch", "timm", "numpy"} <= set(described["versions"])
    data, description = frames_of(4), read_checkpoint(checkpoint).description
    assert description.config == tiny_config()
    assert description.skeleton == data.skeleton
    assert description.split.train == tuple(frame.key for frame in data.frames[:2])
    assert (description.individuals, description.max_animals) == (data.individuals, 1)


def test_what_is_restored_has_the_weights_and_is_ready_to_predict(checkpoint: Path, content: dict[str, Any]) -> None:
    pipeline = restore(read_checkpoint(checkpoint), Instantiator())
    assert not pipeline.training
    state = pipeline.state_dict()
    assert state.keys() == content["state_dict"].keys()
    assert all(torch.equal(value, content["state_dict"][name]) for name, value in state.items())


def test_restoring_does_not_fetch_pretrained_weights() -> None:
    config = {"backbone": {"name": "x", "pretrained": True, "checkpoint_path": "/gone.pth"}, "head": {"sigma": 2}}
    assert without_pretrained_weights(config) == {
        "backbone": {"name": "x", "pretrained": False, "checkpoint_path": None},
        "head": {"sigma": 2},
    }
    assert config["backbone"]["pretrained"]
    assert without_pretrained_weights({"backbone": {"name": "own"}}) == {"backbone": {"name": "own"}}


# ------------------------------------------------------------------------------------------------ files that are none


class Payload:
    """What a hostile pickle would do when read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.trace), "w"))


@pytest.mark.parametrize("kind", ["pickle", "torch", "torch legacy", "hidden in the description"])
def test_a_payload_does_not_run(tmp_path: Path, content: dict[str, Any], kind: str) -> None:
    path, trace = tmp_path / "a.ckpt", tmp_path / "it ran"
    payload = Payload(trace)
    if kind == "pickle":
        path.write_bytes(pickle.dumps(payload))
    elif kind == "hidden in the description":
        content["dlcpose"]["config"] = payload
        torch.save(content, path)
    else:
        torch.save({"state_dict": {}, "x": payload}, path, _use_new_zipfile_serialization=kind == "torch")
    assert "without running code" in said_of(path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(payload)).close()  # a plain pickle's reader would have been caught
    assert trace.exists()


def test_yaml_in_a_checkpoint_makes_no_objects(tmp_path: Path, content: dict[str, Any]) -> None:
    content["dlcpose"]["config"] = (
        f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{tmp_path}/it ran']]"
    )
    torch.save(content, tmp_path / "a.ckpt")
    assert "python/object/apply" in said_of(tmp_path / "a.ckpt")
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("bytes_kept", [0, 10, 2000, -1])
def test_a_truncated_file_is_named(tmp_path: Path, checkpoint: Path, bytes_kept: int) -> None:
    (tmp_path / "a.ckpt").write_bytes(checkpoint.read_bytes()[:bytes_kept])
    assert "cannot be read as a checkpoint" in said_of(tmp_path / "a.ckpt")


@pytest.mark.parametrize("text", [b"hello", b"\x89PNG\r\n", b"PK\x03\x04"])
def test_a_file_of_something_else_is_named(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.ckpt").write_bytes(text)
    assert "Expected a .ckpt of a dlcpose run" in said_of(tmp_path / "a.ckpt")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert "no such checkpoint" in said_of(tmp_path / "gone.ckpt")
    assert said_of(tmp_path).startswith(f"{tmp_path}: expected a checkpoint, got a folder. A run leaves ")


@pytest.mark.parametrize("there", [["best.ckpt"], ["last.ckpt"], ["best.ckpt", "last.ckpt"]])
def test_a_run_folder_is_answered_with_its_checkpoint(tmp_path: Path, there: list[str]) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name in there:
        (tmp_path / "run" / "checkpoints" / name).touch()
    for folder in (tmp_path / "run", tmp_path / "run" / "checkpoints"):
        found = tmp_path / "run" / "checkpoints" / there[0]
        assert said_of(folder) == f"{folder}: expected a checkpoint, got a folder. Give {found}."


@pytest.mark.parametrize("other", [{"state_dict": {}}, [1, 2], torch.ones(3), {"dlcpose": 3}])
def test_a_checkpoint_of_another_program_is_named(tmp_path: Path, other: Any) -> None:
    torch.save(other, tmp_path / "a.ckpt")
    assert "another program's checkpoint" in said_of(tmp_path / "a.ckpt")


def test_checkpoint_of_another_format_names_its_version(tmp_path: Path, content: dict[str, Any]) -> None:
    content["dlcpose"] |= {"format": 99, "versions": {"dlcpose": "7.0"}}
    torch.save(content, tmp_path / "a.ckpt")
    assert "expected checkpoint format 1, got 99: it was written by dlcpose 7.0" in said_of(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config", None),
        ("config", "a: [1"),
        ("skeleton", {}),
        ("skeleton", {"names": [], "edges": [], "pairs": [], "sigmas": [], "unique": [], "unique_pairs": []}),
        ("input", {"height": 3}),
        ("input", {**INPUT, "multiple_of": 0}),
        ("input", {**INPUT, "height": torch.ones(2, 2)}),
        ("skeleton", torch.ones(3)),
        ("split", {"train": []}),
        ("individuals", 3),
        ("individuals", "mouse"),
        ("identified", "no"),
        ("individuals", [1]),
        ("split", {"train": "frame", "val": [], "test": []}),
        ("input", {**INPUT, "mean": [math.nan, 0, 0]}),
        ("input", {**INPUT, "std": [0, 1, 1]}),
        ("input", {**INPUT, "std": [1, 1]}),
        ("skeleton", {**Skeleton(("a", "b")).as_dict(), "names": "ab"}),
        ("max_animals", ...),
        *(("max_animals", value) for value in ("2", 2.0, -1, 10**9, None)),
        ("config", "a" * 10_000_001),
        ("individuals", ["a"] * 10_001),
        *(("input", {**INPUT, side: 2**31}) for side in ("height", "width", "multiple_of")),
        ("input", {**INPUT, "height": 16_384, "width": 16_384}),  # to which a small image would be padded: 3 GB
        ("input", {**INPUT, "height": None, "width": None, "multiple_of": 16_384}),
        ("skeleton", {**Skeleton(("a",)).as_dict(), "names": [f"k{number}" for number in range(1_025)]}),
    ],
)
def test_a_broken_description_is_named(tmp_path: Path, content: dict[str, Any], key: str, value: Any) -> None:
    if value is ...:
        del content["dlcpose"][key]
    else:
        content["dlcpose"][key] = value
    torch.save(content, tmp_path / "a.ckpt")
    assert "incomplete" in said_of(tmp_path / "a.ckpt")


def test_weights_that_do_not_fit_are_named_in_one_line(tmp_path: Path, content: dict[str, Any]) -> None:
    first = next(iter(content["state_dict"]))
    for weights in ({first: torch.ones(1)}, {**content["state_dict"], "more": torch.ones(1)}, {}):
        torch.save({**content, "state_dict": weights}, tmp_path / "a.ckpt")
        assert "the weights do not fit the model it describes" in said_of(tmp_path / "a.ckpt")
    del content["state_dict"]
    torch.save(content, tmp_path / "a.ckpt")
    assert "incomplete" in said_of(tmp_path / "a.ckpt")


def hostile(checkpoint: Path, folder: Path, **changes: Any) -> Path:
    """A checkpoint with another config, as a stranger would hand it over."""
    content = torch.load(checkpoint, weights_only=True)
    config = {**yaml.safe_load(content["dlcpose"]["config"]), **changes}
    content["dlcpose"]["config"] = yaml.safe_dump(config)
    torch.save(content, folder / "gift.ckpt")
    return folder / "gift.ckpt"


def attacks(folder: Path) -> dict[str, dict[str, Any]]:
    """What was tried: the node, and what it would have done."""
    canary = folder / "canary"
    reader = {"_target_": "timm.data.readers.reader_wds.ReaderWds", "root": f"pipe:touch {canary}"}
    return {
        "shell": {"_target_": "subprocess.Popen", "args": ["touch", str(canary)]},
        "archive": {"_target_": "torchvision.datasets.Kinetics", "root": str(folder), "download": True},
        "web dataset": reader,
        "any module": {"_target_": "pytorch_lightning.cli.LightningCLI", "args": ["--model=gift.Model"]},
        "logger": {"_target_": "pytorch_lightning.loggers.csv_logs.CSVLogger", "save_dir": str(canary)},
        "deletes": {"_target_": "pytorch_lightning.loggers.csv_logs.ExperimentWriter", "log_dir": str(folder)},
        "walks": {"_target_": "torchvision.datasets.ImageFolder", "root": "/"},
        "ends the process": {"_target_": "dlcpose.datasets.datamodule.end_with", "parent": 0},
        "queues a job": {"_target_": "dlcpose.callbacks.requeue.queue_again"},
        "memory": {"_target_": "torch.nn.Linear", "in_features": 100_000, "out_features": 10_000_000},
        "our logger": {"_target_": "dlcpose.loggers.csv_logger.ContinuedCSVLogger", "run_dir": str(canary)},
        "our data": {"_target_": "dlcpose.datasets.synthetic.frames.SyntheticFrames", "frames": 10},
        "our callback": {"_target_": "dlcpose.callbacks.preemption.LastCheckpoint", "run_dir": str(canary)},
    }


# Each attack in one place, one of them in each place, and as slow tests the rest.
@pytest.mark.parametrize(
    ("attack", "group"),
    [
        pytest.param(attack, group, marks=() if attack == "shell" or group == "head" else pytest.mark.slow)
        for group in ("pipeline", "backbone", "neck", "head", "side_head", "detector")
        for attack in sorted(attacks(Path("x")))
    ],
)
def test_a_checkpoint_names_parts_of_a_model_and_nothing_else(
    checkpoint: Path, tmp_path: Path, attack: str, group: str
) -> None:
    (tmp_path / "metrics.csv").write_text("mine")
    before, node = sorted(tmp_path.iterdir()), attacks(tmp_path)[attack]
    config = {**tiny_config(), "side_head": {}}
    nested = {**config[group], "inner": node} if config.get(group) else {"x": node}
    for change in (node, nested, {**nested, "_target_": "dlcpose.heads.heatmap.HeatmapHead"}):
        gift = hostile(checkpoint, tmp_path, **{group: {"x": change} if group == "side_head" else change})
        with pytest.raises((ConfigError, CheckpointError)) as caught:
            load(gift)
        assert "\n" not in str(caught.value)
        gift.unlink()
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "metrics.csv").read_text() == "mine"


@pytest.mark.parametrize("group", ["dataset", "callbacks", "logger", "trainer", "optimizer", "metric", "datamodule"])
def test_a_checkpoint_brings_nothing_but_a_model_along(checkpoint: Path, group: str) -> None:
    node = {"x": option_of(group)} if PLACES[group].several else option_of(group)
    with pytest.raises(ConfigError, match=f"may not bring a {group} along"):
        Instantiator().of_file(checkpoint)(node, group)


def option_of(group: str) -> dict[str, Any]:
    return {"_target_": next(iter(PLACES[group].names), f"{PLACES[group].own}.Any"), "_partial_": True}


def test_what_evaluate_takes_of_a_run_folder_is_our_data_with_plain_settings(tmp_path: Path) -> None:
    instantiate = Instantiator().of_file(tmp_path / "run.json", "dataset")
    node = {"_target_": "dlcpose.datasets.synthetic.frames.SyntheticFrames", "frames": 2}
    assert len(instantiate(node, "dataset").frames) == 2
    for bad in ({"frames": 10**12}, {"frames": "many"}, {"skeleton": {"names": [node]}}, {"width": {"a": 1}}):
        with pytest.raises(ConfigError, match=r"^dataset\."):
            instantiate({**node, **bad}, "dataset")


@pytest.mark.parametrize(
    ("group", "setting", "value"),
    [
        *(("head", "channels", value) for value in (10**6, 10**30, -(10**6), "32", [32], 32.5, None, {"a": 1})),
        *(("neck", "channels", value) for value in (10**9, True)),
        *(("backbone", "options", value) for value in ({"a": 10**9}, {"pretrained_cfg": {"url": "http://x"}}, [1])),
        ("backbone", "name", "hf-hub:stranger/model"),
        ("backbone", "name", "local-dir:/tmp"),
    ],
)
def test_settings_of_a_checkpoint_are_bounded_and_of_their_type(
    checkpoint: Path, tmp_path: Path, group: str, setting: str, value: Any
) -> None:
    node = {**tiny_config()[group], setting: value}
    with pytest.raises(ConfigError, match=rf"^{group}\.{setting}"):
        load(hostile(checkpoint, tmp_path, **{group: node}))


def test_a_model_larger_than_its_weights_is_refused_before_it_is_made(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[str] = []
    real = torch.nn.Conv2d.__init__

    def watched(self: Any, *args: Any, **settings: Any) -> None:
        devices.append(torch.empty(0).device.type)  # torch 2.6 tells no default device of a context
        real(self, *args, **settings)

    monkeypatch.setattr(torch.nn.Conv2d, "__init__", watched)
    gift = hostile(checkpoint, tmp_path, neck={**tiny_config()["neck"], "channels": 16_000})
    with pytest.raises(CheckpointError, match="do not fit the model"):
        load(gift)
    assert set(devices) == {"meta"}


@pytest.mark.parametrize(
    ("name", "options"),
    [("resnet18", {"layers": [16_384] * 4}), ("vit_tiny_patch16_224", {"depth": 16_384})],
)
def test_a_model_of_more_layers_than_its_weights_is_refused_in_a_moment(
    checkpoint: Path, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    gift = hostile(checkpoint, tmp_path, backbone={**tiny_config()["backbone"], "name": name, "options": options})
    started = time.perf_counter()
    assert "layers for 126 tensors" in said_of(gift)
    assert time.perf_counter() - started < 20  # each layer takes a millisecond: it was minutes


def test_a_model_larger_than_its_weights_is_refused_beside_a_detector_and_as_one(
    checkpoint: Path, tmp_path: Path
) -> None:
    gift = hostile(checkpoint, tmp_path, neck={**tiny_config()["neck"], "channels": 16_000})
    with pytest.raises(CheckpointError, match="do not fit the model"):
        restore(read_checkpoint(gift), Instantiator(), {"bottom_up": None, "checkpoint": None})
    with pytest.raises(CheckpointError, match="do not fit the model"):
        embed_bottom_up_model({"bottom_up": None, "checkpoint": str(gift)}, Instantiator())


def test_missing_part_is_reported_in_one_line(checkpoint: Path, tmp_path: Path) -> None:
    for group in ("pipeline", "backbone", "neck", "head"):
        content = torch.load(checkpoint, weights_only=True)
        config = yaml.safe_load(content["dlcpose"]["config"])
        del config[group]
        content["dlcpose"]["config"] = yaml.safe_dump(config)
        torch.save(content, tmp_path / "a.ckpt")
        assert "cannot be built" in said_of(tmp_path / "a.ckpt")


def test_the_model_within_a_detector_is_a_strangers_too(checkpoint: Path, tmp_path: Path) -> None:
    described = torch.load(checkpoint, weights_only=True)["dlcpose"]
    config = {**yaml.safe_load(described["config"]), "head": {"_target_": "dlcpose.callbacks.requeue.queue_again"}}
    with pytest.raises(ConfigError, match=r"^head\._target_: a config may not name"):
        build_from_description({**described, "config": config}, Instantiator())


# ------------------------------------------------------------------------------------------------ what unfolds


def repacked(path: Path, source: Path, compression: int, more: bytes = b"") -> None:
    with zipfile.ZipFile(source) as read, zipfile.ZipFile(path, "w", compression) as written:
        for name in read.namelist():
            written.writestr(name, read.read(name) + (more if name.endswith("/data/0") else b""))


def test_a_compressed_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    repacked(tmp_path / "bomb.ckpt", checkpoint, zipfile.ZIP_DEFLATED, bytes(10**7))
    assert "is compressed" in said_of(tmp_path / "bomb.ckpt")
    repacked(tmp_path / "plain.ckpt", checkpoint, zipfile.ZIP_STORED)
    read_checkpoint(tmp_path / "plain.ckpt")


def test_entries_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**5)}, tmp_path / "one.ckpt")
    content = (tmp_path / "one.ckpt").read_bytes()
    end = content.rindex(b"PK\x05\x06")
    count, size, start = struct.unpack_from("<HII", content, end + 10)
    if start == 0xFFFFFFFF:
        pytest.skip("written as zip64")
    directory = content[start : start + size]
    many = (
        content[:start]
        + directory * 50
        + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count * 50, count * 50, size * 50, start, 0)
    )
    (tmp_path / "many.ckpt").write_bytes(many)
    assert "holds" in said_of(tmp_path / "many.ckpt")


def test_an_archive_of_two_lists_of_entries_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "plain.ckpt")
    lists = []
    for name, compression in (("stored.ckpt", zipfile.ZIP_STORED), ("packed.ckpt", zipfile.ZIP_DEFLATED)):
        repacked(tmp_path / name, tmp_path / "plain.ckpt", compression)
        content = (tmp_path / name).read_bytes()
        end = content.rindex(b"PK\x05\x06")
        lists.append((content, *struct.unpack_from("<II", content, end + 12), content[end:]))
    (stored, size, start, _), (packed, size_packed, start_packed, end) = lists
    assert size == size_packed
    # torch reads the list that is stated, of packed entries; zipfile the one before the end.
    two = packed[: start_packed + size] + stored[start : start + size] + end
    (tmp_path / "two.ckpt").write_bytes(two)
    assert "elsewhere than it says" in said_of(tmp_path / "two.ckpt")


def test_one_number_repeated_without_end_is_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    content["state_dict"]["head.huge"] = torch.zeros(1).expand(10**12)
    torch.save(content, tmp_path / "a.ckpt")
    assert "larger than its values" in said_of(tmp_path / "a.ckpt")


def test_lists_that_unfold_without_end_are_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    nested: list[Any] = [torch.zeros(1)]
    for _ in range(30):
        nested = [nested] * 10
    content["more"] = nested
    torch.save(content, tmp_path / "a.ckpt")
    assert "stands for more than" in said_of(tmp_path / "a.ckpt")
    for _ in range(60):
        nested = [nested]
    content["more"] = nested
    torch.save(content, tmp_path / "a.ckpt")
    assert "nested deeper" in said_of(tmp_path / "a.ckpt")


def test_a_value_that_unfolds_without_end_is_not_printed(tmp_path: Path, content: dict[str, Any]) -> None:
    nested: list[Any] = [1]
    for _ in range(45):
        nested = [nested, nested]
    content["dlcpose"]["max_animals"] = nested
    torch.save(content, tmp_path / "a.ckpt")
    assert "stands for more than" in said_of(tmp_path / "a.ckpt")


DOUBLED = b"".join(b"h%ch%c\x86q%c" % (place - 1, place - 1, place) for place in range(1, 60))
HOSTILE = {
    "a key that has no end": b"K\x01\x85q\x00" + DOUBLED + b"}h\x3bK\x01s.",
    "a member that has no end": b"K\x01\x85q\x00" + DOUBLED + b"cbuiltins\nset\n]h\x3ba\x85R.",
    "an array of 3 GB": b"cbuiltins\nbytearray\n\x8a\x05" + (3 * 2**30).to_bytes(5, "little") + b"\x85R.",
    "an encoding": b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x04\x00\x00\x00idna\x86R.",
    "a tensor of a list": b"ctorch\nFloatTensor\n]K\x01a\x85R.",
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("name", ["a/data.pkl", "a/DATA.PKL", None])
def test_what_torch_would_take_long_for_is_refused_first(tmp_path: Path, kind: str, name: str | None) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"\x80\x02" + HOSTILE[kind])
    if name is not None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"\x80\x02" + HOSTILE[kind])
            archive.writestr("a/version", "3")
    began = time.monotonic()
    assert "without running code" in said_of(path)
    with pytest.raises(CheckpointError):
        read_weights_file(path)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, content: dict[str, Any], value: float) -> None:
    name = next(name for name in content["state_dict"] if name.startswith("head") and name.endswith("weight"))
    content["state_dict"][name].view(-1)[0] = value
    torch.save(content, tmp_path / "a.ckpt")
    assert "not finite" in said_of(tmp_path / "a.ckpt")


def test_weights_that_are_absurd_are_told_with_their_file(tmp_path: Path, content: dict[str, Any]) -> None:
    weights = {name: value * 1e30 if value.ndim == 4 else value for name, value in content["state_dict"].items()}
    torch.save({**content, "state_dict": weights}, tmp_path / "absurd.ckpt")
    with pytest.raises(CheckpointError, match=r"absurd\.ckpt: the network gave nan to nan, expected numbers from "):
        load(tmp_path / "absurd.ckpt", device="cpu").predict([np.zeros((64, 64, 3), np.uint8)])


def test_weights_of_another_kind_of_number_are_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    name = next(iter(content["state_dict"]))
    content["state_dict"][name] = content["state_dict"][name].int()
    torch.save(content, tmp_path / "a.ckpt")
    assert f"{name} (torch.int32 in the file" in said_of(tmp_path / "a.ckpt")


def test_weights_without_values_are_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    name = next(iter(content["state_dict"]))
    content["state_dict"][name] = content["state_dict"][name].to("meta")
    torch.save(content, tmp_path / "a.ckpt")
    assert "has no values" in said_of(tmp_path / "a.ckpt")
    torch.save(content["state_dict"], tmp_path / "a.pth")
    with pytest.raises(CheckpointError):
        read_weights_file(tmp_path / "a.pth")


@pytest.mark.parametrize("state", [[1], {"a": 1}, {3: torch.ones(1)}, None, "text"])
def test_weights_that_are_none_are_refused(tmp_path: Path, content: dict[str, Any], state: Any) -> None:
    torch.save({**content, "state_dict": state}, tmp_path / "a.ckpt")
    assert "incomplete" in said_of(tmp_path / "a.ckpt")


def test_a_checkpoint_is_written_without_objects(checkpoint: Path) -> None:
    assert torch.load(io.BytesIO(checkpoint.read_bytes()), weights_only=True)["dlcpose"]["format"] == FORMAT


# ------------------------------------------------------------------------------------------------ into another model

NAMES = [f"{layer}.{tensor}" for layer in ("a", "a.b", "c") for tensor in ("weight", "bias")]
STATES = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([(), (2,), (3, 2)]).map(torch.zeros))


@given(STATES, STATES)
def test_each_tensor_is_taken_with_its_whole_layer_or_named_with_a_reason(
    target: dict[str, torch.Tensor], given: dict[str, torch.Tensor]
) -> None:
    found = match_weights(target, given)
    taken = set(found.loaded)
    assert (taken | found.missing.keys(), taken | found.unexpected.keys()) == (target.keys(), given.keys())
    assert not taken & (found.missing.keys() | found.unexpected.keys())
    for name in {*target, *given}:
        layer = [other for other in {*target, *given} if other.rpartition(".")[0] == name.rpartition(".")[0]]
        fits = all(other in target and other in given for other in layer)
        fits = fits and all(target[other].shape == given[other].shape for other in layer)
        assert (name in taken) == fits
    assert match_weights(target, target).loaded == tuple(target)


def test_the_reason_is_the_tensors_own() -> None:
    target = {"a.weight": torch.zeros(3, 2), "a.bias": torch.zeros(2), "b.weight": torch.zeros(())}
    found = match_weights(target, {"a.weight": torch.zeros(4, 2), "a.bias": torch.zeros(2), "c.weight": torch.zeros(1)})
    there_and_here = "4x2 in the file, 3x2 in the model"
    assert found.missing == {
        "a.weight": there_and_here,
        "a.bias": "its layer does not fit",
        "b.weight": "not in the file",
    }
    assert found.unexpected == {
        "a.weight": there_and_here,
        "a.bias": "its layer does not fit",
        "c.weight": "not in the model",
    }
