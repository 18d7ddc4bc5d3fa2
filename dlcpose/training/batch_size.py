"""How many frames a training step takes where the config leaves it open: few on a CPU, as many as keep a GPU busy."""

import copy
import itertools
import math
import time
from dataclasses import dataclass

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from dlcpose.datasets.datamodule import USUAL_BATCH_SIZE, PoseDataModule
from dlcpose.pipelines.base import PoseModule
from dlcpose.structures.checkpoint_file import read_checkpoint_file
from dlcpose.structures.counted import counted
from dlcpose.training.experiment import Stage
from dlcpose.training.hints import is_out_of_memory

# The larger a batch, the fewer steps see as many frames: more than these learn less from a frame than they gain in speed.
CANDIDATES = (USUAL_BATCH_SIZE, 16, 32)
MIN_SPEEDUP = 1.5  # in images per second, of twice as many frames in a step
MAX_MEMORY = 0.6  # of a GPU's, for the networks and a batch: the optimizer and the averaged weights come on top
WARM_UP, TIMED = 2, 5  # steps


@dataclass(frozen=True)
class ChosenBatch:
    """The frames of a step on each device, the factor that the learning rate takes with them, and why, in a line."""

    size: int
    rate_factor: float = 1.0
    reason: str | None = None


def prepare_batches(stage: Stage, trainer: Trainer) -> tuple[PoseDataModule, ChosenBatch]:
    """The data module of a stage with the batch of its device; the learning rate of its model is made to match."""
    batch = choose_batch(stage, trainer)
    stage.model.rate_factor = batch.rate_factor
    return stage.build_datamodule(batch_size=batch.size), batch


def choose_batch(stage: Stage, trainer: Trainer) -> ChosenBatch:
    """The batch of a stage's training on the trainer's device.

    One that the config states is taken, with its rate. A run that is resumed keeps its batch. Else it is 8 on a CPU and on
    each of several devices, and on a single GPU what `fastest_batch_size` finds. `optimizer.lr` is the rate of batches of
    8; for Adam it grows with the root of the batch (Malladi et al. 2022, On the SDEs and scaling rules for adaptive
    gradient algorithms).
    """
    given = stage.config["datamodule"]["batch_size"]
    if given is not None:
        return ChosenBatch(given)
    if stage.resumed is not None:
        state = read_checkpoint_file(stage.resumed, memory_map=True).get(PoseDataModule.__qualname__)
        size = state.get("batch_size") if isinstance(state, dict) else None
        return _with_rate(size if type(size) is int and size in CANDIDATES else USUAL_BATCH_SIZE)
    if _device_of(trainer).type != "cuda" or trainer.world_size > 1:
        return _with_rate(USUAL_BATCH_SIZE)
    rates = measure_rates(stage, trainer)
    size = fastest_batch_size(rates)
    shown = ", ".join(f"{rate:.0f} images/s in batches of {size}" for size, rate in rates.items())
    return _with_rate(
        size, f"{counted(size, 'frame')}, with which this GPU is busy: {shown or 'none fits into its memory'}"
    )


def _with_rate(size: int, reason: str | None = None) -> ChosenBatch:
    return ChosenBatch(size, math.sqrt(size / USUAL_BATCH_SIZE), reason)


def fastest_batch_size(rates: dict[int, float]) -> int:
    """The largest batch to which each doubling adds at least half as many images per second; 8 where there are no rates."""
    sizes = list(rates)
    best = USUAL_BATCH_SIZE
    for smaller, larger in itertools.pairwise(sizes):
        if rates[larger] < MIN_SPEEDUP * rates[smaller]:
            break
        best = larger
    return best


def measure_rates(stage: Stage, trainer: Trainer) -> dict[int, float]:
    """Images per second by batch size, as far as batches fit into the device's memory and the doubling before was worth it.

    Measured are forward and backward of a copy of the model on augmented frames, in the precision of the run.
    """
    device, rates = _device_of(trainer), dict[int, float]()
    model = copy.deepcopy(stage.model).to(device, memory_format=torch.channels_last)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for size in CANDIDATES:
            try:
                rate = images_per_second(model, stage.build_datamodule(batch_size=size, workers=0), trainer)
            except RuntimeError as error:  # torch.OutOfMemoryError is one
                if not is_out_of_memory(error):
                    raise
                break
            if device.type == "cuda" and (
                torch.cuda.max_memory_allocated(device) > MAX_MEMORY * torch.cuda.mem_get_info(device)[1]
            ):
                break
            rates[size] = rate
            if fastest_batch_size(rates) != size:
                break
    del model
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)  # the run states its own
    return rates


def images_per_second(model: PoseModule, frames: PoseDataModule, trainer: Trainer) -> float:
    """Images per second of forward and backward on one batch of the data module, without its loading."""
    device = _device_of(trainer)
    batch = frames.transfer_batch_to_device(next(iter(frames.train_dataloader())), device, 0)
    model.train()
    began = 0.0
    for step in range(WARM_UP + TIMED):
        if step == WARM_UP:
            began = _time_when_idle(device)
        with trainer.precision_plugin.train_step_context():
            loss = model.training_step(batch, 0)
        assert isinstance(loss, Tensor)
        loss.backward()  # type: ignore[no-untyped-call]
        model.zero_grad()
    return TIMED * frames.batch_size / (_time_when_idle(device) - began)


def _device_of(trainer: Trainer) -> torch.device:
    return trainer.strategy.root_device


def _time_when_idle(device: torch.device) -> float:
    """The time in seconds once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
