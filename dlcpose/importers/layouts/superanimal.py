"""SuperAnimal snapshots of DeepLabCut, which come without a config."""

from collections.abc import Collection
from typing import ClassVar

from dlcpose.importers.deeplabcut import read_model
from dlcpose.importers.imported import ImportedModel
from dlcpose.importers.layout import LAYOUTS, Layout, PublishedFile
from dlcpose.structures.errors import DataError


@LAYOUTS.register("superanimal")
class SuperAnimal(Layout):
    """Quadruped, top-view mouse and bird; what is known of them is in `importers.superanimal`."""

    title = "DeepLabCut's SuperAnimal"
    marks: ClassVar = ("backbone.model.layer4.0.conv1.weight", "heads.bodypart.heatmap_head.deconv_layers.0.weight")

    @classmethod
    def matches(cls, names: Collection[str]) -> bool:
        return any(name.startswith("heads.") for name in names)

    @classmethod
    def read(cls, file: PublishedFile) -> ImportedModel:
        if file.keypoints is not None or file.dataset_index is not None:
            raise DataError("--keypoints and --dataset-index are for weights of MMPose and ViTPose. Leave them out.")
        return read_model(file.path, detector=file.detector)
