"""Bottom-up and single-animal models: the whole image at once; the head itself decodes one animal or several."""

from dlcpose.pipelines.base import PoseEstimator


class BottomUp(PoseEstimator):
    """Backbone, neck and head on whole images, with nothing in between."""

    @property
    def finds_one_animal(self) -> bool:
        """Whether its head does."""
        return not self.head.multi_animal
