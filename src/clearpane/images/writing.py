"""From a picture to a file: in its own profile and depth, its metadata kept, whole or not at all."""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from clearpane.errors import ClearpaneError
from clearpane.images import encoding, formats
from clearpane.images.picture import Picture, SampleType

_SUFFIX_OF = {"jpeg": ".jpg", "png": ".png", "tiff": ".tif", "webp": ".webp", "exr": ".exr", "hdr": ".hdr"}


@dataclass(frozen=True)
class WriteOptions:
    """How a picture is written.

    Attributes:
        overwrite: replace an existing file; the file the picture was read from never is.
        jpeg_quality: of JPEG and lossy WebP, 1 to 100. JPEG keeps full colour resolution (4:4:4).
        sample_type: how to store a sample; by default as in the file read (HEIC and RAW: uint16), or the
            nearest that the format written can hold.
    """

    overwrite: bool = False
    jpeg_quality: int = 95
    sample_type: SampleType | None = None


def output_suffix(kind: str) -> str:
    """The file name ending of results of a `Picture.format`: its own; for HEIC and RAW ``.png`` (16 bits).

    >>> output_suffix("tiff"), output_suffix("heic")
    ('.tif', '.png')
    """
    return _SUFFIX_OF.get(kind, ".png")


def write_picture(path: str | Path, picture: Picture, options: WriteOptions = WriteOptions()) -> Path:
    """Write a picture in the format its name asks for, atomically.

    The pixels are converted back to the profile the file came with, and that is embedded; where a profile
    cannot be undone, sRGB is. Values the file cannot hold are clipped; JPEG and HDR drop alpha. EXIF, XMP
    and, in EXR, header entries are kept.

    Returns:
        The path written.

    Raises:
        ClearpaneError: the format cannot be written, the file exists, is the picture's own source, its folder
            is missing or not writable, or the disk is full. Nothing is left behind.
    """
    path = Path(path)
    kind = formats.SUFFIXES.get(path.suffix.lower())
    if kind not in _SUFFIX_OF:
        raise ClearpaneError(
            f"{path}: cannot write {path.suffix or 'a name without a suffix'}; "
            "use .jpg, .png, .tif, .webp, .exr or .hdr"
        )
    if picture.source is not None and _same_file(path, picture.source):
        raise ClearpaneError(
            f"{path}: is the picture that was read, which is never overwritten; choose another name"
        )
    wanted = options.sample_type or ("uint16" if picture.format in ("heic", "raw") else picture.sample_type)
    rows = encoding.StoredRows(picture, kind, encoding.nearest_sample_type(kind, wanted))
    with atomic_path(path, options.overwrite) as temporary:
        try:
            encoding.ENCODERS[kind](temporary, rows, options.jpeg_quality)
        except OSError:
            raise
        except MemoryError as error:
            raise ClearpaneError(f"{path}: not enough memory to write it") from error
        except (ValueError, RuntimeError) as error:
            raise ClearpaneError(
                f"{path}: cannot be written as {kind.upper()} ({error}); choose another format"
            ) from error
    return path


@contextlib.contextmanager
def atomic_path(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A temporary name in the same folder, to be written; it becomes ``path`` at the end, or is removed.

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
    """A temporary folder beside ``path``, to be filled; it takes its place at the end, or is removed.

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
    return ClearpaneError(f"{path}: exists already; allow overwriting (--overwrite) or choose another name")


def _sync(path: Path, mode: int = os.O_RDONLY) -> None:
    handle = os.open(path, mode)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _same_file(path: Path, source: Path) -> bool:
    try:
        return path.samefile(source)
    except OSError:
        return False


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
