"""Files from visitors: how many, how large, and zips unpacked within the same limits."""

import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from clearpane.errors import ClearpaneError
from clearpane.images.formats import is_picture_name
from clearpane.web.names import safe_name, safe_path
from clearpane.web.settings import Limits

_CHUNK = 1 << 20


def gather(paths: Sequence[Path], folder: Path, limits: Limits) -> Path:
    """Put uploaded files into a folder, and what their zips hold; folders inside a zip are kept.

    Args:
        paths: Paths of the uploads.
        folder: Empty folder.
        limits: Limits on the files and bytes of all uploads together.

    Returns:
        The folder; where a zip holds all in one folder of its own, that one.

    Raises:
        ClearpaneError: there are none, too many, or too large; a zip is damaged.
    """
    if not paths:
        raise ClearpaneError("no files yet: add some first")
    if len(paths) > limits.files:
        raise ClearpaneError(f"{len(paths)} files are more than the limit of {limits.files}")
    count, size = 0, 0
    for path in paths:
        if zipfile.is_zipfile(path):
            files, unpacked = _unpack(path, folder, replace(limits, upload_bytes=limits.upload_bytes - size))
        else:
            shutil.copyfile(path, free_path(folder / safe_name(path.name)))
            files, unpacked = 1, path.stat().st_size
        count, size = count + files, size + unpacked
        if count > limits.files:
            raise ClearpaneError(f"more than the limit of {limits.files} files")
        if size > limits.upload_bytes:
            raise ClearpaneError(f"the files are more than the limit of {limits.upload_bytes / 1e6:g} MB")
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def pictures_in(folder: Path) -> list[Path]:
    """List the pictures in a folder and below, sorted, by their names' endings."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and is_picture_name(path))


def free_path(path: Path) -> Path:
    """Return the path, numbered where a file has it already."""
    found, number = path, 2
    while found.exists():
        found, number = path.with_name(f"{path.stem}-{number}{path.suffix}"), number + 1
    return found


def _unpack(path: Path, folder: Path, limits: Limits) -> tuple[int, int]:
    files, size = 0, 0
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in _entries(archive):
                files += 1
                if files > limits.files:
                    raise ClearpaneError(f"{path.name}: holds more than the limit of {limits.files} files")
                target = folder / safe_path(entry.filename)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, free_path(target).open("wb") as file:
                    while chunk := source.read(_CHUNK):  # the sizes that a zip declares may be wrong
                        size += len(chunk)
                        if size > limits.upload_bytes:
                            raise ClearpaneError(f"{path.name}: is too large when it is unpacked")
                        file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise ClearpaneError(f"{path.name}: cannot be unpacked ({error}); make the zip again") from error
    return files, size


def _entries(archive: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    for entry in archive.infolist():
        parts = entry.filename.replace("\\", "/").split("/")
        if not entry.is_dir() and not any(
            part.startswith((".", "__MACOSX")) for part in parts if part not in (".", "..")
        ):
            yield entry
