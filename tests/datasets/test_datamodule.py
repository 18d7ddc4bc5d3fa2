"""What a run is shown depends on its seed and the epoch, and on nothing else."""

import multiprocessing
import time
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import albumentations as A
import pytest
import pytorch_lightning as lightning
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlcpose.augmentations.base import compose_transforms
from dlcpose.datasets import datamodule as module
from dlcpose.datasets.base import LabeledFrames
from dlcpose.datasets.datamodule import EpochSampler, PoseDataModule, RankSampler, init_worker
from dlcpose.structures.augmentation import AugmentationPhase, AugmentationSchedule
from dlcpose.structures.batch import PoseBatch
from dlcpose.structures.errors import ConfigError
from dlcpose.structures.input import Input
from dlcpose.structures.split import Split
from tests.datasets.counted_frames import CountedFrames
from tests.made_up_runs import frames_of, run_of, tiny_config, trainer_of

FRAMES = CountedFrames([(16, 24)] * 7)
STEPS = [A.HorizontalFlip(p=0.5), A.Affine(rotate=(-40, 40), p=0.7), A.GaussNoise(p=0.5)]


def only(*steps: A.BasicTransform) -> AugmentationSchedule:
    """A schedule of one phase."""
    return AugmentationSchedule((AugmentationPhase(0.0, compose_transforms(steps)),))


def made(
    *,
    workers: int = 0,
    seed: int = 3,
    batch_size: int = 2,
    min_steps: int = 0,
    train: int = 5,
    cache_gb: float = 4.0,
    data: LabeledFrames = FRAMES,
) -> PoseDataModule:
    keys = tuple(frame.key for frame in data.frames)
    return PoseDataModule(
        data,
        Split(keys[:train], keys[train:], ()),
        Input(16, 24),
        only(*STEPS),
        seed=seed,
        batch_size=batch_size,
        workers=workers,
        cache_gb=cache_gb,
        min_steps=min_steps,
    )


def epochs(data: PoseDataModule, which: list[int]) -> list[list[PoseBatch]]:
    loader = data.train_dataloader()
    shown = []
    for epoch in which:
        loader.sampler.set_epoch(epoch)
        shown.append(list(loader))
    return shown


def assert_same(first: list[PoseBatch], second: list[PoseBatch]) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.keys == other.keys
        for field in fields(one):
            if field.name != "keys":
                here, there = getattr(one, field.name), getattr(other, field.name)
                torch.testing.assert_close(here, there, rtol=0, atol=0, equal_nan=True)


def test_the_same_seed_gives_the_same_batches_whatever_the_number_of_workers() -> None:
    alone = epochs(made(workers=0), [0, 1])
    for workers in (1, 2):
        for one, other in zip(alone, epochs(made(workers=workers), [0, 1]), strict=True):
            assert_same(one, other)


@pytest.mark.slow
def test_workers_that_are_not_forked_prepare_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows and macOS, where they begin anew."""
    rendered = frames_of(7)
    monkeypatch.setattr(module, "WORKERS_ARE_FORKED", False)
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    try:
        spawned = epochs(made(workers=1, data=rendered), [0, 1])
    finally:
        multiprocessing.set_start_method(before, force=True)
    for one, other in zip(epochs(made(data=rendered), [0, 1]), spawned, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(("is_forked", "caches"), [(True, 1), (False, 3)])
def test_the_memory_for_images_is_that_of_all_processes(
    is_forked: bool, caches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORKERS_ARE_FORKED", is_forked)
    whole = made(workers=2).data.size
    assert whole > 0
    held = made(workers=2, cache_gb=whole / 2**30).data.size
    largest = max(frame.height * frame.width * 3 for frame in FRAMES.frames)
    assert whole / caches - largest < held <= whole / caches


def test_another_epoch_or_seed_gives_other_batches() -> None:
    first, second = epochs(made(), [0, 1])
    other = epochs(made(seed=4), [0])[0]
    for unlike in (second, other):
        assert any(bool((one.images != two.images).any()) for one, two in zip(first, unlike, strict=True))


def test_a_resumed_epoch_is_the_epoch() -> None:
    assert_same(epochs(made(), [0, 1, 2])[2], epochs(made(), [2])[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_that_was_stopped_goes_on_with_its_next_batch(workers: int) -> None:
    whole = epochs(made(min_steps=4), [2, 3])
    resumed = made(min_steps=4, workers=workers)
    resumed.load_state_dict({"epoch": 2, "batches": 3})
    loader = resumed.train_dataloader()
    loader.sampler.set_epoch(0)  # as Lightning says before it knows better
    rest = list(loader)
    loader.sampler.set_epoch(3)
    for one, other in zip([rest, list(loader)], [whole[0][3:], whole[1]], strict=True):
        assert_same(one, other)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5))
def test_devices_share_frames_without_overlap_in_the_same_number_of_batches(
    count: int, batch_size: int, devices: int
) -> None:
    shares = []
    for rank in range(devices):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "devices_and_rank", lambda rank=rank: (devices, rank))
            shares.append(list(RankSampler(count, batch_size)))
    assert len({-(-len(share) // batch_size) for share in shares}) == 1
    repeated = [share for share in shares[1:] if share and share[-1] == 0]
    assert all(len(share) % batch_size == 1 or batch_size == 1 for share in repeated)  # in a batch of its own
    own = [place for share in shares[1:] for place in share if place]
    assert sorted([*shares[0], *own]) == list(range(count))


@given(st.integers(1, 30), st.integers(0, 100), st.integers(0, 2**31 - 1), st.integers(0, 50))
def test_an_epoch_shows_every_frame_as_evenly_as_can_be(count: int, min_draws: int, seed: int, epoch: int) -> None:
    indices = list(range(100, 100 + count))
    draws = EpochSampler(indices, min_draws=min_draws, seed=seed)
    draws.set_epoch(epoch)
    shown = Counter(index for index, _, _ in draws)
    assert len(draws) == sum(shown.values()) == max(count, min_draws)
    assert set(shown) == set(indices)
    assert max(shown.values()) - min(shown.values()) <= 1
    assert list(draws) == list(draws)


def test_a_frame_shown_twice_is_augmented_anew() -> None:
    seeds = [seed for _, seed, _ in EpochSampler([7], min_draws=50, seed=0)]
    assert len(set(seeds)) == 50


@pytest.mark.parametrize("count", [1, 6, 7])
def test_devices_share_an_epoch_and_each_hears_of_the_next(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(module.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(module.distributed, "get_world_size", lambda: 3)
    samplers = []
    for rank in range(3):
        monkeypatch.setattr(module.distributed, "get_rank", lambda rank=rank: rank)
        samplers.append(EpochSampler(list(range(count)), min_draws=2, seed=0))
    assert len({len(sampler) for sampler in samplers}) == 1
    shown = Counter(index for sampler in samplers for index, _, _ in sampler)
    assert set(shown) == set(range(count))
    assert max(shown.values()) - min(shown.values()) <= 1
    seeds = [seed for sampler in samplers for _, seed, _ in sampler]
    assert len(set(seeds)) == len(seeds) >= 6
    # Lightning wraps a sampler of another kind in one that keeps the epoch to itself.
    assert isinstance(samplers[0], torch.utils.data.DistributedSampler)
    before = list(samplers[1])
    samplers[1].set_epoch(1)
    assert list(samplers[1]) != before


@pytest.mark.parametrize(
    ("batch_size", "min_steps", "expected"), [(2, 0, 2), (2, 9, 9), (8, 0, 1), (8, 3, 3), (5, 0, 1)]
)
def test_an_epoch_has_at_least_so_many_steps_and_no_batch_of_leftovers(
    batch_size: int, min_steps: int, expected: int
) -> None:
    (batches,) = epochs(made(batch_size=batch_size, min_steps=min_steps), [0])
    assert len(batches) == expected == len(made(batch_size=batch_size, min_steps=min_steps).train_dataloader())
    if batch_size <= 5 or min_steps:
        assert {len(batch) for batch in batches} == {batch_size}


def test_validation_shows_its_frames_in_order_as_they_are() -> None:
    data = made(batch_size=4)
    for _ in range(2):
        (batch,) = list(data.val_dataloader())
        assert batch.keys == ("frame 5", "frame 6")
        for place, index in enumerate((5, 6)):
            picture = FRAMES.picture(index, 16, 24)
            torch.testing.assert_close(batch.images[place].permute(1, 2, 0), torch.from_numpy(picture))
            assert (batch.keypoints_in_crop[place] == index + 0.25).all()


class KeysSeen(lightning.Callback):
    def __init__(self) -> None:
        self.seen: dict[int, list[PoseBatch]] = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.seen.setdefault(trainer.current_epoch, []).append(batch)


def test_lightning_resumes_with_the_draws_of_the_next_epoch(tmp_path: Path) -> None:
    data = frames_of(8)
    straight, resumed = KeysSeen(), KeysSeen()
    pipeline, batches = run_of(tiny_config(), data)
    trainer_of(tmp_path, max_epochs=3, callbacks=[straight]).fit(pipeline, datamodule=batches)
    pipeline, batches = run_of(tiny_config(), data)
    first = trainer_of(tmp_path, max_epochs=1)
    first.fit(pipeline, datamodule=batches)
    first.save_checkpoint(tmp_path / "half.ckpt")
    pipeline, batches = run_of(tiny_config(), data)
    second = trainer_of(tmp_path, max_epochs=3, callbacks=[resumed])
    second.fit(pipeline, datamodule=batches, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert sorted(resumed.seen) == [1, 2]
    for epoch in (1, 2):
        assert_same(resumed.seen[epoch], straight.seen[epoch])
    assert [batch.keys for batch in straight.seen[0]] != [batch.keys for batch in straight.seen[1]]


def test_to_overfit_it_validates_on_the_frames_it_trains_on(tmp_path: Path) -> None:
    keys = [frame.key for frame in FRAMES.frames]
    split = Split(tuple(keys[:5]), tuple(keys[5:]), ())
    few = PoseDataModule(FRAMES, split, Input(16, 24), only(), seed=0, overfit=2)
    assert few.train_indices == few.val_indices == [0, 1]
    for count in (0, 6):
        with pytest.raises(ConfigError, match=r"datamodule\.overfit: .* from 1 to 5"):
            PoseDataModule(FRAMES, split, Input(16, 24), only(), seed=0, overfit=count)


class SeenImages(lightning.Callback):
    """Whether each epoch showed the frames as they are."""

    def __init__(self) -> None:
        self.plain: list[bool] = []

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: object, batch: PoseBatch, index: int) -> None:
        is_plain = all(
            torch.equal(image, torch.from_numpy(FRAMES[KEYS.index(key)].image).permute(2, 0, 1))
            for image, key in zip(batch.images, batch.keys, strict=True)
        )
        if index == 0:
            self.plain.append(is_plain)
        else:
            self.plain[-1] &= is_plain


KEYS = [frame.key for frame in FRAMES.frames]


def phased_run(folder: Path, *starts: float, **until: float) -> list[bool]:
    """Which epochs of a run showed the frames as they are, which only the last of its phases does."""
    split = Split(tuple(KEYS[:5]), tuple(KEYS[5:]), ())
    inverted, plain = only(A.InvertImg(p=1.0)).phases[0].transform, only().phases[0].transform
    phases = [AugmentationPhase(start, inverted) for start in (0.0, *starts)]
    phases[-1] = replace(phases[-1], transform=plain)
    batches = PoseDataModule(
        FRAMES, split, Input(16, 24), AugmentationSchedule(tuple(phases)), seed=0, batch_size=2, workers=0
    )
    pipeline, _ = run_of(tiny_config(), FRAMES)
    seen = SeenImages()
    trainer_of(folder, callbacks=[seen], **until).fit(pipeline, datamodule=batches)
    return seen.plain


@pytest.mark.parametrize(
    ("starts", "plain"),
    [
        ((1.0,), [False] * 4),
        ((0.75,), [False, False, False, True]),
        ((0.2, 0.5), [False, False, True, True]),
        ((0.0,), [True] * 4),
    ],
)
def test_each_phase_begins_at_its_share_of_the_epochs(tmp_path: Path, starts: list[float], plain: list[bool]) -> None:
    assert phased_run(tmp_path, *starts, max_epochs=4) == plain


def test_a_run_of_so_many_steps_has_phases_too(tmp_path: Path) -> None:
    assert phased_run(tmp_path, 0.5, max_epochs=-1, max_steps=8) == [False, False, True, True]


@pytest.mark.parametrize(
    ("until", "plain"),
    [
        ({"max_epochs": 27, "max_steps": 8}, [False, False, True, True]),  # two steps an epoch
        ({"max_epochs": 4, "max_steps": 80}, [False, False, True, True]),
        ({"max_steps": 4, "accumulate_grad_batches": 2}, [False, False, True, True]),
        ({"max_steps": 4, "limit_train_batches": 1}, [False, False, True, True]),
        ({"max_steps": 4, "limit_train_batches": 0.5}, [False, False, True, True]),
    ],
    ids=str,
)
def test_phases_are_shares_of_the_epochs_that_there_will_be(
    tmp_path: Path, until: dict[str, float], plain: list[bool]
) -> None:
    assert phased_run(tmp_path, 0.5, **{"max_epochs": -1, **until}) == plain


def test_phases_of_many_devices_are_shares_of_the_epochs_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "devices_and_rank", lambda: (2, 0))
    phases = tuple(AugmentationPhase(start, only().phases[0].transform) for start in (0.0, 0.5))
    split = Split(tuple(KEYS), (), ())
    frames = PoseDataModule(FRAMES, split, Input(16, 24), AugmentationSchedule(phases), seed=0, batch_size=2, workers=0)
    frames.trainer = SimpleNamespace(max_epochs=-1, max_steps=16, accumulate_grad_batches=1, limit_train_batches=1.0)
    loader = frames.train_dataloader()
    assert len(loader) == 2  # of four of the seven frames
    assert list(loader.sampler.first_epochs) == [0, 4]


def test_phases_of_a_run_without_an_end_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.max_epochs or trainer\.max_steps"):
        phased_run(tmp_path, 0.5, max_epochs=-1)


def test_a_loader_outside_of_a_run_shows_the_strongest_phase() -> None:
    phases = tuple(AugmentationPhase(start, only(A.InvertImg(p=1.0)).phases[0].transform) for start in (0.0, 0.5, 0.9))
    schedule = AugmentationSchedule(phases)
    assert schedule.strongest is phases[1]
    split = Split(tuple(KEYS[:5]), tuple(KEYS[5:]), ())
    loader = PoseDataModule(FRAMES, split, Input(16, 24), schedule, seed=0, workers=0).train_dataloader()
    assert {phase for _, _, phase in loader.sampler} == {1}


@pytest.mark.parametrize("starts", [(), (0.1,), (0.0, 0.5, 0.4), (0.0, 1.5)])
def test_phases_in_no_order_are_refused(starts: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="rising"):
        AugmentationSchedule(tuple(AugmentationPhase(start, A.Compose([])) for start in starts))


def test_a_worker_ends_when_the_process_it_works_for_is_gone() -> None:
    def orphan() -> None:
        init_worker(0, parent=0)  # that of nobody: so it looks to a worker whose parent was killed before it began
        time.sleep(60)

    worker = multiprocessing.get_context("fork").Process(target=orphan)
    worker.start()
    worker.join(30)
    assert worker.exitcode == 1
