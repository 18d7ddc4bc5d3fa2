"""TorchScript, for programs in C++ and others that load torch without Python: one file, or two in a folder for top-down."""

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlcpose.model_formats.description import describe
from dlcpose.model_formats.graph import (
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
from dlcpose.prediction.graph_model import GraphModel, GraphTopDown
from dlcpose.structures.atomic_files import atomic_folder, atomic_output
from dlcpose.structures.errors import ConfigError

DESCRIPTION = "dlcpose.json"  # the description, as one of the archive's extra files
ENDINGS = (".ts", ".pt", ".pth")
POSE, DETECTOR = "pose.ts", "detector.ts"  # of a top-down model


@export_format("torchscript")
class TorchScriptFormat(ExportFormat):
    """The same graphs as ONNX, with their names: a method of the file returns the outputs in the order of its description.

    dlcpose writes TorchScript and does not read it: such a file can hold any code.
    """

    def write(self, request: ExportRequest) -> Sequence[str]:
        """Write the file or folder, after checking that it predicts like the model."""
        pipeline = estimator_of(request.pipeline)
        is_file = pipeline.detector is None
        if is_file != (request.output.suffix.lower() in ENDINGS):
            expected = (
                f"a file NAME{' or NAME'.join(ENDINGS)}" if is_file else "a folder, as a top-down model is two graphs"
            )
            raise ConfigError(f"--output: expected {expected}, got {request.output}.")
        exported = copy.deepcopy(pipeline)
        if exported.detector is None:
            with atomic_output(request.output) as partial:
                pose = _save(pose_graph(exported, precision="32"), partial, describe(request, pipeline))
                return self._said(request, partial, GraphModel(describe(request, pipeline), pose, partial), pose)
        with atomic_folder(request.output, replace=request.overwrite) as partial:
            detector = _save(detector_graph(exported.detector), partial / DETECTOR, None)
            detector_hash = hashlib.sha256((partial / DETECTOR).read_bytes()).hexdigest()
            described = describe(request, pipeline, detector_hash=detector_hash)
            pose = _save(pose_graph(exported, precision="32"), partial / POSE, described)
            assert described.crops is not None
            model = GraphTopDown(described, pose, partial, crops=described.crops, detector=detector)
            return self._said(request, partial, model, pose)

    def _said(self, request: ExportRequest, written: Path, model: GraphModel, pose: "ScriptGraph") -> Sequence[str]:
        agreement = check_agreement(request.pipeline, model, request.images, precision="32")
        files = [written] if written.is_file() else sorted(written.iterdir())
        size = sum(file.stat().st_size for file in files)
        shape = "any size" if pose.size is None else f"{pose.size[1]}x{pose.size[0]}"
        return [
            f"{request.output}: {size / 1e6:.1f} MB, batches of images of {shape} to {', '.join(pose.names)}",
            f"checked against torch: {agreement}",
        ]


class ScriptGraph:
    """A TorchScript file of ours. size: (height, width) of its images, None where it takes any."""

    def __init__(self, path: Path, graph: GraphToTrace) -> None:
        with path.open("rb") as file:
            self._module: Any = torch.jit.load(file, map_location="cpu")  # type: ignore[no-untyped-call]
        self.names, self._dtype = graph.module.names, graph.example.dtype
        self.size: tuple[int, int] | None = (
            None if graph.any_size else (graph.example.shape[-2], graph.example.shape[-1])
        )

    def run(self, images: Tensor) -> dict[str, Tensor]:
        """The outputs by name for images (B, 3, H, W)."""
        try:
            return dict(zip(self.names, self._module(images.to(self._dtype)), strict=True))
        except RuntimeError as error:
            raise ValueError(f"the graph takes no images of {tuple(images.shape)}") from error


def _save(graph: GraphToTrace, path: Path, described: GraphDescription | None) -> ScriptGraph:
    """Trace a graph, write it, and read it again. Raises ConfigError for a part that cannot be traced."""
    with explained("TorchScript"):
        traced: Any = torch.jit.trace(graph.module, (graph.example,), check_trace=False)  # type: ignore[no-untyped-call]
    extra = {} if described is None else {DESCRIPTION: described.as_text()}
    with path.open("wb") as file:  # torch's C++ takes no name that the locale cannot decode
        torch.jit.save(traced, file, _extra_files=extra)
    written = ScriptGraph(path, graph)
    if described is None or written.size is not None or described.crops is not None:
        return written
    if answers_at_another_size(graph, written, described.model_input.multiple_of):
        return written
    written.size = size_of_all(described.model_input, "torchscript")
    return written
