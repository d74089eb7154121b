"""Decode TIFF and BigTIFF: choose the page, return its samples as grey or RGB of full range."""

import logging
import math
from typing import Any

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.images import descriptions, metadata
from clearpane.images.decoded import CheckSize, Decoded
from clearpane.images.tiff_tags import read_descriptive_tags
from clearpane.images.tiff_ycbcr import read_ycbcr, subsampling
from clearpane.streams import Content

_REDUCED, _MASK = 1, 4
_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _TRANSPARENCY, _YCBCR = 0, 1, 2, 3, 4, 6
_REFUSED = {
    5: "CMYK colours",
    8: "CIELAB colours",
    9: "ICCLAB colours",
    10: "ITULAB colours",
    32803: "camera RAW samples",
    32844: "LOGL colours",
    32845: "LOGLUV colours",
    34892: "camera RAW samples",
    51177: "depth instead of colours",
    52527: "masks instead of colours",
}
_JPEG = (7, 34892, 33007)
_UNSUPPORTED = {6: "OJPEG", 33003: "APERIO_JP2000_YCBC"}
_MAX_CHANNELS = 32


def decode_tiff(source: Content, check_size: CheckSize) -> Decoded:
    """Read the picture of a TIFF file: its first full-size page."""
    import tifffile

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # or it would write to the terminal
    with source.open() as stream, tifffile.TiffFile(stream) as file:
        page, warnings = _choose_page(file)
        check_size(page.imagewidth, page.imagelength)
        _check_readable(source, page)
        samples, has_alpha, premultiplied = _samples(source, page, warnings)
        first = file.pages.first.offset
        raw = file.filehandle
        exif, xmp = read_descriptive_tags(raw, list(dict.fromkeys((first, page.offset))))
        icc = page.tags.valueof(34675)
        orientation = page.tags.valueof(274, 1)
    exif, _ = metadata.clean_exif(exif)
    orientation = orientation[0] if isinstance(orientation, tuple) else orientation
    return Decoded(
        samples,
        has_alpha=has_alpha,
        premultiplied=premultiplied,
        orientation=int(orientation) if orientation in range(1, 9) else 1,
        exif=exif,
        icc_profile=bytes(icc) if isinstance(icc, bytes) and icc else None,
        xmp=metadata.clean_xmp(xmp, gain_map_dropped=False),
        description=descriptions.from_exif(exif),
        warnings=warnings,
    )


def _choose_page(file: Any) -> tuple[Any, list[str]]:
    """Return the page that holds the picture, and warnings about pages that are left out."""
    top = list(file.pages)
    pages = [*top, *(sub for page in top if page.subifds for sub in page.pages or ())]
    pages = [page for page in pages if page.imagewidth and page.imagelength]
    if not pages:
        raise OSError("it has no pages")
    full = [page for page in pages if not _flags(page) & (_REDUCED | _MASK) and _kind(page) != _TRANSPARENCY]
    chosen = full or [max(pages, key=_area)]
    largest = max(_area(page) for page in chosen)
    picture = next(page for page in chosen if 4 * _area(page) >= largest)  # smaller ones are thumbnails
    warnings = []
    if any(page is not picture and 4 * _area(page) >= largest for page in chosen):
        warnings.append("only the first of its pages is read")
    if any(_kind(page) == _TRANSPARENCY or _flags(page) & _MASK for page in pages if page is not picture):
        warnings.append("its transparency mask is dropped")
    return picture, warnings


def _flags(page: Any) -> int:
    """Return NewSubfileType, or the older SubfileType translated to it."""
    old = page.tags.valueof(255, 0)
    return int(page.subfiletype or 0) | (_REDUCED if old == 2 else 0)


def _area(page: Any) -> int:
    return int(page.imagewidth) * int(page.imagelength)


def _kind(page: Any) -> int:
    return int(page.photometric)


def _check_readable(source: Content, page: Any) -> None:
    """Raise ClearpaneError for what would come out wrong, OSError where data is missing."""
    import tifffile

    kind, compression = _kind(page), int(page.compression)
    if kind in _REFUSED:
        raise ClearpaneError(f"{source}: {_REFUSED[kind]}; convert it to RGB first")
    if kind not in (_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _YCBCR):
        raise ClearpaneError(f"{source}: colours of an unknown kind ({kind}); convert it to RGB first")
    if compression in _UNSUPPORTED or compression not in tifffile.TIFF.DECOMPRESSORS:
        name = _UNSUPPORTED.get(compression) or getattr(page.compression, "name", str(compression))
        raise ClearpaneError(f"{source}: compression {name} is not supported; save it with LZW or ZIP first")
    if page.imagedepth > 1:
        raise ClearpaneError(f"{source}: a volume of {page.imagedepth} slices; save one as a picture first")
    if not isinstance(page.bitspersample, int):
        raise ClearpaneError(f"{source}: channels of different depths; convert it to 8 or 16 bits first")
    if page.sampleformat not in (1, 3, 4) or page.bitspersample > (64 if page.sampleformat == 3 else 32):
        what = {2: "signed", 5: "complex", 6: "complex"}.get(page.sampleformat, "too wide")
        raise ClearpaneError(f"{source}: samples are {what}; convert it to 8 or 16 bits first")
    if page.samplesperpixel > _MAX_CHANNELS:
        raise ClearpaneError(f"{source}: {page.samplesperpixel} channels; convert it to RGB first")
    if kind == _YCBCR:
        odd_jpeg = compression in _JPEG and page.planarconfig != 1
        if page.samplesperpixel != 3 or page.bitspersample != 8 or odd_jpeg:
            raise ClearpaneError(
                f"{source}: YCbCr colours with alpha or of more than 8 bits; convert it to RGB first"
            )
        if compression not in _JPEG and (compression in tifffile.TIFF.IMAGE_COMPRESSIONS):
            raise ClearpaneError(f"{source}: YCbCr colours in compression {page.compression.name}; "
                                 "convert it to RGB first")  # fmt: skip
        subsampled = subsampling(page) != (1, 1)
        if compression not in _JPEG and subsampled and (page.predictor != 1 or page.planarconfig != 1):
            raise ClearpaneError(
                f"{source}: subsampled YCbCr colours, stored unusually; convert it to RGB first"
            )
    length = page.parent.filehandle.size
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if len(segments) < math.prod(page.chunked) or any(n == 0 or at + n > length for at, n in segments):
        raise OSError("parts of it are missing")
    if compression in _JPEG:
        _check_jpeg_ends(page.parent.filehandle, segments)


def _check_jpeg_ends(file: Any, segments: list[tuple[int, int]]) -> None:
    """Raise OSError if a strip or tile has no end marker; libjpeg would fill missing data with grey."""
    for offset, length in segments:
        tail = min(length, 64)
        file.seek(offset + length - tail)
        if b"\xff\xd9" not in file.read(tail):
            raise OSError("a strip or tile of it is cut short")


def _samples(source: Content, page: Any, warnings: list[str]) -> tuple[np.ndarray, bool, bool]:
    """Return samples [H, W, C], whether the last is alpha, and whether the others are multiplied by it."""
    kind = _kind(page)
    if kind == _YCBCR and int(page.compression) not in _JPEG:
        return read_ycbcr(page), False, False
    stored = page.asarray(squeeze=False)[:, 0]
    samples = np.moveaxis(stored[..., 0], 0, -1) if stored.shape[0] > 1 else stored[0]
    colours = 3 if kind in (_RGB, _YCBCR) else 1
    if samples.shape[2] < colours:
        raise ClearpaneError(f"{source}: RGB colours of {samples.shape[2]} channels; convert it to RGB first")
    alpha, premultiplied = _alpha_channel(page, samples.shape[2], colours)
    further = samples.shape[2] - colours - (alpha is not None)
    if further:
        warnings.append(f"further channels dropped ({further})")
    if alpha == colours and kind in (_MINISBLACK, _RGB):  # as stored, without a copy
        return _full_range(samples[..., : colours + 1], int(page.bitspersample)), True, premultiplied
    colour, coverage = samples[..., :colours], None if alpha is None else samples[..., alpha, None]
    bits = int(page.bitspersample)
    if kind == _PALETTE:
        colour = _look_up(source, page, colour[..., 0])
        premultiplied = False
        coverage = None if coverage is None else _to_8_bits(_full_range(coverage, bits))
    else:
        colour = _full_range(colour, bits)
        coverage = None if coverage is None else _full_range(coverage, bits)
    if kind == _MINISWHITE:
        if colour.dtype.kind == "f" and page.sampleformat == 3:
            raise ClearpaneError(f"{source}: inverted floating-point samples; convert it to RGB first")
        if premultiplied:
            raise ClearpaneError(f"{source}: inverted samples with associated alpha; convert it to RGB first")
        colour = (1.0 if colour.dtype.kind == "f" else np.iinfo(colour.dtype).max) - colour
    if coverage is not None:
        return np.concatenate([colour, coverage], axis=2), True, premultiplied
    return colour, False, False


def _alpha_channel(page: Any, channels: int, colours: int) -> tuple[int | None, bool]:
    """Return the number of the alpha channel (None if there is none), and whether it is associated.

    A single further channel of unstated meaning is alpha, as in other readers.
    """
    kinds = [int(kind) for kind in page.extrasamples]
    if page.tags.get(338) is None:
        kinds = [2] if channels == colours + 1 else []
    for k, kind in enumerate(kinds):
        if kind in (1, 2) and colours + k < channels:
            return colours + k, kind == 1
    return None, False


def _full_range(samples: np.ndarray, bits: int) -> np.ndarray:
    """Return samples of any depth as uint8, uint16, float16 or float32 whose range is the type's own."""
    if samples.dtype.kind == "f":
        return samples if samples.dtype.itemsize <= 4 else samples.astype(np.float32)
    if samples.dtype.newbyteorder("=") in (np.uint8, np.uint16) and bits in (8, 16):
        return samples
    if bits <= 16:
        target = np.uint8 if bits < 8 else np.uint16
        codes = np.arange(1 << bits, dtype=np.float64)
        table = np.rint(codes * (np.iinfo(target).max / ((1 << bits) - 1))).astype(target)
        return table[samples.astype(np.uint16)]
    return (samples / float((1 << bits) - 1)).astype(np.float32)


def _to_8_bits(samples: np.ndarray) -> np.ndarray:
    return samples if samples.dtype == np.uint8 else (samples >> 8).astype(np.uint8)


def _look_up(source: Content, page: Any, indices: np.ndarray) -> np.ndarray:
    """Return the colours [H, W, 3] uint8 of palette indices [H, W].

    Some programs store 8-bit colours in the 16-bit palette. As in libtiff, a palette without larger values is
    taken for 8 bits; otherwise the upper byte counts.
    """
    palette = page.tags.valueof(320)
    if palette is None or np.size(palette) < 3 or indices.dtype.kind not in "ub":
        raise ClearpaneError(f"{source}: palette colours without a palette; convert it to RGB first")
    entries = np.size(palette) // 3  # some programs leave out the colours that they do not use
    colours: np.ndarray = np.ravel(palette).astype(np.uint16)[: 3 * entries].reshape(3, entries).T
    colours = colours if int(colours.max()) < 256 else colours >> 8
    if int(indices.max()) >= entries:
        raise OSError("it uses more colours than its palette has")
    return colours.astype(np.uint8)[indices.astype(np.intp)]
