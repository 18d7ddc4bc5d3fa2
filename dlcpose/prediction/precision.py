"""Automatic choice of precision and batch size for prediction."""

import functools
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from dlcpose.structures.instances import PosePrediction

NO_MPS = "Apple's GPUs (mps) have no 64-bit floats, in which places in images are computed."
DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SURE = 0.3  # score of a keypoint whose place counts when precisions are compared
MEAN_SHIFT = 0.1  # px of the model's input: most that half precision may move keypoints, on average
FAR_SHIFT = 0.5  # and 95 % of them
MIN_SPEEDUP = 1.2  # of bf16 on a CPU, for what it costs in accuracy
ROUNDS = 8  # the first makes the kernels
PIXELS = 8 * 640 * 480  # in a batch on a CPU
MAX_BATCH = 64


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The autocast context for a precision of "32", "bf16" or "fp16"."""
    is_half = precision != "32"
    return torch.autocast(device.type, DTYPES[precision] if is_half else None, enabled=is_half)


def is_bf16_faster(device: torch.device) -> bool:
    """Whether a device computes in bf16 faster than in 32 bits: on a GPU where it has bf16, on a CPU as measured.

    A CPU that multiplies in bf16 is slower in it all the same where its tiles (AMX) are switched off, as in some virtual
    machines.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    has_bf16 = device.type == "cpu" and any(getattr(torch.cpu, name, lambda: False)() for name in tests)
    return has_bf16 and _bf16_speedup_on_cpu() >= MIN_SPEEDUP


@functools.cache
def _bf16_speedup_on_cpu() -> float:
    """How many times as fast a usual convolution is in bf16; the best of some rounds, which other work does not change."""
    images = torch.ones(2, 64, 48, 48).to(memory_format=torch.channels_last)
    weights = torch.ones(64, 64, 3, 3).to(memory_format=torch.channels_last)
    given = {dtype: (images.to(dtype), weights.to(dtype)) for dtype in (torch.float32, torch.bfloat16)}
    seconds = dict.fromkeys(given, float("inf"))
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for dtype, tensors in given.items():
                began = time.perf_counter()
                torch.nn.functional.conv2d(*tensors, padding=1)
                seconds[dtype] = min(seconds[dtype], time.perf_counter() - began)
    return seconds[torch.float32] / seconds[torch.bfloat16]


def fastest_precision(device: torch.device, predict: Callable[[str], Sequence[PosePrediction]], scale: float) -> str:
    """bf16 where the device is faster in it and the same frames give the same poses, else 32.

    predict: poses of some frames in a precision. scale: pixels of the model's input to one of the image.
    """
    if not is_bf16_faster(device):
        return "32"
    return "bf16" if is_as_good(predict("32"), predict("bf16"), scale) else "32"


def is_as_good(exact: Sequence[PosePrediction], other: Sequence[PosePrediction], scale: float) -> bool:
    """Whether predictions agree within tolerance: as many animals, keypoints with a high score in the same places.

    False where no keypoint has a high score, as nothing can be compared.
    """
    shifts: list[np.ndarray] = []
    for ours, theirs in zip(exact, other, strict=True):
        if len(ours) != len(theirs):
            return False
        # (M, M, K), NaN for a keypoint that either animal lacks
        distance = np.linalg.norm(ours.keypoints_in_image[:, None] - theirs.keypoints_in_image[None], axis=-1)
        shared = (~np.isnan(distance)).sum(axis=-1)
        apart = np.where(shared > 0, np.nansum(distance, axis=-1) / np.maximum(shared, 1), np.inf)  # (M, M)
        for animal, match in enumerate(apart.argmin(axis=1) if len(ours) else []):
            shifts.append(distance[animal, match][ours.keypoint_scores[animal] >= SURE])
    sure = np.concatenate(shifts) * scale if shifts else np.zeros(0)
    if not len(sure) or np.isnan(sure).any():
        return False
    return bool(sure.mean() <= MEAN_SHIFT and np.quantile(sure, 0.95) <= FAR_SHIFT)


def automatic_batch_size(device: torch.device, canvas: tuple[int, int], forward: Callable[[int], object]) -> int:
    """Frames of (height, width) that suit a device: on a CPU by their size, on a GPU by the memory that they take.

    forward: a forward pass of so many frames. Always a power of two.
    """
    if device.type != "cuda":
        return power_of_two_below(PIXELS / (canvas[0] * canvas[1]), 8)
    forward(1)  # memory of the libraries themselves
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    forward(2)
    each = max(1, (torch.cuda.max_memory_allocated(device) - before) // 2)
    free, _ = torch.cuda.mem_get_info(device)
    return power_of_two_below(free / 2 / each, MAX_BATCH)


def power_of_two_below(number: float, most: int) -> int:
    """The largest power of two that is neither above a number nor above `most`, at least 1."""
    return int(min(most, 2 ** int(np.log2(max(1.0, number)))))
