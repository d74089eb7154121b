"""Locks between programs. A lock ends with the program that holds it, however that ends."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from clearpane.errors import ClearpaneError

_RUN = ".clearpane-run"


def hold(path: Path) -> int:
    """Make a file, if it is not there, and lock it; return the handle that holds the lock.

    On a disk that knows no locks the file is made all the same.

    Raises:
        FileNotFoundError: its folder is gone, or another program removed the file meanwhile.
    """
    handle = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        with contextlib.suppress(OSError):
            _lock(handle, wait=True)
        _check_same(path, handle)
    except BaseException:
        os.close(handle)
        raise
    return handle


def take(path: Path) -> int | None:
    """Lock a file that is there, and return the handle; None if another handle holds it.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the disk knows no locks, or the file cannot be opened.
    """
    handle = os.open(path, os.O_RDWR)
    try:
        _lock(handle, wait=False)
        _check_same(path, handle)
    except (BlockingIOError, PermissionError):  # the second on Windows
        os.close(handle)
        return None
    except BaseException:
        os.close(handle)
        raise
    return handle


def remove(path: Path, handle: int) -> None:
    """Remove a locked file and give up its lock."""
    with contextlib.suppress(OSError):  # first, so that nobody who waits for it takes it for his own
        path.unlink()
    os.close(handle)
    with contextlib.suppress(OSError):  # Windows removes no file that is open
        path.unlink()


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Keep other runs that call this out of a folder until the end.

    A program that is killed leaves an empty file there, which the next run takes over and removes.

    Raises:
        ClearpaneError: another run is working there, or nothing can be written there.
    """
    path = folder / _RUN
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _take_or_make(path)
    except FileExistsError as error:
        raise ClearpaneError(f"{folder}: is a file; name a folder") from error
    except OSError as error:
        raise ClearpaneError(f"{folder}: cannot write there ({error.strerror or error})") from error
    if handle is None:
        raise ClearpaneError(
            f"{folder}: another run is working in this folder; wait until it ends, or choose another folder"
        )
    try:
        yield
    finally:
        remove(path, handle)


def _take_or_make(path: Path) -> int | None:
    """Take a lock whose file may be missing; on a disk that knows no locks, any number of runs get it."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    try:
        return take(path)
    except FileNotFoundError:  # the run that held it has just ended
        return _take_or_make(path)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            raise
        return hold(path)


def _check_same(path: Path, handle: int) -> None:
    """Raise FileNotFoundError if the file was removed, or replaced, before its lock was got."""
    if not os.path.samestat(os.fstat(handle), path.stat()):
        raise FileNotFoundError(f"{path} is another file now")


def _lock(handle: int, wait: bool) -> None:
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
