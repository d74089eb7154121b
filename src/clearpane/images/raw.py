"""Decode camera RAW with LibRaw at a fixed exposure, so that a series keeps its differences in exposure."""

import struct
from typing import Any

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.images import metadata, profiles
from clearpane.images.decoded import CheckSize, Decoded
from clearpane.images.tiff_tags import read_descriptive_tags
from clearpane.streams import Content

_CFA, _LINEAR_RAW = 32803, 34892
_DNG_VERSION, _BASELINE_EXPOSURE = 50706, 50730
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"IIU\0", b"IIRO", b"IIRS", b"MMOR")


def decode_raw(source: Content, check_size: CheckSize) -> Decoded:
    """Read camera RAW: camera white balance, sRGB, no automatic brightness.

    For a DNG, the stated white level and baseline exposure are applied. For other files, LibRaw may lower the
    white level to the brightest sample, for sensors that saturate earlier.
    """
    try:
        import rawpy
    except ImportError as error:
        raise MissingExtraError(f"{source}: reading RAW", "photo") from error
    dng = _dng_settings(source)
    try:
        with source.open() as file, rawpy.imread(file) as raw:
            check_size(raw.sizes.width, raw.sizes.height)
            samples: np.ndarray = raw.postprocess(
                use_camera_wb=True,
                output_bps=16,
                output_color=rawpy.ColorSpace.sRGB,
                gamma=(2.4, 12.92),
                no_auto_bright=True,
                **dng,
            )
    except rawpy.LibRawFileUnsupportedError as error:
        raise ClearpaneError(
            f"{source}: camera RAW of a kind that LibRaw does not read; convert it to DNG or TIFF first"
        ) from error
    except rawpy.LibRawError as error:  # its messages are bytes
        reason = error.args[0] if error.args else b""
        raise OSError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else reason) from error
    exif, xmp = None, None
    with source.open() as file:
        head = file.read(8)
        if head[:4] in _TIFF_MAGIC:  # CR3 and RAF are not based on TIFF
            (start,) = struct.unpack(("<" if head[:2] == b"II" else ">") + "I", head[4:])
            try:
                exif, xmp = read_descriptive_tags(file, [start])
            except struct.error:
                exif, xmp = None, None
    exif, _ = metadata.clean_exif(exif)
    xmp = metadata.clean_xmp(xmp, gain_map_dropped=False)
    return Decoded(samples, exif=exif, xmp=xmp, icc_profile=profiles.srgb_profile())


def is_raw_tiff(source: Content) -> bool:
    """Return whether a file built as TIFF holds sensor samples, whatever its name; False if it is damaged."""
    import tifffile

    try:
        with source.open() as file:
            signature = file.read(12)[8:]
        if signature[:2] == b"CR" or signature in (b"IIII", b"MMMM"):  # Canon, Phase One
            return True
        with source.open() as file, tifffile.TiffFile(file) as tiff:
            if _DNG_VERSION in tiff.pages.first.tags:
                return True
            pages: list[Any] = [tiff.pages.first, *(tiff.pages.first.pages or ())]
            return any(page.photometric in (_CFA, _LINEAR_RAW) for page in pages)
    except Exception:  # reported when it is decoded
        return False


def _dng_settings(source: Content) -> dict[str, Any]:
    """Return LibRaw's settings for a DNG; none for other files."""
    import tifffile

    try:
        with source.open() as file, tifffile.TiffFile(file) as tiff:
            tags = tiff.pages.first.tags
            if _DNG_VERSION not in tags:
                return {}
            numerator, denominator = tags.valueof(_BASELINE_EXPOSURE) or (0, 1)
    except Exception:  # not a TIFF
        return {}
    return {"adjust_maximum_thr": 0.0, "bright": float(2.0 ** (numerator / (denominator or 1)))}
