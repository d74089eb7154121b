"""Confidence map: the probability that the transmission is right, pixel by pixel.

Two cues, each averaged over the channels and a window of 9 x 9 pixels of the working resolution:

- disagreement: ``|T - T'|``, T' from the mirrored photograph;
- change: ``|T - I|``; unchanged pixels were not invented.

A logistic model turns their logarithms into the probability that the transmission is within 0.1 of the ground
truth (mean absolute error over the channels, sRGB). ``benchmarks/compact/confidence.py`` fitted it to real
pairs that the network had not seen.
"""

import numpy as np

from clearpane.separation.layers import Layers
from clearpane.separation.resolution import box_mean

TOLERANCE = 0.1
"""Mean absolute error, sRGB, up to which a pixel counts as right."""

CUES = ("disagreement", "change")
INTERCEPT = -3.25
WEIGHTS = (-1.01, -0.35)  # disagreement, change
"""Logistic model, one weight for each of :data:`CUES`."""

_RADIUS = 4
# Smaller differences count as zero.
_SMALL = 0.01


def cues(photo: np.ndarray, layers: Layers, mirrored: Layers) -> np.ndarray:
    """Return the logarithms of the two cues at each pixel, [H, W, 2].

    Args:
        photo: [H, W, 3], sRGB, clipped to [0, 1].
        layers: Layers of the photograph.
        mirrored: Layers of the mirrored photograph, mirrored back.
    """
    transmission = np.clip(layers.transmission, 0, 1)
    disagreement = np.abs(transmission - np.clip(mirrored.transmission, 0, 1))
    change = np.abs(transmission - np.clip(photo, 0, 1))
    means = box_mean(np.stack([disagreement.mean(axis=2), change.mean(axis=2)], axis=2), _RADIUS)
    result: np.ndarray = np.log(np.maximum(means, 0) + _SMALL)
    return result


def confidence_map(photo: np.ndarray, layers: Layers, mirrored: Layers) -> np.ndarray:
    """Estimate the probability that the transmission is right to :data:`TOLERANCE`.

    For the arguments see :func:`cues`.

    Returns:
        [H, W] float32 in [0, 1].
    """
    score = INTERCEPT + cues(photo, layers, mirrored) @ np.array(WEIGHTS)
    result: np.ndarray = (1 / (1 + np.exp(-score))).astype(np.float32)
    return result
