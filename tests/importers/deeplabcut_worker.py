"""Run by DeepLabCut's own Python: random models saved by DeepLabCut's own code, and what DeepLabCut predicts with them.

    python deeplabcut_worker.py JOB.json...

A job: net_type, detector, top_down, multi_animal, individuals, bodyparts, unique, identity, folder, images, seed, boxes.
It leaves `train/` (pytorch_config.yaml, snapshots) and results.npz in the folder, or error.txt.
"""

import json
import os
import sys
import traceback
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("DLClight", "True")

import numpy as np
import torch
from deeplabcut.pose_estimation_pytorch.apis.utils import get_inference_runners
from deeplabcut.pose_estimation_pytorch.config import PoseConfig
from deeplabcut.pose_estimation_pytorch.data.image import load_image
from deeplabcut.pose_estimation_pytorch.data.snapshots import list_snapshots
from deeplabcut.pose_estimation_pytorch.models import DETECTORS, PoseModel
from deeplabcut.pose_estimation_pytorch.runners.train import build_training_runner
from deeplabcut.pose_estimation_pytorch.task import Task
from torch import nn


def main() -> None:
    for path in sys.argv[1:]:
        job = json.loads(Path(path).read_text(encoding="utf-8"))
        try:
            work(job)
        except Exception:
            Path(job["folder"], "error.txt").write_text(traceback.format_exc(), encoding="utf-8")


def work(job: dict) -> None:
    folder = Path(job["folder"])
    train = folder / "train"
    train.mkdir(parents=True, exist_ok=True)
    if job.get("existing"):
        predict_existing(job, train, folder)
        return
    config = written_config(job, train / "pytorch_config.yaml")
    torch.manual_seed(job["seed"])
    # As DeepLabCut's training does, but without fetching weights.
    model = PoseModel.build(config["model"], pretrained_backbone=False)
    randomize(model)
    calm(model, job)
    randomize(model.heads, spread=job.get("spread", 0.1))
    snapshot = saved(model, config["runner"], Task(config["method"]), train)
    detector_snapshot = None
    if job.get("detector"):
        node = dict(config["detector"]["model"])
        node["pretrained"] = False
        detector = without_downloads(DETECTORS.build, node)
        randomize(detector, spread=0.5)
        enliven(detector, job["images"])
        detector_snapshot = saved(detector, config["detector"]["runner"], Task.DETECT, train)
    predict(job, config, snapshot, detector_snapshot, folder)


def predict_existing(job: dict, train: Path, folder: Path) -> None:
    """What DeepLabCut predicts with a model that is there already."""
    config = PoseConfig.from_any(train / "pytorch_config.yaml")
    snapshots = {snapshot.path.name: snapshot.path for snapshot in list_snapshots(train, "snapshot")}
    detectors = [snapshot.path for snapshot in list_snapshots(train, "snapshot-detector")]
    poses = [path for name, path in snapshots.items() if "detector" not in name]
    predict(job, config, poses[-1], detectors[-1] if detectors else None, folder)


def written_config(job: dict, path: Path) -> PoseConfig:
    """pytorch_config.yaml as DeepLabCut makes it for a project."""
    multi = job["multi_animal"]
    project = {
        "Task": "parity",
        "scorer": "nobody",
        "date": "Nov28",
        "multianimalproject": multi,
        "identity": job.get("identity", False),
        "project_path": str(path.parents[1]),
        "bodyparts": "MULTI!" if multi else job["bodyparts"],
        "multianimalbodyparts": job["bodyparts"] if multi else [],
        "uniquebodyparts": job.get("unique", []),
        "individuals": job["individuals"],
    }
    config = PoseConfig.build(
        project,
        path,
        top_down=job.get("top_down", False),
        net_type=job["net_type"],
        detector_type=job.get("detector"),
        ctd_conditions=job.get("conditions"),
    )
    for key, value in job.get("changes", {}).items():
        *above, last = key.split(".")
        node = config
        for name in above:
            node = node[name]
        node[last] = value
    config.to_yaml(path, overwrite=True)
    return config


def without_downloads(build, node):
    """Detectors as DeepLabCut builds them, but for the weights that torchvision would fetch first."""
    import torchvision.models._api as api

    kept = api.WeightsEnum.get_state_dict
    load = nn.Module.load_state_dict
    api.WeightsEnum.get_state_dict = lambda self, *args, **kwargs: {}
    nn.Module.load_state_dict = lambda self, state, *args, **kwargs: (
        load(self, state, *args, **kwargs) if state else None
    )
    try:
        return build(node)
    finally:
        api.WeightsEnum.get_state_dict, nn.Module.load_state_dict = kept, load


def randomize(model: nn.Module, spread: float = 1.0) -> None:
    """Every parameter and every statistic of batch norm at random, about as large as in a trained network."""
    with torch.no_grad():
        for module in model.modules():
            for name, weight in module.named_parameters(recurse=False):
                if not weight.requires_grad:  # sines, which no training changes
                    continue
                if weight.ndim >= 2:
                    fan_in = weight[0].numel()
                    weight.normal_(0, spread / fan_in**0.5)
                elif name == "weight" and weight.numel() > 1:
                    weight.uniform_(0.7, 1.3)
                elif name == "bias":
                    weight.normal_(0, 0.1)
                else:
                    weight.add_(torch.randn_like(weight) * 0.05)
            for name, value in module.named_buffers(recurse=False):
                if name == "running_mean":
                    value.normal_(0, 0.1)
                elif name == "running_var":
                    value.uniform_(0.7, 1.4)
                elif name in ("weight", "bias"):  # of frozen batch norm
                    value.uniform_(0.7, 1.3) if name == "weight" else value.normal_(0, 0.1)


def calm(model: nn.Module, job: dict) -> None:
    """Weaken the norms of a random backbone until its features are about as large as trained ones: residuals add up."""
    model.eval()
    keywords = {"cond_kpts": torch.zeros(1, 1, len(job["bodyparts"]), 3)} if job.get("cond_kpts") else {}
    size = job.get("canvas", [128, 128])
    images = torch.randn(1, 3, *size)
    norms = [module for module in model.backbone.modules() if "Norm" in type(module).__name__]
    with torch.no_grad():
        while model.backbone(images, **keywords).std() > 3:
            for norm in norms:
                norm.weight.mul_(0.9)


def enliven(detector: nn.Module, images: list[str]) -> None:
    """Strengthen the norms of a random detector's backbone until its features show what is in the image.

    Random layers one after another forget it: their features are those of their biases, the same at every place, so that
    neighboring anchors have equal scores but for the last digit, and its rounding decides which boxes are found.
    """
    detector.eval()
    image = torch.from_numpy(load_image(images[0])).permute(2, 0, 1)[None].float() / 127.5 - 1
    norms = [module for module in detector.model.backbone.modules() if "BatchNorm" in type(module).__name__]
    with torch.no_grad():
        while next(iter(detector.model.backbone(image).values())).std(dim=(2, 3)).mean() < 0.1:
            for norm in norms:
                norm.weight.mul_(1.02)


def saved(model: nn.Module, runner_config, task: Task, folder: Path) -> Path:
    """The snapshot of a training run's end, written by DeepLabCut's own manager."""
    runner = build_training_runner(runner_config, folder, task, model, "cpu")
    runner.snapshot_manager.update(5, runner.state_dict(), last=True)
    return runner.snapshot_manager.snapshots()[-1].path


def predict(job: dict, config, snapshot: Path, detector_snapshot: Path | None, folder: Path) -> None:
    runner, detector = without_downloads(
        lambda _: get_inference_runners(
            config,
            snapshot,
            device="cpu",
            with_identity=bool(job.get("identity")),
            detector_path=detector_snapshot,
        ),
        None,
    )
    results: dict[str, np.ndarray] = {}
    images = [load_image(path) for path in job["images"]]
    contexts = [{} for _ in images]
    if detector is not None:
        for index, found in enumerate(detector.inference(images)):
            results[f"{index}/bboxes"], results[f"{index}/bbox_scores"] = found["bboxes"], found["bbox_scores"]
            contexts[index] = {"bboxes": found["bboxes"]}
    if job.get("boxes"):
        contexts = [{"bboxes": np.array(boxes, float)} for boxes in job["boxes"]]
    if job.get("cond_kpts"):
        contexts = [{"cond_kpts": np.array(poses, float)} for poses in job["cond_kpts"]]
    inputs = [(image, dict(context)) if context else image for image, context in zip(images, contexts, strict=True)]
    for index, found in enumerate(runner.inference(inputs)):
        for name, value in found.items():
            results.setdefault(f"{index}/{name}", np.asarray(value))
    for index, (image, context) in enumerate(zip(images, contexts, strict=True)):
        tensor, context = runner.preprocessor(image.copy(), dict(context))
        keywords = (
            {"cond_kpts": torch.tensor(np.array(context["model_kwargs"]["cond_kpts"]))}
            if "model_kwargs" in context
            else {}
        )
        with torch.inference_mode():
            outputs = runner.model(tensor, **keywords)
        results[f"{index}/input"] = tensor.numpy()
        for head, maps in outputs.items():
            for name, value in maps.items():
                results[f"{index}/raw/{head}/{name}"] = value.numpy()
    np.savez(folder / "results.npz", **results)


main()
