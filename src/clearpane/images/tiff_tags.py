"""Copy the descriptive tags of TIFF and BigTIFF files into an EXIF block."""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from clearpane.images.metadata import DESCRIPTIVE_TAGS

_EXIF_IFD, _GPS_IFD, _INTEROP_IFD, _XMP = 0x8769, 0x8825, 0xA005, 0x02BC
_SUB_IFDS = (_EXIF_IFD, _GPS_IFD, _INTEROP_IFD)
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPE_SIZES_BIG = {16: 8, 17: 8, 18: 8}
_MAX_VALUE = 64 * 1024 * 1024
_MAX_ENTRIES = 4096


class _Entry(NamedTuple):
    kind: int
    number: int
    value: bytes


def read_descriptive_tags(file: Any, offsets: Sequence[int]) -> tuple[bytes | None, bytes | None]:
    """Read the descriptive tags of a TIFF or BigTIFF file of either byte order.

    Args:
        file: Content of the whole file.
        offsets: Offsets of directories; entries of later ones replace those of earlier ones.

    Returns:
        An EXIF block (a classic TIFF stream) or None, and the XMP packet or None.

    Raises:
        struct.error: The file ends inside a directory.
    """
    file.seek(0)
    head = file.read(4)
    reader = _Reader(file, "<" if head[:2] == b"II" else ">", big=head[2:4] in (b"+\0", b"\0+"))
    entries: dict[int, _Entry] = {}
    xmp = None
    for offset in offsets:
        found = reader.directory(offset, DESCRIPTIVE_TAGS | {_XMP})
        packet = found.pop(_XMP, None)
        if packet is not None and packet.kind in (1, 7):
            xmp = packet.value
        entries |= found
    if not entries:
        return None, xmp
    head = b"II*\0" if reader.order == "<" else b"MM\0*"
    return head + struct.pack(reader.order + "I", 8) + _emit(reader, entries, 8), xmp


class _Reader:
    """Reader of directories that returns entries with their values."""

    def __init__(self, file: Any, order: str, *, big: bool) -> None:
        self.file, self.order, self.big = file, order, big
        self.length = file.seek(0, 2)

    def directory(self, offset: int, wanted: frozenset[int] | None = None) -> dict[int, _Entry]:
        """Return the entries of a directory by tag; those whose values lie outside the file are left out."""
        count_format, entry_format, inline = ("Q", "HHQ8s", 8) if self.big else ("H", "HHI4s", 4)
        self.file.seek(offset)
        size = struct.calcsize(self.order + count_format)
        (count,) = struct.unpack(self.order + count_format, self.file.read(size))
        size = struct.calcsize(self.order + entry_format)
        table = self.file.read(size * min(count, _MAX_ENTRIES))
        entries = {}
        for at in range(0, len(table) - size + 1, size):
            tag, kind, number, value = struct.unpack_from(self.order + entry_format, table, at)
            unit = _TYPE_SIZES.get(kind) or _TYPE_SIZES_BIG.get(kind, 0)
            length = unit * number
            if not 0 < length <= _MAX_VALUE or (wanted is not None and tag not in wanted):
                continue
            if length > inline:
                (place,) = struct.unpack(self.order + ("Q" if self.big else "I"), value)
                if place + length > self.length:
                    continue
                self.file.seek(place)
                value = self.file.read(length)
            entries[tag] = self._classic(kind, number, value[:length])
        return entries

    def _classic(self, kind: int, count: int, value: bytes) -> _Entry:
        if kind not in _TYPE_SIZES_BIG:
            return _Entry(kind, count, value)
        numbers = struct.unpack(f"{self.order}{count}Q", value)
        return _Entry(4, count, struct.pack(f"{self.order}{count}I", *(n & 0xFFFFFFFF for n in numbers)))


def _emit(reader: _Reader, entries: dict[int, _Entry], start: int, depth: int = 0) -> bytes:
    """Encode a classic directory that begins at ``start``, followed by its values and subdirectories."""
    order = reader.order
    table, tail = [], b""
    end = start + 2 + 12 * len(entries) + 4
    for tag in sorted(entries):
        kind, count, value = entries[tag]
        if tag in _SUB_IFDS:
            (place,) = struct.unpack(order + "I", value[:4]) if len(value) >= 4 else (0,)
            inner = reader.directory(place) if depth < 2 and 0 < place < reader.length else {}
            value = struct.pack(order + "I", end + len(tail))
            tail += _emit(reader, inner, end + len(tail), depth + 1)
            kind, count = 4, 1
        elif len(value) > 4:
            place = end + len(tail)
            tail += value + b"\0" * (len(value) % 2)
            value = struct.pack(order + "I", place)
        table.append(struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0"))
    return struct.pack(order + "H", len(table)) + b"".join(table) + bytes(4) + tail
