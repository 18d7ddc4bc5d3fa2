"""A model of ours as DeepLabCut 3's pytorch_config.yaml describes it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dlcpose.deeplabcut_layout.writers import (
    BACKBONE_WRITERS,
    DETECTOR_WRITERS,
    HEAD_WRITERS,
    METHOD_WRITERS,
    SIDE_HEAD_WRITERS,
    ModelFacts,
    written,
)
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.skeleton import Skeleton

OWN = (
    "Train with head=deeplabcut_heatmap, deeplabcut_paf, deeplabcut_dekr, deeplabcut_rtmcc or deeplabcut_tokenpose, whose "
    "layers are its own."
)
SNAPSHOTS = {"max_snapshots": 5, "save_epochs": 25, "save_optimizer_state": False}


def described_for_deeplabcut(
    config: Mapping[str, Any],
    skeleton: Skeleton,
    individuals: tuple[str, ...],
    *,
    channels: int,
    canvas: tuple[int, int] | None,
    kept_edges: Tensor | None = None,
) -> dict[str, Any]:
    """The content of pytorch_config.yaml. Raises ConfigError for a part that DeepLabCut does not have.

    channels: of the features that heads read. canvas: as a model's input has it. kept_edges: (L,) bool, of a PAF graph.
    """
    facts = ModelFacts(config, skeleton, individuals, channels, canvas)
    method = written(METHOD_WRITERS, config["pipeline"], facts, "pipeline", "Train with pipeline=deeplabcut_top_down.")
    backbone = written(BACKBONE_WRITERS, config["backbone"], facts, "backbone", "Take backbone=resnet_50.")
    head = written(HEAD_WRITERS, config["head"], facts, "head", OWN)
    if kept_edges is not None:
        head.node["predictor"]["edges_to_keep"] = kept_edges.nonzero()[:, 0].tolist()
    heads = {"bodypart": head.node}
    for name, node in (config.get("side_head") or {}).items():
        instead = "Train with side_head=[deeplabcut_unique,deeplabcut_identity], or side_head=none."
        side_head = written(SIDE_HEAD_WRITERS, node, facts, f"side_head.{name}", instead)
        heads[str(side_head.name)] = side_head.node
    has_identity = "identity" in heads
    if ("unique_bodypart" in heads) != bool(skeleton.unique):
        raise ConfigError(
            "side_head: DeepLabCut predicts unique body parts where a project has them, and not otherwise."
        )
    described: dict[str, Any] = {
        "config_version": 0,
        "net_type": head.name or backbone.name,
        "method": method.node["method"],
        "device": "auto",
        "metadata": {
            **{"project_path": "", "pose_config_path": "", "bodyparts": list(skeleton.names)},
            **{"unique_bodyparts": list(skeleton.unique), "individuals": list(individuals)},
            "with_identity": has_identity,
        },
        "model": {
            **{"backbone": backbone.node, "backbone_output_channels": channels, "heads": heads},
            **({} if head.neck is None else {"neck": head.neck}),
        },
        "data": {
            **{"bbox_margin": method.node["bbox_margin"], "colormode": "RGB"},
            "inference": method.node["inference"],
            "train": dict(method.node["inference"]),
        },
        "runner": _runner("PoseTrainingRunner", "test.mAP"),
        "train_settings": _training(epochs=200, batch_size=8),
        "with_center_keypoints": head.node["type"] == "DEKRHead",
    }
    if method.node["method"] == "td":
        detector = written(DETECTOR_WRITERS, config["detector"], facts, "detector", "Take detector=ground_truth.")
        if detector.node:
            described["detector"] = _detector(detector.node)
    return described


def _detector(node: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": dict(node),
        "device": "auto",
        "data": {"colormode": "RGB", "inference": {"normalize_images": True}, "train": {"normalize_images": True}},
        "runner": _runner("DetectorTrainingRunner", "test.mAP@50:95"),
        "train_settings": _training(epochs=250, batch_size=1),
    }


def _runner(kind: str, metric: str) -> dict[str, Any]:
    return {
        **{"type": kind, "gpus": None, "key_metric": metric, "key_metric_asc": True, "eval_interval": 10},
        "optimizer": {"type": "AdamW", "params": {"lr": 1e-4}},
        "scheduler": {"type": "LRListScheduler", "params": {"lr_list": [[1e-5]], "milestones": [160]}},
        "snapshots": dict(SNAPSHOTS),
    }


def _training(epochs: int, batch_size: int) -> dict[str, Any]:
    return {
        **{"batch_size": batch_size, "dataloader_workers": 0, "dataloader_pin_memory": False},
        **{"display_iters": 500, "epochs": epochs, "seed": 42},
    }
