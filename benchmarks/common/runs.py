"""Run the trainings of a benchmark in parallel, save each when it ends, and report at the end."""

import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from clearpane.errors import ClearpaneError


def known_runs(numbers: Path, base: str) -> dict[str, Any]:
    """Load earlier results of a benchmark, or an empty document.

    Args:
        base: Digest of the runs' starting point; results of another one are ignored.
    """
    if numbers.is_file():
        known: dict[str, Any] = json.loads(numbers.read_text(encoding="utf-8"))
        if known["base"] == base:
            return known
    return {"base": base, "runs": {}}


def finish_runs(
    work: Callable[..., Any], wanted: Mapping[str, tuple[Any, ...]], workers: int
) -> Iterator[tuple[str, Any]]:
    """Do the work of each key in parallel; yield keys and results as they finish.

    An interruption also interrupts the workers.
    """
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        jobs = {pool.submit(work, *arguments): key for key, arguments in wanted.items()}
        try:
            for done, job in enumerate(as_completed(jobs), 1):
                yield jobs[job], job.result()
                print(f"{jobs[job]}: {done} of {len(jobs)} runs done", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while workers_left := active_children():
                for worker in workers_left:  # repeated: a worker that has saved may have begun another run
                    worker.terminate()
                    worker.join(0.5)
            raise


def finish(measure: Callable[[], str]) -> int:
    """Measure, print the resulting tables and return the exit code. Termination counts as Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        print(measure())
    except ClearpaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
