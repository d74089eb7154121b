"""Report a batch to the user: progress bar, a line or JSON object for each picture, errors."""

import errno
import json
import logging
import os
import sys
import traceback
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Literal, Self

from clearpane.app.flags import name_flags
from clearpane.app.verbosity import verbosity
from clearpane.errors import one_line

# What the system may refuse at any place, and what to do then.
_OF_THE_SYSTEM = {
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "free some space and run the same command again",
    errno.EFBIG: "this disk or this user may not hold a file so large; choose another disk",
    errno.EROFS: "choose a disk that can be written to",
    errno.EIO: "the disk does not work; choose another",
    errno.EMFILE: "close other programs, or let the system allow more open files",
    errno.ENFILE: "close other programs, or let the system allow more open files",
    errno.ENOMEM: "not enough memory; close other programs",
    errno.EAGAIN: "the system has no room for another process or thread; close other programs",
}

Status = Literal["done", "skipped", "failed"]


@dataclass
class PictureFacts:
    """Outcome for one picture; ``--json`` prints it as one line.

    Attributes:
        input: Path of the picture.
        status: Outcome; ``skipped`` means that all outputs existed already.
        outputs: Path of each output, by kind: transmission, reflection, compare.
        width, height: Size in pixels, upright; None if the picture was not read.
        seconds: Wall time of reading, separating and writing.
        warnings: Notes about content that was not read, and the separator's notes on its layers.
        error: Reason for the failure, one line.
    """

    input: str
    status: Status = "done"
    outputs: dict[str, str] = field(default_factory=dict)
    width: int | None = None
    height: int | None = None
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    error: str | None = None


class BatchProgress:
    """Reporter of a batch: results go to standard output, errors and the bar to standard error.

    The bar is drawn only if standard error is a terminal.

    >>> with BatchProgress(total=1, as_json=False) as progress:
    ...     progress.begin("window.jpg")
    ...     progress.end(PictureFacts("window.jpg", outputs={"transmission": "out/window_transmission.jpg"}))
    window.jpg -> out/window_transmission.jpg (0.0 s)
    """

    def __init__(self, total: int, as_json: bool) -> None:
        self.as_json = as_json
        self.counts: dict[Status, int] = {"done": 0, "skipped": 0, "failed": 0}
        self._total = total
        self._working = False
        self._name = ""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._bar = None
        if sys.stderr.isatty() and self._total:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.table import Column

            bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                expand=True,
                # A picture can take a minute, so the default window of 30 s would often be empty.
                speed_estimate_period=3600,
                # Otherwise output meant for a pipe would go to the terminal.
                redirect_stdout=sys.stdout.isatty(),
            )
            self._bar = self._stack.enter_context(bar)
            self._task = bar.add_task("", total=self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def begin(self, name: str) -> None:
        """Show the picture that is being processed."""
        self._working = True
        self._name = name
        if self._bar is not None:
            self._bar.update(self._task, description=name)

    def step(self, step: int, steps: int) -> None:
        """Show how many steps of the picture are done."""
        if self._bar is not None:
            self._bar.update(self._task, description=f"{self._name}, step {step} of {steps}")

    def end(self, facts: PictureFacts) -> None:
        """Count and report a picture; skipped pictures are reported only as JSON.

        The bar advances for pictures that were begun, which ``total`` counts.
        """
        self.counts[facts.status] += 1
        facts.warnings = [name_flags(warning) for warning in facts.warnings]
        facts.error = None if facts.error is None else name_flags(facts.error)
        for warning in facts.warnings:
            print_error(f"{facts.input}: {warning}", kind="warning")
        if facts.error is not None:
            print_error(facts.error)
        if self.as_json:
            print(json.dumps(asdict(facts)), flush=True)
        elif facts.status == "done":
            names = ", ".join(facts.outputs.values())
            print(f"{facts.input} -> {names} ({facts.seconds:.1f} s)", flush=True)
        if self._bar is not None and self._working:
            self._bar.advance(self._task)
        self._working = False


class StepProgress:
    """Reporter on standard error of a job with several stages."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._what = ""

    def __enter__(self) -> Self:
        self._bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            self._bar = self._stack.enter_context(
                Progress(
                    SpinnerColumn(),
                    TextColumn("{task.description}", markup=False),
                    BarColumn(bar_width=20),
                    TimeElapsedColumn(),
                    console=Console(stderr=True),
                    transient=True,
                )
            )
            self._task = self._bar.add_task("", total=None)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def begin(self, what: str) -> None:
        """Show the next stage."""
        self._what = what
        if self._bar is not None:
            self._bar.reset(self._task, description=what, total=None)
        else:
            print(what, file=sys.stderr, flush=True)

    def advance(self, share: float, psnr: float, seconds_left: float) -> None:
        """Show the share of the stage that is done, the current PSNR in dB, and the estimated time left."""
        text = f"{self._what}: {psnr:.1f} dB, about {seconds_left:.0f} s left"
        if self._bar is not None:
            self._bar.update(self._task, description=text, total=1.0, completed=share)
        else:
            print(text, file=sys.stderr, flush=True)


def print_error(message: str, kind: Literal["error", "warning"] = "error") -> None:
    """Print one line on standard error, with fields named as options.

    Warnings are printed unless ``CLEARPANE_VERBOSITY`` asks for errors alone.
    """
    if kind == "warning" and verbosity() > logging.WARNING:
        return
    print(f"{kind}: {name_flags(one_line(message))}", file=sys.stderr, flush=True)


def describe_unexpected(error: Exception) -> str:
    """Describe a program error in one line; CLEARPANE_DEBUG=1 prints the traceback too."""
    if os.environ.get("CLEARPANE_DEBUG") == "1":
        traceback.print_exception(error)
    if isinstance(error, MemoryError):
        return "not enough memory: close other programs, or use a smaller picture"
    if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}: {_OF_THE_SYSTEM[error.errno]}"
    text = str(error).replace("`", "'")  # backticks would be taken for an option's name
    return (
        f"unexpected {type(error).__name__}: {text}. This is a bug in Clearpane: please report this line and "
        "the output of the same command with CLEARPANE_DEBUG=1 set"
    )
