"""Read a picture from a file: upright, in sRGB, at full precision."""

import logging
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.images import formats, profiles
from clearpane.images.decoded import CheckSize, Decoded
from clearpane.images.decoding import DECODERS
from clearpane.images.native_output import hidden_native_output
from clearpane.images.picture import BandedPicture, Picture, SampleType
from clearpane.images.raw import is_raw_tiff
from clearpane.images.repair import find_start, repair
from clearpane.images.tiling import BandedPixels, PixelRows, row_bands, whole
from clearpane.optics.color import linear_to_srgb
from clearpane.streams import Content, Source, content_of

MAX_PIXELS = 400_000_000
"""Limit on the number of pixels; larger pictures are refused undecoded, as decompression bombs."""

_log = logging.getLogger(__name__)
_LEADING = 4096
_SAMPLE_TYPES: dict[str, SampleType] = {
    "uint8": "uint8",
    "uint16": "uint16",
    "float16": "half",
    "float32": "float",
}


# Colours that need a conversion are converted once in pictures of at most this many pixels, and whenever they
# are needed in larger ones.
_CONVERTED_ONCE = 1 << 25


def read_picture(source: Source, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture as `open_picture` does, with all of its pixels in memory.

    Raises:
        ClearpaneError, MissingExtraError: See `open_picture`.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (4, 2), "white").save(file, "PNG")
    >>> picture = read_picture(file.getvalue())
    >>> picture.format, picture.pixels.shape, picture.pixels.max().item()
    ('png', (2, 4, 3), 1.0)
    """
    return open_picture(source, max_pixels=max_pixels).whole()


def open_picture(source: Source, *, max_pixels: int = MAX_PIXELS) -> BandedPicture:
    """Read JPEG, PNG, TIFF, WebP, EXR, HDR and, with the extra ``[photo]``, HEIC and camera RAW.

    The EXIF orientation is applied, an embedded ICC profile is converted to sRGB in float, and alpha is
    returned separately. EXR and HDR hold linear light, which is encoded along the extended sRGB curve. A file
    without a profile is taken as sRGB. In a TIFF with several pages, the first full-size page is read. A
    damaged JPEG or PNG with all its pixels is read with a warning.

    The samples are kept as the file stores them; pixels are computed from them, in float, a band of rows at a
    time.

    Args:
        source: Path, a file's bytes, or a binary stream; see `clearpane.streams.Source`. Messages call bytes
            and nameless streams "the picture".
        max_pixels: Largest number of pixels that is decoded.

    Raises:
        ClearpaneError: The file is missing, unreadable, empty, damaged, not a picture, animated, CMYK, or has
            more than ``max_pixels`` pixels.
        MissingExtraError: HEIC or RAW without the extra ``[photo]``.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (4, 2), "white").save(file, "PNG")
    >>> open_picture(file.getvalue()).pixels[0:1].shape
    (1, 4, 3)
    """
    content = content_of(source, "the picture")
    kind = _format(content)
    before = _version(content.file)

    def check_size(width: int, height: int) -> None:
        if width < 1 or height < 1:
            raise ClearpaneError(f"{content}: has no pixels ({width} x {height})")
        if width * height > max_pixels:
            raise ClearpaneError(
                f"{content}: {width} x {height} is more than the limit of {max_pixels / 1e6:g} megapixels; "
                "make it smaller first"
            )

    try:
        with hidden_native_output():
            decoded = DECODERS[kind](content, check_size)
    except ClearpaneError:
        raise
    except MemoryError as error:
        raise ClearpaneError(f"{content}: not enough memory to read it; make it smaller first") from error
    except ImportError as error:  # also where memory is short
        raise ClearpaneError(
            f"{content}: cannot be read, as a package does not load ({error}); close other programs, or "
            "install clearpane again"
        ) from error
    except Exception as error:  # decoders raise almost anything on a damaged file
        repaired = _decode_repaired(content, kind, check_size)
        _check_unchanged(content, before)
        if repaired is not None:
            return _finish(repaired, kind, content.file)
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ClearpaneError(
            f"{content}: truncated or damaged {kind.upper()} file ({reason}); get a fresh copy"
        ) from error
    _check_unchanged(content, before)
    return _finish(decoded, kind, content.file)


def _version(file: Path | None) -> tuple[int, int, int] | None:
    """Return what changes when a file is written to or replaced; None for what is no file."""
    if file is None:
        return None
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _check_unchanged(content: Content, before: tuple[int, int, int] | None) -> None:
    """Raise ClearpaneError if the file was changed while it was read: its parts may not belong together."""
    try:
        same = _version(content.file) == before
    except OSError:
        same = False
    if not same:
        raise ClearpaneError(
            f"{content}: was changed while it was read; wait until it is written, then run the command again"
        )


def _decode_repaired(content: Content, kind: str, check_size: CheckSize) -> Decoded | None:
    """Decode a file whose pixels are all there though its frame is damaged; None for any other."""
    if kind not in ("jpeg", "png"):
        return None
    try:
        candidates = repair(content.read(), kind)
    except (OSError, MemoryError):
        return None
    for data in candidates:
        try:
            with hidden_native_output():
                decoded = DECODERS[kind](replace(content, data=data), check_size)
        except ClearpaneError:
            raise
        except Exception:  # as above
            continue
        decoded.warnings.append("the file is damaged, but all of its pixels are there and were read")
        return decoded
    return None


def picture_format(path: str | os.PathLike[str]) -> str:
    """Detect the format of a file (see `Picture.format`) by its first bytes; the name tells RAW from TIFF.

    Raises:
        ClearpaneError: The file is missing, unreadable, empty or not a picture.
    """
    return _format(content_of(path, "the picture"))


def _format(content: Content) -> str:
    if content.data is None:
        _check_file(content)
    try:
        with content.open() as file:
            header = file.read(formats.HEADER_SIZE)
            start = header + file.read(_LEADING) if formats.sniff(header, "") is None else b""
    except PermissionError as error:
        raise ClearpaneError(f"{content}: no permission to read it; change its permissions") from error
    except (OSError, ValueError) as error:
        raise ClearpaneError(
            f"{content}: cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from error
    if not header:
        advice = "get a fresh copy" if content.data is None else "rewind a stream that was just written"
        raise ClearpaneError(f"{content}: is empty (0 bytes); {advice}")
    kind = formats.sniff(header, content.suffix)
    named = content.data is not None or formats.is_picture_name(content.name)
    if kind is None and formats.foreign_kind(header) is None and named:
        kind = (find_start(start) or (None, 0))[0]
    if kind is None:
        foreign = formats.foreign_kind(header)
        what = f"is {foreign}, which is not read" if foreign else "is not a picture that can be read"
        raise ClearpaneError(f"{content}: {what}; convert it to JPEG, PNG or TIFF")
    return "raw" if kind == "tiff" and is_raw_tiff(content) else kind


def _check_file(content: Content) -> None:
    """Raise ClearpaneError for what is not a file that can be opened."""
    assert content.file is not None
    try:
        str(content.file).encode()
    except UnicodeEncodeError as error:  # some decoders cannot open it, and it could not be printed
        raise ClearpaneError(f"{content}: its name is not valid Unicode; rename it") from error
    try:
        mode = content.file.stat().st_mode
    except FileNotFoundError as error:
        raise ClearpaneError(f"{content}: no such file; check the name") from error
    except PermissionError as error:
        raise ClearpaneError(f"{content}: no permission to read it; change its permissions") from error
    except (OSError, ValueError) as error:
        raise ClearpaneError(
            f"{content}: cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from error
    if stat.S_ISDIR(mode):
        raise ClearpaneError(f"{content}: is a folder, not a picture; name a file")
    if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
        raise ClearpaneError(f"{content}: is a pipe or a device, not a picture; name a file")


def _finish(decoded: Decoded, kind: str, file: Path | None) -> BandedPicture:
    samples = upright(decoded.samples, decoded.orientation)
    sample_type = _SAMPLE_TYPES[samples.dtype.name]
    colours = samples.shape[2] - decoded.has_alpha
    height, width = samples.shape[:2]
    _log.debug("read %s: %s, %d x %d, %s", file or "a picture", kind, width, height, sample_type)
    warnings = list(decoded.warnings)
    conversion, icc_profile = None, decoded.icc_profile
    if not decoded.linear:
        try:
            conversion = profiles.conversion(icc_profile, colours, sample_type)
        except ValueError as error:
            warnings.append(f"its colour profile cannot be used ({error}); taken as sRGB")
            icc_profile = None

    alpha = None
    if decoded.has_alpha:
        alpha = np.empty((height, width), np.float32)
        for rows in row_bands(alpha):
            alpha[rows] = np.clip(_unit(samples[rows, :, -1]), 0, 1)
    finite = samples.dtype.kind != "f" or all(
        np.isfinite(samples[rows, :, :colours]).all() for rows in row_bands(samples)
    )
    if not finite:
        warnings.append("values that are not numbers replaced")

    def band(rows: slice) -> np.ndarray:
        colour = samples[rows, :, :colours]
        if colour.dtype.kind == "f":
            colour = colour.astype(np.float32)
            if not finite:
                np.nan_to_num(colour, copy=False, nan=0.0, posinf=65504.0, neginf=-65504.0)
        if alpha is not None and decoded.premultiplied:
            colour = _unit(colour) / np.where(alpha[rows] > 0, alpha[rows], 1)[..., None]
        if conversion is not None:
            colour = conversion.to_srgb(colour)
        elif decoded.linear:
            colour = linear_to_srgb(_unit(colour))
        else:
            colour = _unit(colour)
        result = np.empty((*colour.shape[:2], 3), np.float32)
        result[...] = colour
        return result

    pixels: PixelRows = BandedPixels((height, width, 3), band)
    if (conversion is not None or decoded.linear) and height * width <= _CONVERTED_ONCE:
        pixels = whole(pixels)
    return BandedPicture(
        pixels,
        kind,
        sample_type,
        alpha=alpha,
        is_gray=colours == 1,
        exif=decoded.exif,
        icc_profile=icc_profile,
        xmp=decoded.xmp,
        attributes=decoded.attributes,
        lossless=decoded.lossless,
        source=file,
        warnings=tuple(warnings),
        description=decoded.description,
    )


def upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (1 to 8) of samples [H, W, C]; returns a view, not a copy."""
    if orientation >= 5:
        samples = samples.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    return samples


def _unit(samples: np.ndarray) -> np.ndarray:
    """Convert integers to float32 in [0, 1], and floats to float32."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32, copy=False)
    result: np.ndarray = np.divide(samples, np.float32(np.iinfo(samples.dtype).max), dtype=np.float32)
    return result
