"""Frames that models labeled, to be trained on beside those that people did, and never to be evaluated on."""

from dataclasses import dataclass, replace
from pathlib import Path

from dlcpose.datasets.base import LabeledFrames
from dlcpose.structures.errors import DataError
from dlcpose.structures.sample import Image

PREFIX = "pseudo-labels/"  # of their keys, among those of labeled frames


@dataclass(frozen=True)
class PseudoLabeled:
    """Frames that models labeled, and the share of the frames of an epoch that are drawn from them."""

    frames: LabeledFrames
    share: float


class JoinedFrames(LabeledFrames):
    """Labeled frames and, behind them, pseudo-labeled ones of the same keypoints, which are in no split.

    Raises DataError where the keypoints differ.
    """

    def __init__(self, labeled: LabeledFrames, pseudo: LabeledFrames) -> None:
        if pseudo.skeleton.names != labeled.skeleton.names or pseudo.skeleton.unique != labeled.skeleton.unique:
            raise DataError(
                f"pseudo_labels: expected the keypoints {[*labeled.skeleton.names, *labeled.skeleton.unique]}, got "
                f"{[*pseudo.skeleton.names, *pseudo.skeleton.unique]}. Remove the folder pseudo_labels of the run."
            )
        self.labeled, self.pseudo = labeled, pseudo
        self.skeleton, self.individuals = labeled.skeleton, labeled.individuals
        self.stored_split, self.has_identities = labeled.stored_split, labeled.has_identities
        self.empty_is_label, self.pcutoff = labeled.empty_is_label, labeled.pcutoff
        renamed = [replace(frame, key=f"{PREFIX}{frame.key}") for frame in pseudo.frames]
        self.frames = [*labeled.frames, *renamed]

    def read_image(self, index: int) -> Image:
        source, place = self._source(index)
        return source.read_image(place)

    def image_file(self, index: int) -> Path | None:
        source, place = self._source(index)
        return source.image_file(place)

    def _source(self, index: int) -> tuple[LabeledFrames, int]:
        count = len(self.labeled)
        return (self.labeled, index) if index < count else (self.pseudo, index - count)
