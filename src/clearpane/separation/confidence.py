"""How far the transmission can be believed, pixel by pixel: recovered from the photograph, or invented.

Five signs are taken from the photograph I and the layers, each averaged over a window of 9 x 9 pixels of the
working resolution and over the channels:

- disagreement: ``|T - T'|``, T' from the mirrored photograph;
- change: ``|T - I|``, for what was not touched was not invented;
- brightness: I;
- saturation: the share of samples of I at 0.98 or above, where the sensor no longer tells;
- excess: ``max(0, T - I)`` in linear light: more than the sensor saw, which glass can only have hidden.

A logistic model turns them into the probability that the transmission is within 0.1 of the truth (mean
absolute error over the channels, sRGB). ``benchmarks/confidence.py`` fitted it to real pairs that the network
had not seen.
"""

import numpy as np

from clearpane.optics.color import srgb_to_linear
from clearpane.separation.layers import Layers
from clearpane.separation.resolution import box_mean

TOLERANCE = 0.1
"""Error, sRGB, up to which a pixel counts as recovered."""

SIGNS = ("disagreement", "change", "brightness", "saturation", "excess")
INTERCEPT = 0.86
WEIGHTS = (-0.17, -1.02, -2.06, 1.53, 0.56)
"""The logistic model, one weight for each of :data:`SIGNS`."""

_RADIUS = 4
_SATURATED = 0.98
# Differences enter by their logarithm; below this they count as none.
_SMALL = 0.01


def signs(photo: np.ndarray, layers: Layers, mirrored: Layers) -> np.ndarray:
    """The five signs of each pixel, H x W x 5, as the logistic model takes them (see the module).

    Args:
        photo: H x W x 3, sRGB, clipped to [0, 1].
        layers: of the photograph.
        mirrored: of the mirrored photograph, mirrored back.
    """
    photo = np.clip(photo, 0, 1)
    transmission = np.clip(layers.transmission, 0, 1)
    difference = transmission - np.clip(mirrored.transmission, 0, 1)
    more = srgb_to_linear(transmission) - srgb_to_linear(photo)
    planes = [
        np.abs(difference),
        np.abs(transmission - photo),
        photo,
        (photo >= _SATURATED).astype(np.float32),
        np.maximum(more, 0),
    ]
    means = box_mean(np.stack([plane.mean(axis=2) for plane in planes], axis=2), _RADIUS)
    for index in (0, 1, 4):
        means[..., index] = np.log(np.maximum(means[..., index], 0) + _SMALL)
    return means


def confidence_map(photo: np.ndarray, layers: Layers, mirrored: Layers) -> np.ndarray:
    """The probability that the transmission is right to :data:`TOLERANCE`. Arguments as in :func:`signs`.

    Returns:
        H x W float32 in [0, 1].
    """
    score = INTERCEPT + signs(photo, layers, mirrored) @ np.array(WEIGHTS)
    return (1 / (1 + np.exp(-score))).astype(np.float32)
