"""Compute the gradients of one step's loss in parallel threads.

Operations on a few thousand numbers are too small to be split over cores; instead, each thread computes a
separate part of the step on one core. The number of parts does not depend on the number of cores.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Generator, Tensor

Gradients = Callable[[Callable[[Generator], Tensor], Sequence[Tensor]], list[Tensor | None]]


@contextmanager
def gradient_workers(seed: int, parts: int) -> Iterator[Gradients]:
    """Start worker threads and yield a function that computes gradients with them.

    There are as many threads as PyTorch may use, at most one for each part. The function takes a loss, which
    draws random numbers, and parameters. It returns the mean of the loss's gradients over the parts, each of
    which has a separate random generator, and None for a parameter that no part's loss depends on.

    Args:
        seed: Random seed of the parts' generators.
        parts: Number of parts of a step, each with a loss of its own.
    """
    threads = torch.get_num_threads()
    seeds = torch.randint(2**62, (parts,), generator=Generator().manual_seed(seed)).tolist()
    generators = [Generator().manual_seed(own) for own in seeds]
    pool = ThreadPoolExecutor(min(threads, parts), initializer=torch.set_num_threads, initargs=(1,))

    def gradients(
        loss_of: Callable[[Generator], Tensor], parameters: Sequence[Tensor]
    ) -> list[Tensor | None]:
        def part(generator: Generator) -> tuple[Tensor | None, ...]:
            return torch.autograd.grad(loss_of(generator), parameters, allow_unused=True)

        found = list(pool.map(part, generators))
        return [_mean(*both) for both in zip(parameters, zip(*found, strict=True), strict=True)]

    try:
        yield gradients
    finally:
        try:
            pool.shutdown(cancel_futures=True)
        finally:  # the workers' setting became the default of all later threads
            torch.set_num_threads(threads)


def _mean(parameter: Tensor, values: tuple[Tensor | None, ...]) -> Tensor | None:
    """Average the known gradients; a part that does not depend on the parameter counts as 0."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    # Same memory layout as the parameter: a fused optimiser ignores strides.
    total = torch.zeros_like(parameter)
    for value in known:
        total.add_(value, alpha=1 / len(values))
    return total
