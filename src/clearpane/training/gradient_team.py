"""Gradients of the parts of one step, computed side by side by threads of one processor.

Operations on a few thousand numbers are too small to be shared by cores: each thread does a part of the step
of its own, on one core.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Generator, Tensor

_MOST_THREADS = 4


class GradientTeam:
    """Threads, as many as PyTorch may use but at most 4; a context manager that ends them.

    Args:
        seed: of the threads' random numbers. Results depend on how many threads there are.
    """

    def __init__(self, seed: int) -> None:
        self._threads = torch.get_num_threads()
        count = min(self._threads, _MOST_THREADS)
        self._generators = [Generator().manual_seed(seed + index) for index in range(count)]
        self._pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))

    def __enter__(self) -> "GradientTeam":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        torch.set_num_threads(self._threads)

    def gradients(
        self, loss_of: Callable[[Generator], Tensor], parameters: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """The mean over threads of the gradients of ``loss_of``, each with random numbers of its own.

        None for a parameter that no part depends on.
        """

        def part(generator: Generator) -> tuple[Tensor | None, ...]:
            return torch.autograd.grad(loss_of(generator), parameters, allow_unused=True)

        parts = list(self._pool.map(part, self._generators))
        return [_mean(values, len(parts)) for values in zip(*parts, strict=True)]


def _mean(values: tuple[Tensor | None, ...], count: int) -> Tensor | None:
    """A part that does not depend on a parameter has the gradient 0."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    total = known[0]
    for value in known[1:]:
        total = total.add_(value)
    return total.div_(count) if count > 1 else total
