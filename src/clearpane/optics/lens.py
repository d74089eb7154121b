"""Camera lens: defocus, chromatic aberration and vignetting, for NumPy arrays and PyTorch tensors.

Pictures are linear light with height and width last, ``[..., H, W]``, preceded by colour where a function
says so; their centre is the optical axis. All functions are linear in the light, so that the layers of a
picture can be processed separately and still add up. Lengths are in metres, focal lengths in pixels, as in
the intrinsics.

The lens is thin and free of other aberrations: for every point of the lens, the ray through it and through
    the point where the central ray meets the plane in focus belongs to the same pixel.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from array_api_compat import array_namespace, device

Array = TypeVar("Array", bound=Any)


def focal_length(size: int, field_of_view: float) -> float:
    """Compute the focal length in pixels: ``size / (2 tan(field_of_view / 2))``.

    Args:
        size: Size of the picture in pixels, in the direction of the field of view.
        field_of_view: Field of view in radians, in (0, pi).

    >>> round(focal_length(256, math.radians(45)), 1)
    309.0
    """
    return size / (2 * math.tan(field_of_view / 2))


def circle_of_confusion(
    depth: float | Array,
    focus: float | Array,
    lens_radius: float | Array,
    focal_pixels: float | Array,
) -> Any:
    """Compute the radius of the disk that a point out of focus becomes.

    ``focal_pixels lens_radius |1 / focus - 1 / depth|``: the ray from a lens point l to the object meets the
    plane in focus l (1 - focus / depth) beside the central ray, and a metre there is focal_pixels / focus
    pixels. So the lens's own focal length does not enter, except that lens_radius is its half over the
    f-number.

    Args:
        depth: Depth of the object along the optical axis, metres, > 0, or infinite.
        focus: Depth of the plane in focus, metres, > 0, or infinite.
        lens_radius: Radius of the lens, metres, >= 0; 0 is a pinhole. A phone has about 0.001, a 50 mm f/1.8
            lens 0.014.
        focal_pixels: Focal length in pixels, from :func:`focal_length`.

    Returns:
        Radius in pixels, of the arguments' common shape.

    >>> circle_of_confusion(depth=3.0, focus=1.0, lens_radius=0.01, focal_pixels=300.0)
    2.0
    """
    return focal_pixels * lens_radius * abs(1 / focus - 1 / depth)


def lens_samples(count: int, seed: int) -> np.ndarray:  # [count, 2] float64
    """Spread points evenly over the unit disk: a sunflower's spiral, turned by a random angle.

    ``r_i = sqrt((i + 1/2) / count)``, ``phi_i = i * 137.5 degrees + phi(seed)`` (Vogel, A better way to
    construct the sunflower head, Mathematical Biosciences 1979). Multiply by the radius of the lens. With 64
    points the blurred edge of a half plane has an error of 0.013 (root mean square); with Sobol's points
    0.015, with random ones 0.048. Points of different seeds differ only by a rotation.

    Args:
        count: Number of points, >= 1. The whole set is even, its beginning is not.
        seed: Random seed, >= 0; it gives the same points on every machine.

    >>> points = lens_samples(64, seed=0)
    >>> points.shape, bool(np.hypot(*points.T).max() < 1)
    ((64, 2), True)
    """
    index = np.arange(count)
    radius = np.sqrt((index + 0.5) / count)
    angle = index * (math.pi * (3 - math.sqrt(5))) + np.random.default_rng(seed).uniform(0, 2 * math.pi)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def disk_kernel(radius: Array, half_width: int) -> Array:  # [..., 2 * half_width + 1, 2 * half_width + 1]
    """Compute an anti-aliased disk: bilinear interpolation averaged over its area, as a kernel of pixels.

    ``k[m, n] = integral over the disk of tent(y - m) tent(x - n) dx dy / (pi radius^2)``, with tent(x) = 1 -
    |x| in [-1, 1]. It is the limit of infinitely many lens samples with bilinear lookups. The integral along
    each chord is exact, the one over the chords is by quadrature (to 4e-4 of the kernel's peak up to 50
    pixels).

    Args:
        radius: Radius in pixels, any shape, >= 0; 0 is a point.
        half_width: Half the kernel's width in pixels, >= radius.

    Returns:
        Kernels that sum to 1, of the radius's type and shape, followed by the kernel's two axes.

    >>> disk_kernel(np.asarray(1.0), 1).round(3).tolist()
    [[0.04, 0.133, 0.04], [0.133, 0.31, 0.133], [0.04, 0.133, 0.04]]
    """
    xp = array_namespace(radius)
    kind = {"dtype": radius.dtype, "device": device(radius)}
    pixel = xp.arange(-half_width, half_width + 1, **kind)[:, None]
    count = 64 * (half_width + 1)
    angle = (xp.arange(count, **kind) + 0.5) * (math.pi / count) - math.pi / 2
    # Below this radius, where differences of float32 lose their digits, the kernel is linear in the radius.
    least = 1e-2
    size = xp.where(radius > least, radius, least)[..., None, None]
    rows = _tent(size * xp.sin(angle) - pixel) * (xp.cos(angle) ** 2 * (2 / count))
    half_chord = size * xp.cos(angle)
    columns = (_tent_integral(half_chord - pixel) - _tent_integral(-half_chord - pixel)) / (2 * half_chord)
    disk = xp.matmul(rows, xp.matrix_transpose(columns))
    point = xp.astype((pixel == 0) & (pixel[:, 0] == 0), radius.dtype)
    share = (radius / least).clip(None, 1.0)[..., None, None]
    result: Array = point + share * (disk - point)
    return result


def defocus(
    linear: Array,  # [..., H, W]
    radius: float | Array,  # [...]
) -> Array:
    """Blur a layer of one depth by a disk: convolution with :func:`disk_kernel`, by a fast Fourier transform.

    Exact for a plane parallel to the sensor whose pinhole picture is ``linear``, taken as bilinear between
    the pixel centres and continued by its last pixels at the edges. If a layer has gaps, blur its light and
    its coverage alike. The transform's error is spread over the picture: about 1e-7 of its root mean square
    in float32.

    Args:
        linear: Linear light [..., H, W].
        radius: Radius in pixels, >= 0, from :func:`circle_of_confusion`; an array broadcasts to the axes
            before H and W: ``[B, 1]`` for each picture of [B, C, H, W], ``[3]`` for each colour channel.

    Returns:
        Array of the same shape and type.

    >>> defocus(np.pad(np.ones((1, 1)), 2), 1.0).round(3)[2].tolist()
    [0.0, 0.133, 0.31, 0.133, 0.0]
    """
    xp = array_namespace(linear)
    if isinstance(radius, int | float):
        radius = xp.asarray(radius, dtype=linear.dtype, device=device(linear))
    radius = xp.astype(radius, linear.dtype)
    border = math.ceil(xp.max(radius).item())
    for axis in (-2, -1):
        last = linear.shape[axis] - 1
        around = xp.arange(-border, last + 1 + border, device=device(linear)).clip(0, last)
        linear = xp.take(linear, around, axis=axis)
    # The transform is as large as the padded picture: the wrapped part falls into the border.
    size = tuple(linear.shape[-2:])
    spectrum = xp.fft.rfftn(linear, axes=(-2, -1))
    kernel = xp.fft.rfftn(disk_kernel(radius, border), s=size, axes=(-2, -1))
    blurred = xp.fft.irfftn(spectrum * kernel, s=size, axes=(-2, -1))
    result: Array = xp.astype(blurred[..., 2 * border :, 2 * border :], linear.dtype)
    return result


def lateral_chromatic_aberration(
    linear: Array,  # [..., C, H, W]
    magnifications: Sequence[float] | Array,  # [C]
) -> Array:
    """Magnify each colour channel about the centre.

    ``out(x) = linear(centre + (x - centre) / magnification)``, resampled by Keys's cubic convolution (a =
    -1/2), one axis after the other; near strong edges it may fall slightly below zero. Edges are continued by
    their last pixels.

    Args:
        linear: Linear light [..., C, H, W].
        magnifications: Magnification of each channel, > 0; 1 changes nothing, real lenses stay within 1 +-
            0.002.

    Returns:
        Array of the same shape.

    Raises:
        ValueError: There is not one magnification for each channel.

    >>> picture = np.asarray([[[0.0, 0.0, 0.0, 1.0, 0.0]]] * 2)
    >>> lateral_chromatic_aberration(picture, (1.0, 2.0)).round(3)[:, 0].tolist()
    [[0.0, 0.0, 0.0, 1.0, 0.0], [0.0, -0.062, 0.0, 0.562, 1.0]]
    """
    xp = array_namespace(linear)
    if len(magnifications) != linear.shape[-3]:
        raise ValueError(f"expected {linear.shape[-3]} magnifications, got {len(magnifications)}")
    channels = []
    for index, magnification in enumerate(magnifications):
        channel = _magnify(linear[..., index, :, :], magnification)
        channels.append(xp.matrix_transpose(_magnify(xp.matrix_transpose(channel), magnification)))
    result: Array = xp.stack(channels, axis=-3)
    return result


def polynomial_vignetting(linear: Array, coefficients: Sequence[float | Array]) -> Array:
    """Darken towards the edges as a lens's barrel does.

    By ``1 + k1 r^2 + k2 r^4 + k3 r^6 + ...``, r the distance from the centre, 1 in the corners. The model of
    Goldman (Vignette and exposure calibration and compensation, TPAMI 2010) and of lensfun's and DNG's lens
    profiles. Measured profiles have the natural falloff, cos^4, in them.

    Args:
        linear: Linear light, [..., H, W].
        coefficients: Coefficients k1, k2, ...; their sum lies between -1 and 0. Wide-open lenses lose half to
            three quarters of the light in the corners, which are those of the outermost pixels' outer edges.

    Returns:
        Array of the same shape; the centre stays. Nothing is clipped.

    >>> polynomial_vignetting(np.ones((1, 1, 5)), (-0.26, 0.0)).round(3).tolist()
    [[[0.84, 0.96, 1.0, 0.96, 0.84]]]
    """
    height, width = linear.shape[-2:]
    square = _square_distance(linear) * (4 / (height**2 + width**2))
    falloff = 0.0 * square
    for coefficient in reversed(coefficients):
        falloff = (falloff + coefficient) * square
    result: Array = linear * (1 + falloff)
    return result


def _square_distance(linear: Array) -> Array:  # [H, W]
    """Compute the squared distance of pixel centres from the picture's centre, in pixels."""
    xp = array_namespace(linear)
    y, x = (
        xp.arange(size, dtype=linear.dtype, device=device(linear)) - (size - 1) / 2
        for size in linear.shape[-2:]
    )
    result: Array = y[:, None] ** 2 + x**2
    return result


def _magnify(plane: Array, magnification: float | Array) -> Array:  # [..., H, W], along H
    xp = array_namespace(plane)
    size = plane.shape[-2]
    centre = (size - 1) / 2
    pixel = xp.arange(size, dtype=plane.dtype, device=device(plane))
    position = centre + (pixel - centre) / magnification
    before = xp.floor(position)
    part = (position - before)[:, None]
    # Keys, Cubic convolution interpolation for digital image processing, TASSP 1981, for a = -1/2.
    taps = (
        (-1, ((2 - part) * part - 1) * part / 2),
        (0, ((3 * part - 5) * part**2 + 2) / 2),
        (1, ((4 - 3 * part) * part + 1) * part / 2),
        (2, (part - 1) * part**2 / 2),
    )
    first = xp.astype(before, xp.int64)
    terms = [weight * xp.take(plane, (first + step).clip(0, size - 1), axis=-2) for step, weight in taps]
    result: Array = terms[0] + terms[1] + terms[2] + terms[3]
    return result


def _tent(x: Array) -> Array:
    xp = array_namespace(x)
    result: Array = (1 - xp.abs(x)).clip(0.0)
    return result


def _tent_integral(x: Array) -> Array:
    """Integrate the tent from 0 to x: ``x (1 - |x| / 2)``, constant outside of [-1, 1]."""
    xp = array_namespace(x)
    inside = x.clip(-1.0, 1.0)
    result: Array = inside * (1 - xp.abs(inside) / 2)
    return result
