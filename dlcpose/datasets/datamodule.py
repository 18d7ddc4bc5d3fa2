"""Data module of a run: frames, their order and augmentation, all determined by the seed."""

import bisect
import functools
import os
import signal
import sys
from collections.abc import Iterator, Sequence, Sized
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import LightningDataModule
from torch import distributed
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.cache import CachedFrames
from dlcpose.datasets.crops import augment, fit_to_canvas, keep_keypoints
from dlcpose.datasets.pseudo_labeled import JoinedFrames, PseudoLabeled
from dlcpose.datasets.shared_memory import affordable_workers
from dlcpose.datasets.video_clips import Clips, VideoClips, collate_with_clips
from dlcpose.structures.augmentation import AugmentationSchedule
from dlcpose.structures.batch import PoseBatch, collate
from dlcpose.structures.environment import cpu_cores
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.interrupts import end_with
from dlcpose.structures.run_length import batches_within_limit, epochs_of_run
from dlcpose.structures.sample import PoseCrop
from dlcpose.structures.split import Split

WORKERS_ARE_FORKED = sys.platform == "linux"  # on Windows and macOS each begins anew, with a cache of its own
USUAL_BATCH_SIZE = 8  # frames on each device
MAX_WAIT = 900  # seconds for a batch
GRACE_SECONDS = 20  # for which a worker continues after SIGTERM
Draw = tuple[int, int, int]  # index of a frame, seed and phase of its augmentation


class EpochSampler(DistributedSampler[Any]):
    """The draws of an epoch: every frame once, or repeatedly up to `min_draws`, shuffled anew for each epoch.

    A draw carries the seed of its augmentation, so that a crop depends on seed, epoch and place in the epoch, not on the
    worker. Lightning calls set_epoch at the start of each epoch, also after resuming.
    min_draws: of each device; several devices take the draws of an epoch in turn. begun: an epoch, and how many of its
    draws each device has had before the run was stopped. pseudo: indices of pseudo-labeled frames, and the share of the
    draws that are of them; the epoch is no longer for them. first_epochs: the epoch with which each phase of the
    augmentation begins; whoever knows the length of the run sets them. A DistributedSampler, since Lightning would wrap
    any other in one that never passes on the epoch.
    """

    def __init__(
        self,
        indices: Sequence[int],
        *,
        min_draws: int,
        seed: int,
        begun: tuple[int, int] = (0, 0),
        pseudo: tuple[Sequence[int], float] = ((), 0.0),
    ) -> None:
        devices, rank = devices_and_rank()
        super().__init__(range(len(indices)), num_replicas=devices, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.indices, self.begun, self.pseudo = list(indices), begun, pseudo
        self.first_epochs: Sequence[int] = (0,)
        self.set_epoch(0)
        self.total_draws = max(len(self.indices), min_draws * devices)  # of all devices
        self.length = -(-self.total_draws // devices)  # of each

    def set_epoch(self, epoch: int) -> None:
        # Lightning fetches the first batches, with epoch 0, before it has read which epoch it resumes.
        super().set_epoch(max(epoch, self.begun[0]))

    def __iter__(self) -> Iterator[Draw]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = _shuffled(self.indices, self.total_draws, generator)
        if len(self.pseudo[0]):
            count = round(self.pseudo[1] * self.total_draws)
            of_pseudo = _shuffled(self.pseudo[0], count, generator)
            order = generator.permutation(np.concatenate([order[: self.total_draws - count], of_pseudo]))
        # Repeated up to an even share, so that several devices see the draws that a single one would.
        total = self.length * self.num_replicas
        order = np.resize(order, total)
        seeds = generator.integers(2**31, size=total)
        phase = bisect.bisect_right(self.first_epochs, self.epoch) - 1
        draws = [(int(index), int(seed), phase) for index, seed in zip(order, seeds, strict=True)]
        epoch, done = self.begun
        return iter(draws[self.rank :: self.num_replicas][done if epoch == self.epoch else 0 :])

    def __len__(self) -> int:
        return self.length


def _shuffled(indices: Sequence[int], count: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """So many draws of some frames: each once before any is drawn again, in a new order each time."""
    rounds = max(1, -(-count // len(indices)))
    return np.concatenate([generator.permutation(np.asarray(indices, np.int64)) for _ in range(rounds)])[:count]


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
    """Augmented crops of a data set by draw, through the transform of the draw's phase."""

    def __init__(self, data: LabeledFrames, model_input: Input, schedule: AugmentationSchedule) -> None:
        self.data, self.model_input = data, model_input
        self.transforms = [keep_keypoints(phase.transform) for phase in schedule.phases]

    def __getitem__(self, draw: Draw) -> PoseCrop:
        index, seed, phase = draw
        return augment(
            fit_to_canvas(self.data[index], self.model_input), self.transforms[phase], self.data.skeleton, seed
        )


class CropsWithClips(TrainCrops):
    """The crops of a batch and, behind them, its clips of videos without labels, which follow from its first draw."""

    def __init__(
        self, data: LabeledFrames, model_input: Input, schedule: AugmentationSchedule, clips: VideoClips
    ) -> None:
        super().__init__(data, model_input, schedule)
        self.clips = clips
        clips.load()  # before there are workers, which share the memory

    def __getitems__(self, draws: Sequence[Draw]) -> list[PoseCrop | Clips]:
        return [*(self[draw] for draw in draws), self.clips.draw(draws[0][1])]


class EvaluationCrops(Dataset[PoseCrop], Sized):
    """Crops of some frames of a data set, without augmentation."""

    def __init__(self, data: LabeledFrames, model_input: Input, indices: Sequence[int]) -> None:
        self.data, self.model_input, self.indices = data, model_input, list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> PoseCrop:
        return fit_to_canvas(self.data[self.indices[place]], self.model_input)


class PoseDataModule(LightningDataModule):
    """Loaders for training and validation on one split of a data set.

    batch_size: frames on each device; None: 8. workers: processes that prepare batches; None chooses by the machine's
    cores; with a small /dev/shm there are fewer.
    cache_gb: memory for decoded images, of all workers together. min_steps: minimum number of batches in an epoch, so that
    with few frames an epoch is still worth validating. overfit: number of training frames to train and validate on, all
    others unused, to see whether a model can memorize them. clips: of videos without labels, for each training batch.
    pseudo: frames that other models labeled, to train on as well.
    Raises ConfigError for a batch_size below 1, workers below 0, an overfit of no frames or more than there are to train on,
    and a schedule of several phases for a run without an end.
    """

    def __init__(
        self,
        data: LabeledFrames,
        split: Split,
        model_input: Input,
        schedule: AugmentationSchedule,
        *,
        seed: int,
        batch_size: int | None = None,
        workers: int | None = None,
        cache_gb: float = 4.0,
        min_steps: int = 0,
        overfit: int | None = None,
        clips: VideoClips | None = None,
        pseudo: PseudoLabeled | None = None,
    ) -> None:
        super().__init__()
        if overfit is not None and not 1 <= overfit <= len(split.train):
            raise ConfigError(
                f"datamodule.overfit: expected null or a number from 1 to {len(split.train)}, the size of the train set, "
                f"got {overfit}."
            )
        batch_size = USUAL_BATCH_SIZE if batch_size is None else batch_size
        if batch_size < 1 or (workers is not None and workers < 0):
            raise ConfigError(
                f"datamodule: expected a batch_size from 1 and workers from 0, got {batch_size} and {workers}."
            )
        places = {frame.key: index for index, frame in enumerate(data.frames)}
        self.train_indices = [places[key] for key in split.train]
        self.val_indices = [places[key] for key in split.val]
        if overfit is not None:
            self.train_indices = self.val_indices = self.train_indices[:overfit]
        self.pseudo_indices: list[int] = []
        if pseudo is not None:
            self.pseudo_indices = list(range(len(data), len(data) + len(pseudo.frames)))
            data = JoinedFrames(data, pseudo.frames)
        self.pseudo_share = 0.0 if pseudo is None else pseudo.share
        self.model_input, self.schedule, self.clips = model_input, schedule, clips
        self.seed, self.batch_size, self.min_steps = seed, batch_size, min_steps
        height, width = model_input.canvas or np.max([(frame.height, frame.width) for frame in data.frames], axis=0)
        batch_bytes = 3 * int(height) * int(width) * batch_size
        self.workers = affordable_workers(default_workers() if workers is None else workers, batch_bytes)
        caches = 1 if WORKERS_ARE_FORKED else self.workers + 1
        indices = self.train_indices + self.val_indices + self.pseudo_indices
        self.data = CachedFrames(data, indices, cache_gb / caches)
        self.begun = (0, 0)  # an epoch, and how many of its batches were done before the run was stopped

    def train_dataloader(self) -> DataLoader[PoseCrop]:
        epoch, batches = self.begun
        draws = EpochSampler(
            self.train_indices,
            min_draws=self.min_steps * self.batch_size,
            seed=self.seed,
            begun=(epoch, batches * self.batch_size),
            pseudo=(self.pseudo_indices, self.pseudo_share),
        )
        # A last batch of one or two frames is too small for batch-norm's statistics.
        whole_batches = len(draws) >= self.batch_size
        draws.first_epochs = self._first_epochs(len(draws) // self.batch_size if whole_batches else 1)
        settings = self._settings(self.workers)
        if self.clips is None:
            crops = TrainCrops(self.data, self.model_input, self.schedule)
        else:
            crops = CropsWithClips(self.data, self.model_input, self.schedule, self.clips)
            settings["collate_fn"] = collate_with_clips
        return DataLoader(crops, sampler=draws, drop_last=whole_batches, **settings)

    def _first_epochs(self, batches: int) -> Sequence[int]:
        """The epoch with which each phase of the augmentation begins. batches: of an epoch, on each device."""
        if self.trainer is None or len(self.schedule.phases) == 1:
            return self.schedule.strongest_throughout
        epochs = epochs_of_run(self.trainer, batches_within_limit(batches, self.trainer.limit_train_batches))
        if epochs is None:
            raise ConfigError(
                "augmentation: its phases are shares of a run, so the run needs an end. Set trainer.max_epochs or "
                "trainer.max_steps, or take augmentation=light, which stays the same."
            )
        return self.schedule.first_epochs(epochs)

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
        return {"epoch": self.trainer.current_epoch, "batches": done, "batch_size": self.batch_size}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.begun = (state_dict.get("epoch", 0), state_dict.get("batches", 0))

    def _settings(self, workers: int) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "num_workers": workers,
            "collate_fn": collate,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": workers > 0,
            # A batch that does not fit into /dev/shm is lost, and the run would wait for it forever.
            "timeout": MAX_WAIT if workers > 0 else 0,
            "worker_init_fn": functools.partial(init_worker, parent=os.getpid()),
            # Forked workers share the cache of images. Stated, because joblib's launcher and Python 3.14 have other
            # defaults.
            "multiprocessing_context": "fork" if workers > 0 and WORKERS_ARE_FORKED else None,
        }

    def transfer_batch_to_device(self, batch: PoseBatch, device: torch.device, dataloader_idx: int) -> PoseBatch:
        return batch.to(device, non_blocking=True)


def default_workers() -> int:
    """Number of workers: few where the CPU also trains, more beside a GPU."""
    cores = cpu_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # training processes on this machine
    return min(8, max(1, cores - 1)) if torch.cuda.is_available() else min(2, max(0, cores - 1))


def init_worker(worker: int, parent: int) -> None:
    """Set up a worker: one thread, a delayed SIGTERM, and an end when its parent ends."""
    # torch's own watchdog starts later and misses a parent that was killed just after the fork.
    end_with(parent)
    # Workers run in parallel already: more threads in each would compete.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if sys.platform != "win32":
        # SLURM signals every process of a job, but batches are needed until the run has saved a checkpoint: workers end
        # a while later.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which saves itself first
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))
