"""Runs of a benchmark: trained several at a time, each kept as it ends, and what a script says at its end."""

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
    """What a benchmark wrote before, or a document without runs.

    Args:
        base: digest of what the runs start from: of another one nothing holds.
    """
    if numbers.is_file():
        known: dict[str, Any] = json.loads(numbers.read_text(encoding="utf-8"))
        if known["base"] == base:
            return known
    return {"base": base, "runs": {}}


def finish_runs(
    work: Callable[..., Any], wanted: Mapping[str, tuple[Any, ...]], workers: int
) -> Iterator[tuple[str, Any]]:
    """Do the work of each key, by its arguments, several at a time: keys and results as they come.

    When it is interrupted, so are the workers.
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
                for worker in workers_left:  # again and again: one that has saved may have begun another run
                    worker.terminate()
                    worker.join(0.5)
            raise


def finish(measure: Callable[[], str]) -> int:
    """Measure and print the tables that come of it; the exit code. A request to end counts as Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        print(measure())
    except ClearpaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
