"""What a training that fails for want of memory, or of a larger batch, says."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dlcpose.structures.errors import ConfigError, Stopped
from dlcpose.training.hints import MemoryRunOutError, explain_batch_norm, explain_memory, interruptible

CONFIG = {
    "datamodule": {"cache_gb": 4.0},
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
def test_memory_error_suggests_settings(error: BaseException) -> None:
    with pytest.raises(MemoryRunOutError) as raised, explain_memory(CONFIG, 8):
        raise error
    said = str(raised.value)
    assert "datamodule.batch_size=4 trainer.accumulate_grad_batches=2 (the same effective batch)" in said
    assert "a smaller input.longest_side (now 512)" in said
    assert "trainer.precision=bf16-mixed" in said
    assert "\n" not in said


def test_a_worker_that_was_killed_is_another_matter() -> None:
    killed = "DataLoader worker (pid 71) is killed by signal: Killed. "
    with pytest.raises(MemoryRunOutError, match=r"datamodule\.workers \(0 needs none\)"), explain_memory(CONFIG, 8):
        raise RuntimeError(killed)


def test_what_is_no_smaller_is_not_offered() -> None:
    config = {**CONFIG, "trainer": {"precision": "bf16-mixed"}}
    with pytest.raises(MemoryRunOutError) as raised, explain_memory(config, 1):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    assert "batch_size=" not in str(raised.value)
    assert "bf16" not in str(raised.value)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explain_memory(CONFIG, 8):
        raise RuntimeError("shapes do not match")


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (1, r"datamodule\.batch_size=1: .*Take datamodule\.batch_size=2 or more"),
        (8, "a batch of one frame: .*Take more frames to train on"),
    ],
)
def test_a_single_value_cannot_be_normalized(size: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said), explain_batch_norm(size):
        nn.BatchNorm2d(4)(torch.zeros(1, 4, 1, 1))


def test_a_stopped_run_says_by_what_it_is_resumed(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    for told, expected in (((), "resume=last"), (("the same command",), "the same command")):
        with pytest.raises(Stopped, match=expected), interruptible(tmp_path, *told):
            raise KeyboardInterrupt


def test_what_works_and_other_errors_pass() -> None:
    with explain_batch_norm(2):
        nn.BatchNorm2d(4)(torch.zeros(2, 4, 1, 1))
    with pytest.raises(ValueError, match="other"), explain_batch_norm(1):
        raise ValueError("other")
