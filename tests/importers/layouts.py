"""Small models in the layout of DeepLabCut 3's snapshots, with random weights and without DeepLabCut."""

from pathlib import Path
from typing import Any

import timm
import torch
import yaml
from torch import Tensor

BACKBONE = "test_resnet"  # of timm: half a million weights
BODYPARTS = ["nose", "left_ear", "right_ear"]


def backbone() -> Any:
    """The backbone itself, to compute with, at stride 16."""
    torch.manual_seed(0)
    network = timm.create_model(BACKBONE, output_stride=16, num_classes=0).eval()
    with torch.no_grad():
        for name, value in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                value.uniform_(0.5, 1.5)
    return network


def head_weights(keypoints: int) -> dict[str, Tensor]:
    """Of DeepLabCut's heatmap head with location refinement."""
    torch.manual_seed(1)
    channels = backbone().num_features
    return {
        "heatmap_head.deconv_layers.0.weight": torch.randn(channels, keypoints, 3, 3) * 0.05,
        "heatmap_head.deconv_layers.0.bias": torch.randn(keypoints),
        "locref_head.deconv_layers.0.weight": torch.randn(channels, 2 * keypoints, 3, 3) * 0.05,
        "locref_head.deconv_layers.0.bias": torch.randn(2 * keypoints),
    }


def snapshot() -> dict[str, Any]:
    """What a snapshot of a single-animal model holds."""
    weights = {f"backbone.model.{name}": value for name, value in backbone().state_dict().items()}
    weights |= {f"heads.bodypart.{name}": value for name, value in head_weights(len(BODYPARTS)).items()}
    return {"metadata": {"epoch": 5, "metrics": {}, "losses": {}}, "model": weights}


def config() -> dict[str, Any]:
    """Its pytorch_config.yaml."""
    channels, keypoints = backbone().num_features, len(BODYPARTS)

    def layers(outputs: int) -> dict[str, list[int]]:
        return {"channels": [channels, outputs], "kernel_size": [3], "strides": [2]}

    return {
        "net_type": "resnet_50",
        "method": "bu",
        "metadata": {
            "project_path": "/nowhere/project",
            "bodyparts": BODYPARTS,
            "unique_bodyparts": [],
            "individuals": ["animal"],
            "with_identity": False,
        },
        "data": {"colormode": "RGB", "inference": {"normalize_images": True, "resize": None}},
        "model": {
            "backbone": {"type": "ResNet", "model_name": BACKBONE, "output_stride": 16},
            "heads": {
                "bodypart": {
                    "type": "HeatmapHead",
                    "predictor": {"type": "HeatmapPredictor", "apply_sigmoid": False, "locref_std": 7.2801},
                    "target_generator": {"type": "HeatmapGaussianGenerator", "pos_dist_thresh": 17},
                    "heatmap_config": layers(keypoints),
                    "locref_config": layers(2 * keypoints),
                }
            },
        },
    }


def write(folder: Path, content: dict[str, Any] | None = None, described: dict[str, Any] | None = None) -> Path:
    """A model folder as DeepLabCut leaves it."""
    train = folder / "train"
    train.mkdir(parents=True)
    torch.save(content or snapshot(), train / "snapshot-best-005.pt")
    (train / "pytorch_config.yaml").write_text(yaml.safe_dump(described or config()))
    return folder
