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
from dlcpose.config.folders import DETECTOR_FOLDER
from dlcpose.config.models import multi_animal_models
from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.datamodule import PoseDataModule
from dlcpose.datasets.splits import train_frames
from dlcpose.datasets.video_clips import VideoClips
from dlcpose.instantiate import Instantiator
from dlcpose.pipelines.base import PoseModule
from dlcpose.pipelines.components import TrainingContext
from dlcpose.postprocessing.pseudo_labels import EnsemblePseudoLabels
from dlcpose.runs.resume import (
    check_resumed_settings,
    checkpoint_to_resume,
    earlier_stages,
    stage_to_resume,
)
from dlcpose.structures.counted import counted
from dlcpose.structures.errors import ConfigError, DataError
from dlcpose.structures.split import Split
from dlcpose.training.detector_stage import detector_config
from dlcpose.training.init_weights import init_from
from dlcpose.training.monitors import has_validation, validate_monitors
from dlcpose.training.pseudo_labels import FOLDER, PseudoLabelStage, check_teachers
from dlcpose.training.teacher_stage import teacher_config, teacher_folder
from dlcpose.training.unlabeled_clips import unlabeled_clips, unlabeled_videos
from dlcpose.training.validate import check_scheduler
from dlcpose.unlabeled.video import UnlabeledVideos


@dataclass(frozen=True)
class Stage:
    """One training of an experiment: a model, the frames it learns from, and the config it was built from.

    name: "pose", "detector", "teacher 1", ... description: what its checkpoints hold besides weights. resumed: the
    checkpoint it resumes from, None for a new run. before: the stage that trains its detector, None where there is none.
    clips: of videos that it learns from besides. pseudo_labels: what makes the labels that a student learns
    besides, of the teachers that were trained before it.
    """

    name: str
    config: Mapping[str, Any]
    instantiate: Instantiator
    data: LabeledFrames
    model: PoseModule
    description: Description
    resumed: Path | None
    before: "Stage | None" = None
    clips: VideoClips | None = None
    pseudo_labels: PseudoLabelStage | None = None

    @property
    def run_dir(self) -> Path:
        """The folder of its results."""
        return Path(self.config["run_dir"])

    @property
    def split(self) -> Split:
        """Its training, validation and test frames."""
        return self.description.split

    @property
    def has_validation(self) -> bool:
        """Whether its epochs are validated."""
        return has_validation(self.config, self.split)

    def build_datamodule(self, **settings: Any) -> PoseDataModule:
        """Its data module. settings: of the data module, in place of the config's."""
        augmentation: Augmentation = self.instantiate(self.config["augmentation"], "augmentation")
        frame_input = self.model.frame_input
        schedule = augmentation.schedule(
            train_frames(self.data, self.split),
            self.data.skeleton,
            frame_input,
            may_crop=self.model.may_crop_frames,
        )
        datamodule: PoseDataModule = self.instantiate({**self.config["datamodule"], **settings}, "datamodule")(
            self.data,
            self.split,
            frame_input,
            schedule,
            clips=self.clips,
            pseudo=None if self.pseudo_labels is None else self.pseudo_labels.read(),
        )
        return datamodule

    def begin(self) -> None:
        """Load the best epoch of the detector of a stage before, and make the pseudo-labels, where there are any."""
        if self.before is not None:
            self._take_over_detector(self.before)
        if self.pseudo_labels is not None:
            self.pseudo_labels.make()
        if self.before is not None or self.pseudo_labels is not None:
            # It is then trained as with a detector, or teachers, that were trained elsewhere.
            lightning.seed_everything(self.config["seed"], workers=True, verbose=False)

    def _take_over_detector(self, before: "Stage") -> None:
        detector, best = self.model.detector, before.run_dir / "checkpoints" / "best.ckpt"
        assert detector is not None
        if best.exists():
            detector.load(best)
        else:
            detector.load_state_dict(before.model.get_submodule("detector").state_dict())


@dataclass(frozen=True)
class Experiment:
    """The built experiment of a config: its training stages in order, the last one that of the whole model."""

    stages: tuple[Stage, ...]


def build_experiment(config: dict[str, Any]) -> Experiment:
    """Build the experiment of a composed config, all of it before anything is trained.

    Raises a DlcposeError where parts, data and settings do not fit each other.
    """
    instantiate = Instantiator(tuple(config["trust"]))
    config = {**config, "detector": embed_bottom_up_model(config["detector"], instantiate)}
    lightning.seed_everything(config["seed"], workers=True, verbose=False)
    trunk = build_trunk(config, instantiate)  # before the data is read: mismatches are reported within a second
    data: LabeledFrames = instantiate(config["dataset"], "dataset")
    run_dir = Path(config["run_dir"])
    resumed = checkpoint_to_resume(config["resume"], run_dir)
    if resumed is not None:
        before = read_checkpoint(resumed).description.config
        if (changes := check_resumed_settings(config, resumed, before)) is not None:
            rank_zero_only(print)(changes, flush=True)
    began = [] if config["resume"] != "last" else earlier_stages(run_dir)
    split = _split(config, instantiate, data, resumed or next(iter(began), None))
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
    videos = unlabeled_videos(config, instantiate)
    model = _build_model(description, instantiate, data, videos, trunk)
    _check_training(config, instantiate, model, description)
    init_from(config, model, description, resumed)
    pose = Stage("pose", config, instantiate, data, model, description, resumed)
    pose = replace(pose, clips=unlabeled_clips(config, videos, model, data, split))
    # A resumed run has the detector's weights in its checkpoint.
    detector = None if "detector" not in model.stages()[:-1] or resumed is not None else _detector_stage(pose)
    pose = replace(pose, before=detector)
    earlier = [] if detector is None else [detector]
    if config["pseudo_labels"]:
        settings = instantiate(config["pseudo_labels"], "pseudo_labels")
        # A resumed student has its pseudo-labels.
        earlier += [
            _teacher_stage(pose, number, videos) for number in range(settings.teachers if resumed is None else 0)
        ]
        pose = replace(pose, pseudo_labels=_pseudo_label_stage(pose, settings, videos))
    return Experiment((*earlier, pose))


def _pseudo_label_stage(
    pose: Stage, settings: EnsemblePseudoLabels, videos: UnlabeledVideos | None
) -> PseudoLabelStage:
    """What makes the pseudo-labels of a student.

    Raises ConfigError where there is no video to make them of, DataError where the videos have nothing to label.
    """
    if videos is None:
        raise ConfigError(
            "pseudo_labels: they are made of videos. Take unlabeled=video unlabeled.videos=[cage1.mp4,...], or "
            "experiment=few_labels."
        )
    trained = [pose.run_dir / teacher_folder(number) / "checkpoints" for number in range(settings.teachers)]
    given = check_teachers(settings.checkpoints, pose.data, pose.split)
    stage = PseudoLabelStage(
        settings=settings,
        videos=videos,
        checkpoints=(*(folder / "best.ckpt" for folder in trained), *given),
        folder=pose.run_dir / FOLDER,
        data=pose.data,
        split=pose.split,
        seed=pose.config["seed"],
        trust=tuple(pose.config["trust"]),
        device="cpu" if pose.config["trainer"]["accelerator"] == "cpu" else None,
    )
    if not stage.dataset.exists():  # a resumed student has its pseudo-labels
        stage.check()
    return stage


def _teacher_stage(pose: Stage, number: int, videos: UnlabeledVideos | None) -> Stage:
    """The training of a teacher, on the same frames as the student."""
    config = teacher_config(pose.config, number)
    lightning.seed_everything(config["seed"], workers=True, verbose=False)
    description = replace(pose.description, config=config)
    model = _build_model(description, pose.instantiate, pose.data, videos)
    init_from(config, model, description, None)
    resumed = stage_to_resume(pose.config["resume"], pose.run_dir, teacher_folder(number))
    return replace(
        pose, name=f"teacher {number + 1}", config=config, model=model, description=description, resumed=resumed
    )


def _detector_stage(pose: Stage) -> Stage:
    """The training of a model's detector alone, on the same frames. Raises ConfigError where the config has none."""
    if not pose.config["detector_stage"]:
        raise ConfigError(
            f"detector_stage: {type(pose.model.detector).__name__} has to be trained before the poses. Take "
            "detector_stage=default, or give a trained one with detector.checkpoint=."
        )
    config = detector_config(pose.config)
    description = replace(pose.description, config=config, model_input=pose.model.frame_input)
    model = _build_model(description, pose.instantiate, pose.data)
    _check_training(config, pose.instantiate, model, description, prefix="detector_stage.")
    if pose.config["init_from"]["checkpoint"] is not None:  # it starts from the detector of that run
        model.get_submodule("detector").load_state_dict(pose.model.get_submodule("detector").state_dict())
    resumed = stage_to_resume(pose.config["resume"], pose.run_dir, DETECTOR_FOLDER)
    return replace(
        pose, name="detector", config=config, model=model, description=description, resumed=resumed, clips=None
    )


def _check_training(
    config: Mapping[str, Any], instantiate: Instantiator, model: PoseModule, description: Description, prefix: str = ""
) -> None:
    """Raises ConfigError for what would fail only once the training of a model has begun."""
    validate_monitors(
        config,
        instantiate,
        model.metrics,
        description.skeleton,
        has_validation=has_validation(config, description.split),
        prefix=prefix,
    )
    check_scheduler(model)


def _build_model(
    description: Description,
    instantiate: Instantiator,
    data: LabeledFrames,
    videos: UnlabeledVideos | None = None,
    trunk: Trunk | None = None,
) -> PoseModule:
    """The model that a description is of, to be trained. videos: those that it learns from besides."""
    frames = {frame.key: frame for frame in data.frames}
    context = TrainingContext(
        # Those to train on are validated where a run is to overfit them.
        labels={key: frames[key] for key in (*description.split.val, *description.split.train)},
        description=description.as_dict(),
        video_objective=videos.objective() if videos is not None and videos.losses else None,
        pcutoff=data.pcutoff,
    )
    try:
        return build_pipeline(description.config, instantiate, description.data, trunk=trunk, to_train=context)
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
            f"resume={resumed}: {counted(len(gone), 'frame of that run is', 'frames of that run are')} no "
            f"longer in the data, such as {gone[0]}."
        )
    return split
