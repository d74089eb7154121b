"""Decode each format's samples and metadata as stored; `reading` makes a picture of them."""

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.images import descriptions, metadata, profiles
from clearpane.images.decoded import CheckSize, Decoded, is_header_text
from clearpane.images.exr import decode_exr
from clearpane.images.png_chunks import Chunk, read_chunks
from clearpane.images.png_colour import UnsupportedColour, colour_profile
from clearpane.images.raw import decode_raw
from clearpane.images.repair import MOST_PIXELS_A_BYTE
from clearpane.images.tiff import decode_tiff
from clearpane.streams import Content

# What libjpeg says of blocks that it invented. Bytes left over before a restart marker are such, too.
_INVENTED = re.compile(
    r"premature end|bad Huffman code|bad arithmetic code|instead of RST|before marker 0xd[0-7]", re.IGNORECASE
)


def decode_jpeg(source: Content, check_size: CheckSize) -> Decoded:
    """Decode a JPEG file; ``check_size`` may refuse its size before pixels are decoded."""
    from PIL.JpegImagePlugin import JpegImageFile

    # the plug-in itself: Image.open has a global size limit of its own, and opens a phone's file as MPO
    with source.open() as file, JpegImageFile(file) as image:
        check_size(*image.size)
        if math.prod(image.size) > MOST_PIXELS_A_BYTE * file.seek(0, io.SEEK_END):
            # libjpeg would fill it with grey
            raise ClearpaneError(
                f"{source}: truncated or damaged JPEG file (it has far fewer bytes than its size needs); "
                "get a fresh copy"
            )
        if image.mode not in ("L", "RGB"):
            raise ClearpaneError(f"{source}: a {image.mode} JPEG; convert it to RGB first")
        gain_map = b"hdrgm" in (image.info.get("xmp") or b"")
        samples = _pillow_samples(image) if gain_map else _jpeg_samples(source, image)
        exif, orientation = metadata.clean_exif(metadata.strip_exif_prefix(image.info.get("exif")))
        warning = None
        if "mp" in image.info or gain_map:
            file.seek(0)
            warning, gain_map = metadata.embedded_extras(_after_first_jpeg(file.read()))
        return Decoded(
            samples,
            orientation=orientation,
            exif=exif,
            icc_profile=image.info.get("icc_profile") or _dcf_profile(exif),
            xmp=metadata.clean_xmp(image.info.get("xmp"), gain_map_dropped=gain_map),
            lossless=False,
            description=descriptions.from_jpeg(image.info),
            warnings=[warning] if warning else [],
        )


def decode_png(source: Content, check_size: CheckSize) -> Decoded:
    """Decode a PNG file; ``check_size`` may refuse its size before pixels are decoded."""
    from PIL.PngImagePlugin import PngImageFile

    with source.open() as file, PngImageFile(file) as image:
        check_size(*image.size)
        if getattr(image, "is_animated", False):
            raise ClearpaneError(f"{source}: an animated PNG; save one frame as a picture first")
        info = dict(image.info)
    chunks = read_chunks(source.read())
    _check_png_chunks(chunks)
    block = info.get("exif")
    if block is None and "Raw profile type exif" in info:
        block = bytes.fromhex("".join(info["Raw profile type exif"].split("\n")[3:]))
    exif, orientation = metadata.clean_exif(metadata.strip_exif_prefix(block))
    xmp = metadata.clean_xmp(info.get("xmp") or info.get("XML:com.adobe.xmp"), gain_map_dropped=False)
    decoded = _decode_oiio(source, check_size)
    decoded.orientation, decoded.exif, decoded.xmp = orientation, exif, xmp
    decoded.description = descriptions.from_png(chunks)
    try:
        colours = decoded.samples.shape[2] - decoded.has_alpha
        decoded.icc_profile = colour_profile(chunks, gray=colours == 1)
    except UnsupportedColour as error:
        raise ClearpaneError(f"{source}: {error}; convert it to sRGB first") from error
    decoded.attributes = {}
    return decoded


def decode_webp(source: Content, check_size: CheckSize) -> Decoded:
    """Decode a WebP file; ``check_size`` may refuse its size before pixels are decoded."""
    from PIL.WebPImagePlugin import WebPImageFile

    with source.open() as file, WebPImageFile(file) as image:
        check_size(*image.size)
        if getattr(image, "is_animated", False):
            raise ClearpaneError(f"{source}: an animated WebP; save one frame as a picture first")
        samples = _pillow_samples(image)
        exif, orientation = metadata.clean_exif(metadata.strip_exif_prefix(image.info.get("exif")))
        file.seek(0)
        return Decoded(
            samples,
            has_alpha=samples.shape[2] == 4,
            orientation=orientation,
            exif=exif,
            icc_profile=image.info.get("icc_profile"),
            xmp=metadata.clean_xmp(image.info.get("xmp"), gain_map_dropped=False),
            lossless=b"VP8L" in _riff_chunks(file.read()),
        )


def decode_hdr(source: Content, check_size: CheckSize) -> Decoded:
    """Read Radiance HDR."""
    decoded = _decode_oiio(source, check_size)
    decoded.linear = True
    orientation = decoded.attributes.pop("Orientation", 1)
    decoded.orientation = orientation if isinstance(orientation, int) else 1
    return decoded


def decode_heic(source: Content, check_size: CheckSize) -> Decoded:
    """Decode a HEIC file; ``check_size`` may refuse its size before pixels are decoded."""
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingExtraError(f"{source}: reading HEIC", "photo") from error
    file = pillow_heif.open_heif(source.read(), convert_hdr_to_8bit=False)
    image: Any = file[file.primary_index]
    check_size(*image.size)
    samples = np.asarray(image)
    samples = samples[:, :, None] if samples.ndim == 2 else samples
    # libheif has rotated the pixels; an orientation left in the EXIF block would rotate them again
    exif, _ = metadata.clean_exif(metadata.strip_exif_prefix(image.info.get("exif")))
    warnings = []
    gain_map = any("hdrgainmap" in str(name).lower() for name in image.info.get("aux") or {})
    if gain_map:
        warnings.append("gain map dropped")
    nclx = image.info.get("nclx_profile") or {}
    if nclx.get("transfer_characteristics") in (16, 18):
        warnings.append("its HDR tone curve is taken as sRGB; colours may be off")
    colours = samples.shape[2] - (samples.shape[2] in (2, 4))
    profile = image.info.get("icc_profile")
    if not profile and colours == 3 and nclx.get("color_primaries") == 12:
        profile = profiles.display_p3_profile()
    return Decoded(
        samples,
        has_alpha=samples.shape[2] in (2, 4),
        premultiplied=bool(getattr(image, "premultiplied_alpha", False)),
        exif=exif,
        icc_profile=profile or (profiles.srgb_profile() if colours == 3 else None),
        xmp=metadata.clean_xmp(image.info.get("xmp"), gain_map_dropped=gain_map),
        lossless=False,
        warnings=warnings,
    )


DECODERS: dict[str, Callable[[Content, CheckSize], Decoded]] = {
    "jpeg": decode_jpeg,
    "png": decode_png,
    "tiff": decode_tiff,
    "webp": decode_webp,
    "exr": decode_exr,
    "hdr": decode_hdr,
    "heic": decode_heic,
    "raw": decode_raw,
}


def _decode_oiio(source: Content, check_size: CheckSize) -> Decoded:
    import OpenImageIO as oiio

    config = oiio.ImageSpec()
    config.attribute("oiio:UnassociatedAlpha", 1)
    config.attribute("oiio:RawColor", 1)
    with source.on_disk() as path:
        image = oiio.ImageInput.open(str(path), config)
        if image is None:
            raise OSError(oiio.geterror())
        try:
            spec = image.spec()
            check_size(spec.width, spec.height)
            attributes = {a.name: a.value for a in spec.extra_attribs}
            kind = str(spec.format)
            kind = kind if kind in ("uint8", "uint16", "half") else "float"
            samples = image.read_image(0, 0, 0, spec.nchannels, kind)
            if samples is None:
                raise OSError(image.geterror())
        finally:
            image.close()
    warnings: list[str] = []
    picked, has_alpha = _choose_channels(source, list(spec.channelnames), spec.alpha_channel)
    samples = samples.reshape(spec.height, spec.width, spec.nchannels)
    if len(picked) < spec.nchannels:
        dropped = [name for k, name in enumerate(spec.channelnames) if k not in picked]
        warnings.append(f"further channels dropped ({', '.join(dropped)})")
    if picked != list(range(spec.nchannels)):
        samples = samples[..., picked]
    icc = attributes.get("ICCProfile")
    kept = {name: value for name, value in attributes.items() if is_header_text(name, value)}
    return Decoded(
        samples,
        has_alpha=has_alpha,
        premultiplied=has_alpha and not attributes.get("oiio:UnassociatedAlpha"),
        icc_profile=np.asarray(icc, np.uint8).tobytes() if icc is not None else None,
        attributes=kept,
        warnings=warnings,
    )


def _jpeg_samples(source: Content, image: Any) -> np.ndarray:
    """Decode the samples of a JPEG file whose header Pillow has read.

    Where data is missing or damaged, libjpeg invents blocks and warns. Pillow does not pass its warnings on,
    OpenImageIO passes the first one. It would make a picture with a gain map (Ultra HDR) of another kind, so
    Pillow decodes that.

    Raises:
        OSError: Pixels are missing or damaged.
    """
    import OpenImageIO as oiio

    with source.on_disk() as path:
        decoder = oiio.ImageInput.open(str(path))
        if decoder is None:
            raise OSError(oiio.geterror())
        try:
            spec = decoder.spec()
            samples = decoder.read_image(0, 0, 0, spec.nchannels, "uint8")
            reason = decoder.geterror().removeprefix("JPEG error: ").split(' ("')[0]
        finally:
            decoder.close()
    if _INVENTED.search(reason):
        raise OSError(reason)
    wanted = (image.height, image.width, len(image.getbands()))
    if samples is None or samples.size != math.prod(wanted):
        return _pillow_samples(image)
    return samples.reshape(wanted)


def _check_png_chunks(chunks: Sequence[Chunk]) -> None:
    """Raise OSError unless every chunk is there and unharmed; libpng would complain on the terminal."""
    for chunk in chunks:
        if not chunk.whole:
            name = chunk.name.decode("ascii", "replace")
            raise OSError(f"{name} is cut short or has a wrong checksum")
    if not chunks or chunks[-1].name != b"IEND":
        raise OSError("it ends too early")


def _choose_channels(source: Content, names: list[str], alpha: int) -> tuple[list[int], bool]:
    """Return which channels are red, green, blue (or grey), and which is alpha."""
    by_name = {name.upper(): k for k, name in enumerate(names)}
    if all(c in by_name for c in "RGB"):
        colour = [by_name[c] for c in "RGB"]
    elif "Y" in by_name and not ("RY" in by_name and "BY" in by_name):
        colour = [by_name["Y"]]
    elif len([k for k in range(len(names)) if k != alpha]) == 1:
        colour = [k for k in range(len(names)) if k != alpha]
    else:
        raise ClearpaneError(f"{source}: its channels are {', '.join(names)}; R, G, B or Y are needed")
    return ([*colour, alpha], True) if alpha >= 0 else (colour, False)


def _pillow_samples(image: Any) -> np.ndarray:
    image.load()
    samples = np.asarray(image)
    return samples[:, :, None] if samples.ndim == 2 else samples


def _after_first_jpeg(data: bytes) -> bytes:
    """Return the bytes after the end of a JPEG file's first picture."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xD9:
            return data[at + 2 :]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:  # entropy-coded data: skip to the next marker but stuffing and restarts
            found = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.S).search(data, at)
            at = found.start() if found else len(data)
    return b""


def _dcf_profile(exif: bytes | None) -> bytes | None:
    """Return Adobe RGB if a camera states it only by its file-system name (Interoperability index R03)."""
    from PIL import Image

    if exif is None or b"R03" not in exif:
        return None
    block = Image.Exif()
    block.load(exif)
    interop = block.get_ifd(0xA005)
    if str(interop.get(1, "")).startswith("R03"):
        import imagecodecs

        return imagecodecs.cms_profile("adobergb")
    return None


def _riff_chunks(data: bytes) -> set[bytes]:
    names, at = set(), 12
    while at + 8 <= len(data):
        names.add(data[at : at + 4])
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return names
