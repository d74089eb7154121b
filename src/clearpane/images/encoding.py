"""Encode each format to a temporary file; `writing` moves it into place."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from clearpane.images import descriptions, metadata, profiles
from clearpane.images.picture import BandedPicture, SampleType
from clearpane.images.tiling import row_bands
from clearpane.optics.color import srgb_to_linear

_HOLDS: dict[str, tuple[SampleType, ...]] = {
    "jpeg": ("uint8",),
    "webp": ("uint8",),
    "png": ("uint8", "uint16"),
    "tiff": ("uint8", "uint16", "half", "float"),
    "exr": ("half", "float"),
    "hdr": ("float",),
}
_DTYPES = {"uint8": np.uint8, "uint16": np.uint16, "half": np.float16, "float": np.float32}
_SEGMENT_LIMIT = 65533 - 40


def nearest_sample_type(kind: str, wanted: SampleType) -> SampleType:
    """Return a format's smallest sample type that holds the wanted one, else its largest."""
    order: tuple[SampleType, ...] = ("uint8", "half", "uint16", "float") if kind == "exr" else (
        "uint8", "uint16", "half", "float")  # fmt: skip
    wider = [s for s in order[order.index(wanted) :] if s in _HOLDS[kind]]
    return wider[0] if wider else _HOLDS[kind][-1]


class StoredRows:
    """Rows of a picture as a file of a given format stores them, made band by band.

    Attributes:
        icc_profile: Profile of the rows, which the file should carry, or None.
        channels: Number of colour channels and alpha.
    """

    def __init__(self, picture: BandedPicture, kind: str, sample_type: SampleType) -> None:
        self.picture = picture
        self.sample_type = sample_type
        self.height, self.width = picture.pixels.shape[:2]
        self.linear = kind in ("exr", "hdr")
        self.on_white = kind == "jpeg"  # which has no alpha
        self.gray = picture.is_gray and kind not in ("hdr", "webp")
        self.has_alpha = picture.alpha is not None and kind not in ("jpeg", "hdr")
        self.channels = (1 if self.gray else 3) + self.has_alpha
        self.icc_profile = None if self.linear else picture.icc_profile
        self._conversion = None
        if self.icc_profile is not None:
            if picture.is_gray and not self.gray:
                self.icc_profile = profiles.srgb_profile()
            self._conversion = profiles.conversion(
                self.icc_profile, 1 if self.gray else 3, picture.sample_type
            )
            if self._conversion is not None and not self._conversion.invertible:
                self._conversion = None
                self.icc_profile = None if self.gray else profiles.srgb_profile()

    def band(self, rows: slice) -> np.ndarray:
        """Make the samples [H, W, C] of some rows."""
        pixels = self.picture.pixels[rows]
        if self._conversion is not None:
            colour = self._conversion.from_srgb(pixels)
        else:
            colour = srgb_to_linear(pixels) if self.linear else np.array(pixels, np.float32)
        if self.gray and colour.shape[2] == 3:
            colour = colour.mean(axis=2, keepdims=True, dtype=np.float64).astype(np.float32)
        out = np.empty((*colour.shape[:2], self.channels), _DTYPES[self.sample_type])
        if self.picture.alpha is not None and self.on_white:
            coverage = self.picture.alpha[rows][..., None]
            colour = np.clip(colour, 0, 1) * coverage + (1 - coverage)
        if self.has_alpha:
            assert self.picture.alpha is not None
            alpha = self.picture.alpha[rows]
            if self.linear:
                colour *= (np.where(alpha > 0, alpha, 1) if self.picture.format == "exr" else alpha)[
                    ..., None
                ]
            out[..., -1] = self._store(np.array(alpha, np.float32))
        out[..., : colour.shape[2]] = self._store(colour)
        return out

    def whole(self) -> np.ndarray:
        """Make the samples [H, W, C] of all rows."""
        out = np.empty((self.height, self.width, self.channels), _DTYPES[self.sample_type])
        for rows in row_bands(self.picture.pixels):
            out[rows] = self.band(rows)
        return out

    def _store(self, values: np.ndarray) -> np.ndarray:
        if self.sample_type == "float":
            return values
        if self.sample_type == "half":
            return np.clip(values, -65504, 65504, out=values)
        np.clip(values, 0, 1, out=values)
        values *= 255 if self.sample_type == "uint8" else 65535
        result: np.ndarray = np.rint(values, out=values)
        return result


def encode_jpeg(path: Path, rows: StoredRows, quality: int) -> None:
    """Write rows as JPEG, lossy at ``quality``."""
    image = _pillow_image(rows)
    encoded = io.BytesIO()  # writing straight to a file, Pillow would not notice a full disk
    image.save(
        encoded,
        "JPEG",
        quality=quality,
        subsampling=0,
        **descriptions.jpeg_options(rows.picture.description),
        **_pillow_metadata(rows, limit=_SEGMENT_LIMIT),
    )
    path.write_bytes(encoded.getbuffer())


def encode_webp(path: Path, rows: StoredRows, quality: int) -> None:
    """Write rows as WebP, lossy at ``quality``."""
    image = _pillow_image(rows)
    lossless = rows.picture.lossless
    image.save(
        path,
        "WEBP",
        quality=75 if lossless else quality,
        lossless=lossless,
        exact=lossless,
        **_pillow_metadata(rows),
    )


def encode_png(path: Path, rows: StoredRows, quality: int) -> None:
    """Write rows as PNG; ``quality`` is ignored."""
    bare = path.with_name(path.stem + "-bare.png")
    try:
        _write_oiio(bare, rows, "png", {"png:compressionLevel": 4})
        with bare.open("rb") as source, path.open("wb") as target:
            _copy_png(source, target, rows.picture)
    finally:
        bare.unlink(missing_ok=True)


def encode_tiff(path: Path, rows: StoredRows, quality: int) -> None:
    """Write rows as TIFF; ``quality`` is ignored."""
    import OpenImageIO as oiio

    oiio.attribute("tiff:half", 1)
    predictor = 3 if rows.sample_type in ("half", "float") else 2
    _write_oiio(path, rows, "tiff", {"compression": "zip", "tiff:predictor": predictor, "tiff:zipquality": 4})
    metadata.add_tiff_metadata(
        path, rows.picture.exif, rows.picture.xmp, descriptions.exif_entries(rows.picture.description)
    )


def encode_exr(path: Path, rows: StoredRows, quality: int) -> None:
    """Write rows as OpenEXR; ``quality`` is ignored."""
    _write_oiio(path, rows, "openexr", {**rows.picture.attributes, "compression": "zip"})


def encode_hdr(path: Path, rows: StoredRows, quality: int) -> None:
    """Write rows as Radiance HDR; ``quality`` is ignored."""
    _write_oiio(path, rows, "hdr", {}, _to_rgbe_grid)


ENCODERS: dict[str, Callable[[Path, StoredRows, int], None]] = {
    "jpeg": encode_jpeg,
    "png": encode_png,
    "tiff": encode_tiff,
    "webp": encode_webp,
    "exr": encode_exr,
    "hdr": encode_hdr,
}


def _write_oiio(
    path: Path,
    rows: StoredRows,
    plugin: str,
    attributes: dict[str, Any],
    adjust: Callable[[np.ndarray], np.ndarray] | None = None,
) -> None:
    import OpenImageIO as oiio

    spec = oiio.ImageSpec(rows.width, rows.height, rows.channels, rows.sample_type)
    spec.channelnames = (("Y",) if rows.gray else ("R", "G", "B")) + (("A",) if rows.has_alpha else ())
    spec.alpha_channel = rows.channels - 1 if rows.has_alpha else -1
    if rows.has_alpha and not rows.linear:
        spec.attribute("oiio:UnassociatedAlpha", 1)
    # Without an empty one the present time is written, as that of the capture: equal pictures, unequal files.
    attributes = {"DateTime": "", **attributes}
    if plugin == "openexr" and "displayWindow" in attributes:
        spec.x, spec.y = attributes.pop("dataWindow")
        spec.full_x, spec.full_y, spec.full_width, spec.full_height = attributes.pop("displayWindow")
    for name, value in attributes.items():
        spec.attribute(name, value)
    if rows.icc_profile is not None:
        profile = np.frombuffer(rows.icc_profile, np.uint8)
        spec.attribute("ICCProfile", oiio.TypeDesc(f"uint8[{profile.size}]"), profile)
    target: Any = oiio.ImageOutput.create(plugin)
    if not target.open(str(path), spec):
        raise OSError(target.geterror())
    try:
        for band in row_bands(rows.picture.pixels):
            samples = rows.band(band)
            if not target.write_scanlines(
                spec.y + band.start, spec.y + band.stop, 0, adjust(samples) if adjust else samples
            ):
                raise OSError(target.geterror())
    except BaseException:
        target.close()
        raise
    if not target.close():
        raise OSError(target.geterror())
    if rows.linear:
        _check_last_row(path)  # these two writers do not notice if the disk is full at the end


def _check_last_row(path: Path) -> None:
    import OpenImageIO as oiio

    written: Any = oiio.ImageInput.open(str(path))
    if written is None:
        raise OSError("the file came out incomplete")
    spec = written.spec()
    end = spec.y + spec.height
    last = written.read_scanlines(end - 1, end, 0, 0, spec.nchannels, spec.format)
    written.geterror()
    written.close()
    if last is None:
        raise OSError("the file came out incomplete")


def _to_rgbe_grid(linear: np.ndarray) -> np.ndarray:
    """Round to RGBE values (8 bits below the largest channel's exponent); its writer would truncate."""
    np.maximum(linear, 0, out=linear)
    _, exponent = np.frexp(linear.max(axis=2, keepdims=True))
    result: np.ndarray = np.ldexp(np.rint(np.ldexp(linear, 8 - exponent)), exponent - 8)
    return result


def _pillow_image(rows: StoredRows) -> Any:
    from PIL import Image

    samples = rows.whole()
    return Image.fromarray(samples[..., 0] if rows.channels == 1 else samples)


def _pillow_metadata(rows: StoredRows, limit: int | None = None) -> dict[str, bytes]:
    """Return EXIF, XMP and profile for Pillow; a block over the format's limit is left out."""
    exif = rows.picture.exif
    entries = {
        "exif": b"Exif\0\0" + exif if exif else None,
        "xmp": rows.picture.xmp,
    }
    kept = {
        name: block for name, block in entries.items() if block and (limit is None or len(block) <= limit)
    }
    return {**kept, **({"icc_profile": rows.icc_profile} if rows.icc_profile else {})}


def _copy_png(source: BinaryIO, target: BinaryIO, picture: BandedPicture) -> None:
    """Copy a PNG and insert EXIF and XMP.

    Only the pixels and the profile are taken from OpenImageIO's file: it adds an sRGB chunk beside any
    profile, and an EXIF chunk of its own.
    """
    target.write(source.read(8))
    name = b""
    while name != b"IEND":
        head = source.read(8)
        if len(head) < 8:
            raise OSError("the file came out incomplete")
        size, name = struct.unpack(">I4s", head)
        body = source.read(size + 4)
        if name in (b"IHDR", b"iCCP", b"IDAT", b"IEND"):
            target.write(head + body)
        if name == b"IHDR":
            for kind, content in descriptions.png_chunks(picture.description):
                target.write(_png_chunk(kind, content))
            if picture.exif is not None:
                target.write(_png_chunk(b"eXIf", picture.exif))
            if picture.xmp is not None:
                target.write(_png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + picture.xmp))


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
