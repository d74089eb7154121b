"""Work spread over a Ray cluster; Ray Data plans, retries and limits it."""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clearpane.errors import ClearpaneError, MissingExtraError

# A task of Ray Data takes one block of items. With one item in each, a worker's death repeats no other item;
# many thousands of blocks are slow to plan.
_MOST_BLOCKS = 20_000

_ATTEMPTS = 4  # by default a task whose worker dies is tried for ever

_NO_STATISTICS = {"RAY_USAGE_STATS_ENABLED": "0"}  # Ray would send them to its authors
_LOCAL = {"RAY_worker_niceness": "0"}  # on one machine the workers have nobody to give way to


@contextlib.contextmanager
def cluster(address: str) -> Iterator[None]:
    """Connect to a Ray cluster within a block.

    Args:
        address: ``auto`` for the cluster that this machine belongs to, ``local`` for a new one on this
            machine, or ``HOST:PORT``.

    Raises:
        MissingExtraError: Ray is not installed.
        ClearpaneError: The cluster cannot be reached.
    """
    for name, value in (_NO_STATISTICS | (_LOCAL if address == "local" else {})).items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise MissingExtraError("working on a Ray cluster", "cluster") from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its plans, and errors that the commands report
    if ray.is_initialized():  # by the program that calls; it also ends it
        yield
        return
    try:
        ray.init(
            address, logging_level="error", log_to_driver=False, configure_logging=False,
            **({"include_dashboard": False} if address == "local" else {}),
        )  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError) as error:
        hint = "; start one with Ray's command `ray start`" if address == "auto" else ""
        raise ClearpaneError(f"no Ray cluster at {address} ({error}){hint}") from error
    try:
        yield
    finally:
        ray.shutdown()


def map_on_cluster(
    work: Callable[..., Mapping[str, Any]], items: Sequence[str], job: object
) -> Iterator[dict[str, Any]]:
    """Do work for each item on the cluster; yield the results as they come, in any order.

    A worker that dies is replaced and its item done again, so the work must allow that: it writes its files
    atomically. If four of an item's workers die, the item has no result.

    Args:
        work: Function of the row ``{"item": item}`` and of ``job``, importable on the workers.
        items: Items, one for each call.
        job: Second argument of all calls, sent to each worker once.
    """
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1
    rows = ray.data.from_items(list(items), override_num_blocks=min(len(items), _MOST_BLOCKS))
    shared = {"work": work, "job": job, "folder": str(Path.cwd())}
    with warnings.catch_warnings():
        # Deprecated from 2.60 on and gone in 2.64, but there is no other way to limit the attempts yet.
        warnings.filterwarnings("ignore", "`ray_remote_args_fn` is deprecated")
        results = rows.map(_work_in, fn_kwargs=shared, num_cpus=1, ray_remote_args_fn=_remote_arguments)
    yield from results.iter_rows()


def _work_in(
    row: Mapping[str, Any], work: Callable[..., Mapping[str, Any]], job: object, folder: str
) -> Mapping[str, Any]:
    """Do the work in the folder of the command, from which relative paths start."""
    with contextlib.suppress(OSError):  # a machine without that folder can still work on addresses
        os.chdir(folder)
    return work(row, job)


def _remote_arguments() -> dict[str, Any]:
    return {"max_retries": _ATTEMPTS - 1}
