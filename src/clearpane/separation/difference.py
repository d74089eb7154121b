"""The reflection of models that give T alone."""

import numpy as np

from clearpane.images.tiling import row_bands
from clearpane.optics.color import linear_to_srgb, srgb_to_linear


def reflected_light(image: np.ndarray, transmission: np.ndarray) -> np.ndarray:
    """Return ``max(I - T, 0)`` in linear light, as sRGB [H, W, 3]."""
    reflection = np.empty_like(transmission)
    for rows in row_bands(image):
        light = srgb_to_linear(np.clip(image[rows], 0, 1)) - srgb_to_linear(transmission[rows])
        reflection[rows] = linear_to_srgb(np.maximum(light, 0))
    return reflection
