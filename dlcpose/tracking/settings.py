"""Settings of the tracker."""

from dataclasses import dataclass

from dlcpose.structures.errors import ConfigError

MAX_SEED = 2**32 - 1  # as of a training
MAX_ANIMALS = 1000  # each is a column of the tracks: memory and time grow with their number, seen or not


@dataclass(frozen=True)
class TrackingSettings:
    """Settings of `track`. Costs are in nats: differences of log likelihoods.

    animals: maximum number of tracks; None: the number of columns of the poses. min_score: detections below it are not
    used; None: those below a fifth of the usual score and those of things that are no animals. min_similarity: minimum
    similarity, in [0, 1], of a detection to where a tracklet's animal is expected. similarity_margin: a tracklet ends
    where its second-best detection comes nearer than this to its best. max_coast: frames within a tracklet without a
    detection. max_gap: frames that a direct join of two tracklets bridges; longer gaps are bridged by the other
    evidence alone. detection_reward: gain of a detection in a track. absence_cost: of a track's animal being lost, and
    the same again for its return. join_cost_limit: dearer joins are not considered. review_margin: decisions with a
    smaller margin are likely swaps. review_frames: those that would last for fewer frames are not listed.
    use_identities: whether identities that the model predicted count. use_shape: whether the animals' proportions do.
    appearance: whether their appearance does, learned from the video; None: where a video is given and joins are
    doubtful. beam: assignments of names that are kept while the video is gone through; all of them up to 5 animals.
    seed: of the appearance's training. Raises ConfigError for values outside their range.
    """

    animals: int | None = None
    min_score: float | None = None
    min_similarity: float = 0.2
    similarity_margin: float = 0.25
    max_coast: int = 2
    max_gap: int = 50
    detection_reward: float = 6.0
    absence_cost: float = 15.0
    join_cost_limit: float = 40.0
    review_margin: float = 8.0
    review_frames: int = 12
    use_identities: bool = True
    use_shape: bool = True
    appearance: bool | None = None
    beam: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "animals": (self.animals is None or 1 <= self.animals <= MAX_ANIMALS, f"1 to {MAX_ANIMALS}"),
            "min_score": (self.min_score is None or 0 <= self.min_score <= 1, "a score from 0 to 1"),
            "min_similarity": (0 < self.min_similarity < 1, "between 0 and 1"),
            "similarity_margin": (0 <= self.similarity_margin < 1, "from 0 to below 1"),
            "max_coast": (self.max_coast >= 0, "0 frames or more"),
            "max_gap": (self.max_gap >= 1, "1 frame or more"),
            "detection_reward": (self.detection_reward > 0, "more than 0"),
            "absence_cost": (self.absence_cost > 0, "more than 0"),
            "join_cost_limit": (self.join_cost_limit > 0, "more than 0"),
            "review_margin": (self.review_margin >= 0, "0 or more"),
            "review_frames": (self.review_frames >= 0, "0 or more"),
            "beam": (self.beam >= 2, "2 or more"),
            "seed": (0 <= self.seed <= MAX_SEED, f"0 to {MAX_SEED}"),
        }
        for name, (is_right, expected) in ranges.items():
            if not is_right:
                raise ConfigError(f"tracking.{name}: expected {expected}, got {getattr(self, name)}.")
