"""Write a picture to a file: in its own profile and depth, with its metadata, atomically."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, get_args, overload

from clearpane.errors import ClearpaneError
from clearpane.images import descriptions, encoding, formats
from clearpane.images.picture import BandedPicture, SampleType
from clearpane.streams import Target, atomic_target, source_name

WrittenFormat = Literal["jpeg", "png", "tiff", "webp", "exr", "hdr"]

_log = logging.getLogger(__name__)

_SUFFIX_OF = {"jpeg": ".jpg", "png": ".png", "tiff": ".tif", "webp": ".webp", "exr": ".exr", "hdr": ".hdr"}
_LONGEST_SIDE = {"jpeg": 65535, "webp": 16383}


@dataclass(frozen=True)
class WriteOptions:
    """Options for writing a picture.

    Attributes:
        overwrite: True to replace an existing file, but never the file that the picture was read from.
        jpeg_quality: Quality of JPEG and lossy WebP, 1 to 100. JPEG keeps full colour resolution (4:4:4).
        sample_type: Sample type to store; by default as in the file read (HEIC and RAW: uint16), or the
            nearest that the format written can hold.
        format: File format; by default the one that the target's name ends in, and for a stream without a
            name or with a name without an ending that of the file read (HEIC and RAW: PNG).
    """

    overwrite: bool = False
    jpeg_quality: int = 95
    sample_type: SampleType | None = None
    format: WrittenFormat | None = None


def output_suffix(kind: str) -> str:
    """Return the suffix for results of a `Picture.format`: its own, or ``.png`` (16 bits) for HEIC and RAW.

    >>> output_suffix("tiff"), output_suffix("heic")
    ('.tif', '.png')
    """
    return _SUFFIX_OF.get(kind, ".png")


@overload
def write_picture(
    target: str | os.PathLike[str], picture: BandedPicture, options: WriteOptions = ...
) -> Path: ...
@overload
def write_picture(target: BinaryIO, picture: BandedPicture, options: WriteOptions = ...) -> None: ...
def write_picture(
    target: Target, picture: BandedPicture, options: WriteOptions = WriteOptions()
) -> Path | None:
    """Write a picture, a file in the format its name asks for, whole or not at all.

    The pixels are converted back to the profile of the file read, which is embedded; if a profile cannot be
    inverted, sRGB is used. Values that the file cannot hold are clipped; JPEG and HDR drop alpha. EXIF, XMP
    and, in EXR, header entries are kept.

    Args:
        target: Path or binary stream; see `clearpane.streams.Target`. Both get the same bytes. Messages
            call a nameless stream "the picture".
        picture: Picture to write.
        options: Format, sample type and quality.

    Returns:
        The path written; None for a stream.

    Raises:
        ClearpaneError: the format cannot be written, the file exists, is the picture's own source, its folder
            is missing or not writable, the stream cannot be written, or the disk is full. Nothing is left
            behind.

    >>> import io
    >>> import numpy as np
    >>> from clearpane import Picture
    >>> file = io.BytesIO()
    >>> picture = Picture(np.zeros((2, 4, 3), np.float32), "png", "uint8")
    >>> write_picture(file, picture, WriteOptions(format="tiff"))
    >>> file.getvalue()[:3]
    b'II*'
    """
    name = source_name(target, "the picture")
    path = Path(target) if isinstance(target, str | os.PathLike) else None
    kind = options.format or _format_of_name(name, None if path else picture)
    if kind not in get_args(WrittenFormat):
        raise ClearpaneError(f"{name}: `format={kind}`: give {', '.join(get_args(WrittenFormat))}")
    if path is not None and picture.source is not None and _same_file(path, picture.source):
        raise ClearpaneError(
            f"{name}: is the picture that was read, which is never overwritten; choose another name"
        )
    limit = _LONGEST_SIDE.get(kind)
    if limit is not None and max(picture.pixels.shape[:2]) > limit:
        raise ClearpaneError(
            f"{name}: {kind.upper()} holds at most {limit:,} pixels a side; choose another format"
        )
    wanted = options.sample_type or ("uint16" if picture.format in ("heic", "raw") else picture.sample_type)
    rows = encoding.StoredRows(picture, kind, encoding.nearest_sample_type(kind, wanted))
    with atomic_target(target, "the picture", options.overwrite) as temporary:
        try:
            encoding.ENCODERS[kind](temporary, rows, options.jpeg_quality)
        except OSError:
            raise
        except MemoryError as error:
            raise ClearpaneError(f"{name}: not enough memory to write it") from error
        except (ValueError, RuntimeError) as error:
            raise ClearpaneError(
                f"{name}: cannot be written as {kind.upper()} ({error}); choose another format"
            ) from error
    _log.debug("wrote %s: %s", name, kind)
    return path


def _format_of_name(name: str, picture: BandedPicture | None) -> str:
    """Return the format that a name ends in; without an ending, that of results of a picture.

    Raises:
        ClearpaneError: the ending is another, or there is neither an ending nor a picture.
    """
    suffix = Path(name).suffix
    if not suffix and picture is not None:
        suffix = output_suffix(picture.format)
    kind = formats.SUFFIXES.get(suffix.lower())
    if kind not in _SUFFIX_OF:
        raise ClearpaneError(
            f"{name}: cannot write {suffix or 'a name without a suffix'}; "
            "use .jpg, .png, .tif, .webp, .exr or .hdr"
        )
    return str(kind)


def losses(picture: BandedPicture, path: Path) -> list[str]:
    """Describe for the user what the format of a file name cannot store of a picture."""
    kind = formats.SUFFIXES.get(path.suffix.lower(), "")
    lost = descriptions.losses(picture.description, kind)
    if picture.alpha is not None and kind in ("jpeg", "hdr"):
        ground = "white" if kind == "jpeg" else "black"
        lost.append(f"{kind.upper()} has no transparency: transparent parts lie on {ground}")
    return lost


def _same_file(path: Path, source: Path) -> bool:
    try:
        return path.samefile(source)
    except OSError:
        return False
