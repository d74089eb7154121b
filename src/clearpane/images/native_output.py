"""Hide what native decoders print on standard error; their errors are reported in one line of our own."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_STANDARD_ERROR = 2
_lock = threading.Lock()
_hiding = 0
_original = -1


@contextlib.contextmanager
def python_detached() -> Iterator[None]:
    """Let Python write to a duplicate of standard error, so that `hidden_native_output` cannot hide it.

    For programs that own their process; nothing happens where standard error is closed or replaced.
    """
    original = sys.stderr
    if _python_writes_to() != _STANDARD_ERROR:
        yield
        return
    original.flush()
    with os.fdopen(
        os.dup(_STANDARD_ERROR), "w", 1, encoding=original.encoding, errors="backslashreplace"
    ) as sys.stderr:
        try:
            yield
        finally:
            sys.stderr = original


@contextlib.contextmanager
def hidden_native_output() -> Iterator[None]:
    """Discard what native code writes to standard error; Python's own messages are never hidden.

    libpng and LibRaw print messages that say less than the exception which follows. Nothing is hidden where
    Python itself writes to that descriptor, which is so outside `python_detached`. Threads may nest.
    """
    global _hiding, _original
    if _python_writes_to() in (None, _STANDARD_ERROR):
        yield
        return
    with _lock:
        if not _hiding:
            _original = os.dup(_STANDARD_ERROR)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, _STANDARD_ERROR)
            os.close(nowhere)
        _hiding += 1
    try:
        yield
    finally:
        with _lock:
            _hiding -= 1
            if not _hiding:
                os.dup2(_original, _STANDARD_ERROR)
                os.close(_original)


def _python_writes_to() -> int | None:
    """Return the descriptor that Python's standard error writes to; None if it is closed or no file."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return None
