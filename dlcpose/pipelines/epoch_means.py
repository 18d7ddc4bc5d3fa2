"""Mean losses over an epoch, on one device and over several.

They are not torchmetrics' MeanMetric: its states are synchronized in an order that all devices must share, while a device
whose batches show no animal has no losses to name; and frames that a distributed sampler repeats are left out of a
validation mean by their keys, which a running sum no longer knows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

Sums = Mapping[str, tuple[float, int]]  # (sum over samples, number of samples) by name


class RunningMeans:
    """Means that grow batch by batch, and are saved so that a run stopped within an epoch goes on in it exactly."""

    def __init__(self, sums: Sums | None = None) -> None:
        # On the device: reading a value out would wait for the device at every step.
        self._sums = {name: torch.tensor(total) for name, (total, _) in (sums or {}).items()}
        self._counts = {name: count for name, (_, count) in (sums or {}).items()}

    def add(self, values: Mapping[str, Tensor], count: int) -> None:
        """Take in the means of a batch of `count` samples."""
        for name, value in values.items():
            self._sums[name] = value.float() * count + self._sums.get(name, 0.0)
            self._counts[name] = self._counts.get(name, 0) + count

    def sums(self) -> dict[str, tuple[float, int]]:
        """The sum and the number of samples of each mean, as plain numbers: what the constructor takes."""
        return {name: (float(value), self._counts[name]) for name, value in self._sums.items()}


@dataclass(frozen=True)
class BatchLosses:
    """The mean losses of one validation batch of `count` samples, with the keys of its frames."""

    keys: tuple[str, ...]
    values: Mapping[str, float | Tensor]
    count: int

    def to_plain(self) -> "BatchLosses":
        """The same without tensors, which would tie other processes to this one's device."""
        return BatchLosses(self.keys, {name: float(value) for name, value in self.values.items()}, self.count)


def mean_over_devices(shares: Sequence[Sums]) -> dict[str, float]:
    """Means over the samples of all devices, from the sums of each; a mean of no samples is left out."""
    names = dict.fromkeys(name for share in shares for name in share)
    sums = {name: np.sum([share[name] for share in shares if name in share], axis=0) for name in names}
    return {name: float(total / count) for name, (total, count) in sums.items() if count}


def mean_over_batches(batches: Sequence[BatchLosses]) -> dict[str, float]:
    """Means over the samples of all batches; a batch of which every frame was in an earlier one is left out."""
    means, seen = RunningMeans(), set[str]()
    for batch in batches:
        if not batch.keys or not seen.issuperset(batch.keys):
            means.add({name: torch.as_tensor(value) for name, value in batch.values.items()}, batch.count)
        seen.update(batch.keys)
    return mean_over_devices([means.sums()])


def gather_from_devices(share: Any) -> list[Any]:
    """What each device contributes, by rank; without distributed training, a list of this one's alone."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [share]
    shares: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(shares, share)
    return shares
