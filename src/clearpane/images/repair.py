"""Repair JPEG and PNG files that are damaged but have all their pixels."""

import io
import math
import struct
import zlib
from typing import Any

import numpy as np

from clearpane.images.png_chunks import SIGNATURE, Chunk, read_chunks

MOST_PIXELS_A_BYTE = 1024
"""Limit for JPEG: its codes need at least one bit for each 8 x 8 block, and usually two."""

_SOI, _EOI = b"\xff\xd8\xff", b"\xff\xd9"
_MAX_LEADING = 4096 + 32
_STEP = 1 << 20
_JUNK = (b"", bytes(range(1, 200)) * 4, b"\x5a\xa5\x33" * 250)
_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")


def find_start(head: bytes) -> tuple[str, int] | None:
    """Return the kind (jpeg or png) and the offset of a picture preceded by foreign bytes, or None."""
    found = [(head.find(magic), kind) for magic, kind in ((_SOI, "jpeg"), (SIGNATURE, "png"))]
    at, kind = min(((at, kind) for at, kind in found if at > 0), default=(-1, ""))
    return (kind, at) if at > 0 else None


def repair(data: bytes, kind: str) -> list[bytes]:
    """Return candidate repairs of a damaged file: leading bytes removed, end added; best first."""
    start = find_start(data[:_MAX_LEADING])
    if start is not None and start[0] == kind and not data.startswith((_SOI, SIGNATURE)):
        data = data[start[1] :]
        tries: list[bytes | None] = [data]
    else:
        tries = []
    if kind in ("jpeg", "png"):
        tries.append(complete_jpeg(data) if kind == "jpeg" else complete_png(data))
    return [found for found in tries if found is not None]


def complete_jpeg(data: bytes) -> bytes | None:
    """Return a JPEG without an end marker with one; None unless it has all its pixels.

    libjpeg invents missing blocks, and stops after the last existing one. So all pixels exist if they do not
    depend on the bytes after the data. A progressive file needs all of its scans, too.
    """
    if not _has_all_scans(data):
        return None
    try:
        first, *others = (_decode(data + junk + _EOI) for junk in _JUNK)
    except Exception:  # the decoder raises almost anything
        return None
    if all(np.array_equal(first, other) for other in others):
        return data + _EOI
    return None


def _decode(data: bytes) -> np.ndarray:
    from PIL.JpegImagePlugin import JpegImageFile

    with JpegImageFile(io.BytesIO(data)) as image:
        if math.prod(image.size) > MOST_PIXELS_A_BYTE * len(data):
            raise ValueError("far fewer bytes than its size needs")
        loaded: Any = image
        return np.asarray(loaded)


def _has_all_scans(data: bytes) -> bool:
    """Return True if the scans of a JPEG hold every bit of every coefficient."""
    at, progressive = 2, False
    components: list[int] = []
    missing: dict[int, np.ndarray] = {}
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        marker = data[at + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD9:
            at += 1 if marker == 0xFF else 2
            continue
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + size]
        if marker in (0xC0, 0xC1, 0xC2) and len(body) >= 6:
            progressive = marker == 0xC2
            components = list(body[6 : 6 + 3 * body[5] : 3])
            missing = {c: np.full(64, 255) for c in components}
        elif marker == 0xDA and len(body) >= 4 and len(body) >= 4 + 2 * body[0]:
            first, last, bits = body[-3], body[-2], body[-1] & 15
            for c in body[1 : 1 + 2 * body[0] : 2]:
                if c in missing:
                    missing[c][slice(first, last + 1) if progressive else slice(None)] = bits
        at += 2 + size
    return bool(components) and all(not left.any() for left in missing.values())


def _holds_rows(chunks: list[Chunk], most: int) -> bool:
    """Return whether the compressed stream is whole, by its checksum, and not longer than pixels need."""
    stream, size = zlib.decompressobj(), 0
    try:
        for chunk in chunks:
            body = chunk.body if chunk.name == b"IDAT" else b""
            while body and not stream.eof and size <= most:
                size += len(stream.decompress(body, _STEP))
                body = stream.unconsumed_tail
    except zlib.error:
        return False
    return stream.eof and 0 < size <= most


def complete_png(data: bytes) -> bytes | None:
    """Return a PNG with correct checksums and an end, without damaged chunks that do not matter.

    Return None unless all pixels exist, by the checksum of their compressed stream, and the colours too.
    """
    chunks = read_chunks(data)
    if any(c.name in _NEEDED and not c.whole for c in chunks):
        return None
    kept = [c for c in chunks if c.name == b"IDAT" or c.whole]
    header = next((c.body for c in kept if c.name == b"IHDR"), b"")
    if len(header) != 13:
        return None
    width, height, depth, colours = struct.unpack(">IIBB", header[:10])
    row = width * depth * {2: 3, 4: 2, 6: 4}.get(colours, 1) // 8 + 2
    if not _holds_rows(kept, 2 * row * height + 64):  # interlaced, a picture has up to twice as many rows
        return None
    body = [(c.name, c.body) for c in kept if c.name != b"IEND"] + [(b"IEND", b"")]
    return SIGNATURE + b"".join(
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in body
    )
