"""From a config to an Experiment: the data, its split, and the model of each stage, built and checked."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as lightning
from pytorch_lightning.utilities import rank_zero_only

from dlcpose.augmentations.base import Augmentation
from dlcpose.build import SeveralAnimalsError, Trunk, build_input, build_pipeline, build_trunk
from dlcpose.checkpoint import Description, embed_bottom_up_model, read_checkpoint
from dlcpose.codecs.pose_variation import animal_shares
from dlcpose.config.models import multi_animal_models
from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.datamodule import PoseDataModule
from dlcpose.datasets.splits import train_frames
from dlcpose.instantiate import Instantiator
from dlcpose.pipelines.base import PoseModule
from dlcpose.runs.resume import check_resumed_settings, checkpoint_to_resume, detector_to_resume
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.split import Split
from dlcpose.training.detector_stage import detector_config
from dlcpose.training.init_weights import init_from
from dlcpose.training.validate import validate_monitors


@dataclass(frozen=True)
class Stage:
    """One training of an experiment: a model, the frames it learns from, and the config it was built from.

    name: "pose", or "detector". description: what its checkpoints hold besides weights. resumed: the checkpoint it
    resumes from, None for a new run. before: the stage that trains its detector, None where it is the first.
    """

    name: str
    config: Mapping[str, Any]
    instantiate: Instantiator
    data: LabeledFrames
    model: PoseModule
    description: Description
    resumed: Path | None
    before: "Stage | None" = None

    @property
    def run_dir(self) -> Path:
        """The folder of its results."""
        return Path(self.config["run_dir"])

    @property
    def split(self) -> Split:
        """Its training, validation and test frames."""
        return self.description.split

    def build_datamodule(self) -> PoseDataModule:
        """Its data module."""
        augmentation: Augmentation = self.instantiate(self.config["augmentation"], "augmentation")
        frame_input = self.model.frame_input
        schedule = augmentation.schedule(
            train_frames(self.data, self.split),
            self.data.skeleton,
            frame_input,
            may_crop=self.model.may_crop_frames,
        )
        datamodule: PoseDataModule = self.instantiate(self.config["datamodule"], "datamodule")(
            self.data, self.split, frame_input, schedule
        )
        return datamodule

    def begin(self) -> None:
        """Load the best epoch of the detector that the stage before has trained, where there is one."""
        if self.before is None:
            return
        detector, best = self.model.detector, self.before.run_dir / "checkpoints" / "best.ckpt"
        assert detector is not None
        if best.exists():
            detector.load(best)
        else:
            detector.load_state_dict(self.before.model.get_submodule("detector").state_dict())
        # The poses are then trained as with a detector that was trained elsewhere.
        lightning.seed_everything(self.config["seed"], workers=True, verbose=False)


@dataclass(frozen=True)
class Experiment:
    """The built experiment of a config: its training stages in order, the last one that of the whole model."""

    stages: tuple[Stage, ...]


def build_experiment(config: dict[str, Any]) -> Experiment:
    """Build the experiment of a composed config, all of it before anything is trained.

    Raises a DlcposeError where parts, data and settings do not fit each other.
    """
    config = {**config, "detector": embed_bottom_up_model(config["detector"])}
    lightning.seed_everything(config["seed"], workers=True, verbose=False)
    instantiate = Instantiator(tuple(config["trust"]))
    trunk = build_trunk(config, instantiate)  # before the data is read: mismatches are reported within a second
    data: LabeledFrames = instantiate(config["dataset"], "dataset")
    run_dir = Path(config["run_dir"])
    resumed = checkpoint_to_resume(config["resume"], run_dir)
    if resumed is not None:
        before = read_checkpoint(resumed).description.config
        if (changes := check_resumed_settings(config, resumed, before)) is not None:
            rank_zero_only(print)(changes, flush=True)
    split = _split(config, instantiate, data, resumed or detector_to_resume(config["resume"], run_dir))
    model_input = build_input(
        config,
        instantiate,
        trunk,
        [(frame.height, frame.width) for frame in data.frames],
        animal_shares(train_frames(data, split)),
    )
    description = Description(
        config, data.skeleton, model_input, split, data.individuals, data.max_animals, data.has_identities
    )
    model = _build_model(config, instantiate, description, trunk)
    validate_monitors(config, model.metrics, data.skeleton)
    init_from(config, model, description, resumed)
    pose = Stage("pose", config, instantiate, data, model, description, resumed)
    # A resumed run has the detector's weights in its checkpoint.
    if "detector" not in model.stages()[:-1] or resumed is not None:
        return Experiment((pose,))
    detector = _detector_stage(pose)
    return Experiment((detector, replace(pose, before=detector)))


def _detector_stage(pose: Stage) -> Stage:
    """The training of a model's detector alone, on the same frames. Raises ConfigError where the config has none."""
    if not pose.config["detector_stage"]:
        raise ConfigError(
            f"detector_stage: {type(pose.model.detector).__name__} has to be trained before the poses. Take "
            "detector_stage=default, or give a trained one with detector.checkpoint=."
        )
    config = detector_config(pose.config)
    description = replace(pose.description, config=config, model_input=pose.model.frame_input)
    model = _build_model(config, pose.instantiate, description)
    validate_monitors(config, model.metrics, pose.data.skeleton, prefix="detector_stage.")
    if pose.config["init_from"]["checkpoint"] is not None:  # it starts from the detector of that run
        model.get_submodule("detector").load_state_dict(pose.model.get_submodule("detector").state_dict())
    resumed = detector_to_resume(pose.config["resume"], pose.run_dir)
    return replace(pose, name="detector", config=config, model=model, description=description, resumed=resumed)


def _build_model(
    config: Mapping[str, Any], instantiate: Instantiator, description: Description, trunk: Trunk | None = None
) -> PoseModule:
    try:
        return build_pipeline(config, instantiate, description.data, trunk=trunk, to_train=True)
    except SeveralAnimalsError as error:
        raise ConfigError(f"{error} Choose model={', '.join(multi_animal_models())}.") from error


def _split(config: Mapping[str, Any], instantiate: Instantiator, data: LabeledFrames, resumed: Path | None) -> Split:
    """The split that the config makes, or the very frames of the run that is resumed."""
    if resumed is None:
        made: Split = instantiate(config["split"], "split")(data)
        return made
    split = read_checkpoint(resumed).description.split
    here = {frame.key for frame in data.frames}
    gone = [key for key in (*split.train, *split.val, *split.test) if key not in here]
    if gone:
        raise DataError(
            f"resume={resumed}: {len(gone)} frames of that run are no longer in the data, such as {gone[0]}."
        )
    return split
