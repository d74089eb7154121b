"""Damage to files: bits, runs of bytes, length fields, chunks, splices, and structure for JSON and zip."""

import copy
import io
import itertools
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Splitter = Callable[[bytes], list[bytes]]
Random = np.random.Generator

_EXTREMES = (0, 1, -1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 2**63 - 1)
_TOKENS = ("0", "-1", "nan", "inf", "-inf", "1e400", "99999999999999999999", "4294967295", "x", "", "a\0b")
_DEEP = "\x01deep\x01"
_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 1e308, float("inf"), float("nan"), 10**30, 2**31, 2**63),
    *(
        "",
        "a\nb",
        "\x1b[31m",
        "../../../etc/passwd",
        "/etc/passwd",
        "*",
        "**",
        "[a",
        "\0",
        "\ud800",
        "x" * 5000,
    ),
    *([], {}, [[]], [0] * 1000, _DEEP),
)
_HEAD = 512
"""Most fields of a file's structure lie in so many first bytes."""


def mutate(data: bytes, other: bytes, random: Random, split: Splitter) -> bytes:
    """Damage a file in one to three ways.

    Args:
        data: Intact file.
        other: Another file of the same kind, to splice in.
        random: Where the choices come from; the same state gives the same damage.
        split: Cuts a file into its chunks.
    """
    for _ in range(int(random.choice([1, 1, 2, 3]))):
        way = _WAYS[int(random.integers(len(_WAYS)))]
        data = way(data, other, random, split)
    return data


def _place(data: bytes, random: Random, width: int = 1) -> int:
    end = max(1, len(data) - width + 1)
    return int(random.integers(min(end, _HEAD) if random.random() < 0.6 else end))


def _flip(data: bytes, other: bytes, random: Random, split: Splitter) -> bytes:
    changed = bytearray(data)
    for _ in range(int(random.choice([1, 1, 2, 8, 32]))):
        if changed:
            changed[_place(data, random)] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _run(data: bytes, other: bytes, random: Random, split: Splitter) -> bytes:
    length = int(random.choice([1, 2, 4, 8, 32, 128]))
    at = _place(data, random, length)
    fill = random.choice(3)
    run = bytes(length) if fill == 0 else b"\xff" * length if fill == 1 else random.bytes(length)
    return data[:at] + run + data[at + length :]


def _field(data: bytes, other: bytes, random: Random, split: Splitter) -> bytes:
    """Overwrite what may be a length, an offset or a size with an extreme number."""
    width, order = int(random.choice([1, 2, 4, 4, 8])), str(random.choice(["little", "big"]))
    plausible = [
        at
        for at in range(max(0, min(len(data), _HEAD) - width + 1))
        if 0 < int.from_bytes(data[at : at + width], order) <= len(data)  # type: ignore[arg-type]
    ]
    at = int(random.choice(plausible)) if plausible and random.random() < 0.7 else _place(data, random, width)
    values = (*_EXTREMES, len(data), len(data) + 1, 20000, 1 << 20, 1 << 28)
    value = int(random.choice(values)) % 2 ** (8 * width)
    return data[:at] + value.to_bytes(width, order) + data[at + width :]  # type: ignore[arg-type]


def _cut(data: bytes, other: bytes, random: Random, split: Splitter) -> bytes:
    return data[: int(random.integers(len(data) + 1))]


def _chunks(data: bytes, other: bytes, random: Random, split: Splitter) -> bytes:
    """Remove, repeat, move or foreign-replace one of a file's chunks."""
    chunks = split(data)
    if not chunks:
        return data
    at, way = int(random.integers(len(chunks))), random.choice(4)
    if way == 0:
        del chunks[at]
    elif way == 1:
        chunks[at:at] = [chunks[at]] * int(random.choice([1, 2, 50]))
    elif way == 2:
        chunks.insert(int(random.integers(len(chunks))), chunks.pop(at))
    elif foreign := split(other):
        chunks[at] = foreign[int(random.integers(len(foreign)))]
    return b"".join(chunks)


def _splice(data: bytes, other: bytes, random: Random, split: Splitter) -> bytes:
    here = int(random.integers(len(data) + 1))
    there = min(here, len(other)) if random.random() < 0.5 else int(random.integers(len(other) + 1))
    return data[:here] + other[there:]


_WAYS = (_flip, _flip, _run, _field, _field, _field, _cut, _chunks, _chunks, _splice)


def blocks(size: int) -> Splitter:
    """Return a splitter into blocks of one size."""
    return lambda data: [data[at : at + size] for at in range(0, len(data), size)]


def lines(data: bytes) -> list[bytes]:
    """Split into lines."""
    return data.splitlines(keepends=True)


def png_chunks(data: bytes) -> list[bytes]:
    """Split a PNG file into its signature and its chunks."""
    return _sized(data, 8, lambda at: 12 + int.from_bytes(data[at : at + 4], "big"))


def riff_chunks(data: bytes) -> list[bytes]:
    """Split a RIFF file into its head and its chunks."""
    return _sized(data, 12, lambda at: 8 + (int.from_bytes(data[at + 4 : at + 8], "little") + 1) // 2 * 2)


def boxes(data: bytes) -> list[bytes]:
    """Split an ISO media file into its outermost boxes."""
    return _sized(data, 0, lambda at: max(8, int.from_bytes(data[at : at + 4], "big")))


def jpeg_segments(data: bytes) -> list[bytes]:
    """Split a JPEG file at its markers."""
    places = [0, *(m.start() for m in re.finditer(rb"\xff[\xc0-\xfe]", data) if m.start()), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


def _sized(data: bytes, start: int, length: Callable[[int], int]) -> list[bytes]:
    found, at = [data[:start]] if start else [], start
    while at < len(data):
        end = at + length(at)
        found.append(data[at:end])
        at = end
    return found


def with_png_checksums(data: bytes) -> bytes:
    """Make a PNG file's checksums right again, so that what was changed is read."""
    chunks = png_chunks(data)
    whole = [c[:-4] + struct.pack(">I", zlib.crc32(c[4:-4])) if len(c) >= 12 else c for c in chunks[1:]]
    return b"".join([chunks[0], *whole])


def with_tar_checksums(data: bytes) -> bytes:
    """Make the checksums of a tar file's heads right again."""
    changed = bytearray(data)
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            changed[at + 148 : at + 156] = b" " * 8
            changed[at + 148 : at + 156] = b"%06o\0 " % sum(changed[at : at + 512])
    return bytes(changed)


def mutate_json(text: bytes, random: Random) -> bytes:
    """Replace, remove or repeat some of a JSON document's values; damage its text where it is none."""
    try:
        root = [json.loads(text)]
    except ValueError:
        return text
    for _ in range(int(random.choice([1, 1, 2, 4]))):
        places = list(_places(root))
        holder, key = places[int(random.integers(len(places)))]
        way = random.choice(4)
        if way == 0 and holder is not root:
            del holder[key]
        elif way == 1:
            other, place = places[int(random.integers(len(places)))]
            holder[key] = json.loads(json.dumps(other[place]))
        elif way == 2 and isinstance(holder[key], int | float):
            holder[key] = _EXTREMES[int(random.integers(len(_EXTREMES)))] * int(random.choice([1, -1]))
        else:
            holder[key] = copy.deepcopy(_VALUES[int(random.integers(len(_VALUES)))])
    depth = int(random.choice([500, 100_000]))
    return json.dumps(root[0]).replace(json.dumps(_DEEP), "[" * depth + "]" * depth).encode()


def _places(holder: Any) -> list[tuple[Any, Any]]:
    keys = (
        list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
    )
    return [place for key in keys for place in [(holder, key), *_places(holder[key])]]


def mutate_tokens(text: bytes, random: Random) -> bytes:
    """Replace some words of a text file."""
    words = re.split(rb"(\s+)", text)
    for _ in range(int(random.choice([1, 1, 2, 5]))):
        token = _TOKENS[int(random.integers(len(_TOKENS)))]
        words[2 * int(random.integers((len(words) + 1) // 2))] = token.encode()
    return b"".join(words)


def mutate_head(data: bytes, random: Random, start: int, width: int) -> bytes:
    """Mutate the JSON head of a binary file, before which its length stands.

    Args:
        data: File: ``start`` bytes, a length of ``width`` bytes (little-endian), the head, the rest.
    """
    at = start + width + (4 if start else 0)  # in GLB the chunk's kind lies between
    length = int.from_bytes(data[start : start + width], "little")
    head = mutate_json(data[at : at + length], random)
    head += b" " * (-len(head) % 8)
    between = data[start + width : at]
    return data[:start] + len(head).to_bytes(width, "little") + between + head + data[at + length :]


def mutate_zip(data: bytes, other: bytes, random: Random) -> bytes:
    """Mutate the first member of a zip archive (of a PyTorch file: its pickle), and pack it again."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, NotImplementedError, OSError, RuntimeError):
        return data
    name = next((n for n in members if n.endswith(".pkl")), next(iter(members)))
    members[name] = mutate(members[name], other, random, blocks(16))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return packed.getvalue()
