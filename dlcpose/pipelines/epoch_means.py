"""Means over an epoch, on one device and over several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed


class RunningMeans:
    """Means over an epoch as they grow. They are saved, so that a run stopped within an epoch can go on in it."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}  # on the device: reading one out would wait for it at every step
        self.counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor], count: int) -> None:
        """Take in the means over `count` samples."""
        for name, value in values.items():
            self.sums[name] = value.float() * count + self.sums.get(name, 0.0)
            self.counts[name] = self.counts.get(name, 0) + count

    def as_dict(self) -> dict[str, tuple[float, int]]:
        """(sum, count) of each, as plain numbers."""
        return {name: (float(value), self.counts[name]) for name, value in self.sums.items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, tuple[float, int]]) -> "RunningMeans":
        """What `as_dict` gave."""
        means = cls()
        means.sums = {name: torch.tensor(value) for name, (value, _) in content.items()}
        means.counts = {name: count for name, (_, count) in content.items()}
        return means


def mean_of(shares: Sequence[Mapping[str, tuple[float, int]]]) -> dict[str, float]:
    """Means over the samples of all shares, each what `RunningMeans.as_dict` gave; those of no sample are left out."""
    names = dict.fromkeys(name for share in shares for name in share)
    sums = {name: np.sum([share[name] for share in shares if name in share], axis=0) for name in names}
    return {name: float(total / count) for name, (total, count) in sums.items() if count}


def of_all_devices(share: Any) -> list[Any]:
    """What each device brings, by rank; alone, what this one does."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [share]
    shares: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(shares, share)
    return shares


@dataclass(frozen=True)
class BatchLosses:
    """The losses of one batch of validation."""

    keys: tuple[str, ...]
    values: Mapping[str, Tensor]
    samples: int

    def as_plain(self) -> tuple[tuple[str, ...], dict[str, float], int]:
        """Without tensors, which would bind other processes to this one's device."""
        return self.keys, {name: float(value) for name, value in self.values.items()}, self.samples
