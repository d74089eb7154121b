"""`clearpane train` in two processes, which start quickly: a server forks them with everything imported."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection, get_context
from pathlib import Path
from unittest.mock import patch

from clearpane.app import cli

_IMPORTED = [
    "clearpane.training.flux.gensirr",
    "clearpane.training.flux.panel",
    "clearpane.training.lirm.recipe",
    "diffusers.pipelines.flux.pipeline_flux_kontext",
    "peft",
    "torch.utils.tensorboard",
    "transformers.models.clip.modeling_clip",
    "transformers.models.t5.modeling_t5",
]


class TwoProcesses:
    """Two processes that train together, in the environment that `torchrun` gives them.

    Args:
        words: words of the command after `clearpane train`.
        said: file that receives what both print.
        prepare: function that each process calls first; it can be imported.
    """

    def __init__(
        self, words: Sequence[str | Path], said: Path, prepare: Callable[[], None] | None = None
    ) -> None:
        self._said = said
        said.touch()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = get_context("forkserver")
        context.set_forkserver_preload(_IMPORTED)
        command = ["train", *map(str, words)]
        self._processes = [
            context.Process(target=_run, args=(rank, port, command, said, prepare), daemon=True)
            for rank in (0, 1)
        ]
        with patch.dict(os.environ, OMP_NUM_THREADS="1"):
            for process in self._processes:
                process.start()

    def wait_until(self, condition, seconds: float = 200) -> None:
        """Wait for a condition as long as both processes live."""
        end = time.monotonic() + seconds
        while not condition():
            living = all(process.is_alive() for process in self._processes)
            assert living and time.monotonic() < end, self._said.read_text()
            time.sleep(0.05)

    def interrupt(self) -> None:
        """Ask both to end, as `torchrun` does when it is asked to."""
        for process in self._processes:
            os.kill(process.pid, signal.SIGTERM)

    def finish(self, seconds: float = 300) -> tuple[list[int | None], str]:
        """Wait for both to end, and end the other where one fails: exit codes, and what they printed."""
        end = time.monotonic() + seconds
        left = list(self._processes)
        while left and time.monotonic() < end and not any(p.exitcode == 1 for p in self._processes):
            connection.wait([process.sentinel for process in left], 1)
            left = [process for process in left if process.is_alive()]
        for process in self._processes:
            process.kill()
            process.join()
        return [process.exitcode for process in self._processes], self._said.read_text()


def _run(rank: int, port: int, command: list[str], said: Path, prepare: Callable[[], None] | None) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with said.open("a") as printed:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
    if prepare is not None:
        prepare()
    sys.exit(cli.main(command))
