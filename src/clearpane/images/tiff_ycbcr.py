"""Convert YCbCr samples of TIFF files without JPEG compression to 8-bit RGB.

Source: TIFF 6.0, section 21. Subsampled chroma is repeated, not interpolated, as libtiff does.
"""

from typing import Any

import numpy as np

REC_601 = (0.299, 0.587, 0.114)
FULL_RANGE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)
"""ReferenceBlackWhite of Y, Cb and Cr that leaves 8-bit samples unchanged."""


def read_ycbcr(page: Any) -> np.ndarray:
    """Read a tifffile page of 8-bit YCbCr samples; chroma may be subsampled by 1, 2 or 4.

    Returns:
        RGB samples [H, W, 3] uint8.

    Raises:
        OSError: A strip or a tile holds too few samples.
    """
    horizontal, vertical = subsampling(page)
    if (horizontal, vertical) == (1, 1):
        ycbcr = page.asarray(squeeze=False)[:, 0]
        ycbcr = np.moveaxis(ycbcr[..., 0], 0, -1) if ycbcr.shape[0] > 1 else ycbcr[0]
    else:
        ycbcr = _read_subsampled(page, horizontal, vertical)
    return ycbcr_to_rgb(ycbcr, _numbers(page, 529, REC_601), _numbers(page, 532, FULL_RANGE))


def subsampling(page: Any) -> tuple[int, int]:
    """Return the horizontal and vertical factors of a page; without the tag both are 2."""
    across, down = page.subsampling or (2, 2)
    return int(across), int(down)


def ycbcr_to_rgb(
    ycbcr: np.ndarray, coefficients: tuple[float, ...] = REC_601, reference: tuple[float, ...] = FULL_RANGE
) -> np.ndarray:
    """Convert 8-bit YCbCr to RGB.

    R = Y + Cr (2 - 2 kr), B = Y + Cb (2 - 2 kb) and, from Y = kr R + kg G + kb B, G.

    Args:
        ycbcr: Samples [H, W, 3] uint8.
        coefficients: Factors kr, kg and kb, the share of each colour in Y.
        reference: Codes of black and white of Y, then of Cb and of Cr (zero and maximum).

    Returns:
        RGB samples [H, W, 3] uint8.
    """
    kr, kg, kb = coefficients
    codes = np.arange(256, dtype=np.float32)
    black, white = reference[0], reference[1]
    luma = ((codes - black) * 255 / (white - black or 1))[ycbcr[..., 0]]
    cb, cr = (
        ((codes - zero) * 127 / (top - zero or 1))[ycbcr[..., k]]
        for k, (zero, top) in ((1, reference[2:4]), (2, reference[4:6]))
    )
    red = luma + cr * (2 - 2 * kr)
    blue = luma + cb * (2 - 2 * kb)
    green = (luma - kr * red - kb * blue) / kg
    rgb = np.stack([red, green, blue], axis=-1)
    out: np.ndarray = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    return out


def _read_subsampled(page: Any, horizontal: int, vertical: int) -> np.ndarray:
    """Unpack data units of ``horizontal * vertical`` Y samples, one Cb and one Cr."""
    import tifffile

    width, height = page.imagewidth, page.imagelength
    if page.is_tiled:
        across, down = page.tilewidth, page.tilelength
    else:
        across, down = width, min(page.rowsperstrip, height)
    columns = -(-width // across)
    decompress = tifffile.TIFF.DECOMPRESSORS[page.compression]
    out = np.zeros((height, width, 3), np.uint8)
    for index, (offset, length) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        top, left = index // columns * down, index % columns * across
        if top >= height:
            break
        rows = down if page.is_tiled else min(down, height - top)
        page.parent.filehandle.seek(offset)
        data = page.parent.filehandle.read(length)
        if page.fillorder == 2:
            import imagecodecs

            data = imagecodecs.bitorder_decode(data)
        if page.compression != 1:
            data = decompress(data)
        units_across, units_down = -(-across // horizontal), -(-rows // vertical)
        unit = horizontal * vertical + 2
        size = units_across * units_down * unit
        if len(data) < size:
            raise OSError("a strip or tile of it is too short")
        units = np.frombuffer(data, np.uint8, size).reshape(units_down, units_across, unit)
        luma: np.ndarray = units[..., :-2].reshape(units_down, units_across, vertical, horizontal)
        luma = luma.transpose(0, 2, 1, 3).reshape(units_down * vertical, units_across * horizontal)
        chroma = units[..., -2:].repeat(vertical, axis=0).repeat(horizontal, axis=1)
        block = out[top : top + rows, left : left + across]
        block[..., 0] = luma[: block.shape[0], : block.shape[1]]
        block[..., 1:] = chroma[: block.shape[0], : block.shape[1]]
    return out


def _numbers(page: Any, tag: int, default: tuple[float, ...]) -> tuple[float, ...]:
    """Return a tag of rationals, which tifffile gives as numerators and denominators, as floats."""
    entry = page.tags.get(tag)
    if entry is None:
        return default
    numbers = [float(v) for v in entry.value]
    if int(entry.dtype) == 5:
        numbers = [a / b if b else 0.0 for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
    if len(numbers) != len(default):
        raise OSError(f"its tag {tag} has {len(numbers)} values instead of {len(default)}")
    return tuple(numbers)
