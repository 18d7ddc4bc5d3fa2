"""Published weights in a file alone: recognized by the names in it, among the layouts that are registered."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from dlcpose.importers.imported import ImportedModel
from dlcpose.importers.keypoint_sets import KEYPOINT_SETS
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import CheckpointError, DataError
from dlcpose.structures.registry import Registry, modules_in
from dlcpose.structures.skeleton import Skeleton
from dlcpose.structures.weights_file import read_weights_file

OLD_HEAD = "keypoint_head."  # before the names of a head, in MMPose before 1.0 and in ViTPose
MAX_ANIMALS = 10  # per image, of the models made of such weights


@dataclass(frozen=True)
class PublishedFile:
    """A file of weights, and what the user said of it.

    weights: by the names in it, `keypoint_head.` of MMPose before 1.0 as `head.`. meta: what else is in it.
    keypoints: name of one of KEYPOINT_SETS, None where the file has to tell. dataset_index: of the data set whose experts
    are taken, of a model that has experts. detector: a file of the detector's weights, for layouts that take one.
    """

    path: Path
    weights: Mapping[str, Tensor]
    meta: Mapping[str, Any] = field(default_factory=dict)
    keypoints: str | None = None
    dataset_index: int | None = None
    detector: Path | None = None

    def skeleton(self, count: int) -> Skeleton:
        """The keypoints of a model with so many: those given, those that the file or its name tells, or the only ones.

        Raises DataError where they are unknown, or could be several.
        """
        known = {name: keypoints for name, keypoints in KEYPOINT_SETS.items() if len(keypoints) == count}
        if self.keypoints is not None:
            if self.keypoints not in known:
                fitting = ", ".join(known) or "none that dlcpose knows"
                raise DataError(
                    f"--keypoints {self.keypoints}: {self.path} has {counted(count, 'keypoint')}, as {fitting}."
                )
            return known[self.keypoints]
        stated = str((self.meta.get("dataset_meta") or {}).get("dataset_name", self.path.stem))
        stated = stated.lower().replace("-", "").replace("_", "")
        # MMPose's names tell first what a model was trained on, then what it was pretrained on.
        named = sorted((name for name in known if name in stated), key=stated.index)[:1] or list(known)
        if len(named) != 1:
            raise DataError(
                f"{self.path}: which {count} keypoints it has, it does not say. "
                + (f"Add --keypoints {' or --keypoints '.join(named)}." if named else "dlcpose knows no such model.")
            )
        return known[named[0]]


class Layout(ABC):
    """How the weights of some package are named and what model they make.

    title: for people. marks: names that every file of this layout has. Register it with `@LAYOUTS.register(NAME)`.
    """

    title: ClassVar[str]
    marks: ClassVar[tuple[str, ...]]

    @classmethod
    def matches(cls, names: Collection[str]) -> bool:
        return all(mark in names for mark in cls.marks)

    @classmethod
    @abstractmethod
    def read(cls, file: PublishedFile) -> ImportedModel:
        """The model in our terms. Raises DataError where something about it is not known."""


LAYOUTS: Registry[type[Layout]] = Registry("dlcpose.published_layouts", modules_in("dlcpose.importers.layouts"))


def read_published(
    path: Path, *, keypoints: str | None = None, dataset_index: int | None = None, detector: Path | None = None
) -> ImportedModel:
    """A model from a file of published weights; the rest as in PublishedFile.

    Raises DataError, with the nearest layouts, for a file of none that is known, CheckpointError for a broken one.
    """
    if keypoints is not None and keypoints not in KEYPOINT_SETS:
        raise DataError(f"--keypoints {keypoints}: expected one of {', '.join(KEYPOINT_SETS)}.")
    content = read_weights_file(path)
    weights = {
        f"head.{name.removeprefix(OLD_HEAD)}" if name.startswith(OLD_HEAD) else name: value
        for name, value in content.weights.items()
    }
    file = PublishedFile(path, weights, content.meta, keypoints, dataset_index, detector)
    for layout in LAYOUTS.load().values():
        if layout.matches(weights):
            if infinite := [name for name, value in weights.items() if not bool(value.isfinite().all())]:
                raise CheckpointError(f"{path}: {infinite[0]} has values that are not finite.")
            return layout.read(file)
    raise DataError(
        f"{path}: its layers are those of no published model that dlcpose knows: {', '.join(list(weights)[:3])}, ... Nearest "
        f"layouts: {', '.join(_nearest(weights))}. A snapshot of DeepLabCut needs its pytorch_config.yaml: copy it from the "
        "`train` folder of the shuffle, or name it with --config."
    )


def _nearest(names: Collection[str]) -> list[str]:
    """The titles of the three layouts whose marks share most words with the names."""
    words = {word for name in names for word in name.split(".")}

    def shared(layout: type[Layout]) -> float:
        own = {word for mark in layout.marks for word in mark.split(".") if not word.isdigit()}
        return len(own & words) / len(own)

    return [layout.title for layout in sorted(LAYOUTS.load().values(), key=shared, reverse=True)[:3]]
