"""Large pictures in pieces: bands of rows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

BAND_PIXELS = 1 << 20
"""Approximate number of pixels in a band, which limits the memory of pixelwise work."""


class PixelRows(Protocol):
    """Values of a picture, [H, W, C], that give bands of rows: an array, or `BandedPixels`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """H, W and C."""
        ...

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """Return some rows."""
        ...


@dataclass(frozen=True)
class BandedPixels:
    """Values of a picture that are computed a band of rows at a time, each time they are asked for.

    Attributes:
        shape: H, W and C.
        band: Function that computes rows [h, W, C] float32 as a new array.
    """

    shape: tuple[int, ...]
    band: Callable[[slice], np.ndarray]

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.band(rows)


def whole(pixels: PixelRows) -> np.ndarray:
    """Return all rows as one array; an array is returned as it is."""
    if isinstance(pixels, np.ndarray):
        return pixels
    result = np.empty(pixels.shape, np.float32)
    for rows in row_bands(pixels):
        result[rows] = pixels[rows]
    return result


def row_bands(picture: PixelRows, multiple: int = 1) -> Iterator[slice]:
    """Yield slices of rows that cover ``picture`` ([H, W] or [H, W, C]), about ``BAND_PIXELS`` pixels each.

    All but the last have a multiple of ``multiple`` rows.
    """
    height, width = picture.shape[:2]
    step = multiple * max(1, BAND_PIXELS // (width * multiple))
    return (slice(top, min(top + step, height)) for top in range(0, height, step))
