"""Write files and folders whole or not at all."""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from clearpane.errors import ClearpaneError


@contextlib.contextmanager
def atomic_path(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary name in the same folder; it becomes ``path`` at the end, or is removed.

    Raises:
        ClearpaneError: ``path`` exists and may not be overwritten, or writing failed.
    """
    path = Path(path)
    temporary = path.with_name(f".clearpane-{secrets.token_hex(8)}{path.suffix}")
    try:
        if path.is_dir():
            raise ClearpaneError(f"{path}: is a folder; name a file")
        if not overwrite and os.path.lexists(path):
            raise _exists(path)
        temporary.open("xb").close()
        mode = temporary.stat().st_mode
        yield temporary
        if temporary.stat().st_mode != mode:  # safetensors puts a file in its place that nobody else may read
            temporary.chmod(stat.S_IMODE(mode))
        _sync(temporary, os.O_RDWR)
        _put_in_place(temporary, path, overwrite)
        with contextlib.suppress(OSError):  # not every system can sync a folder
            _sync(path.parent)
    except SafetensorError as error:  # its own name for what the system says
        raise ClearpaneError(f"{path}: writing failed ({error})") from error
    except OSError as error:
        raise ClearpaneError(_reason(path, error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def atomic_folder(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it takes its place at the end, or is removed.

    Args:
        overwrite: replace a folder that is there, and all that is in it.

    Raises:
        ClearpaneError: ``path`` is a file, or a folder with something in it that may not be replaced; writing
            failed. What was there stays.
    """
    path = Path(path).resolve()
    check_replaceable(path, overwrite)
    temporary, before = (path.with_name(f".clearpane-{secrets.token_hex(8)}") for _ in range(2))
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _sync(file)
        if path.is_dir():
            path.rename(before)
        temporary.rename(path)
    except SafetensorError as error:
        raise ClearpaneError(f"{path}: writing failed ({error})") from error
    except OSError as error:
        raise ClearpaneError(_reason(path, error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(before, ignore_errors=True)
        elif before.exists():  # between the two renamings
            before.rename(path)


def check_replaceable(path: Path, overwrite: bool = False) -> None:
    """Raise ClearpaneError where a folder cannot be put; before hours are spent on what is to lie there."""
    if path.exists() and not path.is_dir():
        raise ClearpaneError(f"{path}: is a file; name a folder")
    if not overwrite and path.is_dir() and any(path.iterdir()):
        raise ClearpaneError(f"{path}: is there already and not empty; name another folder")


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


def _exists(path: Path) -> ClearpaneError:
    return ClearpaneError(f"{path}: exists already; allow overwriting (`overwrite`) or choose another name")


def _sync(path: Path, mode: int = os.O_RDONLY) -> None:
    handle = os.open(path, mode)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path}: its folder does not exist; create {path.parent} first"
    if isinstance(error, NotADirectoryError):
        return f"{path}: {path.parent} is not a folder"
    if isinstance(error, PermissionError):
        return f"{path}: no permission to write there; choose another folder"
    text = " ".join((error.strerror or str(error)).split()) or "unknown error"
    if error.errno == errno.ENAMETOOLONG:
        return f"{path}: writing failed ({text}); rename the picture"
    return f"{path}: writing failed ({text}); free some space or choose another disk"
