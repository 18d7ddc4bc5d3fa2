"""An exported model that somebody else passes on: what it may not do, and what is said of one that is broken."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dlcpose
from dlcpose.checkpoint import read_checkpoint
from dlcpose.model_formats.registry import ExportRequest, export_model
from dlcpose.structures.environment import whole_memory
from dlcpose.structures.errors import CheckpointError, ConfigError, InputError
from tests.model_formats.made_up_checkpoints import CONFIGS, data_of, write_checkpoint
from tests.shells import python

onnx = pytest.importorskip("onnx", reason="an extra: pip install 'dlcpose[onnx]'")
ort = pytest.importorskip("onnxruntime", reason="an extra: pip install 'dlcpose[onnx]'")

Content = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("letterbox", "part_affinity", "top_down"):
        checkpoint = write_checkpoint(folder / f"{name}.ckpt", CONFIGS[name](), data_of(name))
        output = folder / (name if name == "top_down" else f"{name}.onnx")
        export_model("onnx", ExportRequest(read_checkpoint(checkpoint), output))
    return folder


@pytest.fixture
def changed(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """The file of a model that somebody has changed: its graph by `model`, what it says of itself by `description`."""

    def write(
        name: str = "letterbox",
        *,
        model: Callable[[Any], object] = lambda model: None,
        description: Callable[[Content], object] = lambda content: None,
    ) -> Path:
        loaded = onnx.load(folder / f"{name}.onnx")
        model(loaded)
        for entry in loaded.metadata_props:
            if entry.key == "dlcpose":
                content = json.loads(entry.value)
                replaced = description(content)
                entry.value = replaced if isinstance(replaced, str) else json.dumps(content)
        path = tmp_path / "theirs.onnx"
        path.write_bytes(loaded.SerializeToString())
        return path

    return write


def test_what_is_not_changed_is_read(changed: Callable[..., Path]) -> None:
    assert len(dlcpose.load(changed()).predict([np.zeros((64, 64, 3), np.uint8)])) == 1


# ------------------------------------------------------------------------------------------------ the graph


def outside(model: Any) -> None:
    """The weights of another file, which may be any that the user can read."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")


def outside_of_a_branch(model: Any) -> None:
    """The same in the constant of a branch within a node."""
    node = onnx.helper.make_node("Identity", ["images"], ["unused"])
    constant = onnx.helper.make_node(
        "Constant", [], ["inner"], value=onnx.numpy_helper.from_array(np.zeros(4, np.float32), "inner")
    )
    tensor = constant.attribute[0].t
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    branch = onnx.helper.make_graph(
        [constant], "branch", [], [onnx.helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, [4])]
    )
    node.attribute.append(onnx.helper.make_attribute("then_branch", branch))
    model.graph.node.append(node)


@pytest.mark.parametrize("change", [outside, outside_of_a_branch])
def test_other_files_are_not_read(change: Callable[[Any], None], changed: Callable[..., Path]) -> None:
    with pytest.raises(CheckpointError, match="weights are in another file"):
        dlcpose.load(changed(model=change))


def test_operators_that_are_not_onnxs_own_are_refused(changed: Callable[..., Path]) -> None:
    def add(model: Any) -> None:
        model.opset_import.add(domain="theirs", version=1)
        model.graph.node.append(onnx.helper.make_node("Run", ["images"], ["out"], domain="theirs"))

    with pytest.raises(CheckpointError, match=r"not ONNX's own \(theirs\)"):
        dlcpose.load(changed(model=add))


def loop(model: Any) -> None:
    """A part of the graph 2 ** 62 times."""
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(2**62), "times"))
    model.graph.node.append(repeated())


def loop_of_a_branch(model: Any) -> None:
    """The same within a node that does not repeat."""
    node = onnx.helper.make_node("If", ["condition"], ["out"])
    node.attribute.append(
        onnx.helper.make_attribute("then_branch", onnx.helper.make_graph([repeated()], "branch", [], []))
    )
    model.graph.node.append(node)


def repeated() -> Any:
    return onnx.helper.make_node("Loop", ["times", ""], [], body=onnx.helper.make_graph([], "body", [], []))


@pytest.mark.parametrize("change", [loop, loop_of_a_branch])
def test_graphs_that_repeat_a_part_are_refused(change: Callable[[Any], None], changed: Callable[..., Path]) -> None:
    with pytest.raises(CheckpointError, match=r"theirs\.onnx: it repeats a part of its graph \(Loop\)"):
        dlcpose.load(changed(model=change))


def test_tensors_larger_than_a_models_are_refused(changed: Callable[..., Path]) -> None:
    """Before onnxruntime folds constants, which would make them."""

    def add(model: Any) -> None:
        sides = onnx.numpy_helper.from_array(np.array([100_000, 100_000], np.int64), "sides")
        model.graph.initializer.append(sides)
        model.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["sides"], ["huge"]))

    with pytest.raises(CheckpointError, match="10000000000 values"):
        dlcpose.load(changed(model=add))


def test_a_graph_that_computes_its_own_sizes_takes_no_more_than_half_of_the_memory(
    changed: Callable[..., Path],
) -> None:
    """A side of a number of another type is not known before the graph runs."""
    memory = whole_memory()
    assert memory is not None
    side = float(int((0.6 * memory / 4) ** 0.5))  # of 4 bytes each

    def add(model: Any) -> None:
        out = model.graph.output[0].name
        constant, node = onnx.numpy_helper.from_array, onnx.helper.make_node
        model.graph.initializer.append(constant(np.array([side, side]), "sides_as_floats"))
        for each in model.graph.node:
            each.output[:] = ["before" if name == out else name for name in each.output]
        model.graph.node.extend(
            [
                node("Cast", ["sides_as_floats"], ["sides"], to=onnx.TensorProto.INT64),
                node("ConstantOfShape", ["sides"], ["huge"]),
                node("ReduceMax", ["huge"], ["one"], keepdims=0),
                node("Add", ["before", "one"], [out]),
            ]
        )

    predictor = dlcpose.load(changed(model=add))
    with pytest.raises(InputError, match=r"theirs\.onnx: onnxruntime cannot run it"):
        predictor.predict([np.zeros((64, 64, 3), np.uint8)])


def half_precision(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16


def no_dimensions(model: Any) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


@pytest.mark.parametrize("change", [half_precision, no_dimensions])
def test_an_input_that_no_image_is_is_refused(change: Callable[[Any], None], changed: Callable[..., Path]) -> None:
    with pytest.raises(CheckpointError, match="images of 4 dimensions"):
        dlcpose.load(changed(model=change))


def test_a_graph_that_does_not_run_is_one_line(changed: Callable[..., Path]) -> None:
    def add(model: Any) -> None:
        height, width = model.graph.input[0].type.tensor_type.shape.dim[2:]
        height.dim_value, width.dim_value = 32, 32

    with pytest.raises(InputError, match=r"theirs\.onnx: expected images of \(32, 32\)"):
        dlcpose.load(changed(model=add)).predict([np.zeros((64, 64, 3), np.uint8)])


def test_a_file_that_is_too_long_is_not_read(changed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = changed()
    monkeypatch.setattr("dlcpose.prediction.onnx_file.MAX_BYTES", 1000)
    with pytest.raises(CheckpointError, match="at most 1000 bytes"):
        dlcpose.load(path)


def absurd(path: Path) -> None:
    """Make the weights of a graph finite and absurd."""
    loaded = onnx.load(path)
    for weight in loaded.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.ndim == 4 and values.dtype == np.float32:
            weight.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1e30), weight.name))
    path.write_bytes(loaded.SerializeToString())


@pytest.mark.parametrize(("part", "whose"), [("pose", ""), ("detector", "its detector: ")])
def test_weights_that_are_finite_but_absurd_predict_nothing_in_silence(
    part: str, whose: str, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "top_down", tmp_path / "theirs")
    absurd(tmp_path / "theirs" / f"{part}.onnx")
    pose = onnx.load(tmp_path / "theirs" / "pose.onnx")
    (about,) = [entry for entry in pose.metadata_props if entry.key == "dlcpose"]
    content = json.loads(about.value)
    content["crops"]["detector_hash"] = hashlib.sha256((tmp_path / "theirs" / "detector.onnx").read_bytes()).hexdigest()
    about.value = json.dumps(content)
    onnx.save(pose, tmp_path / "theirs" / "pose.onnx")
    model = dlcpose.load(tmp_path / "theirs")
    with pytest.raises(CheckpointError, match=rf"theirs\S*: {whose}the network gave "):
        model.predict([np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)])


def test_a_detector_of_another_export_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("pose.onnx", "detector.onnx"):
        (tmp_path / name).write_bytes((folder / "top_down" / name).read_bytes())
    dlcpose.load(tmp_path)
    with (tmp_path / "detector.onnx").open("ab") as file:
        file.write(b"\x00")
    with pytest.raises(CheckpointError, match="not the detector"):
        dlcpose.load(tmp_path)


# ------------------------------------------------------------------------------------------------ what it says of itself


def set_in(*place: Any, value: Any) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        for key in place[:-1]:
            content = content[key]
        content[place[-1]] = value

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("letterbox", set_in("format", value=2)),
        ("letterbox", set_in("precision", value="int4")),
        ("letterbox", set_in("input", "height", value=1_000_000)),
        ("letterbox", set_in("max_animals", value=10**9)),
        ("letterbox", set_in("skeleton", "names", value=["a"] * 5)),
        ("letterbox", set_in("skeleton", "names", value=[f"k{number}" for number in range(5000)])),
        ("letterbox", set_in("steps", value=[])),
        ("letterbox", set_in("steps", 0, "kind", value="os.system")),
        ("letterbox", set_in("steps", 0, "command", value="rm")),
        ("letterbox", set_in("individuals", value=[{"a": 1}])),
        ("letterbox", set_in("individuals", value=["a", "a"])),
        ("letterbox", set_in("input", "mean", value=[0.5, 1e308, 0.5])),
        ("letterbox", set_in("input", "mean", value=[0.5, -1e38, 0.5])),
        ("letterbox", set_in("input", "std", value=[0.2, 0.2, 1e-300])),
        ("part_affinity", set_in("steps", 0, "max_animals", value=10**9)),
        ("part_affinity", set_in("steps", 0, "edges", 0, value=[0, 400])),
        ("part_affinity", set_in("steps", 0, "kept", value=[True])),
        ("part_affinity", set_in("steps", 0, "samples", value="ten")),
        ("letterbox", lambda content: json.dumps(content)[:-9]),
        ("letterbox", lambda content: json.dumps({**content, "max_animals": float("nan")})),
        ("letterbox", lambda content: json.dumps(content).replace('"edges": [[0,', '"edges": [[1e400,')),
        ("letterbox", set_in("skeleton", "sigmas", value=[10**400] * 15)),
        ("letterbox", set_in("skeleton", "pairs", value=[[3, 4], [4, 5]])),
        ("letterbox", lambda content: "[" * 100_000),
        ("letterbox", lambda content: f'{json.dumps(content)[:-1]}, "max_animals": 1}}'),
        ("letterbox", lambda content: json.dumps({**content, "more": "x" * 5_000_000})),
    ],
)
def test_description_is_checked(name: str, change: Callable[[Content], object], changed: Callable[..., Path]) -> None:
    path = changed(name, description=change)
    with pytest.raises(CheckpointError) as caught:
        dlcpose.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_outputs_of_another_skeleton_are_refused(changed: Callable[..., Path]) -> None:
    path = changed("part_affinity", description=set_in("steps", 0, "kind", value="single_animal"))
    with pytest.raises(CheckpointError, match="steps"):
        dlcpose.load(path)


def test_an_export_from_before_fragments_were_joined_is_read(changed: Callable[..., Path]) -> None:
    def without_distances(content: Content) -> None:
        del content["steps"][0]["mean_distances"], content["steps"][0]["distance_deviations"]

    predictor = dlcpose.load(changed("part_affinity", description=without_distances))
    assert len(predictor.predict([np.zeros((64, 64, 3), np.uint8)])) == 1


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07" * 50])
def test_what_is_no_model_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.onnx"):
        dlcpose.load(path)
    with pytest.raises(CheckpointError, match="no such file"):
        dlcpose.load(tmp_path / "gone.onnx")


def test_a_model_of_somebody_else_without_a_description_is_refused(changed: Callable[..., Path]) -> None:
    with pytest.raises(CheckpointError, match="not written by dlcpose"):
        dlcpose.load(changed(model=lambda model: model.ClearField("metadata_props")))


# ------------------------------------------------------------------------------------------------ how it runs


@pytest.mark.slow
def test_what_trains_models_is_not_imported(folder: Path, tmp_path: Path) -> None:
    """A whole prediction in a process of its own: neither Lightning nor what only training needs."""
    (tmp_path / "predict.py").write_text(
        "import sys, numpy, dlcpose\n"
        f"predictor = dlcpose.load({str(folder / 'top_down')!r}, device='cpu')\n"
        "predictor.predict([numpy.zeros((64, 64, 3), numpy.uint8)])\n"
        "unwanted = ('pytorch_lightning', 'lightning_fabric', 'torchmetrics', 'hydra', 'omegaconf', 'timm', 'wandb')\n"
        "print([name for name in unwanted if name in sys.modules])\n"
    )
    answer = python(tmp_path / "predict.py", cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert answer.out.strip() == "[]"


def test_the_device_is_obeyed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the providers that onnxruntime has, the quickest first, and none but the CPU where that is asked."""
    requested: list[list[Any]] = []
    session = ort.InferenceSession

    def noted(content: bytes, options: Any, providers: list[Any]) -> Any:
        requested.append(providers)
        return session(content, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "InferenceSession", noted)
    path = folder / "letterbox.onnx"
    dlcpose.load(path, device="cpu")
    assert requested.pop() == ["CPUExecutionProvider"]
    with pytest.raises(ConfigError, match=r"^device=cuda"):
        dlcpose.load(path, device="cuda")
    with pytest.raises(ConfigError, match=r"^device=mps"):
        dlcpose.load(path, device="mps")
    known = ["CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: known)
    dlcpose.load(path, device="cuda:1")
    gpus = [(name, {"device_id": "1"}) for name in ("TensorrtExecutionProvider", "CUDAExecutionProvider")]
    assert requested.pop() == [*gpus, "CPUExecutionProvider"]
    dlcpose.load(path)
    assert [name for name, _ in requested.pop()[:2]] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]


@pytest.mark.parametrize("settings", [{"trust": ["mylab"]}, {"conditions": "a.ckpt"}, {"detector": {}}])
def test_what_an_exported_model_does_not_take_is_refused(settings: dict[str, Any], folder: Path) -> None:
    with pytest.raises(ConfigError, match="takes no trust, conditions or detector"):
        dlcpose.load(folder / "letterbox.onnx", **settings)
