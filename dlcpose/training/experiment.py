"""Train what a config describes, then evaluate its best epoch on the test frames."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcpose.callbacks.requeue import requeue_on_signal
from dlcpose.cli.hydra_main import run_hydra
from dlcpose.runs.distributed import LEADER, follow, follows, processes_wanted, train_in_processes
from dlcpose.runs.provenance import begin_tracking, close_trackers, end_tracking, guarded, record_run
from dlcpose.runs.resume import checkpoint_to_resume, detector_to_resume, requeued, split_of
from dlcpose.runs.run_json import Objective, is_helper, note_cost, objectives, read, recorded
from dlcpose.runs.sweep import earlier_run, value_of
from dlcpose.training.batch_hints import explaining_batches
from dlcpose.training.compilation import check_compile, compile_networks
from dlcpose.training.detector_stage import train_detector
from dlcpose.training.init_weights import start_from
from dlcpose.training.memory_hints import explaining_memory
from dlcpose.training.validate import KEYS, check_accelerator, check_keys, check_monitors, check_optimizer, check_seed

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from dlcpose.build import Instantiator
    from dlcpose.checkpoint import Description
    from dlcpose.datasets.base import LabelledFrames
    from dlcpose.datasets.datamodule import PoseDataModule
    from dlcpose.pipelines.base import PoseModule
    from dlcpose.structures.split import Split


def main() -> None:
    """`train.py` and `dlcpose-train`."""
    with requeue_on_signal(asks=not is_helper()):
        if follows():
            follow(train_here)
            return
        try:
            run_hydra("train", job)
        finally:
            LEADER.end()


def job(config: dict[str, Any]) -> Objective:
    """A run that the shell asked for; of a sweep, what is done is not done again, and what was killed goes on."""
    done, config = earlier_run(requeued(config))
    if done is None:
        return train(config)
    value = value_of(done, config)
    print(f"done before, {', '.join(objectives(config))} {value}: {config['run_dir']}", flush=True)
    return value


@recorded
def train(config: dict[str, Any]) -> Objective:
    """Train and evaluate a composed config on its devices; everything it leaves lies in config["run_dir"].

    Returns the objective, for a sweep to optimise.
    """
    if count := processes_wanted(config):
        value: Objective = train_in_processes(config, count)
        return value
    LEADER.hand_on(config)
    return train_here(config)


def train_here(config: dict[str, Any]) -> Objective:
    """What `train` does, in this process, which may be one of several that train together."""
    import pytorch_lightning as lightning

    from dlcpose.build import Instantiator, SeveralAnimalsError, build_input, build_pipeline, build_trunk
    from dlcpose.checkpoint import Description, embed_bottom_up_model
    from dlcpose.config.models import multi_animal_models
    from dlcpose.structures.errors import ConfigError

    quiet_libraries()
    check_keys(config, KEYS)
    config = {**config, "detector": embed_bottom_up_model(config["detector"])}
    check_seed(config["seed"])
    check_compile(config["compile"])
    lightning.seed_everything(config["seed"], workers=True, verbose=False)
    instantiate = Instantiator(tuple(config["trust"]))
    trunk = build_trunk(config, instantiate)
    check_optimizer(config, instantiate)
    data: LabelledFrames = instantiate(config["dataset"], "dataset")
    resumed = checkpoint_to_resume(config["resume"], Path(config["run_dir"]))
    detector_resumed = detector_to_resume(config["resume"], Path(config["run_dir"]))
    split = split_of(config, instantiate, data, resumed or detector_resumed)
    sizes = [(frame.height, frame.width) for frame in data.frames]
    model_input = build_input(config, instantiate, trunk, sizes)
    try:
        pipeline = build_pipeline(
            config,
            instantiate,
            trunk,
            skeleton=data.skeleton,
            model_input=model_input,
            max_animals=data.max_animals,
            individuals=data.individuals if data.has_identities else (),
            to_train=True,
        )
    except SeveralAnimalsError as error:
        raise ConfigError(f"{error} Choose model={', '.join(multi_animal_models())}.") from error
    check_monitors(config, pipeline.metrics, data.skeleton)
    description = Description(
        config, data.skeleton, model_input, split, data.individuals, data.max_animals, data.has_identities
    )
    start_from(config, pipeline, description, resumed)
    if resumed is None:  # else the detector's weights are in the checkpoint
        train_detector(config, instantiate, pipeline, data, description, detector_resumed)
    return run(config, instantiate, pipeline, data, description, resumed)


def run(
    config: dict[str, Any],
    instantiate: "Instantiator",
    pipeline: "PoseModule",
    data: "LabelledFrames",
    description: "Description",
    resumed: Path | None = None,
) -> Objective:
    """Train a pipeline on the frames of its description, and evaluate it. Returns the objective."""
    import torch

    datamodule: PoseDataModule = instantiate(config["datamodule"], "datamodule")(
        data, description.split, description.model_input, instantiate(config["augmentation"], "augmentation")
    )
    pipeline.labels, pipeline.described = datamodule.labels, description.as_dict()
    trainer = build_trainer(config, instantiate)
    facts = record_run(Path(config["run_dir"]), description)
    print_plan(trainer, pipeline, datamodule, description)
    pipeline.to(memory_format=torch.channels_last)
    pipeline.freeze_unused_parameters()
    compile_networks(config["compile"], pipeline, trainer.strategy.root_device)
    succeeded = False
    try:
        begin_tracking(trainer, facts, resumed)
        with explaining_memory(config), explaining_batches(config):
            trainer.fit(pipeline, datamodule=datamodule, ckpt_path=resumed, weights_only=True)
        note_cost(Path(config["run_dir"]), trainer, pipeline)
        figures = finish(config, instantiate, trainer, data, description.split)
        end_tracking(trainer, facts, figures, {name: _value_of(name, trainer) for name in objectives(config)})
        succeeded = True
        return objective_of(config, trainer)
    finally:
        close_trackers(trainer, succeeded)


def quiet_libraries() -> None:
    """Silence what libraries say of themselves, not what they say of the run."""
    import logging
    import os
    import warnings

    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*log_every_n_steps.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # what is frozen is meant so
    warnings.filterwarnings("ignore", message=".*ended before the epoch ended.*")  # PoseDataModule knows where
    warnings.filterwarnings("ignore", message=".*logging on epoch level in distributed.*")  # they are gathered already
    warnings.filterwarnings("ignore", category=FutureWarning)


def build_trainer(config: dict[str, Any], instantiate: "Instantiator") -> "Trainer":
    """Lightning's trainer with the config's callbacks and loggers, and the precision the hardware likes."""
    from pytorch_lightning.callbacks import WeightAveraging

    from dlcpose.callbacks.reseed import ReseedEachBatch
    from dlcpose.runs.checkpoint_io import WholeFiles
    from dlcpose.structures.errors import ConfigError

    settings = dict(config["trainer"])
    plugins = settings.pop("plugins", None) or []
    check_accelerator(settings["accelerator"])
    if settings["precision"] is None:
        settings["precision"] = fastest_precision(settings["accelerator"])
    loggers = guarded(instantiate(config["logger"], "logger"))
    callbacks = [
        callback
        for name, callback in instantiate(config["callbacks"], "callbacks").items()
        if loggers or name != "learning_rate"  # without a logger Lightning refuses the monitor
    ]
    callbacks.sort(key=lambda callback: isinstance(callback, WeightAveraging))  # pictures before it swaps weights back
    try:
        trainer: Trainer = instantiate(settings, "trainer")(
            callbacks=[ReseedEachBatch(config["seed"]), *callbacks],
            logger=loggers,
            default_root_dir=config["run_dir"],
            plugins=[WholeFiles(), *(plugins if isinstance(plugins, list) else [plugins])],
        )
    except (ValueError, RuntimeError, ImportError) as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error
    return trainer


def fastest_precision(accelerator: str) -> str:
    """bf16 where the hardware multiplies in it, else full precision."""
    import torch

    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    multiplies = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    has_bf16 = any(getattr(torch.cpu, name, lambda: False)() for name in multiplies)
    return "bf16-mixed" if has_bf16 else "32-true"


def print_plan(
    trainer: "Trainer", pipeline: "PoseModule", datamodule: "PoseDataModule", description: "Description"
) -> None:
    """Say what will be trained on what, before the first step."""
    from dlcpose.reports.comparison import command_again

    if not trainer.is_global_zero:
        return
    split, config = description.split, description.config
    weights = sum(weight.numel() for weight in pipeline.parameters())
    per_step = datamodule.batch_size * trainer.world_size * trainer.accumulate_grad_batches
    canvas = description.model_input.canvas
    print(f"run folder: {config['run_dir']}")
    if (entry := read(Path(config["run_dir"]))) is not None:  # a detector's own run has none
        print(f"the same again: {command_again(entry['overrides'], entry['config_dir'])}")
    print(f"frames: {len(split.train)} train, {len(split.val)} val, {len(split.test)} test")
    print(f"model: {weights / 1e6:.2f} M parameters, {pipeline.finds}")
    print(f"input: {'native size' if canvas is None else f'{canvas[1]}x{canvas[0]}'}")
    print(
        f"training: {trainer.max_epochs} epochs, effective batch {per_step} ({datamodule.batch_size} x {trainer.world_size} "
        f"devices x {trainer.accumulate_grad_batches} accumulated), learning rate {config['optimizer']['lr']:g}, "
        f"{trainer.precision} on {trainer.accelerator.__class__.__name__.removesuffix('Accelerator')}, "
        f"{datamodule.workers} workers",
        flush=True,
    )


def objective_of(config: dict[str, Any], trainer: "Trainer") -> Objective:
    """The objective, or each of several, at its best epoch where checkpoints are chosen by it, else after the last one."""
    values = [_value_of(name, trainer) for name in objectives(config)]
    return values if isinstance(config["optimized_metric"], list) else values[0]


def _value_of(name: str, trainer: "Trainer") -> float:
    from pytorch_lightning.callbacks import ModelCheckpoint

    chosen = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]
    scores = [callback.best_model_score for callback in chosen if callback.monitor == name]
    best = next((score for score in scores if score is not None), trainer.callback_metrics.get(name))
    return float("nan") if best is None else float(best)


def finish(
    config: dict[str, Any], instantiate: "Instantiator", trainer: "Trainer", data: "LabelledFrames", split: "Split"
) -> dict[str, float]:
    """Evaluate the best epoch on the test frames, draw the learning curve, and say where everything is.

    Returns the figures; none where nothing was evaluated.
    """
    from dlcpose.metrics.base import infos_of
    from dlcpose.predict import load
    from dlcpose.reports.evaluation import learning_curve
    from dlcpose.training.evaluation import evaluate_frames, print_result

    if not trainer.is_global_zero:
        return {}
    run_dir = Path(config["run_dir"])
    metrics = instantiate(config["metric"], "metric")
    if (run_dir / "metrics.csv").exists():
        learning_curve(run_dir / "metrics.csv", run_dir / "learning_curve.png", infos_of(metrics))
    checkpoints = [run_dir / "checkpoints" / name for name in ("best.ckpt", "last.ckpt")]
    best = next((path for path in checkpoints if path.exists()), None)
    if best is None or not split.test:
        print(f"no test frames or no checkpoint to evaluate\n{run_dir}")
        return {}
    places = {frame.key: index for index, frame in enumerate(data.frames)}
    figures = evaluate_frames(
        load(best, trust=config["trust"], device=trainer.strategy.root_device.type),
        data,
        [places[key] for key in split.test],
        metrics,
        folder=run_dir / "evaluation",
        pictures=config["evaluation"]["pictures"],
        title=f"{config['name']}: {len(split.test)} test frames",
    )
    print_result(figures, infos_of(metrics), run_dir)
    return figures
