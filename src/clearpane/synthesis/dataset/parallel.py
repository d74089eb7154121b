"""Work spread over processes, its results in order."""

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

_AHEAD = 3  # tasks a worker, so that none waits while results are written in order

# The work of this process, if it is a worker.
_work: Work[Any] | None = None
# Whether it is to end as soon as its last result is sent.
_ending = False


@contextlib.contextmanager
def workers(work: Work[R], count: int) -> Iterator[Callable[[Iterable[int]], Iterator[R]]]:
    """Processes that do ``work``: yields a function that maps numbers to results, in their order.

    Each has one PyTorch thread, so that results depend on neither the number of workers nor the computer's
    cores. They end at once when the block is left, for whatever reason, and when this process dies. One
    worker is this process itself.

    Args:
        work: sent to each process once, so it must be picklable.
        count: of processes; they are started as they are needed.

    Raises:
        ClearpaneError: that the work raised; or a worker was killed (memory).
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
                waiting.append(pool.submit(_do, number))
                if len(waiting) >= _AHEAD * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise ClearpaneError(
                "a worker process was ended from outside, perhaps for want of memory: use fewer `workers`"
            ) from error

    try:
        yield ordered
    finally:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        pool.shutdown(cancel_futures=True)  # the pool's own thread waits for their end


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
    """Do the work of one number; while it is done, the parent may end this process at once.

    Not while its result is sent: of half of one the parent would wait for the rest for ever.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if _ending:
        os._exit(1)
    assert _work is not None
    try:
        return _work(number)
    except ClearpaneError as error:
        raise ClearpaneError(str(error)) from None  # sub-classes need not survive the way back
    finally:
        signal.signal(signal.SIGTERM, _end_later)
