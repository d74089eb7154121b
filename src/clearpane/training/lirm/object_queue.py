"""Make or read the objects of each step in advance, during the steps before it."""

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
    """Assign objects to steps.

    Attributes:
        steps: Number of steps of the run.
        batch: Objects in a step, on each device.
        kept: Number of objects that are reused; 0 for new objects in each step.
        seed: Random seed of the order of reused objects.
        process, processes: Index of this device, and number of devices.
    """

    steps: int
    batch: int
    kept: int = 0
    seed: int = 0
    process: int = 0
    processes: int = 1

    def numbers(self, step: int) -> list[int]:
        """Return the numbers of the objects of a step."""
        position = step * self.processes + self.process
        if not self.kept:
            return [position * self.batch + i for i in range(self.batch)]
        # Not the step's own generator: its first number also draws the object's augmentation.
        drawn = np.random.default_rng(np.random.SeedSequence([self.seed, 1, position]))
        return [int(n) for n in drawn.integers(self.kept, size=self.batch)]


class ObjectQueue:
    """Provide the objects of each step, made or read in advance by worker processes.

    Args:
        data: Objects by number.
        order: Numbers of the objects of each step.
        workers: Number of worker processes; 0 to make or read each object on demand in this process.
    """

    def __init__(self, data: ObjectDataset, order: ObjectOrder, workers: int) -> None:
        self._data, self._order, self._workers = data, order, workers
        self._loader: Iterator[list[ObjectSample]] | None = None
        self._next = -1

    def take(self, step: int) -> list[ObjectSample]:
        """Return the objects of a step; steps are taken in order, starting anywhere."""
        if self._loader is None or step != self._next:
            self._loader = iter(
                DataLoader(
                    self._data,
                    batch_sampler=_From(self._order, step),
                    num_workers=self._workers,
                    collate_fn=list,
                    worker_init_fn=_begin,
                    multiprocessing_context="spawn" if self._workers else None,
                )
            )
        self._next = step + 1
        try:
            return next(self._loader)
        except ClearpaneError as error:  # an error from a worker starts with its traceback
            raise ClearpaneError(
                str(error).strip().splitlines()[-1].partition("Error: ")[2] or str(error)
            ) from error


@dataclass(frozen=True)
class _From:
    """List the object numbers of all steps from a given one on."""

    order: ObjectOrder
    step: int

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.step, self.order.steps):
            yield self.order.numbers(step)

    def __len__(self) -> int:
        return self.order.steps - self.step


def _begin(worker: int) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends the worker
