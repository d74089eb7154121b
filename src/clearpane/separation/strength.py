"""How much of the reflection goes, and where: between a photograph and its separated layers."""

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.images.tiling import row_bands
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.separation.layers import Layers


def apply_strength(
    image: np.ndarray,  # [H, W, 3]
    layers: Layers,
    strength: float = 1.0,
    mask: np.ndarray | None = None,  # [H, W]
    out: np.ndarray | None = None,  # [H, W, 3]
) -> np.ndarray:  # [H, W, 3]
    """Blend a photograph with its layers, in linear light, as the strength slider of a raw editor does.

    With I, T and R the linear values of the photograph, the transmission and the reflection, m the mask and
    s the strength, the result is::

        I + m s (T - I)      for s >= 0
        I + m |s| (R - I)    for s < 0

    so that 1 gives the transmission, 0 the photograph and -1 the reflection alone. Where m s is 0 the pixels
    of ``image`` come back bit for bit, and where it is 1 those of the layer.

    Args:
        image: float32, sRGB.
        layers: the layers of ``image``, of its size.
        strength: -1 to 1.
        mask: float32 in [0, 1], 1 where the photograph may change; None: everywhere.
        out: where a mixture may be put, ``image`` or a layer itself if need be; None: a new array. What is
            one of them unmixed is returned as it is.

    Raises:
        ClearpaneError: the strength or the mask's size is wrong.
    """
    check_strength(strength)
    if mask is not None:
        check_mask_size(mask, image)
    layer = layers.transmission if strength >= 0 else layers.reflection
    if layer.shape != image.shape:
        raise ValueError(f"image and layers differ in size: {image.shape} and {layer.shape}")
    if strength == 0:
        return image
    if mask is None and abs(strength) == 1:
        return layer

    result = np.empty_like(image) if out is None else out
    for rows in row_bands(image):
        before, after = image[rows], layer[rows]
        if mask is None:
            result[rows] = _mix_linear(before, after, abs(strength))
            continue
        weight = np.clip(mask[rows], 0, 1)[..., None] * np.float32(abs(strength))
        blended = _mix_linear(before, after, weight)
        # Encoding and decoding would move untouched pixels by a rounding error.
        result[rows] = np.where(weight == 0, before, np.where(weight == 1, after, blended))
    return result


def check_strength(strength: float) -> None:
    """Raise ClearpaneError unless ``strength`` lies in [-1, 1]."""
    if not -1 <= strength <= 1:
        raise ClearpaneError(
            f"strength {strength:g} is outside -1 to 1: 1 removes the reflection, 0 changes nothing, "
            "-1 shows the reflection alone"
        )


def check_mask_size(mask: np.ndarray, image: np.ndarray) -> None:
    """Raise ClearpaneError unless ``mask`` (H x W) is as large as ``image`` (H x W x 3)."""
    if mask.shape != image.shape[:2]:
        (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
        raise ClearpaneError(
            f"the mask is {mask_width} x {mask_height} pixels and the picture {width} x {height}: "
            "make the mask at the picture's own size, the right way up"
        )


def _mix_linear(before: np.ndarray, after: np.ndarray, weight: np.ndarray | float) -> np.ndarray:
    start = srgb_to_linear(before)
    return linear_to_srgb(start + weight * (srgb_to_linear(after) - start))
