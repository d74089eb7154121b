"""Set how much of the reflection is removed, and where: blend a photograph with its layers."""

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.images.tiling import BandedPixels, PixelRows, row_bands, whole
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.separation.layers import BandedLayers


def apply_strength(
    image: PixelRows,  # [H, W, 3]
    layers: BandedLayers,
    strength: float = 1.0,
    mask: np.ndarray | None = None,  # [H, W]
    out: np.ndarray | None = None,  # [H, W, 3]
) -> np.ndarray:  # [H, W, 3]
    """Blend as `blend_rows` does, and return an array.

    Args:
        out: Array for the result, which may be ``image`` or a layer; None for a new array. A result equal to
            ``image`` or a layer is returned as that array, without a copy.
    """
    blended = blend_rows(image, layers, strength, mask)
    if isinstance(blended, np.ndarray) or out is None:
        return whole(blended)
    for rows in row_bands(blended):
        out[rows] = blended[rows]
    return out


def blend_rows(
    image: PixelRows,  # [H, W, 3]
    layers: BandedLayers,
    strength: float = 1.0,
    mask: np.ndarray | None = None,  # [H, W]
) -> PixelRows:  # [H, W, 3]
    """Blend a photograph with its layers in linear light, as a raw editor's strength slider does.

    With I, T and R the linear values of the photograph, the transmission and the reflection, m the mask and
    s the strength, the result is::

        I + m s (T - I)      for s >= 0
        I + m |s| (R - I)    for s < 0

    so that 1 gives the transmission, 0 the photograph and -1 the reflection alone. Pixels of ``image`` are
    unchanged, bit for bit, where m s is 0; those of the layer where it is 1.

    Args:
        image: Photograph, float32, sRGB.
        layers: Layers of ``image``, of the same size.
        strength: -1 to 1.
        mask: Weights in [0, 1], float32, 1 where the photograph may change; None for everywhere.

    Returns:
        The result, computed a band of rows at a time. A result equal to ``image`` or a layer is returned
        unchanged.

    Raises:
        ClearpaneError: The strength or the mask's size is wrong.
    """
    check_strength(strength)
    if mask is not None:
        check_mask_size(mask, image)
    layer = layers.transmission if strength >= 0 else layers.reflection
    if tuple(layer.shape) != tuple(image.shape):
        raise ValueError(f"image and layers differ in size: {image.shape} and {layer.shape}")
    if strength == 0:
        return image
    if mask is None and abs(strength) == 1:
        return layer

    def band(rows: slice) -> np.ndarray:
        before, after = image[rows], layer[rows]
        if mask is None:
            return _mix_linear(before, after, abs(strength))
        weight = np.clip(mask[rows], 0, 1)[..., None] * np.float32(abs(strength))
        blended = _mix_linear(before, after, weight)
        # Encoding and decoding would move untouched pixels by a rounding error.
        result: np.ndarray = np.where(weight == 0, before, np.where(weight == 1, after, blended))
        return result

    return BandedPixels(tuple(image.shape), band)


def check_strength(strength: float) -> None:
    """Raise ClearpaneError unless ``strength`` lies in [-1, 1]."""
    if not -1 <= strength <= 1:
        raise ClearpaneError(
            f"strength {strength:g} is outside -1 to 1: 1 removes the reflection, 0 changes nothing, "
            "-1 shows the reflection alone"
        )


def check_mask_size(mask: np.ndarray, image: PixelRows) -> None:
    """Raise ClearpaneError unless ``mask`` ([H, W]) is as large as ``image`` ([H, W, 3])."""
    if mask.shape != image.shape[:2]:
        (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
        raise ClearpaneError(
            f"the mask is {mask_width} x {mask_height} pixels and the picture {width} x {height}: "
            "make the mask at the picture's own size, the right way up"
        )


def _mix_linear(before: np.ndarray, after: np.ndarray, weight: np.ndarray | float) -> np.ndarray:
    start = srgb_to_linear(before)
    return linear_to_srgb(start + weight * (srgb_to_linear(after) - start))
