"""Gradients of the parts of one step, computed side by side by threads of one processor.

Operations on a few thousand numbers are too small to be shared by cores: each thread does a part of the step
of its own, on one core.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

Gradients = Callable[[Callable[[Generator], Tensor], Sequence[Tensor]], list[Tensor | None]]

# Python hands out one operation at a time: more threads would wait for each other.
_MOST_THREADS = 4


@contextmanager
def gradient_team(seed: int) -> Iterator[Gradients]:
    """Threads, as many as PyTorch may use but at most 4, and a function that has them compute gradients.

    It takes a loss, which depends on random numbers, and parameters. It gives the mean over threads of the
    loss's gradients, each with random numbers of its own; None for a parameter that no part depends on.

    Args:
        seed: of the threads' random numbers. Results depend on how many threads there are.
    """
    threads = torch.get_num_threads()
    count = min(threads, _MOST_THREADS)
    seeds = torch.randint(2**62, (count,), generator=Generator().manual_seed(seed)).tolist()
    generators = [Generator().manual_seed(own) for own in seeds]
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))

    def gradients(
        loss_of: Callable[[Generator], Tensor], parameters: Sequence[Tensor]
    ) -> list[Tensor | None]:
        def part(generator: Generator) -> tuple[Tensor | None, ...]:
            return torch.autograd.grad(loss_of(generator), parameters, allow_unused=True)

        parts = list(pool.map(part, generators))
        return [_mean(*both) for both in zip(parameters, zip(*parts, strict=True), strict=True)]

    try:
        yield gradients
    finally:
        try:
            pool.shutdown(cancel_futures=True)
        finally:  # what a worker sets is the default of all threads to come
            torch.set_num_threads(threads)


def _mean(parameter: Tensor, values: tuple[Tensor | None, ...]) -> Tensor | None:
    """A part that does not depend on a parameter has the gradient 0."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    # In memory as the parameter is: a fused optimiser does not look at strides.
    total = torch.zeros_like(parameter)
    for value in known:
        total.add_(value, alpha=1 / len(values))
    return total
