"""Choose what is printed on standard error: ``CLEARPANE_VERBOSITY`` in the environment."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

from clearpane.errors import ClearpaneError, one_line

VARIABLE = "CLEARPANE_VERBOSITY"
_LEVELS = {
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
}


def verbosity() -> int:
    """Return the lowest level that is printed, as `logging` counts: warnings, if the variable is not set.

    Raises:
        ClearpaneError: The variable names no level.
    """
    name = os.environ.get(VARIABLE) or "warning"
    if name.lower() not in _LEVELS:
        raise ClearpaneError(f"{VARIABLE}={name}: set it to {', '.join(_LEVELS)}")
    return _LEVELS[name.lower()]


class _StandardError(logging.Handler):
    """Handler that prints records as the command line prints its own messages."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        # sys.stderr is looked up anew: the progress bar replaces it
        print(f"{record.levelname.lower()}: {one_line(record.getMessage())}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def library_messages() -> Iterator[None]:
    """Print what the library logs, from the level that ``CLEARPANE_VERBOSITY`` names.

    Raises:
        ClearpaneError: The variable names no level.
    """
    logger, handler = logging.getLogger("clearpane"), _StandardError()
    before = logger.level
    logger.setLevel(verbosity())
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
