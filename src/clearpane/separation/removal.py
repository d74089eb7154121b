"""Separate a photograph into its layers in one call."""

import logging
import math

import numpy as np

from clearpane.errors import ClearpaneError
from clearpane.images.tiling import BandedPixels, PixelRows, row_bands, whole
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.separation.interface import Quality, RowSeparator
from clearpane.separation.layers import BandedLayers, Layers
from clearpane.separation.separator import Separator, load_separator
from clearpane.streams import Source, source_name

_log = logging.getLogger(__name__)


def remove_reflection(
    photo: Source | np.ndarray,
    *,
    quality: Quality = "fast",
    confidence: bool = False,
    separator: Separator | None = None,
) -> Layers:
    """Separate a photograph taken through glass into the scene behind the glass and the reflection on it.

    Args:
        photo: Picture file (its path, its bytes or a binary stream), or H x W x 3 sRGB values: floating
            point in [0, 1] (beyond for HDR), or uint8 or uint16 over their whole range.
        quality: ``"best"`` takes the median of four forward passes; it is slower.
        confidence: True to also estimate `Layers.confidence`.
        separator: Separator from :func:`load_separator`, loaded once for many photographs; None: the default.

    Returns:
        The layers, float32, of the photograph's size (upright, as its EXIF orientation states).

    Raises:
        ClearpaneError: the picture cannot be read or separated.

    >>> layers = remove_reflection(np.full((32, 48, 3), 128, np.uint8))
    >>> layers.transmission.shape, layers.reflection.dtype
    ((32, 48, 3), dtype('float32'))
    """
    return separate_full_range(separator or load_separator(), _pixels(photo), quality, confidence)


def separate_full_range(
    separator: Separator, image: PixelRows, quality: Quality = "fast", confidence: bool = False
) -> Layers:
    """Separate as `separate_rows` does, and return the layers as arrays."""
    return separate_rows(separator, image, quality, confidence).whole()


def separate_rows(
    separator: Separator, image: PixelRows, quality: Quality = "fast", confidence: bool = False
) -> BandedLayers:
    """Separate a picture whose values may leave [0, 1], as in HDR and wide-gamut pictures.

    Separators see C = clip(I, 0, 1). The clipped part is restored in linear light::

        T = T_C I / C,   R = R_C I / C    where I > 1 (C is 1 there)
        T = T_C + I                       where I < 0 (C is 0 there)

    A highlight keeps its intensity and is shared between the layers in the proportions of the clipped one, so
    a lamp mirrored in the pane goes to R and a lamp behind it stays in T. Colours outside the gamut stay in
    T. Both rules are continuous at the ends of the range.

    Args:
        separator: Any separator; a `RowSeparator` needs no copy of the picture.
        image: [H, W, 3] float32, sRGB, the curve extended beyond 1 and as an odd function below 0.
        quality, confidence: Arguments of :class:`~clearpane.separation.separator.Separator`.

    Raises:
        ClearpaneError: The picture holds values that are not finite.
    """
    lowest, highest = 0.0, 1.0
    for rows in row_bands(image):
        band = image[rows]
        low, high = float(band.min()), float(band.max())
        lowest, highest = min(lowest, low), max(highest, high)
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ClearpaneError("the picture holds values that are not numbers (NaN or infinity)")
    layers: BandedLayers
    if isinstance(separator, RowSeparator):
        layers = separator.separate_rows(image, quality=quality, confidence=confidence)
    else:
        layers = separator.separate(whole(image), quality=quality, confidence=confidence)
    if lowest >= 0 and highest <= 1:
        return layers

    def within(layer: PixelRows, below: bool) -> BandedPixels:
        def band(rows: slice) -> np.ndarray:
            linear = srgb_to_linear(image[rows])
            values = layer[rows]
            wide = srgb_to_linear(values) * np.maximum(linear, 1)
            if below:
                wide += np.minimum(linear, 0)
            return np.where((linear > 1) | (linear < 0), linear_to_srgb(wide), values)

        return BandedPixels(tuple(image.shape), band)

    return BandedLayers(
        within(layers.transmission, below=True),
        within(layers.reflection, below=False),
        layers.confidence,
        layers.notes,
        layers.reflection_note,
    )


def _pixels(photo: Source | np.ndarray) -> PixelRows:
    if not isinstance(photo, np.ndarray):
        from clearpane.images.reading import open_picture

        picture = open_picture(photo)
        for warning in picture.warnings:
            _log.warning("%s: %s", source_name(photo, "the picture"), warning)
        return picture.pixels
    if photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise ClearpaneError(f"expected a picture of H x W x 3 values, got an array of shape {photo.shape}")
    if photo.dtype in (np.uint8, np.uint16):
        return photo.astype(np.float32) / np.iinfo(photo.dtype).max
    if not np.issubdtype(photo.dtype, np.floating):
        raise ClearpaneError(f"expected floating-point, uint8 or uint16 values, got {photo.dtype}")
    return photo.astype(np.float32, copy=False)
