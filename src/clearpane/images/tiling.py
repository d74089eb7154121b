"""Large pictures in pieces: bands of rows."""

from collections.abc import Iterator

import numpy as np

BAND_PIXELS = 1 << 20
"""Approximate number of pixels in a band, which limits the memory of pixelwise work."""


def row_bands(picture: np.ndarray, multiple: int = 1) -> Iterator[slice]:
    """Yield slices of rows that cover ``picture`` ([H, W] or [H, W, C]), about ``BAND_PIXELS`` pixels each.

    All but the last have a multiple of ``multiple`` rows.
    """
    height, width = picture.shape[:2]
    step = multiple * max(1, BAND_PIXELS // (width * multiple))
    return (slice(top, min(top + step, height)) for top in range(0, height, step))
