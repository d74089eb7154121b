"""Plane-parallel pane, solved exactly in every order, for NumPy arrays and PyTorch tensors.

A ray that meets the pane splits into reflections of order k = 0, 1, 2, ... (k crossings forth and back inside
the glass; 0 is the front face's) and transmissions of order j = 0, 1, 2, ... (2 j + 1 crossings). All
reflections leave in one direction, all transmissions in another, the ray's own, each order a step further
along the pane::

    along the pane, from the point of entry   reflection 2 k x,  transmission (2 j + 1) x,  x = t tan(theta_t)
    across the ray, from order to order       2 x cos(theta_i)
    sideways, from the ray without the pane   t sin(theta_i - theta_t) / cos(theta_t)

The steps along the pane run in the direction of the ray's tangential component (:func:`crossing_shift`).

The functions take the reflectance R of one face, so that it is computed once. It is the same from inside the
    glass, where the angle is the refracted one. **s and p stay separate through all bounces**: with ``R_s,
    R_p = dielectric_reflectance(cos_theta_i, ior)`` call the functions once with each, and take the mean of
    the two results for unpolarised light. :func:`averaging_reflectance` is the R of a renderer that averages
    at every bounce instead.

Everything broadcasts: per-ray arrays ``[B, 1, H, W]`` with an absorption or an index ``[B, 3, 1, 1]`` for
    each colour channel. ``ior``, the index of the glass relative to the surrounding air, is > 1. Ranges are
    not checked. There is no interference: panes are thousands of wavelengths thick.

Source: Stokes, On the intensity of the light reflected from or transmitted through a pile of plates, Proc.
Royal Society 11, 1862; Born and Wolf, Principles of Optics, 7th edition, section 1.5.
"""

from typing import Any, TypeVar

from array_api_compat import array_namespace

from clearpane.optics.fresnel import dielectric_reflectance

Array = TypeVar("Array", bound=Any)


def crossing_attenuation(
    cos_theta_t: Array, thickness: float | Array, absorption: float | Array
) -> Array:  # [...] in (0, 1]
    """Compute the share of light that remains after one crossing of the glass (Beer-Lambert law).

    ``A = exp(-absorption thickness / cos_theta_t)``, along the refracted path.

    Args:
        cos_theta_t: Cosine of the angle inside the glass, in (0, 1]: :func:`~.fresnel.refract_cosine`.
        thickness: Thickness of the pane, metres, >= 0.
        absorption: Absorption coefficient per metre, >= 0, usually for each colour channel; clear glass has 1
            to 10, tinted glass 20 to 120.

    Returns:
        A, of the arguments' common shape.

    >>> import numpy as np
    >>> crossing_attenuation(np.asarray([1.0, 0.8]), 0.01, 50.0).round(4).tolist()
    [0.6065, 0.5353]
    """
    result: Array = array_namespace(cos_theta_t).exp(-(absorption * thickness) / cos_theta_t)
    return result


def slab_orders(face: Array, attenuation: float | Array, count: int) -> tuple[list[Array], list[Array]]:
    """Compute the share of light in the reflections and in the transmissions of order 0 to ``count - 1``.

    Reflections: ``R`` for order 0, ``(1 - R)^2 R^(2k - 1) A^(2k)`` for order k >= 1; transmissions:
    ``(1 - R)^2 R^(2j) A^(2j + 1)``. Three orders leave out 6e-5 of the incoming light in the reflection at 60
    degrees (index 1.5, no absorption), 6e-4 at 70.

    Args:
        face: Reflectance R of one face for one polarisation, in [0, 1].
        attenuation: A of one crossing, in [0, 1]: :func:`crossing_attenuation`, or 1 for clear glass.
        count: Number of orders, >= 1.

    Returns:
        ``(reflections, transmissions)``, an array for each order: reflection 0 has the shape of ``face``, all
        others the common shape.

    >>> import numpy as np
    >>> reflections, transmissions = slab_orders(np.asarray([0.04]), 1.0, 3)
    >>> [weight.round(6).tolist() for weight in reflections]
    [[0.04], [0.036864], [5.9e-05]]
    >>> [weight.round(6).tolist() for weight in transmissions]
    [[0.9216], [0.001475], [2e-06]]
    """
    # Light leaves the glass through the far and the near face in turn, each time R A of the previous amount.
    step = face * attenuation
    leaving: list[Any] = [(1 - face) ** 2 * attenuation]
    while len(leaving) < 2 * count - 1:
        leaving.append(leaving[-1] * step)
    return [face, *leaving[1::2]], leaving[0::2]


def slab_reflectance(face: Array, attenuation: float | Array) -> Array:
    """Compute the share of light in all reflections: ``R + (1 - R)^2 R A^2 / (1 - R^2 A^2)``.

    Without absorption it is ``2 R / (1 + R)``. It is the sum of :func:`slab_orders`' reflections, with
    the same arguments.

    >>> import numpy as np
    >>> slab_reflectance(np.asarray([0.0, 0.04, 1.0]), 1.0).round(5).tolist()
    [0.0, 0.07692, 1.0]
    """
    bounces = face * attenuation
    result: Array = face + (1 - face) ** 2 * attenuation * bounces / _one_minus_square(bounces)
    return result


def slab_transmittance(face: Array, attenuation: float | Array) -> Array:
    """Compute the share of light in all transmissions: ``(1 - R)^2 A / (1 - R^2 A^2)``.

    Without absorption it is ``(1 - R) / (1 + R)``. It is the sum of :func:`slab_orders`' transmissions,
    with the same arguments.

    >>> import numpy as np
    >>> slab_transmittance(np.asarray([0.0, 0.04, 1.0]), 1.0).round(5).tolist()
    [1.0, 0.92308, 0.0]
    """
    result: Array = (1 - face) ** 2 * attenuation / _one_minus_square(face * attenuation)
    return result


def averaging_reflectance(cos_theta_i: Array, ior: float | Array) -> Array:
    """Return the mean of a face's reflectances, ``(R_s + R_p) / 2``, as in renderers without polarisation.

    Renderers such as Mitsuba's rgb variants average at each bounce, as if the light between the faces were
    unpolarised. Used as ``face`` in the functions above it reproduces them: the ghost of order 1 is 22 % too
    strong at 60 degrees (index 1.5), the pane's reflectance 0.1638 instead of 0.1519.

    Args:
        cos_theta_i: Cosine of the angle of incidence, any shape, in [0, 1].
        ior: Index of the glass, > 0.

    >>> import numpy as np
    >>> averaging_reflectance(np.asarray([0.5, 1.0]), 1.5).round(4).tolist()
    [0.0892, 0.04]
    """
    reflectance_s, reflectance_p = dielectric_reflectance(cos_theta_i, ior)
    result: Array = (reflectance_s + reflectance_p) / 2
    return result


def crossing_shift(
    tangential: Array, cos_theta_t: Array, ior: float | Array, thickness: float | Array
) -> Array:
    """Compute a crossing's shift along the pane: ``x = thickness tangential / (ior cos_theta_t)``.

    Refraction divides the tangential part of the unit direction by the index, and keeps its direction. So a
    component of the direction gives that component of the shift, and the sine of the angle of incidence gives
    its length, ``t tan(theta_t)``. Reflection k leaves ``2 k x`` from the point of entry, transmission j ``(2
    j + 1) x`` from it, on the far face.

    Args:
        tangential: Component, in the pane's plane, of the incoming ray's unit direction, in [-1, 1].
        cos_theta_t: Cosine of the angle inside the glass, in (0, 1].
        ior: Index of the glass, > 1.
        thickness: Thickness of the pane, metres.

    Returns:
        Shift in metres, with the sign of ``tangential``; the arguments' common shape.

    >>> import numpy as np
    >>> from clearpane.optics.fresnel import refract_cosine
    >>> cos_theta_t = refract_cosine(np.asarray([0.8]), 1.5)
    >>> crossing_shift(np.asarray([0.6]), cos_theta_t, 1.5, 0.01).round(5).tolist()
    [0.00436]
    """
    result: Array = tangential * thickness / (ior * cos_theta_t)
    return result


def _one_minus_square(bounces: Array) -> Array:
    """Return ``1 - (R A)^2``, or 1 where that is zero: no light enters such a pane."""
    xp = array_namespace(bounces)
    rest = (1 - bounces) * (1 + bounces)
    result: Array = xp.where(rest > 0, rest, 1.0)
    return result
