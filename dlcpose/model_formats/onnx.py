"""ONNX, for onnxruntime and what reads the same files: one file, or two in a folder for a top-down model."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import torch

from dlcpose.model_formats.description import describe
from dlcpose.model_formats.graph import (
    HALF_SIZE_TOLERANCE,
    SIZE_TOLERANCE,
    GraphToTrace,
    answers_at_another_size,
    detector_graph,
    estimator_of,
    explained,
    pose_graph,
    size_of_all,
)
from dlcpose.model_formats.registry import ExportFormat, ExportRequest, export_format
from dlcpose.model_formats.verification import check_agreement
from dlcpose.prediction.graph_description import GraphDescription
from dlcpose.prediction.onnx_file import CPU, DETECTOR, IMAGES, METADATA, POSE, OnnxGraph, output_names, read_onnx_model
from dlcpose.structures.atomic_files import atomic_folder, atomic_output
from dlcpose.structures.errors import ConfigError

OPSET = 17  # what onnxruntime has known since 2022 and TensorRT takes


@export_format("onnx")
class OnnxFormat(ExportFormat):
    """Normalization, network and decoding in a graph with dynamic batch, and size where the network takes any.

    A top-down model is a folder of two graphs, detector.onnx and pose.onnx: a graph's operations are fixed, and between the
    two as many crops are cut as there are boxes.
    """

    needs = ("onnx", "onnxruntime")
    extra = "onnx"
    precisions = ("32", "fp16")

    def write(self, request: ExportRequest) -> Sequence[str]:
        """Write the file or folder, after checking that it predicts like the model."""
        pipeline = estimator_of(request.pipeline)
        is_folder = pipeline.crop_settings is not None
        if is_folder == (request.output.suffix == ".onnx"):
            expected = "a folder, as a top-down model is two graphs" if is_folder else "a file NAME.onnx"
            raise ConfigError(f"--output: expected {expected}, got {request.output}.")
        exported = copy.deepcopy(pipeline)  # half precision changes its weights
        detector = b"" if exported.detector is None else to_onnx(detector_graph(exported.detector), {})
        described = describe(request, pipeline, detector_hash=hashlib.sha256(detector).hexdigest() if detector else "")
        pose, content = _written(pose_graph(exported, precision=request.precision), described, request)
        if not is_folder:
            with atomic_output(request.output) as partial:
                partial.write_bytes(content)
                return _checked(request, partial, pose)
        with atomic_folder(request.output, replace=request.overwrite) as partial:
            (partial / DETECTOR).write_bytes(detector)
            (partial / POSE).write_bytes(content)
            return _checked(request, partial, pose)


def _written(graph: GraphToTrace, described: GraphDescription, request: ExportRequest) -> tuple[GraphToTrace, bytes]:
    """A pose network's graph, for images of one size where others came out wrong, and the content of its file."""
    metadata, model_input = {METADATA: described.as_text()}, described.model_input
    content = to_onnx(graph, metadata)
    names = output_names(described)
    tolerance = HALF_SIZE_TOLERANCE if request.precision == "fp16" else SIZE_TOLERANCE
    if graph.any_size and not answers_at_another_size(
        graph, OnnxGraph(content, request.output, [CPU], names), model_input.multiple_of, tolerance=tolerance
    ):
        size_of_all(model_input, "onnx")
        graph = replace(graph, any_size=False)
        content = to_onnx(graph, metadata)
    return graph, content


def _checked(request: ExportRequest, written: Path, pose: GraphToTrace) -> Sequence[str]:
    """The summary of a written export. Raises ConfigError where it does not predict like the model."""
    exported = read_onnx_model(written, "cpu")
    agreement = check_agreement(request.pipeline, exported, request.images, precision=request.precision)
    files = [written] if written.is_file() else sorted(written.iterdir())
    size = sum(file.stat().st_size for file in files)
    shape = "images of any size" if pose.any_size else f"images of {pose.example.shape[-1]}x{pose.example.shape[-2]}"
    return [
        f"{request.output}: {size / 1e6:.1f} MB, precision {request.precision}, batches of {shape}",
        f"checked against torch by onnxruntime: {agreement}",
    ]


def to_onnx(graph: GraphToTrace, metadata: dict[str, str]) -> bytes:
    """A graph as the content of an ONNX file. Raises ConfigError for an operation that ONNX has not."""
    import onnx

    axes = {0: "batch", **({2: "height", 3: "width"} if graph.any_size else {})}
    written = BytesIO()
    with explained("ONNX"):
        graph.module(graph.example)  # which notes the names
        names = graph.module.names
        torch.onnx.export(
            graph.module,
            (graph.example,),
            written,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=[IMAGES],
            output_names=list(names),
            dynamic_axes={IMAGES: axes, **{name: {0: "batch"} for name in names}},
        )
    model = onnx.load_model_from_string(written.getvalue())
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return bytes(model.SerializeToString())
