"""Convert the colours that PNG files state in their chunks to ICC profiles.

Source: Portable Network Graphics, third edition (W3C), sections 4.3 and 11.3.
"""

import struct
import zlib

import numpy as np

from clearpane.images import profiles
from clearpane.images.png_chunks import Chunk
from clearpane.optics.color import srgb_to_linear

SRGB_PRIMARIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
D65 = (0.3127, 0.3290)
_PRIMARIES = {
    1: (*SRGB_PRIMARIES, *D65),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *D65),
    6: (0.63, 0.34, 0.31, 0.595, 0.155, 0.07, *D65),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *D65),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *D65),
}
"""Primaries and white point (x, y) by their code in ITU-T H.273."""


class UnsupportedColour(ValueError):
    """Colours that cannot be shown in sRGB."""


def colour_profile(chunks: list[Chunk], *, gray: bool) -> bytes | None:
    """Return an ICC profile of the colours that a file states; None if they are sRGB or not stated.

    The first of cICP, iCCP, sRGB and gAMA with cHRM counts, as the standard requires. A gamma of 1/2.2
    without other primaries than sRGB's is taken as sRGB: writers use it for viewers that do not know the sRGB
    chunk.

    Raises:
        UnsupportedColour: The file has an HDR curve or a narrow range.
    """
    bodies = {chunk.name: chunk.body for chunk in reversed(chunks) if chunk.whole}
    if len(bodies.get(b"cICP", b"")) == 4:
        primaries, transfer, matrix, full_range = bodies[b"cICP"]
        if transfer in (16, 18):
            raise UnsupportedColour("an HDR picture (PQ or HLG)")
        if matrix != 0 or full_range != 1:
            raise UnsupportedColour("YCbCr or narrow-range samples in a PNG")
        if primaries in _PRIMARIES and (curve := _curve(transfer)) is not None:
            if (primaries, transfer) == (1, 13):
                return None if gray else profiles.srgb_profile()
            return profiles.gray_profile(curve) if gray else _rgb(_PRIMARIES[primaries], curve)
    if b"iCCP" in bodies:
        _, _, packed = bodies[b"iCCP"].partition(b"\0")
        try:
            return zlib.decompress(packed[1:])
        except zlib.error:
            return None
    if b"sRGB" in bodies:
        return None if gray else profiles.srgb_profile()
    return _from_gamma(bodies.get(b"gAMA", b""), bodies.get(b"cHRM", b""), gray=gray)


def _from_gamma(gama: bytes, chrm: bytes, *, gray: bool) -> bytes | None:
    encoding = struct.unpack(">I", gama)[0] / 100000 if len(gama) == 4 else 0.0
    points = tuple(v / 100000 for v in struct.unpack(">8I", chrm)) if len(chrm) == 32 else None
    primaries = (*points[2:], *points[:2]) if points else _PRIMARIES[1]
    usual = bool(np.allclose(primaries, _PRIMARIES[1], atol=2e-3))
    if not 0.01 <= encoding <= 10 or (abs(encoding * 2.2 - 1) < 0.01 and (usual or gray)):
        if usual or gray:
            return None
        return _rgb(primaries, _srgb_curve())
    curve = np.array([1 / encoding])
    return profiles.gray_profile(curve) if gray else _rgb(primaries, curve)


def _rgb(primaries: tuple[float, ...], curve: np.ndarray) -> bytes | None:
    x, y = primaries[6:]
    triangle = np.array([[*primaries[k : k + 2], 1.0] for k in (0, 2, 4)])
    if y <= 0 or x <= 0 or abs(np.linalg.det(triangle)) < 1e-4:  # invalid values, which viewers ignore
        return None
    return profiles.rgb_profile(primaries[:6], curve, white=(x, y))


def _curve(transfer: int) -> np.ndarray | None:
    """Return a curve from code values to light, sampled or as ``[gamma]``; None if unknown."""
    if transfer in (1, 6, 14, 15):
        code = np.linspace(0, 1, 4096)
        return np.where(code < 0.081, code / 4.5, ((code + 0.099) / 1.099) ** (1 / 0.45))
    if transfer == 13:
        return _srgb_curve()
    return {4: np.array([2.2]), 5: np.array([2.8]), 8: np.array([1.0])}.get(transfer)


def _srgb_curve() -> np.ndarray:
    curve: np.ndarray = srgb_to_linear(np.linspace(0, 1, 4096, dtype=np.float32))
    return curve
