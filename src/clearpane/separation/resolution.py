"""Apply a separation at a working resolution to a picture of any size.

Separators process the whole picture at about the size they were trained on, which keeps the global context.
Their result is then expressed as a local gain and offset on the picture itself, ``T = a I + b``, and applied
to the full-resolution original, so that its detail and bit depth stay (He, Sun and Tang, "Guided Image
Filtering", TPAMI 2013; He and Sun, "Fast Guided Filter", arXiv 1505.00996). There both maps a and b are
smooth, which blurs the result; here a is smooth and b is the remainder, so that the result is exactly T at
the working size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from clearpane.images.tiling import row_bands
from clearpane.separation.layers import Layers

# A window whose variance (sRGB values squared) is lower counts as flat, and its correction as an offset.
_FLAT_VARIANCE = 1e-4
_SMALLEST_SIDE = 16


def working_size(height: int, width: int, pixels: int) -> tuple[int, int]:
    """Shrink the size ``height x width``, in proportion, to at most about ``pixels``; never enlarge it."""
    scale = min(1.0, (pixels / (height * width)) ** 0.5)
    return (
        min(height, max(_SMALLEST_SIDE, round(height * scale))),
        min(width, max(_SMALLEST_SIDE, round(width * scale))),
    )


def shrink(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Shrink [H, W, 3] float32, clipped to [0, 1], by averaging over areas."""
    planes = [
        np.asarray(
            Image.fromarray(np.clip(image[..., c], 0, 1)).resize((width, height), Image.Resampling.BOX)
        )
        for c in range(3)
    ]
    return np.stack(planes, axis=-1)


def box_mean(values: np.ndarray, radius: int) -> np.ndarray:
    """Return the mean over the (2 radius + 1)^2 window around each pixel, cut off at edges: [H, W, C]."""

    def sums(x: np.ndarray, axis: int) -> np.ndarray:
        length = x.shape[axis]
        cumulative = np.concatenate([np.zeros_like(x.take([0], axis)), x.cumsum(axis)], axis)
        places = np.arange(length)
        high = cumulative.take(np.minimum(places + radius + 1, length), axis)
        between: np.ndarray = high - cumulative.take(np.maximum(places - radius, 0), axis)
        return between

    values = values.astype(np.float64)
    ones = np.ones((*values.shape[:2], 1))
    means: np.ndarray = sums(sums(values, 0), 1) / sums(sums(ones, 0), 1)
    return means


@dataclass(frozen=True)
class LocalCorrection:
    """Correction ``layer = gain * image + offset`` for each channel, with maps at the working resolution.

    Attributes:
        gain, offset: [h, w, 3] float32.
    """

    gain: np.ndarray
    offset: np.ndarray

    @classmethod
    def fit(
        cls, image: np.ndarray, layer: np.ndarray, radius: int, flat_gain: float = 1.0
    ) -> "LocalCorrection":
        """Fit by least squares in the window around each pixel, averaged over the windows that contain it.

        Args:
            image, layer: [h, w, 3], the picture and one of its layers at the working resolution.
            radius: Radius of the windows in pixels, at least 1.
            flat_gain: Gain of windows in which the picture is flat: the share of the original's finer detail
                that goes to this layer, 1 for the scene, 0 for the reflection.
        """
        mean_image, mean_layer = box_mean(image, radius), box_mean(layer, radius)
        variance = box_mean(image.astype(np.float64) ** 2, radius) - mean_image**2
        covariance = box_mean(image.astype(np.float64) * layer, radius) - mean_image * mean_layer
        gain = (covariance + flat_gain * _FLAT_VARIANCE) / (variance + _FLAT_VARIANCE)
        offset = mean_layer - gain * mean_image
        return cls(box_mean(gain, radius).astype(np.float32), box_mean(offset, radius).astype(np.float32))

    def meeting(self, image: np.ndarray, layer: np.ndarray) -> "LocalCorrection":
        """Return the correction with the same gain that maps ``image`` to ``layer`` exactly.

        Args:
            image, layer: [h, w, 3], the picture and one of its layers at the working resolution.
        """
        return LocalCorrection(self.gain, (layer - self.gain * image).astype(np.float32))

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Apply the correction to [H, W, 3] float32 of full resolution; input and layer are clipped."""
        height, width = image.shape[:2]
        result = np.empty_like(image)
        for rows in row_bands(image):
            np.clip(image[rows], 0, 1, out=result[rows])
            result[rows] *= _enlarge_rows(self.gain, rows, height, width)
            result[rows] += _enlarge_rows(self.offset, rows, height, width)
            np.clip(result[rows], 0, 1, out=result[rows])
        return result


def _enlarge_plane(plane: np.ndarray, rows: slice, height: int, width: int) -> np.ndarray:
    """Enlarge an [h, w] plane to height x width, bilinear, and return the given rows."""
    h, w = plane.shape
    box = (0.0, rows.start * h / height, float(w), rows.stop * h / height)
    picture = Image.fromarray(np.ascontiguousarray(plane))
    size = (width, rows.stop - rows.start)
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=box))


def _enlarge_rows(values: np.ndarray, rows: slice, height: int, width: int) -> np.ndarray:
    """Enlarge [h, w, 3] to height x width x 3 and return the given rows."""
    return np.stack([_enlarge_plane(values[..., c], rows, height, width) for c in range(3)], axis=-1)


def enlarge(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Enlarge an [h, w] map to height x width, bilinear."""
    result = np.empty((height, width), np.float32)
    for rows in row_bands(result):
        result[rows] = _enlarge_plane(plane, rows, height, width)
    return result


def separate_at_resolution(
    image: np.ndarray,
    separate: Callable[[np.ndarray], Layers],
    pixels: int,
    radius: int = 1,
) -> Layers:
    """Separate a picture of any size with a function that takes at most ``pixels`` pixels.

    Args:
        image: [H, W, 3] float32, sRGB, clipped to [0, 1].
        separate: Function called once, with the picture or a shrunken copy. A confidence map in its result is
            enlarged with the layers.
        pixels: Working resolution: number of pixels.
        radius: Radius of the windows in which the correction's gain is fitted, in working pixels.

    Returns:
        Layers of the picture's own size, clipped to [0, 1].
    """
    height, width = image.shape[:2]
    size = working_size(height, width, pixels)
    if size == (height, width):
        layers = separate(image)
        return Layers(np.clip(layers.transmission, 0, 1), np.clip(layers.reflection, 0, 1), layers.confidence)
    small = shrink(image, *size)
    layers = separate(small)
    passed = LocalCorrection.fit(small, layers.transmission, radius)
    added = LocalCorrection.fit(small, layers.reflection, radius, flat_gain=0)
    return Layers(
        passed.meeting(small, layers.transmission).apply(image),
        added.meeting(small, layers.reflection).apply(image),
        None if layers.confidence is None else enlarge(layers.confidence, height, width),
    )


def _resize(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize [H, W, 3] float32 of any values, bilinear."""
    planes = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(values[..., c])).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        for c in range(3)
    ]
    return np.stack(planes, axis=-1)


def separate_enlarged(image: np.ndarray, separate: Callable[[np.ndarray], Layers], scale: float) -> Layers:
    """Separate a picture enlarged by ``scale``.

    The change made by the separation is shrunk back and added, ``T = I + shrink(T' - I')``, so that the
    picture's own detail stays.

    Args:
        image: [h, w, 3] float32, sRGB in [0, 1].
        separate: Function called once, with the enlarged picture.
        scale: Factor of the enlargement, at least 1.

    Returns:
        Layers of the picture's own size, not clipped, without a confidence map.
    """
    height, width = image.shape[:2]
    enlarged = _resize(image, round(height * scale), round(width * scale))
    layers = separate(enlarged)
    return Layers(
        image + _resize(layers.transmission - enlarged, height, width),
        _resize(layers.reflection, height, width),
    )
