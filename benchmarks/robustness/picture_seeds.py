"""Small intact pictures of every format and many of its kinds, to be damaged."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageCms

from benchmarks.common.measuring import ROOT

CASES = ROOT / "tests" / "data" / "cases"
_LARGEST_CASE = 60_000
_XYZ_TO_SRGB = (3.2405, -1.5371, -0.4985, -0.9693, 1.876, 0.0416, 0.0556, -0.204, 1.0572)


def pixels(channels: int, dtype: Any = np.uint8, height: int = 16, width: int = 24) -> np.ndarray:
    """Return a gradient with noise [H, W, C], of the type's full range; without C for one channel."""
    random = np.random.default_rng(channels)
    values = np.linspace(0, 0.8, height * width * channels).reshape(height, width, channels)
    values = values + 0.2 * random.random(values.shape)
    if np.dtype(dtype).kind == "u":
        values = values * np.iinfo(dtype).max
    return values.astype(dtype)[..., 0] if channels == 1 else values.astype(dtype)


def _exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112], block[0x010F] = orientation, "Maker"
    block.get_ifd(0x8769)[0xA002] = 24
    return block.tobytes()


def _cases(folder: Path, *endings: str) -> None:
    for path in sorted(CASES.iterdir()):
        if path.suffix in endings and path.stat().st_size < _LARGEST_CASE:
            shutil.copyfile(path, folder / f"case_{path.name}")


def make_jpeg(folder: Path) -> None:
    """Baseline and progressive, grey and RGB, with EXIF, XMP, a profile and a comment."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    colour, grey = Image.fromarray(pixels(3)), Image.fromarray(pixels(1))
    colour.save(folder / "a.jpg", exif=_exif(6), icc_profile=profile, comment=b"a comment")
    colour.save(folder / "b.jpg", progressive=True, xmp=b'<x tiff:Orientation="6"/>', dpi=(72, 72))
    grey.save(folder / "c.jpg", restart_marker_blocks=1)
    _cases(folder, ".jpg")


def make_png(folder: Path) -> None:
    """Grey, RGB, alpha and palette, 8 and 16 bits, with texts, a profile and EXIF."""
    from PIL.PngImagePlugin import PngInfo

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    texts = PngInfo()
    texts.add_text("Comment", "a text", zip=True)
    texts.add_itxt("Title", "another")
    Image.fromarray(pixels(3)).save(folder / "a.png", pnginfo=texts, exif=_exif(8), dpi=(72, 72))
    Image.fromarray(pixels(4)).save(folder / "b.png", icc_profile=profile)
    Image.fromarray(pixels(1, np.uint16)).save(folder / "c.png")
    Image.fromarray(pixels(3)).quantize(16).save(folder / "d.png")
    _cases(folder, ".png")


def make_tiff(folder: Path) -> None:
    """Strips, tiles, planes, palettes, predictors, depths, byte orders, compressions, pages."""
    rgb, grey = pixels(3), pixels(1, np.uint16)
    tifffile.imwrite(folder / "a.tif", rgb, photometric="rgb", compression="lzw", predictor=True)
    tifffile.imwrite(folder / "b.tif", grey, byteorder=">", compression="zlib", rowsperstrip=4)
    tifffile.imwrite(folder / "c.tif", rgb, photometric="rgb", tile=(16, 16), compression="jpeg")
    planes = np.moveaxis(pixels(3, np.float32), -1, 0)
    tifffile.imwrite(folder / "d.tif", planes, photometric="rgb", planarconfig="separate", bigtiff=True)
    tifffile.imwrite(folder / "e.tif", pixels(4), photometric="rgb", extrasamples=["unassalpha"])
    palette = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    tifffile.imwrite(folder / "f.tif", pixels(1), photometric="palette", colormap=palette)
    with tifffile.TiffWriter(folder / "g.tif") as file:
        file.write(rgb, photometric="rgb", compression="packbits", subifds=1)
        file.write(rgb[:8, :8], photometric="rgb", subfiletype=1)
    _cases(folder, ".tif")


def make_webp(folder: Path) -> None:
    """Lossy and lossless, with alpha, EXIF and a profile."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(pixels(3)).save(folder / "a.webp", exif=_exif(3), icc_profile=profile)
    Image.fromarray(pixels(4)).save(folder / "b.webp", lossless=True)
    Image.fromarray(pixels(4)).save(folder / "c.webp", xmp=b"<x/>")


def _write_oiio(path: Path, samples: np.ndarray, kind: str, **attributes: Any) -> None:
    import OpenImageIO as oiio

    spec = oiio.ImageSpec(samples.shape[1], samples.shape[0], samples.shape[2], kind)
    for name, value in attributes.items():
        spec.attribute(name.replace("__", ":"), value)
    if "tile" in path.stem:
        spec.tile_width = spec.tile_height = 16
    target = oiio.ImageOutput.create(str(path))
    target.open(str(path), spec)
    target.write_image(samples)
    target.close()


def make_exr(folder: Path) -> None:
    """All compressions, half and float, strips and tiles."""
    for name in ("none", "rle", "zip", "piz", "pxr24", "b44", "dwaa"):
        kind = "float" if name in ("none", "pxr24") else "half"
        _write_oiio(folder / f"{name}.exr", pixels(3, np.float32), kind, compression=name)
    _write_oiio(folder / "tile.exr", pixels(4, np.float32), "half", compression="zip")
    _cases(folder, ".exr")


def make_hdr(folder: Path) -> None:
    """Run-length encoded, and flat."""
    _write_oiio(folder / "a.hdr", pixels(3, np.float32), "float")
    _write_oiio(folder / "b.hdr", pixels(3, np.float32, 6, 6), "float", Orientation=6)


def make_heic(folder: Path) -> None:
    """RGB and with alpha, 8 and 10 bits, and grey."""
    import pillow_heif

    pillow_heif.from_pillow(Image.fromarray(pixels(3, height=64, width=64))).save(
        folder / "a.heic", exif=_exif(6)
    )
    pillow_heif.from_pillow(Image.fromarray(pixels(4, height=64, width=64))).save(
        folder / "b.heic", quality=90
    )
    deep = pillow_heif.from_bytes("RGB;16", (64, 64), pixels(3, np.uint16, 64, 64).tobytes())
    deep.save(folder / "c.heic")
    _cases(folder, ".heic")


def make_dng(folder: Path) -> None:
    """Bayer mosaics: plain and as lossless JPEG, with and without a thumbnail."""
    for name, thumbnail, compression in (("a", False, None), ("b", True, None), ("c", False, "jpeg")):
        (folder / f"{name}.dng").write_bytes(_dng(thumbnail, compression))


def _dng(thumbnail: bool, compression: str | None) -> bytes:
    matrix = [n for value in _XYZ_TO_SRGB for n in (round(value * 10000), 10000)]
    tags = [
        (50706, 1, 4, (1, 4, 0, 0), True),
        (50708, 2, 0, "Made", True),
        (271, 2, 0, "Maker", True),
        (272, 2, 0, "Made", True),
        (50721, 10, 9, matrix, True),
        (50728, 5, 3, [1, 1] * 3, True),
        (50778, 3, 1, 21, True),
    ]
    cfa = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, (0, 1, 1, 2), True), (50717, 4, 1, 65535, True)]
    stream = io.BytesIO()
    mosaic = pixels(1, np.uint16, 96, 128)
    with tifffile.TiffWriter(stream) as file:
        if thumbnail:
            small = pixels(3)
            file.write(small, photometric="rgb", subfiletype=1, subifds=1, extratags=tags, metadata=None)
            tags = []
        packing: dict[str, Any] = {}
        if compression:
            packing = {"compression": compression, "compressionargs": {"lossless": True}}
        file.write(mosaic, photometric="cfa", subfiletype=0, extratags=cfa + tags, metadata=None, **packing)
    return stream.getvalue()
