"""What an editor changed, brought to the photograph itself: its detail stays, so do untouched pixels."""

import numpy as np

from clearpane.images.tiling import row_bands
from clearpane.separation.resolution import LocalCorrection, box_mean, enlarge

UNTOUCHED = (0.01, 0.03)
"""Limits of `keep_untouched`; measured in docs/figures/panel.md."""
WINDOW = 2
"""Reach in pixels of the windows in which local gain and offset are found."""


def keep_untouched(
    image: np.ndarray,
    seen: np.ndarray,
    transmission: np.ndarray,
    limits: tuple[float, float] = UNTOUCHED,
) -> np.ndarray:
    """T at the photograph's own resolution; where it does not differ, the photograph's own pixels.

    A VAE softens what it shows. T is therefore compared with the photograph as the same VAE shows it: the
    local gain and offset between those two is what the glass did, and is applied to the photograph itself.

    Args:
        image: H x W x 3, the photograph.
        seen: h x w x 3, the photograph through the VAE.
        transmission: h x w x 3, T through the VAE.
        limits: a difference below the first is none, from the second on it is taken whole, between them in
            part; sRGB, the mean over 5 x 5 pixels of T and the channels. A change of a single pixel by less
            than 0.25 is therefore none.
    """
    result = LocalCorrection.fit(seen, transmission, WINDOW).apply(image)
    change = box_mean(np.abs(transmission - seen).mean(axis=2, keepdims=True), WINDOW)[..., 0]
    low, high = limits
    weight = np.clip((change - low) / (high - low), 0, 1).astype(np.float32)
    weight = enlarge(weight, *image.shape[:2])
    for rows in row_bands(image):
        kept = np.clip(image[rows], 0, 1)
        result[rows] = kept + weight[rows, :, None] * (result[rows] - kept)
    return result
