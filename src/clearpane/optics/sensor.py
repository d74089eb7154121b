"""Convert linear light to a camera's picture: exposure, white balance, noise, tone and JPEG.

All functions but the JPEG one accept NumPy arrays and PyTorch tensors and are differentiable. Linear light is
    in units of the white level: 1 just saturates the sensor.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from array_api_compat import array_namespace, device
from PIL import Image

Array = TypeVar("Array", bound=Any)


def expose(linear: Array, stops: float) -> Array:
    """Change the exposure: ``linear * 2^stops``.

    Args:
        linear: Linear light, >= 0, any shape.
        stops: Exposure value (EV); +1 doubles the light. Nothing is clipped.

    >>> import numpy as np
    >>> expose(np.asarray([0.1, 0.4]), 1).tolist()
    [0.2, 0.8]
    """
    result: Array = linear * 2.0**stops
    return result


def white_balance(linear: Array, gains: Sequence[float], *, axis: int = -1) -> Array:
    """Scale each colour channel (von Kries' diagonal model, in the array's own primaries).

    Args:
        linear: Linear light with three channels along ``axis``.
        gains: Factors for red, green and blue, > 0; green's is usually 1.
        axis: Axis of the channels: -1 for [H, W, 3], -3 for [B, 3, H, W].

    Raises:
        ValueError: There are not three gains, or not three channels along ``axis``.

    >>> import numpy as np
    >>> white_balance(np.full((1, 1, 3), 0.5), (2.0, 1.0, 1.5)).tolist()
    [[[1.0, 0.5, 0.75]]]
    """
    if len(gains) != 3 or linear.shape[axis] != 3:
        raise ValueError(f"expected 3 gains and 3 channels, got {len(gains)} and {linear.shape[axis]}")
    xp = array_namespace(linear)
    shape = [1] * linear.ndim
    shape[axis] = 3
    result: Array = linear * xp.reshape(
        xp.asarray(gains, dtype=linear.dtype, device=device(linear)), tuple(shape)
    )
    return result


@dataclass(frozen=True)
class SensorNoise:
    """Noise of a sensor at one sensitivity.

    Attributes:
        full_well: Number of electrons at a linear value of 1, > 0. At base ISO it is the pixel's capacity
            (about 60,000 for a full-frame camera, 5,000 for a phone); at k times that ISO, a k-th of it.
        read_noise: Standard deviation of the dark signal in electrons, >= 0; 1 to 5 in today's cameras.

    Raises:
        ValueError: A number is out of range.
    """

    full_well: float = 20_000.0
    read_noise: float = 3.0

    def __post_init__(self) -> None:
        if not self.full_well > 0 or not self.read_noise >= 0:
            raise ValueError(f"expected full_well > 0 and read_noise >= 0, got {self}")


def noise_variance(linear: Array, noise: SensorNoise) -> Array:
    """Compute the noise variance: ``max(linear, 0) / full_well + (read_noise / full_well)^2``.

    Shot noise is that of a Poisson-distributed count of electrons (variance = mean); read noise adds to it.

    Args:
        linear: Noise-free linear light, any shape.
        noise: Noise of the sensor.

    Returns:
        Variance in squared units of ``linear``, same shape.

    >>> import numpy as np
    >>> noise_variance(np.asarray([0.0, 1.0]), SensorNoise(full_well=100.0, read_noise=2.0)).round(6).tolist()
    [0.0004, 0.0104]
    """
    result: Array = linear.clip(0.0) / noise.full_well + (noise.read_noise / noise.full_well) ** 2
    return result


def add_noise(linear: Array, normal: Array, noise: SensorNoise) -> Array:
    """Add shot and read noise: ``linear + sqrt(variance) normal``.

    The sensor's Poisson-Gaussian noise is approximated by heteroscedastic Gaussian noise, as usual (Foi et
    al., Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data, IEEE TIP 2008).
    Mean and variance are exact; the skew of the Poisson distribution is lost, which is visible only below
    about 20 electrons.

    Args:
        linear: Noise-free linear light, any shape.
        normal: Independent standard normal numbers of the same shape and type, which carry the seed:
            ``rng.standard_normal(linear.shape, dtype=linear.dtype)`` in NumPy,
            ``torch.randn(linear.shape, generator=generator)`` in PyTorch.
        noise: Noise of the sensor. With a read noise of zero the gradient at black is infinite.

    Returns:
        Linear light, same shape. Values may fall below 0 or above 1; clip them as the camera would.

    Raises:
        ValueError: The shapes differ.

    >>> import numpy as np
    >>> add_noise(np.asarray([0.0, 1.0]), np.asarray([1.0, -1.0]), SensorNoise(100.0, 2.0)).round(4).tolist()
    [0.02, 0.898]
    """
    if linear.shape != normal.shape:
        raise ValueError(f"one normal number per value: expected {linear.shape}, got {normal.shape}")
    xp = array_namespace(linear, normal)
    result: Array = linear + xp.sqrt(noise_variance(linear, noise)) * normal
    return result


def tone_curve(values: Array, contrast: float, pivot: float = 0.18) -> Array:
    """Apply an S-shaped tone curve: a toe in the shadows, a shoulder in the highlights, ``pivot`` fixed.

    With t the pivot and s the contrast, ``y = t x / (x + s (t - x))`` below the pivot and
    ``y = 1 - (1 - t) (1 - x) / (1 - x + s (x - t))`` above (Barron, A Convenient Generalization of Schlick's
    Bias and Gain Functions, arXiv 2010.09714). The slope is s at the pivot and 1 / s at black and white; 0, t
    and 1 stay; it rises strictly, has a continuous slope, and the curve of contrast 1 / s is its inverse.

    Args:
        values: Values in [0, 1], any shape: linear light, or encoded values with a pivot to match.
        contrast: Slope at the pivot, > 0; 1 changes nothing, above 1 is S-shaped, below 1 flattens.
        pivot: Fixed point of the curve, in (0, 1); mid-grey, 0.18, in linear light.

    Returns:
        Array of the same shape, in [0, 1].

    Raises:
        ValueError: Contrast or pivot is out of its range.

    >>> import numpy as np
    >>> tone_curve(np.asarray([0.0, 0.09, 0.18, 0.59, 1.0]), 2.0).round(3).tolist()
    [0.0, 0.06, 0.18, 0.727, 1.0]
    """
    if not contrast > 0 or not 0 < pivot < 1:
        raise ValueError(f"expected contrast > 0 and 0 < pivot < 1, got {contrast}, {pivot}")
    xp = array_namespace(values)
    # Each branch sees only its own side, where its denominator is positive.
    low, high = values.clip(None, pivot), values.clip(pivot)
    toe = pivot * low / (low + contrast * (pivot - low))
    shoulder = 1 - (1 - pivot) * (1 - high) / (1 - high + contrast * (high - pivot))
    result: Array = xp.where(values < pivot, toe, shoulder)
    return result


def jpeg_round_trip(
    srgb: np.ndarray,  # [H, W, 3]
    quality: int,
    subsampling: Literal["4:4:4", "4:2:2", "4:2:0"] = "4:2:0",
) -> np.ndarray:
    """Compress a picture as JPEG and decode it again (libjpeg, by Pillow). NumPy only, not differentiable.

    Args:
        srgb: [H, W, 3] floating point, sRGB; clipped to [0, 1] and rounded to 8 bits.
        quality: Libjpeg's scale, 1 (worst) to 100.
        subsampling: Resolution of the colour differences relative to the brightness.

    Returns:
        [H, W, 3] float32, sRGB, multiples of 1/255 in [0, 1].

    Raises:
        ValueError: The shape or the quality is not as described.

    >>> import numpy as np
    >>> jpeg_round_trip(np.full((16, 16, 3), 0.5), 90).shape
    (16, 16, 3)
    """
    if srgb.ndim != 3 or srgb.shape[2] != 3:
        raise ValueError(f"expected H x W x 3, got {srgb.shape}")
    if not 1 <= quality <= 100:
        raise ValueError(f"expected a JPEG quality from 1 to 100, got {quality}")
    stream = io.BytesIO()
    pixels = np.round(np.clip(srgb, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(stream), dtype=np.float32) / 255
