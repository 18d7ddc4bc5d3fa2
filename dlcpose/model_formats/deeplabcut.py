"""Models for DeepLabCut 3 (a folder that it loads) and for DeepLabCut-Live (one file)."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from dlcpose.deeplabcut_layout.config import SnapshotConfig, config_of
from dlcpose.deeplabcut_layout.model import describe_model
from dlcpose.deeplabcut_layout.written import described_for_deeplabcut
from dlcpose.model_formats.registry import ExportFormat, ExportRequest, export_format
from dlcpose.structures.atomic_files import atomic_folder, write_output
from dlcpose.structures.errors import ConfigError

DETECTOR = "detector."  # before the names of a detector's weights


@export_format("deeplabcut")
class DeepLabCutFormat(ExportFormat):
    """A model folder: `train/` with pytorch_config.yaml and snapshots."""

    def write(self, request: ExportRequest) -> Sequence[str]:
        described, pose, detector = _converted(request)
        with atomic_folder(request.output, replace=request.overwrite) as folder:
            train = folder / "train"
            train.mkdir()
            (train / "pytorch_config.yaml").write_text(yaml.safe_dump(described, sort_keys=False), encoding="utf-8")
            _save(pose, train / "snapshot-000.pt")
            if detector:
                _save(detector, train / "snapshot-detector-000.pt")
        return [
            f"{request.output}: {described['net_type']} ({described['method']}) for DeepLabCut 3, "
            f"{len(pose) + len(detector)} tensors. Put `train` into the folder of a shuffle of that net type."
        ]


@export_format("dlclive")
class DlcLiveFormat(ExportFormat):
    """The file that DeepLabCut's export_model writes and DeepLabCut-Live loads: config and weights."""

    def write(self, request: ExportRequest) -> Sequence[str]:
        if request.output.suffix.lower() not in (".pt", ".pth"):
            raise ConfigError(f"--output: expected a file NAME.pt or NAME.pth, got {request.output}.")
        described, pose, detector = _converted(request)
        content: dict[str, Any] = {"config": described, "pose": pose}
        if detector:
            content["detector"] = detector
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_output(request.output, buffer.getbuffer())
        return [f"{request.output}: {described['net_type']} ({described['method']}) for DeepLabCut-Live"]


def _converted(request: ExportRequest) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """DeepLabCut's config of a model, its weights, and its detector's."""
    pipeline, description = request.pipeline.estimator, request.checkpoint.description
    if pipeline is None:
        kind = type(request.pipeline).__name__
        raise ConfigError(f"{request.checkpoint.path}: DeepLabCut has no {kind} without poses.")
    state = pipeline.state_dict()
    # A config names side heads for what the data may have; of those that it has not, none was built.
    side_heads = {name: (description.config.get("side_head") or {})[name] for name in pipeline.side_heads}
    described = described_for_deeplabcut(
        {**description.config, "side_head": side_heads},
        description.skeleton,
        description.individuals,
        channels=pipeline.neck.out_channels,
        canvas=pipeline.model_input.canvas,
        kept_edges=state.get("head.kept"),
    )
    config: SnapshotConfig = config_of(described, Path("pytorch_config.yaml"))
    model = describe_model(config, with_detector=any(name.startswith(DETECTOR) for name in state))
    theirs = {name: value for part in model.parts for name, value in part.weights.to_theirs(state).items()}
    _check_complete(model.to_ours(theirs)[0], state, request.checkpoint.path)
    detector = {name.removeprefix(DETECTOR): value for name, value in theirs.items() if name.startswith(DETECTOR)}
    return described, {name: value for name, value in theirs.items() if not name.startswith(DETECTOR)}, detector


def _check_complete(back: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path) -> None:
    """Raises ConfigError where what was converted does not come back as it was."""
    for name, value in state.items():
        if name not in back or not torch.allclose(back[name].float(), value.float(), rtol=1e-5, atol=1e-6):
            raise ConfigError(f"{path}: {name} has no place in DeepLabCut's model of this kind.")


def _save(weights: Mapping[str, Tensor], path: Path) -> None:
    torch.save({"metadata": {"epoch": 0, "metrics": {}, "losses": {}}, "model": dict(weights)}, path)
