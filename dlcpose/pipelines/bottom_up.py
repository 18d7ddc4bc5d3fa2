"""The whole image at once: what the head decodes is the answer, for one animal or, with a head that can, for several."""

from dlcpose.pipelines.base import PoseEstimator


class BottomUp(PoseEstimator):
    """The shared pipeline as it is: nothing stands between the head and the answer."""
