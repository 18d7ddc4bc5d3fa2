"""Check that an exported model predicts like the original: both on the same images, by the same prediction code."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dlcpose.codecs.affine import place_on_canvas
from dlcpose.datasets.base import read_image_file
from dlcpose.datasets.crops import resize_onto
from dlcpose.datasets.synthetic.frames import SyntheticFrames
from dlcpose.predict import Predictor
from dlcpose.prediction.loaded_model import LoadedModel
from dlcpose.prediction.pose_model import PoseModel
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.instances import PosePrediction
from dlcpose.structures.sample import Image

logger = logging.getLogger(__name__)

SURE = 0.3  # score of a keypoint whose place counts
EXACT = 1e-3  # px: most that a sure keypoint of a 32-bit export may be off
EXACT_SCORE = 1e-3  # most that a score of it may be off
MEAN_SHIFT = 0.1  # px: most that sure keypoints of a 16-bit export may be off on average
JUMP = 1.0  # px: farther, a keypoint has taken another peak
FAR = 100.0  # px: a keypoint this far off, or found by one model alone, says that it is another animal's
RENDERED = 8  # frames to check on where none are given


@dataclass(frozen=True)
class Agreement:
    """How far an exported model's keypoints are from the model's, in pixels of the images.

    sure: (S,) of keypoints that the model is sure of. others: (O,) of the others. scores: largest difference of scores.
    animals: how many were found only by one of both. images: number of them. origin: where they came from.
    """

    sure: np.ndarray
    others: np.ndarray
    scores: float
    animals: int
    images: int
    origin: str

    @property
    def is_exact(self) -> bool:
        """Whether all that is sure is the same but for rounding."""
        return self.animals == 0 and self.scores <= EXACT_SCORE and bool((self.sure <= EXACT).all())

    @property
    def is_close(self) -> bool:
        """Whether what is sure is the same but for half precision."""
        return bool(len(self.sure)) and float(np.mean(self.sure[self.sure <= JUMP])) <= MEAN_SHIFT and self.jumps < 0.05

    @property
    def jumps(self) -> float:
        """Share of the sure keypoints that are farther off than JUMP."""
        return float(np.mean(self.sure > JUMP)) if len(self.sure) else 0.0

    def __str__(self) -> str:
        if not len(self.sure) + len(self.others):
            return f"no keypoints in {counted(self.images, f'{self.origin} image')}"
        every = np.concatenate([self.sure, self.others])
        said = [
            f"largest difference {every.max():.2g} px of {counted(len(every), 'keypoint')} in "
            f"{counted(self.images, f'{self.origin} image')}"
        ]
        if len(self.sure):
            said.append(
                f"of the {len(self.sure)} sure ones mean {self.sure.mean():.2g} px, largest {self.sure.max():.2g} px"
            )
            said.append(f"{100 * self.jumps:.2g} % of them jump by more than {JUMP:g} px")
        else:
            said.append(f"none of them is sure (score {SURE:g} or more)")
        if len(self.others):
            share = 100 * float(np.mean(self.others > JUMP))
            said.append(f"{share:.2g} % of the {len(self.others)} unsure ones jump by more than {JUMP:g} px")
        said.append(f"scores differ by up to {self.scores:.2g}")
        return "; ".join(said)


def check_agreement(model: PoseModel, exported: PoseModel, images: Sequence[Path], *, precision: str) -> Agreement:
    """How an exported model agrees with the model. Raises ConfigError where it does not, to its precision.

    Warns where the images show nothing that the model is sure of: their keypoints say little about the export.
    """
    agreement = compare(model, exported, images)
    is_fine = agreement.is_exact if precision == "32" else agreement.is_close
    if not is_fine:
        expected = (
            f"{EXACT:g} px for each sure one" if precision == "32" else f"{MEAN_SHIFT:g} px on average of the sure ones"
        )
        hint = "" if precision == "32" else " Take --precision 32, or other images with --images."
        raise ConfigError(
            f"precision {precision}: the exported model's keypoints are not the model's, nothing is written ({agreement}). "
            f"Expected {expected}, and as many animals ({agreement.animals} more or less).{hint}"
        )
    if not len(agreement.sure):
        logger.warning(
            "The check compared no keypoint that the model is sure of (score %g or more) in %s. Give images of "
            "your animals with --images.",
            SURE,
            counted(agreement.images, f"{agreement.origin} image"),
        )
    return agreement


def compare(model: PoseModel, exported: PoseModel, images: Sequence[Path]) -> Agreement:
    """The agreement of two models on image files, or on rendered animals where none are given."""
    cpu = torch.device("cpu")
    shown = [read_image_file(path) for path in images] or _rendered(model)
    # With the padding as a part of them: a model looks for no answer in what it knows to be padding, a graph knows of none.
    shown = [_on_canvas(model, image) for image in shown]
    before, after = (Predictor(LoadedModel(each, cpu)).predict(shown, batch_size=4) for each in (model, exported))
    sure: list[np.ndarray] = [np.zeros(0)]
    others: list[np.ndarray] = [np.zeros(0)]
    scores, animals = 0.0, 0
    for ours, theirs in zip(before, after, strict=True):
        animals += abs(len(ours) - len(theirs))
        for points, point_scores, match, match_scores in _matched(ours, theirs):
            shifts = _shifts(points, match)
            is_sure = point_scores >= SURE
            sure.append(shifts[is_sure])
            others.append(shifts[~is_sure])
            scores = max(scores, float(np.abs(point_scores - match_scores).max(initial=0.0)))
    origin = "given" if images else "rendered"
    return Agreement(np.concatenate(sure), np.concatenate(others), scores, animals, len(shown), origin)


def _on_canvas(model: PoseModel, image: Image) -> Image:
    """The image as the model sees it, padding and all."""
    _, scaled, canvas = place_on_canvas(model.frame_input, (image.shape[0], image.shape[1]))
    return resize_onto(image, scaled, canvas)


def _shifts(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distances of keypoints (..., K, 2): 0 where both are missing, infinite where one is found by one model alone."""
    shifts: np.ndarray = np.linalg.norm(points - others, axis=-1)
    shifts[np.isnan(points).any(axis=-1) & np.isnan(others).any(axis=-1)] = 0.0
    shifts[np.isnan(shifts)] = np.inf
    return shifts


def _matched(
    ours: PosePrediction, theirs: PosePrediction
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Keypoints and scores of each animal beside those of the nearest of the other's, and the unique ones."""
    pairs = []
    for points, point_scores in zip(ours.keypoints_in_image, ours.keypoint_scores, strict=True):
        if len(theirs):
            distances = _shifts(points, theirs.keypoints_in_image)  # (M, K)
            nearest = int(distances.clip(max=FAR).mean(axis=-1).argmin())
            pairs.append((points, point_scores, theirs.keypoints_in_image[nearest], theirs.keypoint_scores[nearest]))
    if len(ours.unique_scores):
        pairs.append((ours.unique_in_image, ours.unique_scores, theirs.unique_in_image, theirs.unique_scores))
    return pairs


def _rendered(model: PoseModel) -> list[Image]:
    """Frames of rendered animals, of the size that the model reads."""
    height, width = model.frame_input.canvas or (256, 320)
    frames = SyntheticFrames(frames=RENDERED, height=max(height, 64), width=max(width, 64), videos=1, animals=2)
    return [frames.read_image(index) for index in range(RENDERED)]
