"""Pipeline two steps of many jobs: the second step of one job runs in parallel with the first of the next."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Job = TypeVar("Job")
Half = TypeVar("Half")
Done = TypeVar("Done")
DEPTH = 2  # jobs whose second step may wait: one in work, one ready


def overlapped(
    jobs: Iterable[Job], first: Callable[[Job], Half], second: Callable[[Job, Half], Done]
) -> Iterator[Done]:
    """The results of `second` for each job, in order; it runs in a thread of its own while `first` has the next job.

    An error of either step is raised where its job's result would have come. A job is taken only when the one DEPTH
    places before it is done, which bounds memory.
    """
    waiting: deque[Future[Done]] = deque()
    # One thread for torch in there: a second team of OpenMP threads would take the cores from the forward pass.
    with ThreadPoolExecutor(1, "postprocess", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(second, job, first(job)))
                if len(waiting) >= DEPTH:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


def one_by_one(
    jobs: Iterable[Job], first: Callable[[Job], Half], second: Callable[[Job, Half], Done]
) -> Iterator[Done]:
    """The same without overlap: each result is yielded before the next job is taken, as live sources need it."""
    for job in jobs:
        yield second(job, first(job))
