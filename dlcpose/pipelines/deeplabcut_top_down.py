"""Top-down models with DeepLabCut 3's crops, and without pose NMS."""

from collections.abc import Sequence

from torch import Tensor

from dlcpose.pipelines.animal_crops import AnimalCrops, CropSettings
from dlcpose.pipelines.components import Components
from dlcpose.pipelines.deeplabcut_crops import cut_deeplabcut_crops
from dlcpose.pipelines.top_down import TopDown
from dlcpose.structures.batch import PoseBatch

NO_NMS = 2.0  # no two poses are as similar


class DeepLabCutTopDown(TopDown):
    """Detector, then pose, as DeepLabCut 3: the pose network sees crops of whole pixels, resized by OpenCV.

    margin: around the box, px. with_context: as in `codecs.deeplabcut_crops.region_around`. shift, scale, seed: of the
    training boxes' jitter, as in CropSettings. Every box of the detector gets a pose.
    """

    def __init__(
        self,
        components: Components,
        *,
        margin: float = 0.0,
        with_context: bool = True,
        shift: float = 0.0,
        scale: float = 0.0,
        threshold: float = 0.0,
        seed: int = 0,
    ) -> None:
        crops = CropSettings(shift=shift, scale=scale, threshold=threshold, nms_oks=NO_NMS, seed=seed)
        super().__init__(components, crops=crops)
        self.margin, self.with_context = margin, with_context

    def crops(self, batch: PoseBatch, boxes_in_frame: Sequence[Tensor]) -> AnimalCrops:
        """The crops around the boxes (M, 4) of each frame: uint8, without labels."""
        return cut_deeplabcut_crops(
            batch, boxes_in_frame, self.crop_size, margin=self.margin, with_context=self.with_context
        )
