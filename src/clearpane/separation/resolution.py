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
from functools import cache

import numpy as np
from PIL import Image

from clearpane.images.tiling import BAND_PIXELS, BandedPixels, PixelRows, whole
from clearpane.separation.layers import BandedLayers, Layers

# A window whose variance (sRGB values squared) is lower counts as flat, and its correction as an offset.
_FLAT_VARIANCE = 1e-4
_SMALLEST_SIDE = 16
# What is computed on so many pixels at once stays in a core's cache.
_CACHED_PIXELS = 1 << 15


def working_size(height: int, width: int, pixels: int) -> tuple[int, int]:
    """Shrink the size ``height x width``, in proportion, to at most about ``pixels``; never enlarge it."""
    scale = min(1.0, (pixels / (height * width)) ** 0.5)
    return (
        min(height, max(_SMALLEST_SIDE, round(height * scale))),
        min(width, max(_SMALLEST_SIDE, round(width * scale))),
    )


def shrink(image: PixelRows, height: int, width: int) -> np.ndarray:
    """Shrink [H, W, 3] float32, clipped to [0, 1]: the mean of the pixels whose centres lie in each area."""
    tops, lefts = _area_starts(image.shape[0], height), _area_starts(image.shape[1], width)
    result = np.empty((height, width, 3), np.float32)
    step = max(1, BAND_PIXELS // 4 * height // (image.shape[0] * image.shape[1]))
    for first in range(0, height, step):
        rows = tops[first : first + step + 1]
        block = np.clip(image[slice(int(rows[0]), int(rows[-1]))], 0, 1)
        sums = np.add.reduceat(block, rows[:-1] - rows[0], axis=0)
        # Adding whole rows is what reduceat does fast, so the columns become rows.
        columns = np.ascontiguousarray(sums.transpose(1, 0, 2))
        result[first : first + step] = np.add.reduceat(columns, lefts[:-1], axis=0).transpose(1, 0, 2)
    result /= (np.diff(tops)[:, None] * np.diff(lefts)).astype(np.float32)[..., None]
    return result


def _area_starts(large: int, small: int) -> np.ndarray:
    """Return the first pixel whose centre lies in each of ``small`` equal parts of a side, and the end."""
    return np.floor(np.arange(small + 1) * large / small + 0.5).astype(int)


def box_mean(values: np.ndarray, radius: int) -> np.ndarray:
    """Return the mean over the (2 radius + 1)^2 window around each pixel, cut off at edges: [H, W, C].

    It is computed in the precision of ``values``.
    """
    height, width = values.shape[:2]
    means = _window_sums(_window_sums(values, radius, 0), radius, 1)
    ones = np.ones((max(height, width), 1), values.dtype)
    rows, columns = (_window_sums(ones[:length], radius, 0) for length in (height, width))
    means /= (rows * columns.T)[..., None]
    return means


def _window_sums(values: np.ndarray, radius: int, axis: int) -> np.ndarray:
    length = values.shape[axis]
    sums = values.copy()
    for shift in range(1, min(radius, length - 1) + 1):
        ahead: tuple[slice, ...] = (slice(None),) * axis + (slice(shift, None),)
        behind: tuple[slice, ...] = (slice(None),) * axis + (slice(None, -shift),)
        sums[behind] += values[ahead]
        sums[ahead] += values[behind]
    return sums


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
        # About the middle of the range, so that float32 does not lose small variances.
        image, layer = image - np.float32(0.5), layer - np.float32(0.5)
        mean_image, mean_layer = box_mean(image, radius), box_mean(layer, radius)
        variance = box_mean(image**2, radius) - mean_image**2
        covariance = box_mean(image * layer, radius) - mean_image * mean_layer
        gain = (covariance + flat_gain * _FLAT_VARIANCE) / (variance + _FLAT_VARIANCE)
        offset = mean_layer - gain * mean_image
        gain, offset = box_mean(gain, radius), box_mean(offset, radius)
        offset += 0.5 * (1 - gain)
        return cls(gain.astype(np.float32, copy=False), offset.astype(np.float32, copy=False))

    def meeting(self, image: np.ndarray, layer: np.ndarray) -> "LocalCorrection":
        """Return the correction with the same gain that maps ``image`` to ``layer`` exactly.

        Args:
            image, layer: [h, w, 3], the picture and one of its layers at the working resolution.
        """
        return LocalCorrection(self.gain, (layer - self.gain * image).astype(np.float32))

    def apply(self, image: PixelRows) -> np.ndarray:
        """Apply the correction to [H, W, 3] float32 of full resolution; input and layer are clipped."""
        return whole(self.applied(image))

    def applied(self, image: PixelRows) -> BandedPixels:
        """Return what `apply` does, computed a band of rows at a time."""
        gain, offset = (Enlarged(values, *image.shape[:2]) for values in (self.gain, self.offset))

        def band(rows: slice) -> np.ndarray:
            result: np.ndarray = np.clip(image[rows], 0, 1)
            start, stop, _ = rows.indices(image.shape[0])
            step = max(1, _CACHED_PIXELS // image.shape[1])
            for top in range(start, stop, step):
                part = result[top - start : top - start + step]
                there = slice(top, top + len(part))
                part *= gain.rows(there)
                part += offset.rows(there)
                np.clip(part, 0, 1, out=part)
            return result

        return BandedPixels(tuple(image.shape), band)


class Enlarged:
    """Values [H, W, C] enlarged from [h, w, C], bilinear, in bands of rows."""

    def __init__(self, values: np.ndarray, height: int, width: int) -> None:
        self._values = values
        self._rows = _between(values.shape[0], height)
        self._columns = _between(values.shape[1], width)

    def rows(self, rows: slice) -> np.ndarray:
        """Return a band of rows."""
        low, high, share = (part[rows] for part in self._rows)
        first, last = low[0], high[-1] + 1
        wide = _mix(self._values[first:last], *self._columns, axis=1)
        return _mix(wide, low - first, high - first, share, axis=0)


def _between(small: int, large: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the two of ``small`` pixels that each of ``large`` lies between, and the share of the second."""
    places = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    low = places.astype(int)
    return low, np.minimum(low + 1, small - 1), (places - low).astype(np.float32)


def _mix(values: np.ndarray, low: np.ndarray, high: np.ndarray, share: np.ndarray, axis: int) -> np.ndarray:
    before = values.take(low, axis)
    after = values.take(high, axis)
    after -= before
    after *= share[:, None, None] if axis == 0 else share[:, None]
    after += before
    return after


def enlarge(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Enlarge a map [h, w] or a picture [h, w, C] to height x width, bilinear."""
    channels = values.shape[2:]
    enlarged = Enlarged(values.reshape(*values.shape[:2], -1), height, width)
    return whole(BandedPixels((height, width, *(channels or (1,))), enlarged.rows)).reshape(
        height, width, *channels
    )


def separate_at_resolution(
    image: PixelRows,
    separate: Callable[[np.ndarray], Layers],
    pixels: int,
    radius: int = 1,
) -> Layers:
    """Separate as `separate_banded` does, and return the layers as arrays."""
    return separate_banded(image, separate, pixels, radius).whole()


def separate_banded(
    image: PixelRows,
    separate: Callable[[np.ndarray], Layers],
    pixels: int,
    radius: int = 1,
) -> BandedLayers:
    """Separate a picture of any size with a function that takes at most ``pixels`` pixels.

    Args:
        image: [H, W, 3] float32, sRGB, clipped to [0, 1].
        separate: Function called once, with the picture or a shrunken copy. A confidence map in its result is
            enlarged with the layers.
        pixels: Working resolution: number of pixels.
        radius: Radius of the windows in which the correction's gain is fitted, in working pixels.

    Returns:
        Layers of the picture's own size, clipped to [0, 1], computed from it a band of rows at a time.
    """
    height, width = image.shape[:2]
    size = working_size(height, width, pixels)
    if size == (height, width):
        layers = separate(whole(image))
        return Layers(np.clip(layers.transmission, 0, 1), np.clip(layers.reflection, 0, 1), layers.confidence)
    small = shrink(image, *size)
    layers = separate(small)

    def enlarged(layer: np.ndarray, flat_gain: float) -> BandedPixels:
        @cache  # fitted when the layer is asked for, once
        def applied() -> BandedPixels:
            return LocalCorrection.fit(small, layer, radius, flat_gain).meeting(small, layer).applied(image)

        return BandedPixels((height, width, 3), lambda rows: applied()[rows])

    return BandedLayers(
        enlarged(layers.transmission, 1.0),
        enlarged(layers.reflection, 0.0),
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
