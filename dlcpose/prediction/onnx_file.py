"""Run exported models by onnxruntime, from ONNX files that may be untrusted."""

import functools
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlcpose.prediction.graph_description import GraphDescription, read_description
from dlcpose.prediction.graph_model import GraphModel, GraphTopDown
from dlcpose.structures.environment import whole_memory
from dlcpose.structures.errors import CheckpointError, ConfigError, InputError

POSE, DETECTOR = "pose.onnx", "detector.onnx"  # of a top-down model, in one folder
METADATA = "dlcpose"  # key of the description in the file's metadata
IMAGES = "images"  # name of the input
KINDS = {"tensor(uint8)": torch.uint8, "tensor(float)": torch.float32}  # of the input
MAX_BYTES = 2**31 - 1  # limit of an ONNX file without external data
REPEATING = frozenset({"Loop", "Scan", "SequenceMap"})  # operators that may run a part of a graph without end
MAX_VALUES = 2**29  # in one tensor of a graph for one image: a larger one is of no model of ours
SHARE_OF_MEMORY = 0.5  # of the machine's, for all that onnxruntime computes
GPU = {"TensorrtExecutionProvider": "trt", "CUDAExecutionProvider": "cuda"}  # in the order of preference
CPU = "CPUExecutionProvider"


def is_onnx(path: Path) -> bool:
    """Whether a path looks like an exported model: a file NAME.onnx, or a folder of a top-down model's two."""
    return path.suffix == ".onnx" or (path / POSE).is_file()


def read_onnx_model(path: Path, device: str | None = None) -> GraphModel:
    """The model of a file or folder that `dlcpose export --format onnx` wrote.

    device: "cpu", or "cuda" with a number behind a colon where there are several; None for a GPU that onnxruntime can use.
    Raises CheckpointError for a file that is missing, broken, none of dlcpose's, or that reaches beyond itself; ConfigError
    for a device that is not there.
    """
    missing = [package for package in ("onnx", "onnxruntime") if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError(f"{path}: it needs {' and '.join(missing)}, not installed here. Install dlcpose[onnx].")
    pose = path / POSE if path.is_dir() else path
    content = _read_file(pose)
    description = _description(content, pose)
    providers = _providers(device)
    graph = OnnxGraph(content, pose, providers, output_names(description))
    if description.crops is None:
        return GraphModel(description, graph, pose)
    beside = _read_file(pose.with_name(DETECTOR))
    if hashlib.sha256(beside).hexdigest() != description.crops.detector_hash:
        raise CheckpointError(
            f"{pose.with_name(DETECTOR)}: it is not the detector that {pose.name} was exported with. Export both anew."
        )
    detector = OnnxGraph(beside, pose.with_name(DETECTOR), providers, ("boxes", "scores"))
    return GraphTopDown(description, graph, pose, crops=description.crops, detector=detector)


class OnnxGraph:
    """A graph that onnxruntime runs, of a file's content that is checked here.

    Raises CheckpointError where it reaches beyond the file, or lacks one of the outputs.
    """

    def __init__(self, content: bytes, path: Path, providers: list[Any], outputs: tuple[str, ...]) -> None:
        import onnxruntime

        self.path, self.names = path, outputs
        check_self_contained(content, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # fatal ones; the others are raised
        _bound_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=providers)
        except Exception as error:  # onnxruntime's errors have no common base class
            raise CheckpointError(f"{path}: onnxruntime cannot run it ({_first_line(error)}).") from error
        inputs = {each.name: each for each in self._session.get_inputs()}
        known = [each.name for each in self._session.get_outputs()]
        if set(inputs) != {IMAGES} or not set(outputs) <= set(known):
            raise CheckpointError(
                f"{path}: expected a graph from {IMAGES} to {', '.join(outputs)}, got one from {', '.join(inputs)[:200]} to "
                f"{', '.join(known)[:200]}."
            )
        shape, kind = inputs[IMAGES].shape, inputs[IMAGES].type
        if len(shape) != 4 or kind not in KINDS:
            raise CheckpointError(
                f"{path}: expected {IMAGES} of 4 dimensions, as {' or '.join(KINDS)}, got {len(shape)} of {kind[:80]}."
            )
        self._dtype = KINDS[kind]
        is_fixed = isinstance(shape[2], int) and isinstance(shape[3], int)
        self.size: tuple[int, int] | None = (shape[2], shape[3]) if is_fixed else None

    @property
    def providers(self) -> list[str]:
        """onnxruntime's execution providers of the session, in order of preference."""
        return list(self._session.get_providers())

    def run(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs by name for images (B, 3, H, W)."""
        array = images.to(self._dtype).contiguous().numpy()
        try:
            found = self._session.run(list(self.names), {IMAGES: array})
        except Exception as error:
            raise InputError(
                f"{self.path}: onnxruntime cannot run it on images of {array.shape}: {_first_line(error)}"
            ) from error
        return {
            name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in zip(self.names, found, strict=True)
        }


@functools.cache  # of the process: all sessions share it
def _bound_memory() -> None:
    """Let onnxruntime take half of the machine's memory at most: a graph that computes its own sizes asks for any."""
    import onnxruntime

    settings = {} if (memory := whole_memory()) is None else {"max_mem": int(memory * SHARE_OF_MEMORY)}
    place = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg(settings))


def check_self_contained(content: bytes, path: Path) -> None:
    """Raises CheckpointError for a model that reads other files, runs other operators than ONNX's own, repeats any, or is
    too large."""
    import onnx

    model = _parsed(content, path)
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise CheckpointError(
                f"{path}: its weights are in another file, {_location(tensor)!r:.100}. A model that is passed on "
                "holds all of them itself, as dlcpose export writes it."
            )
    domains = {entry.domain for entry in model.opset_import} | {node.domain for node in _nodes(model)}
    if others := sorted(domains - {"", "ai.onnx"}):
        raise CheckpointError(f"{path}: it needs operators that are not ONNX's own ({', '.join(others)[:200]}).")
    if repeating := sorted({node.op_type for node in _nodes(model)} & REPEATING):
        raise CheckpointError(
            f"{path}: it repeats a part of its graph ({', '.join(repeating)}), as often as it says and so maybe without end; "
            "no export of dlcpose does. Take one of dlcpose export."
        )
    if model.functions:
        raise CheckpointError(f"{path}: it defines functions of its own, which dlcpose export does not write.")
    _check_sizes(model, path)


def _check_sizes(model: Any, path: Path) -> None:
    """Raises CheckpointError where a tensor of the graph is known to be larger than any of ours, for one image of 256 px."""
    import onnx

    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    for each in sized.graph.input:
        for place, dimension in enumerate(each.type.tensor_type.shape.dim):
            if not dimension.HasField("dim_value"):
                dimension.dim_value = (1, 3, 256, 256)[min(place, 3)]
    try:
        inferred = onnx.shape_inference.infer_shapes(sized, data_prop=True)
    except Exception as error:
        raise CheckpointError(f"{path}: its graph is broken ({_first_line(error)}).") from error
    for value in (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output):
        count = 1
        for dimension in value.type.tensor_type.shape.dim:
            count *= max(1, dimension.dim_value)
        if count > MAX_VALUES:
            raise CheckpointError(f"{path}: {value.name!r:.80} in it has {count} values, which no model of ours has.")


def _tensors(model: Any) -> Iterator[Any]:
    """All tensors of a model: weights, and constants of nodes, however deep."""
    for graph in _graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)
                for sparse in (
                    *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
                    *attribute.sparse_tensors,
                ):
                    yield from (sparse.values, sparse.indices)


def _nodes(model: Any) -> Iterator[Any]:
    for graph in _graphs(model):
        yield from graph.node


def _graphs(model: Any) -> Iterator[Any]:
    """The graph of a model and those within its nodes."""
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _location(tensor: Any) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _read_file(path: Path) -> bytes:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file. dlcpose export --format onnx writes it.")
    if (length := path.stat().st_size) > MAX_BYTES:
        raise CheckpointError(f"{path}: expected at most {MAX_BYTES} bytes, got {length}.")
    return path.read_bytes()


def _description(content: bytes, path: Path) -> GraphDescription:
    found = {entry.key: entry.value for entry in _parsed(content, path).metadata_props}
    if METADATA not in found:
        raise CheckpointError(
            f"{path}: it was not written by dlcpose, so its keypoints are unknown. Take one of dlcpose export."
        )
    return read_description(found[METADATA], path)


def _parsed(content: bytes, path: Path) -> Any:
    """The model in a file's content. Raises CheckpointError for what is no ONNX."""
    import onnx

    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # of protobuf
        raise CheckpointError(
            f"{path}: cannot be read as ONNX ({_first_line(error)}). Expected a file of dlcpose export."
        ) from error


def output_names(description: GraphDescription) -> tuple[str, ...]:
    """Names of the outputs that a model's steps read."""
    return tuple(dict.fromkeys(name for step in description.steps for name in step.outputs))


def _providers(device: str | None) -> list[Any]:
    """onnxruntime's providers for a device, the preferred first. Raises ConfigError for one that it does not have."""
    import onnxruntime

    kind, _, number = (device or "").partition(":")
    if kind not in ("", "cpu", "cuda") or (number and not number.isdecimal()):
        raise ConfigError(f"device={device}: an exported model runs on cpu or cuda. Take one of these.")
    available = [name for name in GPU if name in onnxruntime.get_available_providers()]
    if kind == "cuda" and not available:
        raise ConfigError(
            "device=cuda: this onnxruntime has no CUDA provider. Install onnxruntime-gpu, or take device=cpu."
        )
    chosen = [] if kind == "cpu" else [(name, {"device_id": number or "0"}) for name in available]
    return [*chosen, CPU]


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
