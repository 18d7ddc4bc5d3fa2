"""What a run that ran out of memory says."""

import pytest
import torch

from dlcpose.training.memory_hints import MemoryRunOutError, explaining_memory

CONFIG = {
    "datamodule": {"batch_size": 8, "cache_gb": 4.0},
    "trainer": {"accumulate_grad_batches": 1, "precision": "32-true"},
    "input": {"longest_side": 512},
    "pipeline": {},
}


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        MemoryError(),
    ],
)
def test_it_says_what_to_lower(error: BaseException) -> None:
    with pytest.raises(MemoryRunOutError) as told, explaining_memory(CONFIG):
        raise error
    said = str(told.value)
    assert "datamodule.batch_size=4 trainer.accumulate_grad_batches=2 (the same effective batch)" in said
    assert "a smaller input.longest_side (now 512)" in said
    assert "trainer.precision=bf16-mixed" in said
    assert "\n" not in said


def test_a_worker_that_was_killed_is_another_matter() -> None:
    killed = "DataLoader worker (pid 71) is killed by signal: Killed. "
    with pytest.raises(MemoryRunOutError, match=r"datamodule\.workers \(0 needs none\)"), explaining_memory(CONFIG):
        raise RuntimeError(killed)


def test_what_is_no_smaller_is_not_offered() -> None:
    config = {**CONFIG, "datamodule": {"batch_size": 1, "cache_gb": 4.0}, "trainer": {"precision": "bf16-mixed"}}
    with pytest.raises(MemoryRunOutError) as told, explaining_memory(config):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    assert "batch_size=" not in str(told.value)
    assert "bf16" not in str(told.value)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explaining_memory(CONFIG):
        raise RuntimeError("shapes do not match")
