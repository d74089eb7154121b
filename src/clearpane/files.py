"""Write files and folders completely or not at all, however the program ends.

Unfinished output is kept in a hidden folder beside its final place. The program holds a lock on a file in
that folder for as long as it runs. A folder whose lock is free was left by a killed program: the next program
that writes there removes it.
"""

import contextlib
import ctypes
import errno
import functools
import logging
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from clearpane.errors import ClearpaneError
from clearpane.locks import hold, remove, take

_log = logging.getLogger(__name__)
_PREFIX, _LOCK = ".clearpane-", "lock"
# Of renameat2 (Linux): both names exist afterwards, each with what the other had.
_EXCHANGE, _HERE = 2, -100


class ExistsError(ClearpaneError):
    """A file is there already and may not be overwritten."""


@contextlib.contextmanager
def atomic_path(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary name on the same disk; at the end the file is renamed to ``path`` or removed.

    Raises:
        ExistsError: ``path`` exists and may not be overwritten.
        ClearpaneError: Writing failed.
    """
    path = Path(path)
    with _errors_of(path):
        if path.is_dir():
            raise ClearpaneError(f"{path}: is a folder; name a file")
        if not overwrite and os.path.lexists(path):
            raise _exists(path)
        with _workplace(path.parent) as place:
            temporary = place / f"new{path.suffix}"
            temporary.open("xb").close()
            mode = temporary.stat().st_mode
            yield temporary
            if temporary.stat().st_mode != mode:  # safetensors makes it readable by its owner alone
                temporary.chmod(stat.S_IMODE(mode))
            _sync(temporary, os.O_RDWR)
            _put_in_place(temporary, path, overwrite)
            with contextlib.suppress(OSError):  # not every system can sync a folder
                _sync(path.parent)


@contextlib.contextmanager
def atomic_folder(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder on the same disk; at the end it is renamed to ``path`` or removed.

    Args:
        overwrite: True to replace an existing folder and everything in it.

    Raises:
        ClearpaneError: ``path`` is a file, or a folder that is not empty and may not be replaced; or writing
            failed. An existing folder is then unchanged.
    """
    path = Path(path).resolve()
    check_replaceable(path, overwrite)
    with _errors_of(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _workplace(path.parent) as place:
            temporary = place / "new" / path.name
            temporary.mkdir(parents=True)
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync(file, os.O_RDWR)  # Windows syncs only what is open for writing
            _put_folder_in_place(temporary, path)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder among the system's temporary files, and remove it at the end.

    Raises:
        ClearpaneError: There is no place for temporary files.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(_workplace(Path(tempfile.gettempdir()))) / "files"
            folder.mkdir()
        except OSError as error:
            raise ClearpaneError(
                f"there is no folder for temporary files ({error.strerror or error}); let the environment "
                "variable TMPDIR name one that has free space and can be written to"
            ) from error
        yield folder


def check_replaceable(path: Path, overwrite: bool = False) -> None:
    """Raise ClearpaneError if a folder cannot be written at ``path``; call this before hours of work."""
    remove_leftovers(path.parent)
    if path.exists() and not path.is_dir():
        raise ClearpaneError(f"{path}: is a file; name a folder")
    if not overwrite and path.is_dir() and any(path.iterdir()):
        raise ClearpaneError(f"{path}: exists and is not empty; name another folder")


def remove_leftovers(folder: Path) -> None:
    """Remove the leftovers of killed programs from a folder; finish a replacement that they had begun.

    The output of running programs is left alone. Nothing is raised: a leftover that cannot be removed does no
    harm.
    """
    with contextlib.suppress(OSError):
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith(_PREFIX)]
        for place in (folder / name for name in names):
            with contextlib.suppress(OSError):
                _remove_leftover(place)


@contextlib.contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """Yield a new hidden folder locked by this program, and remove it at the end."""
    _remove_leftovers_once(folder.absolute())
    while True:
        place = folder / f"{_PREFIX}{secrets.token_hex(8)}"
        place.mkdir(0o700)
        with contextlib.suppress(FileNotFoundError):  # another program took it for a leftover: a new one
            handle = hold(place / _LOCK)
            break
    try:
        yield place
    finally:
        with contextlib.suppress(OSError):
            _clear(place, handle)


def _remove_leftover(place: Path) -> None:
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
        return
    try:
        handle = take(place / _LOCK)
    except FileNotFoundError:  # just made by another program, or cleared but for itself
        place.rmdir()
        return
    if handle is not None:
        _finish_replacement(place)
        _clear(place, handle)
        _log.info("removed %s, which a program that was killed had left", place)


def _clear(place: Path, handle: int) -> None:
    """Remove a workplace and everything in it; the lock last, since leftovers without a lock are kept."""
    for entry in place.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != _LOCK:
            entry.unlink()
    remove(place / _LOCK, handle)
    place.rmdir()


@functools.cache
def _remove_leftovers_once(folder: Path) -> None:
    remove_leftovers(folder)


@contextlib.contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turn system errors of writing ``path`` into errors for the user."""
    try:
        yield
    except SafetensorError as error:  # wraps errors of the system
        raise ClearpaneError(f"{path}: writing failed ({error})") from error
    except OSError as error:
        raise ClearpaneError(_reason(path, error)) from error


def _put_in_place(temporary: Path, path: Path, overwrite: bool) -> None:
    if not overwrite:
        # a link, unlike a renaming, never replaces a file that appeared meanwhile
        try:
            path.hardlink_to(temporary)
            return
        except FileExistsError as error:
            raise _exists(path) from error
        except OSError:  # a file system without links
            if os.path.lexists(path):
                raise _exists(path) from None
    temporary.replace(path)


def _put_folder_in_place(temporary: Path, path: Path) -> None:
    """Rename a folder in a workplace to ``path``; what was there goes into the workplace."""
    if not path.is_dir():
        temporary.rename(path)
        return
    if _exchange(temporary, path):
        return
    before = temporary.parents[1] / "old" / path.name
    before.parent.mkdir()
    path.rename(before)
    try:
        temporary.rename(path)
    except BaseException:
        if not path.exists():
            before.rename(path)
        raise


def _finish_replacement(place: Path) -> None:
    """Put a folder in place where a program was killed after it had moved the earlier one aside."""
    for before in (place / "old").glob("*"):
        target = place.parent / before.name
        if not os.path.lexists(target):
            (place / "new" / before.name).rename(target)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step, and return whether this system can."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    return rename is not None and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def _exists(path: Path) -> ExistsError:
    return ExistsError(f"{path}: exists already; allow overwriting (`overwrite`) or choose another name")


def _sync(path: Path, mode: int = os.O_RDONLY) -> None:
    handle = os.open(path, mode)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        if path.parent.is_dir():
            return f"{path}: its folder was removed while it was written; run the same command again"
        return f"{path}: its folder does not exist; create {path.parent} first"
    if isinstance(error, NotADirectoryError):
        return f"{path}: {path.parent} is not a folder"
    if isinstance(error, PermissionError):
        return f"{path}: no permission to write there; choose another folder"
    if error.errno == errno.EROFS:
        return f"{path}: the disk is read-only; choose another folder"
    text = " ".join((error.strerror or str(error)).split()) or "unknown error"
    if error.errno == errno.ENAMETOOLONG:
        return f"{path}: writing failed ({text}); rename the picture"
    return f"{path}: writing failed ({text}); free some space or choose another disk"
