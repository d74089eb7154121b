"""EXIF, XMP and the additional pictures that phones put into a file."""

import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_ORIENTATION, _EXIF_IFD, _WIDTH, _HEIGHT, _XMP = 0x0112, 0x8769, 0xA002, 0xA003, 0x02BC
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
# Tags that describe the picture (words, camera, resolution, EXIF, GPS, IPTC), not its storage as TIFF.
DESCRIPTIVE_TAGS = frozenset(
    {0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x8298}
    | {0x4746, 0x4749, 0x83BB, _EXIF_IFD, 0x8825}
    | set(range(0x9C9B, 0x9CA0))
)


def strip_exif_prefix(block: bytes | None) -> bytes | None:
    """Return an EXIF block without its prefix ``Exif`` and two zero bytes; None for an empty one."""
    return (block or b"").removeprefix(b"Exif\0\0") or None


def clean_exif(exif: bytes | None) -> tuple[bytes | None, int]:
    """Adapt an EXIF block to pixels that were turned upright.

    The block is changed in place, so that maker notes, which hold offsets, stay valid: Orientation becomes 1,
        width and height are swapped if the pixels are, and the thumbnail, which shows the old picture, is
        unlinked.

    Returns:
        The block (None if unreadable) and the orientation it had, 1 to 8.
    """
    if exif is None or exif[:2] not in (b"II", b"MM"):
        return None, 1
    data = bytearray(exif)
    order = "<" if exif[:2] == b"II" else ">"
    orientation, sizes = 1, {}
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        for tag, kind, value in _entries(data, order, start):
            if tag == _ORIENTATION and kind in _INTEGERS:  # some programs write another type than SHORT
                (found,) = struct.unpack_from(order + _INTEGERS[kind], data, value)
                orientation = found if 1 <= found <= 8 else 1
                struct.pack_into(order + _INTEGERS[kind], data, value, 1)
            elif tag == _EXIF_IFD:
                (sub,) = struct.unpack_from(order + "I", data, value)
                sizes = {t: (k, v) for t, k, v in _entries(data, order, sub) if t in (_WIDTH, _HEIGHT)}
        (count,) = struct.unpack_from(order + "H", data, start)
        struct.pack_into(order + "I", data, start + 2 + 12 * count, 0)
        if orientation >= 5 and len(sizes) == 2 and sizes[_WIDTH][0] == sizes[_HEIGHT][0]:
            a, b = sizes[_WIDTH][1], sizes[_HEIGHT][1]
            data[a : a + 4], data[b : b + 4] = data[b : b + 4], data[a : a + 4]
    except struct.error:
        return None, orientation
    return bytes(data), orientation


def clean_xmp(xmp: bytes | str | None, *, gain_map_dropped: bool) -> bytes | None:
    """Return an XMP packet with tiff:Orientation 1, without the announcement of a dropped gain map."""
    if not xmp:
        return None
    packet = xmp.encode() if isinstance(xmp, str) else bytes(xmp)
    packet = re.sub(rb'(tiff:Orientation(?:="|>))[2-8]', rb"\g<1>1", packet)
    if gain_map_dropped:
        packet = re.sub(rb'\s(?:hdrgm|HDRGainMap):\w+="[^"]*"', b"", packet)
        packet = re.sub(
            rb"<(hdrgm:\w+|HDRGainMap:\w+|G?Container:Directory)\b.*?</\1>", b"", packet, flags=re.S
        )
    return packet


def embedded_extras(trailer: bytes) -> tuple[str | None, bool]:
    """Describe the data after a JPEG's first picture: a warning or None, and True if it is a gain map."""
    if not trailer.count(b"\xff\xd8\xff"):
        return None, False
    gain_map = any(
        m in trailer for m in (b"hdrgm", b"HDRGainMap", b"hdrgainmap", b"urn:iso:std:iso:ts:21496")
    )
    return ("gain map dropped" if gain_map else "further embedded pictures dropped"), gain_map


def add_tiff_metadata(
    path: Path, exif: bytes | None, xmp: bytes | None, further: Mapping[int, Any] | None = None
) -> None:
    """Add EXIF entries and XMP to a TIFF file, by appending a new first directory.

    A file over 4 GB (BigTIFF) is left unchanged.
    """
    from PIL import Image

    with path.open("r+b") as file:
        head = file.read(8)
        order = "<" if head[:2] == b"II" else ">"
        version, start = struct.unpack(order + "HI", head[2:8])
        if version != 42:
            return
        file.seek(start)
        (count,) = struct.unpack(order + "H", file.read(2))
        own = _raw_entries(file.read(12 * count), order)
        end = file.seek(0, 2)
        end += file.write(b"\0" * (end % 2))
        described: dict[int, bytes] = {}
        if exif is not None or further:
            block = Image.Exif()
            if exif is not None:
                block.load(exif)
            for tag in (further or {}).keys() - set(block):
                block[tag] = (further or {})[tag]
            for tag in set(block) - DESCRIPTIVE_TAGS:
                del block[tag]
            block.endian = order
            directory = block.tobytes(offset=end)[14:]
            (count,) = struct.unpack_from(order + "H", directory)
            described = _raw_entries(directory[2 : 2 + 12 * count], order)
            end += file.write(directory)
        if xmp is not None:
            described[_XMP] = struct.pack(order + "HHII", _XMP, 1, len(xmp), end)
            end += file.write(xmp)
        end += file.write(b"\0" * (end % 2))
        # OpenImageIO writes the time, the resolution, XMP and its own EXIF directory
        stored = {tag: raw for tag, raw in own.items() if tag not in DESCRIPTIVE_TAGS | {_XMP}}
        merged = dict(sorted({**described, **stored}.items()))
        file.write(struct.pack(order + "H", len(merged)) + b"".join(merged.values()) + bytes(4))
        file.seek(4)
        file.write(struct.pack(order + "I", end))


def _raw_entries(table: bytes, order: str) -> dict[int, bytes]:
    rows = [table[k : k + 12] for k in range(0, len(table), 12)]
    return {struct.unpack_from(order + "H", row)[0]: row for row in rows}


def _entries(data: bytearray, order: str, start: int) -> Iterator[tuple[int, int, int]]:
    """Yield (tag, type, offset of the value field) of a directory's entries."""
    (count,) = struct.unpack_from(order + "H", data, start)
    for k in range(count):
        at = start + 2 + 12 * k
        tag, kind = struct.unpack_from(order + "HH", data, at)
        yield tag, kind, at + 8
