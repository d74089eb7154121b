"""Check that COLMAP's binary files are complete.

COLMAP believes the counts in a file: of a damaged one it would read for hours or ask for all memory. So the
counts are compared with the files' lengths first.

Source: COLMAP's documentation, "Output Format", and its `read_write_model.py`.
"""

import struct
from collections.abc import Callable
from pathlib import Path

# Of each model of a lens, by its number, how many parameters it has.
_PARAMETERS = (3, 4, 4, 5, 8, 8, 12, 5, 4, 5, 12, 16, 4, 5, 3, 4, 6, 2)
_LONGEST_NAME = 4096


def check_binary_model(folder: Path) -> None:
    """Compare the counts in a model's files with their lengths.

    Raises:
        ValueError: a file ends before what it says it holds, or goes on after it.
        OSError: one cannot be read.
    """
    for name, skip in _ENTRIES.items():
        path = folder / f"{name}.bin"
        if path.is_file():
            try:
                end = _walk(path.read_bytes(), skip)
            except (struct.error, IndexError) as error:
                raise ValueError(f"{path.name} is cut short or damaged") from error
            if end != path.stat().st_size:
                raise ValueError(f"{path.name} is cut short or damaged")


def _walk(data: bytes, skip: Callable[[bytes, int], int]) -> int:
    """Return where the entries of a file end."""
    (count,) = struct.unpack_from("<Q", data)
    at = 8
    for _ in range(count):
        at = skip(data, at)
        if at > len(data):
            break
    return at


def _camera(data: bytes, at: int) -> int:
    _, model = struct.unpack_from("<Ii", data, at)
    if model < 0:
        raise IndexError(model)
    return at + 24 + 8 * _PARAMETERS[model]


def _image(data: bytes, at: int) -> int:
    end = data.index(b"\0", at + 64, at + 64 + _LONGEST_NAME) + 1
    (points,) = struct.unpack_from("<Q", data, end)
    return int(end + 8 + 24 * points)


def _point(data: bytes, at: int) -> int:
    (track,) = struct.unpack_from("<Q", data, at + 43)
    return int(at + 51 + 8 * track)


def _rig(data: bytes, at: int) -> int:
    (sensors,) = struct.unpack_from("<I", data, at + 4)
    at += 8 + 8 * (sensors > 0)
    for _ in range(1, sensors):
        at += 65 if data[at + 8] else 9
    return at


def _frame(data: bytes, at: int) -> int:
    (entries,) = struct.unpack_from("<I", data, at + 64)
    return int(at + 68 + 16 * entries)


_ENTRIES = {"cameras": _camera, "images": _image, "points3D": _point, "rigs": _rig, "frames": _frame}
