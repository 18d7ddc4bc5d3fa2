"""Data module of a run: frames, their order and augmentation, all determined by the seed."""

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence, Sized
from typing import Any

import albumentations
import cv2
import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import distributed
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from dlcpose.datasets.base import LabelledFrames
from dlcpose.datasets.cache import CachedFrames
from dlcpose.datasets.crops import augment, fit_to_canvas, keep_keypoints
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.sample import FrameLabels, PoseCrop
from dlcpose.structures.split import Split

GRACE_SECONDS = 20  # for which a worker continues after SIGTERM
Draw = tuple[int, int, bool]  # index of a frame, seed of its augmentation, whether to use the closing augmentation


class EpochSampler(DistributedSampler[Any]):
    """The draws of an epoch: every frame once, or repeatedly up to `min_draws`, shuffled anew for each epoch.

    A draw carries the seed of its augmentation, so that a crop depends on seed, epoch and place in the epoch, not on the
    worker. Lightning calls set_epoch at the start of each epoch, also after resuming.
    min_draws: of each device; several devices take the draws of an epoch in turn. begun: an epoch, and how many of its
    draws each device has had before the run was stopped. closing: the first epoch of the closing augmentation, None for
    none. A DistributedSampler, since Lightning would wrap any other in one that never passes on the epoch.
    """

    def __init__(
        self,
        indices: Sequence[int],
        *,
        min_draws: int,
        seed: int,
        begun: tuple[int, int] = (0, 0),
        closing: int | None = None,
    ) -> None:
        devices, rank = devices_and_rank()
        super().__init__(range(len(indices)), num_replicas=devices, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.indices, self.begun, self.closing = list(indices), begun, closing
        self.set_epoch(0)
        self.total_draws = max(len(self.indices), min_draws * devices)  # of all devices
        self.length = -(-self.total_draws // devices)  # of each

    def set_epoch(self, epoch: int) -> None:
        # Lightning fetches the first batches, with epoch 0, before it has read which epoch it resumes.
        super().set_epoch(max(epoch, self.begun[0]))

    def __iter__(self) -> Iterator[Draw]:
        generator = np.random.default_rng((self.seed, self.epoch))
        rounds = -(-self.total_draws // len(self.indices))
        order = np.concatenate([generator.permutation(self.indices) for _ in range(rounds)])[: self.total_draws]
        # Repeated up to an even share, so that several devices see the draws that a single one would.
        total = self.length * self.num_replicas
        order = np.resize(order, total)
        seeds = generator.integers(2**31, size=total)
        closes = self.closing is not None and self.epoch >= self.closing
        draws = [(int(index), int(seed), closes) for index, seed in zip(order, seeds, strict=True)]
        epoch, done = self.begun
        return iter(draws[self.rank :: self.num_replicas][done if epoch == self.epoch else 0 :])

    def __len__(self) -> int:
        return self.length


class RankSampler(DistributedSampler[Any]):
    """The places of a device's validation frames: each frame is evaluated by one device, in turn.

    All devices have the same number of batches, because they synchronize after each: one that would have a batch less
    repeats its first frame, in a batch of its own. A DistributedSampler, since Lightning's own repeats frames within
    batches.
    """

    def __init__(self, count: int, batch_size: int) -> None:
        devices, rank = devices_and_rank()
        super().__init__(range(count), num_replicas=devices, rank=rank)  # type: ignore[arg-type]
        self.places = list(range(count)[rank::devices])
        largest_share = -(-count // devices)
        if -(-len(self.places) // batch_size) < -(-largest_share // batch_size):
            self.places.append(0)

    def __iter__(self) -> Iterator[int]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def devices_and_rank() -> tuple[int, int]:
    """The number of devices that train together, and the rank of this process."""
    is_shared = distributed.is_available() and distributed.is_initialized()
    return (distributed.get_world_size(), distributed.get_rank()) if is_shared else (1, 0)


class TrainCrops(Dataset[PoseCrop]):
    """Augmented crops of a data set by draw, through `transform` or, for draws that are closing, `closing`."""

    def __init__(
        self,
        data: LabelledFrames,
        model_input: Input,
        transform: albumentations.Compose,
        closing: albumentations.Compose | None = None,
    ) -> None:
        self.data, self.model_input, self.transform = data, model_input, keep_keypoints(transform)
        self.closing = self.transform if closing is None else keep_keypoints(closing)

    def __getitem__(self, draw: Draw) -> PoseCrop:
        index, seed, closes = draw
        transform = self.closing if closes else self.transform
        return augment(fit_to_canvas(self.data[index], self.model_input), transform, self.data.skeleton, seed)


class EvaluationCrops(Dataset[PoseCrop], Sized):
    """Crops of some frames of a data set, without augmentation."""

    def __init__(self, data: LabelledFrames, model_input: Input, indices: Sequence[int]) -> None:
        self.data, self.model_input, self.indices = data, model_input, list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> PoseCrop:
        return fit_to_canvas(self.data[self.indices[place]], self.model_input)


class PoseDataModule(LightningDataModule):
    """Loaders for training and validation on one split of a data set.

    batch_size: frames on each device. workers: processes that prepare batches; None chooses by the machine's cores.
    cache_gb: memory for decoded images. min_steps: minimum number of batches in an epoch, so that with few frames an
    epoch is still worth validating. overfit: number of training frames to train and validate on, all others unused, to
    see whether a model can memorize them. closing_share: the share of epochs, at the end of the run, with the weaker
    augmentation `closing` in place of `transform` (Ge et al. 2021, YOLOX, section 2.1).
    Raises ConfigError for a batch_size below 1, workers below 0, and a closing_share outside of [0, 1], without `closing`
    or without a number of epochs.
    """

    def __init__(
        self,
        data: LabelledFrames,
        split: Split,
        model_input: Input,
        transform: albumentations.Compose,
        *,
        seed: int,
        batch_size: int = 8,
        workers: int | None = None,
        cache_gb: float = 4.0,
        min_steps: int = 0,
        overfit: int | None = None,
        closing: albumentations.Compose | None = None,
        closing_share: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= closing_share <= 1:
            raise ConfigError(f"datamodule.closing_share: expected a share from 0 to 1, got {closing_share}.")
        if overfit is not None and overfit < 1:
            raise ConfigError(f"datamodule.overfit: expected null or a number of frames from 1, got {overfit}.")
        if closing_share and closing is None:
            raise ConfigError(
                f"datamodule.closing_share={closing_share}, but there is no closing augmentation. "
                "Take augmentation@datamodule.closing=light, or closing_share=0."
            )
        if batch_size < 1 or (workers is not None and workers < 0):
            raise ConfigError(
                f"datamodule: expected a batch_size from 1 and workers from 0, got {batch_size} and {workers}."
            )
        places = {frame.key: index for index, frame in enumerate(data.frames)}
        self.train_indices = [places[key] for key in split.train]
        self.val_indices = [places[key] for key in split.val]
        if overfit is not None:
            self.train_indices = self.val_indices = self.train_indices[:overfit]
        self.data = CachedFrames(data, self.train_indices + self.val_indices, cache_gb)
        self.model_input, self.transform = model_input, transform
        self.closing, self.closing_share = closing, closing_share
        self.seed, self.batch_size, self.min_steps = seed, batch_size, min_steps
        self.workers = default_workers() if workers is None else workers
        self.begun = (0, 0)  # an epoch, and how many of its batches were done before the run was stopped

    @property
    def labels(self) -> dict[str, FrameLabels]:
        """The labels of the validation frames by key."""
        return {self.data.frames[index].key: self.data.frames[index] for index in self.val_indices}

    def train_dataloader(self) -> DataLoader[PoseCrop]:
        epoch, batches = self.begun
        draws = EpochSampler(
            self.train_indices,
            min_draws=self.min_steps * self.batch_size,
            seed=self.seed,
            begun=(epoch, batches * self.batch_size),
            closing=self._first_closing(),
        )
        crops = TrainCrops(self.data, self.model_input, self.transform, self.closing)
        # A last batch of one or two frames is too small for batch-norm's statistics.
        whole_batches = len(draws) >= self.batch_size
        return DataLoader(crops, sampler=draws, drop_last=whole_batches, **self._settings(self.workers))

    def _first_closing(self) -> int | None:
        """The first epoch with the closing augmentation, None without one."""
        if not self.closing_share:
            return None
        epochs = None if self.trainer is None else self.trainer.max_epochs
        if epochs is None or epochs < 1:
            raise ConfigError(
                f"datamodule.closing_share={self.closing_share}: it needs a number of epochs. "
                "Set trainer.max_epochs, or datamodule.closing_share=0."
            )
        return epochs - round(self.closing_share * epochs)

    def val_dataloader(self) -> DataLoader[PoseCrop]:
        crops = EvaluationCrops(self.data, self.model_input, self.val_indices)
        share = RankSampler(len(crops), self.batch_size)
        return DataLoader(crops, sampler=share, **self._settings(min(self.workers, 1)))

    def state_dict(self) -> dict[str, int]:
        """The epoch and its finished batches: a run that is stopped within an epoch resumes with the next batch."""
        if self.trainer is None:
            return {}
        batches: Any = self.trainer.fit_loop.epoch_loop.batch_progress
        done = 0 if batches.is_last_batch else batches.current.processed
        return {"epoch": self.trainer.current_epoch, "batches": done}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.begun = (state_dict.get("epoch", 0), state_dict.get("batches", 0))

    def _settings(self, workers: int) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "num_workers": workers,
            "collate_fn": collate,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": workers > 0,
            "worker_init_fn": functools.partial(init_worker, parent=os.getpid()),
            # Forked workers share the cache of images. Stated, because joblib's launcher and Python 3.14 have other
            # defaults.
            "multiprocessing_context": "fork" if workers > 0 and sys.platform == "linux" else None,
        }

    def transfer_batch_to_device(self, batch: PoseBatch, device: torch.device, dataloader_idx: int) -> PoseBatch:
        return batch.to(device, non_blocking=True)


def default_workers() -> int:
    """Number of workers: few where the CPU also trains, more beside a GPU."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = here // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # training processes on this machine
    return min(8, max(1, cores - 1)) if torch.cuda.is_available() else min(2, max(0, cores - 1))


def init_worker(worker: int, parent: int) -> None:
    """Set up a worker: one thread, a delayed SIGTERM, and an end when its parent ends."""
    # torch's own watchdog starts later and misses a parent that was killed just after the fork.
    threading.Thread(target=exit_with_parent, args=(parent,), daemon=True).start()
    # Workers run in parallel already: more threads in each would compete.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if sys.platform != "win32":
        # SLURM signals every process of a job, but batches are needed until the run has saved a checkpoint: workers end
        # a while later.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))


def exit_with_parent(parent: int) -> None:
    """End this process when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
