"""Files at fsspec addresses, such as ``s3://bucket/folder``, named by paths like local ones.

A path keeps an address with one slash after the colon, ``s3:/bucket/folder``; it joins and splits as usual.
"""

import contextlib
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.locks import hold

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.DOTALL)


def as_local(path: Path) -> Path:
    """Return the local path of a ``file://`` address; other paths are returned unchanged.

    >>> as_local(Path("file:///photos/a.jpg")).as_posix(), as_local(Path("s3://photos/a.jpg")).as_posix()
    ('/photos/a.jpg', 's3:/photos/a.jpg')
    """
    found = _ADDRESS.fullmatch(path.as_posix())
    return Path(f"/{found[2]}") if found and found[1] == "file" else path


def is_remote(path: Path) -> bool:
    """Return True for an address, False for a local path.

    >>> is_remote(Path("s3://photos")), is_remote(Path("photos"))
    (True, False)
    """
    return _ADDRESS.fullmatch(path.as_posix()) is not None


def shown(path: Path) -> str:
    """Return a path as users write it, an address with both slashes.

    >>> shown(Path("s3://photos/a.jpg"))
    's3://photos/a.jpg'
    """
    found = _ADDRESS.fullmatch(path.as_posix())
    return f"{found[1]}://{found[2]}" if found else str(path)


def files_below(folder: Path, *, recursive: bool = True) -> list[Path]:
    """List the files below an address, sorted; an address of a single file gives that file.

    Raises:
        ClearpaneError: There is nothing, or the address cannot be reached.
    """
    with _opened(folder) as (system, place):
        if system.isfile(place):
            return [folder]
        names = system.find(place, maxdepth=None if recursive else 1)
        base = system._strip_protocol(place).rstrip("/")
        return sorted(folder / str(name)[len(base) :].lstrip("/") for name in names)


def exists(path: Path) -> bool:
    """Return True if there is a file at an address.

    Raises:
        ClearpaneError: The address cannot be reached.
    """
    with _opened(path) as (system, place):
        return bool(system.isfile(place))


def fetch(path: Path, folder: Path) -> Path:
    """Copy the file at an address into a local folder, and return its path.

    Raises:
        ClearpaneError: There is none, or it cannot be read.
    """
    target = folder / path.name
    with _opened(path) as (system, place):
        system.get_file(place, str(target))
    return target


def fetch_folder(folder: Path, target: Path) -> None:
    """Copy all files below an address into a local folder.

    Raises:
        ClearpaneError: There are none, or one cannot be read.
    """
    for file in files_below(folder):
        place = target / file.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        fetch(file, place.parent)


def send(file: Path, path: Path) -> None:
    """Copy a local file to an address, whole or not at all; a file that is there is replaced.

    The file takes its name when all of it has arrived.

    Raises:
        ClearpaneError: It cannot be written.
    """
    with _opened(path) as (system, place):
        parent, _, name = place.rpartition("/")
        with contextlib.suppress(FileExistsError):
            system.makedirs(parent, exist_ok=True)
        temporary = f"{parent}/.{name}.{secrets.token_hex(4)}.part"
        try:
            system.put_file(str(file), temporary)
            system.mv(temporary, place)
        except BaseException:
            with contextlib.suppress(OSError):
                system.rm_file(temporary)
            raise


@contextlib.contextmanager
def place_to_write(path: Path) -> Iterator[Path]:
    """Yield a local path for a file; if ``path`` is an address, the file is sent there at the end.

    So are all files that were written beside it, and before it.

    Raises:
        ClearpaneError: A file cannot be written at the address.
    """
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="clearpane-") as folder:
        yield Path(folder) / path.name
        for file in sorted(Path(folder).iterdir(), key=lambda file: file.name == path.name):
            send(file, path.parent / file.name)


def checksum(path: Path) -> tuple[int, str]:
    """Return the size and the SHA-256 of the file at an address.

    Raises:
        ClearpaneError: It cannot be read.
    """
    with _opened(path) as (system, place), system.open(place, "rb") as file:
        digest, size = hashlib.sha256(), 0
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
        return size, digest.hexdigest()


def delete(path: Path) -> None:
    """Delete the file at an address.

    Raises:
        ClearpaneError: There is none, or it cannot be deleted.
    """
    with _opened(path) as (system, place):
        system.rm_file(place)


def local_folder(folder: Path) -> Path:
    """Return a local folder with the files of an address, copied once to each machine; local paths unchanged.

    The copy lies in the system's folder for temporary files and has the name of the address's last folder.

    Raises:
        ClearpaneError: There is nothing, or it cannot be copied.
    """
    if not is_remote(folder):
        return folder
    key = hashlib.sha256(folder.as_posix().encode()).hexdigest()[:16]
    place = Path(tempfile.gettempdir()) / f"clearpane-{key}"
    copy, complete = place / folder.name, place / "complete"
    place.mkdir(parents=True, exist_ok=True)
    lock = hold(place / "lock")  # the workers of a machine wait for the first
    try:
        if not complete.exists():
            fetch_folder(folder, copy)
            complete.touch()
    finally:
        os.close(lock)
    return copy


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, str]]:
    """Yield the file system of an address and the place in it, and name the address in errors."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{shown(path)}: an address", "cluster") from error
    try:
        yield fsspec.core.url_to_fs(shown(path))
    except ImportError as error:  # fsspec names the package, such as s3fs
        raise ClearpaneError(f"{shown(path)}: {error}") from error
    except FileNotFoundError as error:
        raise ClearpaneError(f"{shown(path)}: there is no such file or folder") from error
    except ClearpaneError:
        raise
    except Exception as error:  # each file system raises its own
        raise ClearpaneError(f"{shown(path)}: cannot be reached or used ({error})") from error
