"""Read a picture from a file: upright, in sRGB, at full precision."""

import contextlib
import stat
from pathlib import Path

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.files import temporary_folder
from clearpane.images import formats, profiles
from clearpane.images.decoded import CheckSize, Decoded
from clearpane.images.decoding import DECODERS
from clearpane.images.picture import Picture, SampleType
from clearpane.images.raw import is_raw_tiff
from clearpane.images.repair import find_start, repair
from clearpane.images.tiling import row_bands
from clearpane.optics.color import linear_to_srgb

MAX_PIXELS = 400_000_000
"""Limit on the number of pixels; larger pictures are refused undecoded, as decompression bombs."""

_LEADING = 4096
_SAMPLE_TYPES: dict[str, SampleType] = {
    "uint8": "uint8",
    "uint16": "uint16",
    "float16": "half",
    "float32": "float",
}


def read_picture(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read JPEG, PNG, TIFF, WebP, EXR, HDR and, with the extra ``[photo]``, HEIC and camera RAW.

    The EXIF orientation is applied, an embedded ICC profile is converted to sRGB in float, and alpha is
    returned separately. EXR and HDR hold linear light, which is encoded along the extended sRGB curve. A file
    without a profile is taken as sRGB. In a TIFF with several pages, the first full-size page is read. A
    damaged JPEG or PNG with all its pixels is read with a warning.

    Raises:
        ClearpaneError: The file is missing, unreadable, empty, damaged, not a picture, animated, CMYK, or has
            more than ``max_pixels`` pixels.
        MissingExtraError: The file is HEIC or RAW and the extra ``[photo]`` is not installed.
    """
    path = Path(path)
    kind = picture_format(path)

    def check_size(width: int, height: int) -> None:
        if width < 1 or height < 1:
            raise ClearpaneError(f"{path}: has no pixels ({width} x {height})")
        if width * height > max_pixels:
            raise ClearpaneError(
                f"{path}: {width} x {height} is more than the limit of {max_pixels / 1e6:g} megapixels; "
                "make it smaller first"
            )

    try:
        decoded = DECODERS[kind](path, check_size)
    except ClearpaneError:
        raise
    except MemoryError as error:
        raise ClearpaneError(f"{path}: not enough memory to read it; make it smaller first") from error
    except Exception as error:  # decoders raise almost anything on a damaged file
        repaired = _decode_repaired(path, kind, check_size)
        if repaired is not None:
            return _finish(repaired, kind, path)
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ClearpaneError(
            f"{path}: truncated or damaged {kind.upper()} file ({reason}); get a fresh copy"
        ) from error
    return _finish(decoded, kind, path)


def _decode_repaired(path: Path, kind: str, check_size: CheckSize) -> Decoded | None:
    """Decode a damaged file that still has all its pixels; return None for any other."""
    if kind not in ("jpeg", "png"):
        return None
    with contextlib.suppress(OSError, MemoryError), temporary_folder() as folder:
        for data in repair(path.read_bytes(), kind):
            whole = folder / "repaired"
            whole.write_bytes(data)
            try:
                decoded = DECODERS[kind](whole, check_size)
            except ClearpaneError as error:
                raise ClearpaneError(str(error).replace(str(whole), str(path))) from error
            except Exception:  # as above
                continue
            decoded.warnings.append("the file is damaged, but all of its pixels are there and were read")
            return decoded
    return None


def picture_format(path: Path) -> str:
    """Detect a file's format (see `Picture.format`) by its first bytes; the name separates RAW from TIFF.

    Raises:
        ClearpaneError: The file is missing, unreadable, empty or not a picture.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # some decoders cannot open it, and it cannot be printed
        raise ClearpaneError(f"{path}: its name is not valid Unicode; rename it") from error
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ClearpaneError(f"{path}: is a folder, not a picture; name a file")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise ClearpaneError(f"{path}: is a pipe or a device, not a picture; name a file")
        with path.open("rb") as file:
            header = file.read(formats.HEADER_SIZE)
            start = header + file.read(_LEADING) if formats.sniff(header, "") is None else b""
    except FileNotFoundError as error:
        raise ClearpaneError(f"{path}: no such file; check the name") from error
    except PermissionError as error:
        raise ClearpaneError(f"{path}: no permission to read it; change its permissions") from error
    except (OSError, ValueError) as error:
        raise ClearpaneError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from error
    if not header:
        raise ClearpaneError(f"{path}: is empty (0 bytes); get a fresh copy")
    kind = formats.sniff(header, path.suffix)
    if kind is None and formats.foreign_kind(header) is None and formats.is_picture_name(path):
        kind = (find_start(start) or (None, 0))[0]
    if kind is None:
        foreign = formats.foreign_kind(header)
        what = f"is {foreign}, which is not read" if foreign else "is not a picture that can be read"
        raise ClearpaneError(f"{path}: {what}; convert it to JPEG, PNG or TIFF")
    return "raw" if kind == "tiff" and is_raw_tiff(path) else kind


def _finish(decoded: Decoded, kind: str, path: Path) -> Picture:
    samples = upright(decoded.samples, decoded.orientation)
    sample_type = _SAMPLE_TYPES[samples.dtype.name]
    colours = samples.shape[2] - decoded.has_alpha
    height, width = samples.shape[:2]
    warnings = list(decoded.warnings)
    conversion, icc_profile = None, decoded.icc_profile
    if not decoded.linear:
        try:
            conversion = profiles.conversion(icc_profile, colours, sample_type)
        except ValueError as error:
            warnings.append(f"its colour profile cannot be used ({error}); taken as sRGB")
            icc_profile = None

    pixels = np.empty((height, width, 3), np.float32)
    alpha = np.empty((height, width), np.float32) if decoded.has_alpha else None
    finite = True
    for band in row_bands(pixels):
        colour = samples[band, :, :colours]
        if colour.dtype.kind == "f":
            colour = colour.astype(np.float32)
            if not np.isfinite(colour).all():
                finite = False
                np.nan_to_num(colour, copy=False, nan=0.0, posinf=65504.0, neginf=-65504.0)
        if alpha is not None:
            alpha[band] = np.clip(_unit(samples[band, :, -1]), 0, 1)
            if decoded.premultiplied:
                coverage = np.where(alpha[band] > 0, alpha[band], 1)[..., None]
                colour = _unit(colour) / coverage
        if conversion is not None:
            pixels[band] = conversion.to_srgb(colour)
        elif decoded.linear:
            pixels[band] = linear_to_srgb(_unit(colour))
        else:
            pixels[band] = _unit(colour)
    if not finite:
        warnings.append("values that are not numbers replaced")
    return Picture(
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
        source=path,
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
