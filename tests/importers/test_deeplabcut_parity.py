"""Imported models against DeepLabCut itself: random weights and statistics, the same images, outputs and keypoints.

DLCPOSE_DEEPLABCUT_PYTHON=/path/to/python pytest tests/importers/test_deeplabcut_parity.py -m slow -s
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from dlcpose.checkpoint import read_checkpoint
from dlcpose.detectors.base import Boxes
from dlcpose.detectors.torchvision_base import TorchvisionDetector
from dlcpose.model_formats.registry import ExportRequest, export_model
from dlcpose.pipelines.base import PoseMaps
from dlcpose.pipelines.deeplabcut_conditional import DeepLabCutConditionalTopDown
from dlcpose.pipelines.deeplabcut_top_down import DeepLabCutTopDown
from dlcpose.structures.instances import PoseInstances, PosePrediction
from tests.importers.deeplabcut_models import Case, batch_of, imported, make, paf_maps, paired_outputs

pytestmark = pytest.mark.slow
# Largest differences: of outputs, where those are larger than 1 as a share of the largest; of keypoints, px.
OUTPUTS, KEYPOINTS = 1e-4, 0.01
SEVERAL = {"multi_animal": True, "individuals": ["first", "second", "third"]}
# x y width height, also beyond the image and between pixels.
BOXES = [
    [[20, 30, 80, 60], [100, 90, 70, 60]],
    [[10.4, 20.6, 150.2, 100.7], [120, 100, 120.5, 110], [-5, -7, 60, 60]],
]
POSES = [
    [
        [[40, 50, 0.9], [60, 55, 0.8], [50, 80, 0.7], [90, 90, 0.6]],
        [[110, 95, 0.9], [120, 140, 0.8], [150, 100, 0.9], [0, 0, 0.0]],
    ],
    [
        [[40.5, 50.2, 0.9], [60.1, 55, 0.8], [50, 180.9, 0.7], [90, 90, 0.6]],
        [[110, 95, 0.9], [120, 140, 0.8], [150, 100, 0.9], [200, 150, 0.9]],
    ],
]
BACKBONES = ("resnet_50", "resnet_101", "hrnet_w18", "hrnet_w32", "hrnet_w48", "cspnext_s", "cspnext_m", "cspnext_x")


def crop(width: int, height: int) -> dict[str, Any]:
    """Entries of a job for the crops that a network is built for: DeepLabCut's config has 256x256 for every one."""
    return {
        "changes": {f"data.{part}.top_down_crop": {"width": width, "height": height} for part in ("inference", "train")}
    }


WIDE, TALL = crop(384, 384), crop(288, 384)


def several(net_type: str, name: str = "", *, sizes: Any = None, **job: Any) -> Case:
    """A model of a project with several animals."""
    case = Case(net_type, {**SEVERAL, **job}, name)
    return case if sizes is None else Case(net_type, case.job, name, sizes)


BOTTOM_UP = [
    # Their maps are as fine as the image, which makes the search for peaks in random ones very slow.
    *(
        several(name, f"{name} (part affinity)", sizes=((96, 128),) if name.startswith("hrnet") else None)
        for name in BACKBONES
    ),
    *(several(name) for name in ("dlcrnet_stride16_ms5", "dlcrnet_stride32_ms5", "dekr_w18", "dekr_w32", "dekr_w48")),
    several("resnet_50", "resnet_50 (unique body parts, identity)", unique=["door", "food"], identity=True),
]
TOP_DOWN = [
    *(several(name, f"top_down_{name}", top_down=True, boxes=BOXES) for name in BACKBONES),
    *(several(name, boxes=BOXES) for name in ("rtmpose_s", "rtmpose_m", "animaltokenpose_base")),
    several("rtmpose_x", boxes=BOXES, **WIDE),
]
DETECTORS = [
    several("resnet_50", f"top_down_resnet_50 with {name}", top_down=True, detector=name)
    for name in ("ssdlite", "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_resnet50_fpn_v2")
]
CONDITIONAL = [
    several(name, cond_kpts=POSES, conditions=1, canvas=[256, 256])
    for name in (
        *("ctd_coam_w32", "ctd_coam_w48", "ctd_prenet_hrnet_w32", "ctd_prenet_hrnet_w48"),
        *("ctd_prenet_rtmpose_s", "ctd_prenet_rtmpose_m"),
    )
] + [
    several("ctd_prenet_rtmpose_x", cond_kpts=POSES, conditions=1, canvas=[384, 384], **WIDE),
    *(
        several(name, cond_kpts=POSES, conditions=1, canvas=[384, 288], **TALL)
        for name in ("ctd_coam_w48_human", "ctd_prenet_rtmpose_x_human")
    ),
]


@dataclass
class Row:
    """A row of the parity table: the largest of their outputs, and the largest differences."""

    name: str
    largest: float = 0.0
    outputs: float = 0.0
    keypoints: float = 0.0
    scores: float = 0.0
    spread: float = field(default=0.0, repr=False)

    def add_outputs(self, paired: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """The outputs of an image."""
        for ours, theirs in paired.values():
            self.largest = max(self.largest, float(np.abs(theirs).max()))
            self.outputs = max(self.outputs, float(np.abs(ours - theirs).max()))
            self.spread = max(self.spread, float(theirs.std()))

    def add_poses(self, ours: PosePrediction, theirs: np.ndarray) -> None:
        """The animals of an image, in any order: theirs (N, K, 3 or more), missing ones are negative."""
        theirs = theirs[(theirs[..., 2] >= 0).any(axis=1)]
        assert len(ours) == len(theirs)
        difference = np.abs(ours.keypoints_in_image[:, None] - theirs[None, ..., :2])
        missing = np.isnan(ours.keypoints_in_image[:, None]) & np.isnan(theirs[None, ..., :2])
        largest = np.where(missing, 0.0, np.nan_to_num(difference, nan=1e6)).max(axis=(2, 3))  # (M, N)
        rows, columns = linear_sum_assignment(largest)
        self.keypoints = max(self.keypoints, float(largest[rows, columns].max(initial=0.0)))
        scores = np.clip(np.nan_to_num(theirs[columns, :, 2]), 0, 1)
        self.scores = max(self.scores, float(np.abs(ours.keypoint_scores[rows] - scores).max(initial=0.0)))

    def check(self) -> None:
        """That all differences are small, and that there was something to compare."""
        assert self.spread > 1e-3
        assert self.outputs < OUTPUTS * max(1.0, self.largest)
        assert self.scores < OUTPUTS
        assert self.keypoints < KEYPOINTS


@pytest.fixture(scope="module")
def table() -> Iterator[list[Row]]:
    """The rows of the parity table, which is printed at the end."""
    rows: list[Row] = []
    yield rows
    print("\n\n| net type | largest output | largest difference of outputs | of keypoints (px) | of scores |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        numbers = f"{row.largest:.2f} | {row.outputs:.1e} | {row.keypoints:.1e} | {row.scores:.1e}"
        print(f"| {row.name} | {numbers} |")


def of_image(theirs: Mapping[str, np.ndarray], index: int) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{index}/"): value for name, value in theirs.items() if name.startswith(f"{index}/")}


@pytest.mark.parametrize("case", [*(Case(name) for name in BACKBONES), *BOTTOM_UP], ids=str)
def test_whole_images(case: Case, tmp_path: Path, table: list[Row]) -> None:
    images, results = make(case, tmp_path)
    predictor, row = imported(tmp_path), Row(str(case))
    table.append(row)
    for index, predicted in enumerate(predictor.predict(images, batch_size=1)):
        theirs, prediction = of_image(results, index), predicted
        with torch.inference_mode():
            maps = predictor.pipeline(torch.from_numpy(theirs["input"]))
        row.add_outputs(paired_outputs(predictor.pipeline, maps, theirs))
        if str(case).startswith("cspnext") and case in BOTTOM_UP:
            # Random CSPNeXt maps are periodic: more peaks than there are animals have the same score but for the last digit,
            # and its rounding decides which are taken. So outputs are compared, and poses decoded from the same outputs.
            (instances,) = predictor.pipeline.head.decode(paf_maps(predictor.pipeline.head, theirs))
            (prediction,) = predictor.pipeline.predictions_in_image(batch_of(images[index], 4), [instances])
        row.add_poses(prediction, theirs["bodyparts"])
        if case.job.get("unique"):
            unique = np.abs(prediction.unique_in_image - theirs["unique_bodyparts"][0, :, :2])
            row.keypoints = max(row.keypoints, float(unique.max()))
        if case.job.get("identity"):  # there, animals are in the order of their identities
            order = np.argsort(prediction.identities)
            by_identity = prediction.keypoints_in_image[order]
            np.testing.assert_allclose(by_identity, theirs["bodyparts"][..., :2], atol=KEYPOINTS)
    row.check()


@pytest.mark.parametrize("case", TOP_DOWN, ids=str)
def test_crops_in_given_boxes(case: Case, tmp_path: Path, table: list[Row]) -> None:
    images, results = make(case, tmp_path)
    pipeline, row = imported(tmp_path).pipeline, Row(str(case))
    table.append(row)
    assert isinstance(pipeline, DeepLabCutTopDown)
    for index, image in enumerate(images):
        theirs, boxes = of_image(results, index), torch.tensor(BOXES[index]).float()
        boxes[:, 2:] += boxes[:, :2]
        batch = batch_of(image, len(pipeline.skeleton))
        with torch.inference_mode():
            computed = pipeline.compute_maps(batch, [Boxes(boxes, torch.ones(len(boxes)))])
            (prediction,) = pipeline.decode_maps(batch, computed)
        np.testing.assert_allclose(pipeline.network_input(computed.crops).images, theirs["input"], atol=1e-5)
        row.add_outputs(paired_outputs(pipeline, computed.maps[0], theirs))
        row.add_poses(prediction, theirs["bodyparts"])
    row.check()


def smallest_gap(detector: TorchvisionDetector, image: np.ndarray) -> float:
    """Between the scores of the boxes that a detector takes in an image, and the best one that it does not take."""
    holder: Any = getattr(detector.network, "roi_heads", detector.network)
    kept, holder.detections_per_img = holder.detections_per_img, detector.max_animals + 1
    with torch.inference_mode():
        (boxes,) = detector.detect(batch_of(image, 4))
    holder.detections_per_img = kept
    return float(-boxes.scores.diff().max())


@pytest.mark.parametrize("case", DETECTORS, ids=str)
def test_a_detector_and_its_crops(case: Case, tmp_path: Path, table: list[Row]) -> None:
    images, results = make(case, tmp_path)
    predictor, row = imported(tmp_path), Row(str(case))
    table.append(row)
    for index, prediction in enumerate(predictor.predict(images, batch_size=1)):
        theirs = of_image(results, index)
        # Where scores tie, a rounding decides which boxes are taken: DeepLabCut differs from itself then, run to run.
        assert smallest_gap(predictor.pipeline.detector, images[index]) > 1e-6
        boxes = theirs["bboxes"].copy()
        boxes[:, 2:] += boxes[:, :2]
        (detected,) = predictor.pipeline.detector.detect(batch_of(images[index], len(predictor.skeleton)))
        np.testing.assert_allclose(detected.boxes_in_frame.detach(), boxes, atol=KEYPOINTS)
        row.add_outputs({"box scores": (detected.scores.detach().numpy(), theirs["bbox_scores"])})
        with torch.inference_mode():
            maps: PoseMaps = predictor.pipeline(torch.from_numpy(theirs["input"]))
        row.add_outputs(paired_outputs(predictor.pipeline, maps, theirs))
        row.add_poses(prediction, theirs["bodyparts"])
    row.check()


@pytest.mark.parametrize("case", CONDITIONAL, ids=str)
def test_crops_around_given_poses(case: Case, tmp_path: Path, table: list[Row]) -> None:
    images, results = make(case, tmp_path)
    pipeline, row = imported(tmp_path).pipeline, Row(str(case))
    table.append(row)
    assert isinstance(pipeline, DeepLabCutConditionalTopDown)
    seen: list[PoseMaps] = []
    pipeline.register_forward_hook(lambda module, inputs, maps: seen.append(maps))
    for index, image in enumerate(images):
        theirs, poses = of_image(results, index), torch.tensor(POSES[index])
        batch = batch_of(image, len(pipeline.skeleton))
        with torch.inference_mode():
            conditions = PoseInstances.from_keypoints(poses[..., :2], poses[..., 2])
            (prediction,), _ = pipeline.predict_with_conditions(batch, [conditions])
        row.add_outputs(paired_outputs(pipeline, seen[-1], theirs))
        row.add_poses(prediction, theirs["bodyparts"])
    row.check()


# As in docs/deeplabcut_models.md: a network that has no net type, only a `model_name`.
SMALL_RESNET = {
    "changes": {
        "model.backbone.model_name": "resnet18",
        "model.backbone_output_channels": 512,
        "model.heads.bodypart.heatmap_config.channels": [512, 4],
        "model.heads.bodypart.locref_config.channels": [512, 8],
    }
}


# One of each kind of head, side heads, a detector, and a network without a net type of its own.
@pytest.mark.parametrize(
    "case",
    [
        several("resnet_50", "resnet_50 (unique body parts, identity)", unique=["door", "food"], identity=True),
        *(several(name) for name in ("dlcrnet_stride32_ms5", "dekr_w18")),
        *(several(name, boxes=BOXES) for name in ("rtmpose_s", "animaltokenpose_base")),
        several("resnet_50", "top_down_resnet_50 with ssdlite", top_down=True, detector="ssdlite"),
        Case("resnet_50", SMALL_RESNET, "resnet18"),
    ],
    ids=str,
)
def test_deeplabcut_predicts_the_same_with_what_is_exported(case: Case, tmp_path: Path) -> None:
    _, before = make(case, tmp_path)
    imported(tmp_path)
    export_model("deeplabcut", ExportRequest(read_checkpoint(tmp_path / "model.ckpt"), tmp_path / "exported"))
    _, after = make(replace(case, job={**case.job, "existing": True}), tmp_path / "exported")
    assert after.keys() == before.keys()
    for name, value in before.items():
        tolerance = OUTPUTS * max(1.0, float(np.abs(value).max(initial=0.0))) if "/raw/" in name else KEYPOINTS
        np.testing.assert_allclose(after[name], value, rtol=0, atol=tolerance, err_msg=name)
