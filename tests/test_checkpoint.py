"""A checkpoint holds all that prediction needs, and nothing in a file that calls itself one can run."""

import io
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcpose.build import Instantiator
from dlcpose.checkpoint import (
    FORMAT,
    Description,
    match_weights,
    read_checkpoint,
    restore,
    versions,
    without_pretrained_weights,
)
from dlcpose.structures.errors import CheckpointError, ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.skeleton import Skeleton
from dlcpose.structures.split import Split
from tests.made_up_runs import checkpoint_of, frames_of, tiny_config


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


def test_weights_of_a_hub_or_a_file_are_not_asked_for_again() -> None:
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
    assert "incomplete (ConstructorError" in said_of(tmp_path / "a.ckpt")
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
    for path in (tmp_path / "gone.ckpt", tmp_path):
        assert "no such checkpoint" in said_of(path)


@pytest.mark.parametrize("other", [{"state_dict": {}}, [1, 2], torch.ones(3), {"dlcpose": 3}])
def test_a_checkpoint_of_another_program_is_named(tmp_path: Path, other: Any) -> None:
    torch.save(other, tmp_path / "a.ckpt")
    assert "a checkpoint of something else" in said_of(tmp_path / "a.ckpt")


def test_a_checkpoint_of_another_format_says_which_version_wrote_it(tmp_path: Path, content: dict[str, Any]) -> None:
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
        ("split", {"train": []}),
        ("individuals", 3),
        ("max_animals", ...),
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


def test_a_foreign_target_in_a_checkpoint_is_refused(checkpoint: Path) -> None:
    read = read_checkpoint(checkpoint)
    config = {**read.description.config, "head": {"_target_": "os.system", "command": "true"}}
    hostile = replace(read, description=replace(read.description, config=config))
    with pytest.raises(ConfigError, match=r"os\.system is outside the packages"):
        restore(hostile, Instantiator())


def test_a_checkpoint_is_written_without_objects(checkpoint: Path) -> None:
    assert torch.load(io.BytesIO(checkpoint.read_bytes()), weights_only=True)["dlcpose"]["format"] == FORMAT


# ------------------------------------------------------------------------------------------------ into another model

NAMES = [f"{layer}.{tensor}" for layer in ("a", "a.b", "c") for tensor in ("weight", "bias")]
STATES = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([(), (2,), (3, 2)]).map(torch.zeros))


@settings(max_examples=100, deadline=None)
@given(STATES, STATES)
def test_each_tensor_is_taken_with_its_whole_layer_or_named_with_a_reason(
    wanted: dict[str, torch.Tensor], given: dict[str, torch.Tensor]
) -> None:
    found = match_weights(wanted, given)
    taken = set(found.taken)
    assert (taken | found.anew.keys(), taken | found.left_out.keys()) == (wanted.keys(), given.keys())
    assert not taken & (found.anew.keys() | found.left_out.keys())
    for name in {*wanted, *given}:
        layer = [other for other in {*wanted, *given} if other.rpartition(".")[0] == name.rpartition(".")[0]]
        fits = all(other in wanted and other in given for other in layer)
        fits = fits and all(wanted[other].shape == given[other].shape for other in layer)
        assert (name in taken) == fits
    assert match_weights(wanted, wanted).taken == tuple(wanted)


def test_the_reason_is_the_tensors_own() -> None:
    wanted = {"a.weight": torch.zeros(3, 2), "a.bias": torch.zeros(2), "b.weight": torch.zeros(())}
    found = match_weights(wanted, {"a.weight": torch.zeros(4, 2), "a.bias": torch.zeros(2), "c.weight": torch.zeros(1)})
    there_and_here = "4x2 in the file, 3x2 in the model"
    assert found.anew == {
        "a.weight": there_and_here,
        "a.bias": "its layer does not fit",
        "b.weight": "not in the file",
    }
    assert found.left_out == {
        "a.weight": there_and_here,
        "a.bias": "its layer does not fit",
        "c.weight": "not in the model",
    }
