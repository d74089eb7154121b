"""Transfer an editor's changes to the full-size photograph, so that detail and untouched pixels stay."""

import numpy as np

from clearpane.images.tiling import row_bands
from clearpane.separation.resolution import Enlarged, LocalCorrection, box_mean, enlarge

UNTOUCHED = (0.005, 0.015)
"""Limits of `keep_untouched`; measured in docs/figures/texture.md."""
WINDOW = 2
"""Radius in pixels of the windows in which the local gain is fitted."""


def with_detail(image: np.ndarray, seen: np.ndarray, layer: np.ndarray, flat_gain: float = 1.0) -> np.ndarray:
    """Return a painted layer at the photograph's own resolution, with the photograph's detail.

    ``enlarge(layer) + clip(gain, 0, 1) (I - enlarge(seen))``: what the editor painted stays, also where the
    photograph has no texture; what the small picture cannot show of the photograph is added, by the share
    that the layer has of it.

    Args:
        image: [H, W, 3], the photograph I.
        seen: [h, w, 3], the photograph through the VAE.
        layer: [h, w, 3], the layer through the VAE.
        flat_gain: Gain where the photograph is flat: 1 for the scene, 0 for the reflection.
    """
    gain = np.clip(LocalCorrection.fit(seen, layer, WINDOW, flat_gain).gain, 0, 1)
    maps = [Enlarged(values, *image.shape[:2]) for values in (seen, gain, layer)]
    result = np.empty(image.shape, np.float32)
    for rows in row_bands(image):
        small, share, painted = (values.rows(rows) for values in maps)
        detail = np.clip(image[rows], 0, 1) - small
        result[rows] = np.clip(painted + share * detail, 0, 1)
    return result


def keep_untouched(
    image: np.ndarray,
    seen: np.ndarray,
    transmission: np.ndarray,
    limits: tuple[float, float] = UNTOUCHED,
) -> np.ndarray:
    """Return T at the photograph's own resolution; unchanged pixels are the photograph's own.

    A VAE softens its pictures. T is therefore compared with the photograph after the same VAE: where the two
    agree, the photograph's pixels stay; elsewhere T is that of `with_detail`.

    Args:
        image: [H, W, 3], the photograph.
        seen: [h, w, 3], the photograph through the VAE.
        transmission: [h, w, 3], T through the VAE.
        limits: Two differences, sRGB, mean over 5 x 5 pixels and the channels: below the first, T counts as
            unchanged; from the second on, the change is applied in full; between them, in part. A change of a
            single pixel by less than 0.125 therefore counts as none.
    """
    result = with_detail(image, seen, transmission)
    change = box_mean(np.abs(transmission - seen).mean(axis=2, keepdims=True), WINDOW)[..., 0]
    low, high = limits
    weight = np.clip((change - low) / (high - low), 0, 1).astype(np.float32)
    weight = enlarge(weight, *image.shape[:2])
    for rows in row_bands(image):
        kept = np.clip(image[rows], 0, 1)
        result[rows] = kept + weight[rows, :, None] * (result[rows] - kept)
    return result
