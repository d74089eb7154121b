"""Transfer an editor's changes to the full-size photograph, so that detail and untouched pixels stay."""

import numpy as np

from clearpane.images.tiling import row_bands
from clearpane.separation.resolution import LocalCorrection, box_mean, enlarge

UNTOUCHED = (0.01, 0.03)
"""Limits of `keep_untouched`; measured in docs/figures/panel.md."""
WINDOW = 2
"""Radius in pixels of the windows in which local gain and offset are fitted."""


def keep_untouched(
    image: np.ndarray,
    seen: np.ndarray,
    transmission: np.ndarray,
    limits: tuple[float, float] = UNTOUCHED,
) -> np.ndarray:
    """Return T at the photograph's own resolution; unchanged pixels are the photograph's own.

    A VAE softens its pictures. T is therefore compared with the photograph after the same VAE: the local gain
        and offset between the two is the effect of the glass, which is then applied to the photograph itself.

    Args:
        image: [H, W, 3], the photograph.
        seen: [h, w, 3], the photograph through the VAE.
        transmission: [h, w, 3], T through the VAE.
        limits: Two differences, sRGB, mean over 5 x 5 pixels and the channels: below the first, T counts as
            unchanged; from the second on, the change is applied in full; between them, in part. A change of a
            single pixel by less than 0.25 therefore counts as none.
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
