"""From a separation at a working resolution to the picture's own, whatever its size.

Separators see the whole picture at about the size they were trained on, so that global context is kept.
What they found is then described as a local gain and offset on the picture itself, ``T = a I + b``, and
applied to the full-resolution original: its detail and bit depth stay (He, Sun and Tang, "Guided Image
Filtering", TPAMI 2013; He and Sun, "Fast Guided Filter", arXiv 1505.00996). There the maps a and b are both
smooth, which blurs what was found; here a is smooth and b what is left, so that at the working size the
result is T.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from clearpane.images.tiling import row_bands
from clearpane.separation.layers import Layers

# Below this variance (sRGB values squared) a window counts as flat, and the correction as an offset.
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
    """Shrink H x W x 3 float32, clipped to [0, 1], by averaging over areas."""
    planes = [
        np.asarray(
            Image.fromarray(np.clip(image[..., c], 0, 1)).resize((width, height), Image.Resampling.BOX)
        )
        for c in range(3)
    ]
    return np.stack(planes, axis=-1)


def box_mean(values: np.ndarray, radius: int) -> np.ndarray:
    """Mean over the (2 radius + 1)^2 window around each place of H x W x C, cut off at the edges."""

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
    """``layer = gain * image + offset`` for each channel, with maps at the working resolution.

    Attributes:
        gain, offset: h x w x 3 float32.
    """

    gain: np.ndarray
    offset: np.ndarray

    @classmethod
    def fit(
        cls, image: np.ndarray, layer: np.ndarray, radius: int, flat_gain: float = 1.0
    ) -> "LocalCorrection":
        """Least squares in the window of ``radius`` around each place, averaged over the windows it is in.

        Args:
            image, layer: h x w x 3, the picture and one of its layers at the working resolution.
            radius: of the windows, in pixels; at least 1.
            flat_gain: of windows in which the picture is flat, so that detail that only the original has
                goes to this layer in that share: 1 for the scene, 0 for what is reflected.
        """
        mean_image, mean_layer = box_mean(image, radius), box_mean(layer, radius)
        variance = box_mean(image.astype(np.float64) ** 2, radius) - mean_image**2
        covariance = box_mean(image.astype(np.float64) * layer, radius) - mean_image * mean_layer
        gain = (covariance + flat_gain * _FLAT_VARIANCE) / (variance + _FLAT_VARIANCE)
        offset = mean_layer - gain * mean_image
        return cls(box_mean(gain, radius).astype(np.float32), box_mean(offset, radius).astype(np.float32))

    def meeting(self, image: np.ndarray, layer: np.ndarray) -> "LocalCorrection":
        """Return the correction of the same gain that gives ``layer`` for ``image``, without an error.

        Args:
            image, layer: h x w x 3, the picture and one of its layers at the working resolution.
        """
        return LocalCorrection(self.gain, (layer - self.gain * image).astype(np.float32))

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Apply to the full-resolution picture, H x W x 3 float32; it and the layer are clipped to [0, 1]."""
        height, width = image.shape[:2]
        result = np.empty_like(image)
        for rows in row_bands(image):
            np.clip(image[rows], 0, 1, out=result[rows])
            result[rows] *= _enlarge_rows(self.gain, rows, height, width)
            result[rows] += _enlarge_rows(self.offset, rows, height, width)
            np.clip(result[rows], 0, 1, out=result[rows])
        return result


def _enlarge_plane(plane: np.ndarray, rows: slice, height: int, width: int) -> np.ndarray:
    """Enlarge an h x w plane to height x width, bilinear, and return the given rows."""
    h, w = plane.shape
    box = (0.0, rows.start * h / height, float(w), rows.stop * h / height)
    picture = Image.fromarray(np.ascontiguousarray(plane))
    size = (width, rows.stop - rows.start)
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=box))


def _enlarge_rows(values: np.ndarray, rows: slice, height: int, width: int) -> np.ndarray:
    """Enlarge h x w x 3 to height x width x 3 and return the given rows."""
    return np.stack([_enlarge_plane(values[..., c], rows, height, width) for c in range(3)], axis=-1)


def enlarge(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Enlarge an h x w map to height x width, bilinear."""
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
    """Separate a picture of any size with a function that sees it at up to ``pixels`` pixels.

    Args:
        image: H x W x 3 float32, sRGB, clipped to [0, 1].
        separate: called once, with the picture or a shrunken copy. If the layers come with a confidence,
            that is enlarged with them.
        pixels: the working resolution.
        radius: of the windows that the correction's gain is fitted in, in working pixels.

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
    """H x W x 3 float32 of any values at another size, bilinear."""
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
    """Separate a picture as seen ``scale`` times as large.

    What the separation changed is shrunk back and added, ``T = I + shrink(T' - I')``: the picture's own
    detail stays.

    Args:
        image: h x w x 3 float32, sRGB in [0, 1].
        separate: called once, with the enlarged picture.
        scale: 1 or more.

    Returns:
        Layers of the picture's own size, not clipped, without a confidence.
    """
    height, width = image.shape[:2]
    enlarged = _resize(image, round(height * scale), round(width * scale))
    layers = separate(enlarged)
    return Layers(
        image + _resize(layers.transmission - enlarged, height, width),
        _resize(layers.reflection, height, width),
    )
