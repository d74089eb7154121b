"""Descriptive metadata beside EXIF and XMP: IPTC records, resolution, comments and texts."""

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clearpane.images.png_chunks import Chunk

_IPTC_TAG, _IPTC_RESOURCE = 0x83BB, 0x0404
_X_RESOLUTION, _Y_RESOLUTION, _UNIT = 0x011A, 0x011B, 0x0128
_IPTC_TEXT = "Raw profile type iptc"
_MAX_TEXT = 1 << 20


@dataclass(frozen=True)
class Description:
    """Descriptive metadata of a picture, apart from EXIF and XMP.

    Attributes:
        iptc: IPTC-IIM records, or None.
        dpi: Pixels per inch across and down, or None.
        texts: Texts by keyword, as in PNG; JPEG's comment is the text ``Comment``.
    """

    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    texts: Mapping[str, str] = field(default_factory=dict)


def from_jpeg(info: Mapping[Any, Any]) -> Description:
    """Return the description in Pillow's information on a JPEG file."""
    resources = info.get("photoshop")
    iptc = resources.get(_IPTC_RESOURCE) if isinstance(resources, dict) else None
    comment = info.get("comment")
    texts = {"Comment": _text(bytes(comment))} if comment else {}
    dpi = info.get("dpi") if info.get("jfif_unit") in (1, 2) else None
    return Description(iptc if isinstance(iptc, bytes) and iptc else None, dpi, texts)


def from_png(chunks: Iterable[Chunk]) -> Description:
    """Return the description in a PNG file's chunks."""
    dpi, texts = None, {}
    for chunk in chunks:
        if not chunk.whole:
            continue
        if chunk.name == b"pHYs" and len(chunk.body) == 9 and chunk.body[8] == 1:
            across, down = struct.unpack_from(">II", chunk.body)
            dpi = (across * 0.0254, down * 0.0254)
        elif chunk.name in (b"tEXt", b"zTXt", b"iTXt") and (found := _png_text(chunk)) is not None:
            texts[found[0]] = found[1]
    iptc = texts.pop(_IPTC_TEXT, None)
    kept = {
        key: text for key, text in texts.items() if not key.startswith(("XML:com.adobe.xmp", "Raw profile"))
    }
    return Description(_from_hex(iptc) if iptc else None, dpi, kept)


def from_exif(exif: bytes | None) -> Description:
    """Return the description in the EXIF block of a TIFF file, which holds its IPTC records."""
    from PIL import Image

    if exif is None:
        return Description()
    block = Image.Exif()
    block.load(exif)
    value = block.get(_IPTC_TAG)
    return Description(iptc=value if isinstance(value, bytes) and value[:1] == b"\x1c" else None)


def jpeg_options(description: Description) -> dict[str, Any]:
    """Return Pillow's options for writing a description into a JPEG file."""
    options: dict[str, Any] = {}
    if description.dpi is not None:
        options["dpi"] = tuple(min(65535, round(v)) for v in description.dpi)
    if "Comment" in description.texts:
        options["comment"] = description.texts["Comment"].encode()[:65000]
    iptc = description.iptc
    if iptc is not None and len(iptc) < 65000:
        resource = (
            b"8BIM" + struct.pack(">HHI", _IPTC_RESOURCE, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)
        )
        body = b"Photoshop 3.0\0" + resource
        options["extra"] = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    return options


def png_chunks(description: Description) -> list[tuple[bytes, bytes]]:
    """Return the names and bodies of chunks that hold a description in a PNG file."""
    chunks = []
    if description.dpi is not None:
        across, down = (round(v / 0.0254) for v in description.dpi)
        chunks.append((b"pHYs", struct.pack(">IIB", across, down, 1)))
    for key, text in description.texts.items():
        keyword = key.encode("latin-1", "replace")[:79] + b"\0"
        try:
            chunks.append((b"tEXt", keyword + text.encode("latin-1")))
        except UnicodeEncodeError:
            chunks.append((b"iTXt", keyword + b"\0\0\0\0" + text.encode()))
    if description.iptc is not None:
        digits = description.iptc.hex()
        lines = "\n".join(digits[k : k + 72] for k in range(0, len(digits), 72))
        profile = f"\niptc\n{len(description.iptc):8}\n{lines}\n"
        chunks.append((b"zTXt", _IPTC_TEXT.encode() + b"\0\0" + zlib.compress(profile.encode())))
    return chunks


def exif_entries(description: Description) -> dict[int, Any]:
    """Return the entries by tag that hold a description in a TIFF file."""
    entries: dict[int, Any] = {}
    if description.dpi is not None:
        entries |= {_X_RESOLUTION: description.dpi[0], _Y_RESOLUTION: description.dpi[1], _UNIT: 2}
    if description.iptc is not None:
        entries[_IPTC_TAG] = description.iptc
    if "Comment" in description.texts:
        entries[0x010E] = description.texts["Comment"]
    return entries


def losses(description: Description, kind: str) -> list[str]:
    """Describe for the user which parts of a description a format cannot store."""
    lost = []
    if description.iptc is not None and kind not in ("jpeg", "png", "tiff"):
        lost.append("IPTC records")
    if description.dpi is not None and kind not in ("jpeg", "png", "tiff"):
        lost.append("the resolution")
    held = {"png": set(description.texts), "jpeg": {"Comment"}, "tiff": {"Comment"}}.get(kind, set())
    if texts := sorted(set(description.texts) - held):
        lost.append(f"texts ({', '.join(texts)})")
    return [f"{' and '.join(lost)} dropped: {kind.upper()} has no place for them"] if lost else []


def _png_text(chunk: Chunk) -> tuple[str, str] | None:
    keyword, _, rest = chunk.body.partition(b"\0")
    packed = False
    try:
        if chunk.name == b"zTXt":
            packed, rest = True, rest[1:]
        elif chunk.name == b"iTXt":
            packed = rest[:1] == b"\1"
            rest = rest[2:].split(b"\0", 2)[2]
        if packed:
            rest = zlib.decompressobj().decompress(rest, _MAX_TEXT)
        text = rest.decode("utf-8" if chunk.name == b"iTXt" else "latin-1")
    except (zlib.error, UnicodeDecodeError, IndexError):
        return None
    return keyword.decode("latin-1"), text


def _from_hex(profile: str) -> bytes | None:
    """Return the bytes of a raw profile: its name, its length, then hexadecimal digits."""
    try:
        data = bytes.fromhex("".join(profile.split()[2:]))
    except ValueError:
        return None
    at = data.find(b"8BIM\x04\x04")
    if at >= 0 and len(data) >= at + 12:  # ImageMagick wraps the records as Photoshop does
        (length,) = struct.unpack_from(">I", data, at + 8)
        data = data[at + 12 : at + 12 + length]
    return data or None


def _text(data: bytes) -> str:
    try:
        return data.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return data.rstrip(b"\0").decode("latin-1")
