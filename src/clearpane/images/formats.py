"""Picture formats, detected by a file's first bytes."""

from pathlib import Path

_RAW_ENDINGS = """
3fr arw bay cap cr2 cr3 crw dcr dng drf erf fff gpr iiq k25 kdc mdc mef mos mrw nef nrw orf ori pef ptx pxn
qtk raf rw2 rwl rwz sr2 srf srw sti x3f
"""
RAW_SUFFIXES = frozenset(f".{ending}" for ending in _RAW_ENDINGS.split())
SUFFIXES: dict[str, str] = {
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".jpe": "jpeg",
    ".jfif": "jpeg",
    ".mpo": "jpeg",
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".webp": "webp",
    ".exr": "exr",
    ".hdr": "hdr",
    ".heic": "heic",
    ".heif": "heic",
    ".hif": "heic",
    **dict.fromkeys(sorted(RAW_SUFFIXES), "raw"),
}
"""File name endings of the pictures that can be read, and their formats."""
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".exr"})
"""File name endings of the pictures that data sets are made of."""

HEADER_SIZE = 32

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\x76\x2f\x31\x01", "exr"),
    (b"#?RADIANCE", "hdr"),
    (b"#?RGBE", "hdr"),
    (b"FUJIFILMCCD-RAW", "raw"),
    (b"IIRO", "raw"),
    (b"IIRS", "raw"),
    (b"MMOR", "raw"),
    (b"IIU\0", "raw"),
    (b"II\x1a\0\0\0HEAPCCDR", "raw"),
    (b"\0MRM", "raw"),
    (b"FOVb", "raw"),
)
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000"),
    (b"<svg", "an SVG"),
)


def is_picture_name(path: str | Path) -> bool:
    """Return True if a file's name ends like that of a readable picture.

    >>> is_picture_name("IMG_0001.HEIC"), is_picture_name("notes.txt")
    (True, False)
    """
    return Path(path).suffix.lower() in SUFFIXES


def sniff(header: bytes, suffix: str) -> str | None:
    """Detect the format of a file from its first ``HEADER_SIZE`` bytes; None if it cannot be read.

    The suffix only distinguishes RAW files that are TIFF inside from TIFF.
    """
    if header[:4] in _TIFF_MAGIC:
        return "raw" if suffix.lower() in RAW_SUFFIXES else "tiff"
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        return "webp"
    if header[4:8] == b"ftyp":
        if header[8:12] == b"crx ":
            return "raw"
        return "heic" if header[8:12] in _HEIF_BRANDS and b"avif" not in header else None
    return next((name for magic, name in _MAGIC if header.startswith(magic)), None)


def foreign_kind(header: bytes) -> str | None:
    """Describe a file that cannot be read, in words for the user; None if it is unknown."""
    if header[4:8] == b"ftyp":
        return "an AVIF" if b"avi" in header[8:] else "a film or another kind of media file"
    return next((kind for magic, kind in _FOREIGN if header.startswith(magic)), None)
