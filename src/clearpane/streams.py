"""Accept paths, bytes and binary streams in readers and writers."""

import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path, temporary_folder

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""Type of what readers accept: a path, a file's content, or a binary stream.

A stream is read from its position to its end and left open there; it need not be seekable.
"""

Target = str | os.PathLike[str] | BinaryIO
"""Type of what writers accept: a path or a binary stream.

A stream is written at its position and left open after what was written; it need not be seekable. It receives
nothing unless everything could be encoded.
"""


@dataclass(frozen=True)
class Content:
    """The content of a file, still in the file or in memory.

    Attributes:
        name: Name in messages.
        file: Path of the file that was named, or that a stream has open; None where there is none.
        data: Content; None: it is still in ``file``.
    """

    name: str
    file: Path | None
    data: bytes | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def suffix(self) -> str:
        """Return the end of the name with its dot, in lower case; empty if it has none."""
        return Path(self.name).suffix.lower()

    def open(self) -> BinaryIO:
        """Open the content as a seekable stream."""
        if self.data is not None:
            return io.BytesIO(self.data)
        assert self.file is not None
        return self.file.open("rb")

    def read(self) -> bytes:
        """Return all of the content."""
        with self.open() as file:
            return file.read()

    @contextlib.contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Yield the path of a file with the content, for libraries that read nothing else."""
        if self.data is None:
            assert self.file is not None
            yield self.file
            return
        with _temporary_file() as path:
            path.write_bytes(self.data)
            yield path


def content_of(source: Source, what: str) -> Content:
    """Return what a reader was given; a stream is read to its end.

    Args:
        source: Path, bytes or binary stream.
        what: Name of bytes and nameless streams in messages, such as "the picture".

    Raises:
        ClearpaneError: the stream is a text stream or cannot be read.
    """
    name = source_name(source, what)
    if isinstance(source, str | os.PathLike):
        return Content(name, Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return Content(name, None, bytes(source))
    try:
        data = source.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise ClearpaneError(f"{name}: cannot be read ({_system_text(error)})") from error
    if not isinstance(data, bytes):
        raise ClearpaneError(f'{name}: is a text stream; open it in binary mode ("rb")')
    return Content(name, _opened_file(source), data)


def source_name(source: Source | Target, what: str) -> str:
    """Return the name in messages: a path, the name that a stream has, else ``what``."""
    if isinstance(source, str | os.PathLike):
        return str(Path(source))
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else what


def _opened_file(stream: BinaryIO) -> Path | None:
    """Return the path of the file that a stream has open; None if it has none or the name is another's."""
    name = getattr(stream, "name", None)
    try:
        if isinstance(name, str) and os.path.samestat(os.fstat(stream.fileno()), Path(name).stat()):
            return Path(name)
    except (OSError, ValueError, AttributeError):
        pass
    return None


@contextlib.contextmanager
def atomic_target(target: Target, what: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield the path of a temporary file; its content goes to ``target`` at the end, or nowhere.

    Args:
        target: Path or binary stream.
        what: Name of a nameless stream in messages.
        overwrite: Replace a file that is there. No matter for a stream.

    Raises:
        ClearpaneError: see `atomic_path`; or the stream cannot be written.
    """
    if isinstance(target, str | os.PathLike):
        with atomic_path(Path(target), overwrite) as temporary:
            yield temporary
        return
    name = source_name(target, what)
    try:
        with _temporary_file() as temporary:
            yield temporary
            _copy(temporary, target, name)
    except OSError as error:
        raise ClearpaneError(f"{name}: writing failed ({_system_text(error)})") from error


def _copy(file: Path, target: BinaryIO, name: str) -> None:
    with file.open("rb") as content:
        try:
            shutil.copyfileobj(content, target)
        except TypeError as error:  # a text stream takes no bytes
            raise ClearpaneError(f'{name}: is a text stream; open it in binary mode ("wb")') from error
        except ValueError as error:  # it is closed
            raise ClearpaneError(f"{name}: writing failed ({_system_text(error)})") from error


@contextlib.contextmanager
def _temporary_file() -> Iterator[Path]:
    """Yield the path of a file that does not exist yet and is removed at the end.

    OpenImageIO, which reads JPEG, EXR, HDR and PNG and writes all of these but JPEG, and TIFF, takes only
    paths: its Python package has neither of the C++ library's streams in memory (`IOMemReader`,
    `IOVecOutput`). Every other reader takes the bytes themselves.
    """
    with temporary_folder() as folder:
        yield folder / "content"


def _system_text(error: Exception) -> str:
    return " ".join((getattr(error, "strerror", None) or str(error)).split()) or "unknown error"
