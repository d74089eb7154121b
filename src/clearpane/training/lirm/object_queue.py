"""Make or read the objects of each draw in advance, during the steps before it."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader

from clearpane.errors import ClearpaneError
from clearpane.synthesis.objects.samples import ObjectDataset, ObjectSample


@dataclass(frozen=True)
class ObjectOrder:
    """Assign objects to draws.

    Attributes:
        draws: Number of draws of the run, in all processes.
        batch: Objects in a draw.
        kept: Number of objects that are reused; 0 for new objects in each draw.
        seed: Random seed of the order of reused objects.
        processes: Number of processes; the draws of one process are this far apart.
    """

    draws: int
    batch: int
    kept: int = 0
    seed: int = 0
    processes: int = 1

    def numbers(self, draw: int) -> list[int]:
        """Return the numbers of the objects of a draw."""
        if not self.kept:
            return [draw * self.batch + i for i in range(self.batch)]
        # Not the draw's own generator: its first number also draws the object's augmentation.
        drawn = np.random.default_rng(np.random.SeedSequence([self.seed, 1, draw]))
        return [int(n) for n in drawn.integers(self.kept, size=self.batch)]


class ObjectQueue:
    """Provide the objects of each draw, made or read in advance by worker processes.

    Args:
        data: Objects by number.
        order: Numbers of the objects of each draw.
        workers: Number of worker processes; 0 to make or read each object on demand in this process.
    """

    def __init__(self, data: ObjectDataset, order: ObjectOrder, workers: int) -> None:
        self._data, self._order, self._workers = data, order, workers
        self._loader: Iterator[list[ObjectSample]] | None = None
        self._next = -1

    def take(self, draw: int) -> list[ObjectSample]:
        """Return the objects of a draw; a process takes its draws in order, starting anywhere."""
        if self._loader is None or draw != self._next:
            self._loader = iter(
                DataLoader(
                    self._data,
                    batch_sampler=_From(self._order, draw),
                    num_workers=self._workers,
                    collate_fn=list,
                    worker_init_fn=_begin,
                    multiprocessing_context="spawn" if self._workers else None,
                )
            )
        self._next = draw + self._order.processes
        try:
            return next(self._loader)
        except ClearpaneError as error:  # an error from a worker starts with its traceback
            raise ClearpaneError(
                str(error).strip().splitlines()[-1].partition("Error: ")[2] or str(error)
            ) from error


@dataclass(frozen=True)
class _From:
    """List the object numbers of a process's draws from a given one on."""

    order: ObjectOrder
    first: int

    def __iter__(self) -> Iterator[list[int]]:
        for draw in self._own:
            yield self.order.numbers(draw)

    def __len__(self) -> int:
        return len(self._own)

    @property
    def _own(self) -> range:
        return range(self.first, self.order.draws, self.order.processes)


def _begin(worker: int) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends the worker
