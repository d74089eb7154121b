"""Write a picture to a file: in its own profile and depth, with its metadata, atomically."""

from dataclasses import dataclass
from pathlib import Path

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.images import descriptions, encoding, formats
from clearpane.images.picture import Picture, SampleType

_SUFFIX_OF = {"jpeg": ".jpg", "png": ".png", "tiff": ".tif", "webp": ".webp", "exr": ".exr", "hdr": ".hdr"}

_LONGEST_SIDE = {"jpeg": 65535, "webp": 16383}


@dataclass(frozen=True)
class WriteOptions:
    """Options for writing a picture.

    Attributes:
        overwrite: True to replace an existing file; the picture's own source is never replaced.
        jpeg_quality: Quality of JPEG and lossy WebP, 1 to 100. JPEG keeps full colour resolution (4:4:4).
        sample_type: Type of the samples; None for that of the file read (uint16 for HEIC and RAW), or the
            nearest that the format holds.
    """

    overwrite: bool = False
    jpeg_quality: int = 95
    sample_type: SampleType | None = None


def output_suffix(kind: str) -> str:
    """Return the suffix for results of a `Picture.format`: its own, or ``.png`` (16 bits) for HEIC and RAW.

    >>> output_suffix("tiff"), output_suffix("heic")
    ('.tif', '.png')
    """
    return _SUFFIX_OF.get(kind, ".png")


def write_picture(path: str | Path, picture: Picture, options: WriteOptions = WriteOptions()) -> Path:
    """Write a picture in the format of the file's suffix, atomically.

    The pixels are converted back to the profile of the file read, which is embedded; if a profile cannot be
    inverted, sRGB is used. Values that the file cannot hold are clipped; JPEG and HDR drop alpha. EXIF, XMP
    and, in EXR, header entries are kept.

    Returns:
        The path written.

    Raises:
        ClearpaneError: The format cannot be written, the file exists or is the picture's own source, its
            folder is missing or not writable, or the disk is full. Nothing is left behind.
    """
    path = Path(path)
    kind = formats.SUFFIXES.get(path.suffix.lower())
    if kind not in _SUFFIX_OF:
        raise ClearpaneError(
            f"{path}: cannot write {path.suffix or 'a name without a suffix'}; "
            "use .jpg, .png, .tif, .webp, .exr or .hdr"
        )
    if picture.source is not None and _same_file(path, picture.source):
        raise ClearpaneError(
            f"{path}: is the picture that was read, which is never overwritten; choose another name"
        )
    limit = _LONGEST_SIDE.get(kind)
    if limit is not None and max(picture.pixels.shape[:2]) > limit:
        raise ClearpaneError(
            f"{path}: {kind.upper()} holds at most {limit:,} pixels a side; choose another format"
        )
    wanted = options.sample_type or ("uint16" if picture.format in ("heic", "raw") else picture.sample_type)
    rows = encoding.StoredRows(picture, kind, encoding.nearest_sample_type(kind, wanted))
    with atomic_path(path, options.overwrite) as temporary:
        try:
            encoding.ENCODERS[kind](temporary, rows, options.jpeg_quality)
        except OSError:
            raise
        except MemoryError as error:
            raise ClearpaneError(f"{path}: not enough memory to write it") from error
        except (ValueError, RuntimeError) as error:
            raise ClearpaneError(
                f"{path}: cannot be written as {kind.upper()} ({error}); choose another format"
            ) from error
    return path


def losses(picture: Picture, path: Path) -> list[str]:
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
