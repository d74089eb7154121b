"""Work distributed over processes, with its results in order."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import FrameType
from typing import Any, TypeVar

import torch

from clearpane.errors import ClearpaneError

R = TypeVar("R")
Work = Callable[[int], R]

_AHEAD = 3  # queued tasks per worker, so that none waits while results are written in order

# Work of this process, if it is a worker.
_work: Work[Any] | None = None
# True if this process should end once its last result is sent.
_ending = False


@contextlib.contextmanager
def workers(work: Work[R], count: int) -> Iterator[Callable[[Iterable[int]], Iterator[R]]]:
    """Start processes that do ``work``; yield a function that maps numbers to results, in order.

    Each process has one PyTorch thread, so that results depend on neither the number of workers nor the
    number of cores. They end at once when the block is left, for whatever reason, and when this process dies.
    With a count of 1, this process does the work itself.

    Args:
        work: Function, sent to each process once; must be picklable.
        count: Number of processes, started as needed.

    Raises:
        ClearpaneError: The work raised it, or a worker was killed (memory).
    """
    if count == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield lambda numbers: map(work, numbers)
        finally:
            torch.set_num_threads(threads)
        return
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(work,))

    def ordered(numbers: Iterable[int]) -> Iterator[R]:
        waiting: deque[Future[R]] = deque()
        try:
            for number in numbers:
                with _interrupts_blocked():
                    waiting.append(pool.submit(_do, number))
                if len(waiting) >= _AHEAD * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise ClearpaneError(
                "a worker process was ended from outside, perhaps for lack of memory: use fewer `workers`"
            ) from error

    try:
        yield ordered
    finally:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        pool.shutdown(cancel_futures=True)  # the pool's thread waits for them to end


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Hold Ctrl-C back; a process that starts meanwhile inherits that, so it starts undisturbed."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(work: Work[Any]) -> None:
    global _work
    _work = work
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    signal.signal(signal.SIGTERM, _end_later)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _end_later(number: int, frame: FrameType | None) -> None:
    global _ending
    _ending = True


def _do(number: int) -> Any:
    """Do the work for one number; meanwhile the parent may end this process at once.

    It may not while the result is being sent: the parent would wait forever for the rest of a partial one.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if _ending:
        os._exit(1)
    assert _work is not None
    try:
        return _work(number)
    except ClearpaneError as error:
        raise ClearpaneError(str(error)) from None  # subclasses may not be picklable
    finally:
        signal.signal(signal.SIGTERM, _end_later)
