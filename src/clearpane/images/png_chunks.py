"""Read PNG chunks and check that they are intact.

Source: Portable Network Graphics, third edition (W3C), section 5.
"""

import struct
import zlib
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Chunk:
    """Chunk of a PNG file.

    Attributes:
        name: Four letters.
        body: Data of the chunk.
        whole: True if the chunk is complete and its checksum agrees.
    """

    name: bytes
    body: bytes
    whole: bool


def read_chunks(data: bytes) -> list[Chunk]:
    """Return the chunks of a PNG file, up to IEND or the end of the file."""
    chunks, at = [], len(SIGNATURE)
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        body, check = data[at + 8 : at + 8 + size], data[at + 8 + size : at + 12 + size]
        chunks.append(Chunk(name, body, check == zlib.crc32(name + body).to_bytes(4, "big")))
        at += 12 + size
        if name == b"IEND":
            break
    return chunks
