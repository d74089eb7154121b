"""``clearpane remove ... --output -``: one picture to standard output, for pipes."""

import contextlib
import ctypes
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from clearpane.app.inputs import UsageError
from clearpane.app.progress import print_error
from clearpane.errors import ClearpaneError
from clearpane.images.picture import BandedPicture
from clearpane.images.reading import open_picture
from clearpane.images.writing import WriteOptions, WrittenFormat, losses, output_suffix, write_picture

STREAM = Path("-")
"""Name of standard input among the pictures, and of standard output."""

_OUTPUT, _ERRORS = 1, 2  # file descriptors


def edit_in_pipe(
    source: Path,
    edit: Callable[[BandedPicture], tuple[BandedPicture, list[str]]],
    kind: WrittenFormat | None,
) -> None:
    """Read a picture, edit it, and write the result to standard output, which receives nothing else.

    Args:
        source: Path of the picture; ``STREAM`` reads standard input.
        edit: Function that returns the result and its warnings.
        kind: Format of the result; None: that of the picture (HEIC and RAW: PNG).

    Raises:
        UsageError: Standard input or output is a terminal.
        ClearpaneError: The picture cannot be read, edited or written.
    """
    with _standard_output() as target:
        picture = open_picture(_standard_input() if source == STREAM else source)
        result, notes = edit(picture)
        stored = Path(f"result{output_suffix(kind or picture.format)}")
        for warning in (*picture.warnings, *notes, *losses(picture, stored)):
            print_error(f"{'standard input' if source == STREAM else source}: {warning}", kind="warning")
        write_picture(target, result, WriteOptions(format=kind))
        target.flush()


def _standard_input() -> BinaryIO:
    """Return the content of standard input as a stream with a name for messages."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("standard input is a terminal: redirect a picture to it (< window.jpg) or pipe one")
    content = io.BytesIO(sys.stdin.buffer.read())
    if not content.getbuffer().nbytes:
        raise ClearpaneError("standard input is empty; the command before the pipe may have failed")
    content.name = "standard input"
    return content


@contextlib.contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    """Yield standard output as a binary stream.

    What Python and the libraries below it print meanwhile goes to standard error.
    """
    try:
        terminal = os.isatty(_OUTPUT)
        target = os.fdopen(os.dup(_OUTPUT), "wb")
    except OSError as error:
        raise UsageError("--output - needs an open standard output") from error
    with target:
        if terminal:
            raise UsageError("standard output is a terminal: redirect it to a file (> clean.jpg) or pipe it")
        sys.stdout.flush()
        os.dup2(_ERRORS, _OUTPUT)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield target
        finally:
            with contextlib.suppress(OSError, TypeError, AttributeError):  # Windows has no such library
                ctypes.CDLL(None).fflush(None)  # what C libraries printed waits in their buffer
            os.dup2(target.fileno(), _OUTPUT)
