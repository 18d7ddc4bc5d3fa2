"""The loaders of a run: which frames, in which order, augmented how, all of it decided by the seed alone."""

import os
import sys
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
from dlcpose.datasets.crops import augment, keeping_points, on_canvas
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.sample import FrameLabels, PoseCrop
from dlcpose.structures.split import Split

Draw = tuple[int, int]  # index of a frame, seed of its augmentation


class Draws(DistributedSampler[Any]):
    """The order of an epoch: every frame once, or as often as it takes to fill `least` draws, shuffled anew each epoch.

    Each draw carries the seed of its augmentation, so a crop depends on seed, epoch and place in the epoch, not on which
    worker makes it. Lightning calls set_epoch as each epoch begins, also after resuming.
    Several devices share an epoch's draws out in turn; `least` counts the draws of each. It is a DistributedSampler so
    that Lightning does not wrap it in one that would never tell it the epoch.
    """

    def __init__(self, indices: Sequence[int], *, least: int, seed: int) -> None:
        is_shared = distributed.is_available() and distributed.is_initialized()
        devices, rank = (distributed.get_world_size(), distributed.get_rank()) if is_shared else (1, 0)
        super().__init__(range(len(indices)), num_replicas=devices, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.indices = list(indices)
        self.length = max(-(-len(self.indices) // devices), least)  # of one device

    def __iter__(self) -> Iterator[Draw]:
        generator = np.random.default_rng((self.seed, self.epoch))
        total = self.length * self.num_replicas
        rounds = -(-total // len(self.indices))
        order = np.concatenate([generator.permutation(self.indices) for _ in range(rounds)])[:total]
        seeds = generator.integers(2**31, size=total)
        draws = [(int(index), int(seed)) for index, seed in zip(order, seeds, strict=True)]
        return iter(draws[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return self.length


class TrainCrops(Dataset[PoseCrop]):
    """Augmented crops of a data set, by draw."""

    def __init__(self, data: LabelledFrames, model_input: Input, transform: albumentations.Compose) -> None:
        self.data, self.model_input, self.transform = data, model_input, keeping_points(transform)

    def __getitem__(self, draw: Draw) -> PoseCrop:
        index, seed = draw
        return augment(on_canvas(self.data[index], self.model_input), self.transform, self.data.skeleton, seed)


class PlainCrops(Dataset[PoseCrop], Sized):
    """The crops of some frames of a data set, as they are."""

    def __init__(self, data: LabelledFrames, model_input: Input, indices: Sequence[int]) -> None:
        self.data, self.model_input, self.indices = data, model_input, list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> PoseCrop:
        return on_canvas(self.data[self.indices[place]], self.model_input)


class PoseDataModule(LightningDataModule):
    """Loaders for training and validation on one split of a data set.

    batch_size: frames on each device. workers: processes that prepare them, or None for what suits the machine.
    cache_gb: memory for decoded images. least_steps: batches in an epoch at least, so that few frames still make epochs
    worth validating. Raises ConfigError for a batch_size below 1 or workers below 0.
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
        least_steps: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or (workers is not None and workers < 0):
            raise ConfigError(
                f"datamodule: expected a batch_size from 1 and workers from 0, got {batch_size} and {workers}."
            )
        places = {frame.key: index for index, frame in enumerate(data.frames)}
        self.train_indices = [places[key] for key in split.train]
        self.val_indices = [places[key] for key in split.val]
        self.data = CachedFrames(data, self.train_indices + self.val_indices, cache_gb)
        self.model_input, self.transform = model_input, transform
        self.seed, self.batch_size, self.least_steps = seed, batch_size, least_steps
        self.workers = default_workers() if workers is None else workers

    @property
    def labels(self) -> dict[str, FrameLabels]:
        """Labels of the validation frames by key."""
        return {self.data.frames[index].key: self.data.frames[index] for index in self.val_indices}

    def train_dataloader(self) -> DataLoader[PoseCrop]:
        draws = Draws(self.train_indices, least=self.least_steps * self.batch_size, seed=self.seed)
        crops = TrainCrops(self.data, self.model_input, self.transform)
        # A last batch of one or two frames would set batch-norm's statistics from too little.
        whole_batches = len(draws) >= self.batch_size
        return DataLoader(crops, sampler=draws, drop_last=whole_batches, **self._settings(self.workers))

    def val_dataloader(self) -> DataLoader[PoseCrop]:
        crops = PlainCrops(self.data, self.model_input, self.val_indices)
        return DataLoader(crops, shuffle=False, **self._settings(min(self.workers, 1)))

    def _settings(self, workers: int) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "num_workers": workers,
            "collate_fn": collate,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": workers > 0,
            "worker_init_fn": one_thread,
            # Forked workers share the cache of images. Asked for by name: joblib's launcher and Python 3.14 start
            # processes otherwise where nothing is said.
            "multiprocessing_context": "fork" if workers > 0 and sys.platform == "linux" else None,
        }

    def transfer_batch_to_device(self, batch: PoseBatch, device: torch.device, dataloader_idx: int) -> PoseBatch:
        return batch.to(device, non_blocking=True)


def default_workers() -> int:
    """Processes that prepare batches: few where the processor is also what computes, more beside a GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, max(1, cores - 1)) if torch.cuda.is_available() else min(2, max(0, cores - 1))


def one_thread(worker: int) -> None:
    """Workers are parallel to each other already: more threads inside each only take turns."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
