"""Fresnel's and Snell's laws at the face of a dielectric, for NumPy arrays and PyTorch tensors.

``ior`` is relative throughout: the index of refraction behind the face over the one in front of it, > 0. For
    light that enters glass of index 1.5 from air it is 1.5, for light that leaves the glass 1 / 1.5.
    ``cos_theta_i`` is the cosine of the angle between the incoming ray and the face's normal, in [0, 1]. Both
    may be arrays that broadcast, for example an ``ior`` for each colour channel. Ranges are not checked.

Beyond the critical angle all light is reflected. There the functions are constant and their gradients zero,
so that gradients are finite everywhere, although the true ones grow without bound as the angle is approached
from below.

Source: Born and Wolf, Principles of Optics, 7th edition, section 1.5.
"""

from typing import Any, TypeVar

from array_api_compat import array_namespace

Array = TypeVar("Array", bound=Any)


def refract_cosine(cos_theta_i: Array, ior: float | Array) -> Array:
    """Compute the cosine of the angle between the refracted ray and the normal (Snell's law).

    ``cos_theta_t = sqrt(1 - (1 - cos_theta_i^2) / ior^2)``, and 0 under total reflection.

    Args:
        cos_theta_i: Floating-point array of any shape, in [0, 1].
        ior: Relative index of refraction, > 0.

    Returns:
        Array in [0, 1], of the arguments' common shape.

    >>> import numpy as np
    >>> refract_cosine(np.asarray([0.0, 0.5, 1.0]), 1.5).round(4).tolist()
    [0.7454, 0.8165, 1.0]
    """
    xp = array_namespace(cos_theta_i)
    square = 1 - (1 - cos_theta_i**2) / ior**2
    # The root's gradient is infinite at zero, and a where() would turn that into NaN.
    result: Array = xp.where(square > 0, xp.sqrt(xp.where(square > 0, square, 1.0)), 0.0)
    return result


def reflection_amplitudes(cos_theta_i: Array, ior: float | Array) -> tuple[Array, Array]:
    """Compute the ratio of the reflected to the incoming field, for s- and p-polarised light.

    ``r_s = (cos_i - ior cos_t) / (cos_i + ior cos_t)``, ``r_p = (ior cos_i - cos_t) / (ior cos_i + cos_t)``.
    At normal incidence ``r_s = -r_p``: the signs follow the directions of the field in the source above.

    Args:
        cos_theta_i: Floating-point array of any shape, in [0, 1].
        ior: Relative index of refraction, > 0.

    Returns:
        ``(r_s, r_p)``, each in [-1, 1]. Under total reflection both are 1: the phase is ignored.

    >>> import numpy as np
    >>> [r.round(3).tolist() for r in reflection_amplitudes(np.asarray([0.0, 1.0]), 1.5)]
    [[-1.0, -0.2], [-1.0, 0.2]]
    """
    xp = array_namespace(cos_theta_i)
    cos_theta_t = refract_cosine(cos_theta_i, ior)
    total = cos_theta_t <= 0
    sum_s, sum_p = _denominators(cos_theta_i, cos_theta_t, ior)
    return (
        xp.where(total, 1.0, (cos_theta_i - ior * cos_theta_t) / sum_s),
        xp.where(total, 1.0, (ior * cos_theta_i - cos_theta_t) / sum_p),
    )


def dielectric_reflectance(cos_theta_i: Array, ior: float | Array) -> tuple[Array, Array]:
    """Compute the share of power that the face reflects, for s- and p-polarised light: ``R = r^2``.

    Unpolarised light reflects the mean of both. That holds for one face only: between the faces of a pane the
        light is polarised, so follow s and p separately through all bounces and take the mean at the end.

    Args:
        cos_theta_i: Floating-point array of any shape, in [0, 1].
        ior: Relative index of refraction, > 0.

    Returns:
        ``(R_s, R_p)``, each in [0, 1]; 1 under total reflection.

    >>> import numpy as np
    >>> [R.round(4).tolist() for R in dielectric_reflectance(np.asarray([0.0, 0.5, 1.0]), 1.5)]
    [[1.0, 0.1766, 0.04], [1.0, 0.0018, 0.04]]
    """
    r_s, r_p = reflection_amplitudes(cos_theta_i, ior)
    return r_s**2, r_p**2


def dielectric_transmittance(cos_theta_i: Array, ior: float | Array) -> tuple[Array, Array]:
    """Compute the share of power that passes the face, for s- and p-polarised light.

    ``T = (ior cos_t / cos_i) t^2 = 4 ior cos_i cos_t / (denominator of t)^2``, which is ``1 - R``. It is the
    flux through the face; radiance changes by a further factor ``ior^2``, which cancels over a pane's two
    faces.

    Args:
        cos_theta_i: Floating-point array of any shape, in [0, 1].
        ior: Relative index of refraction, > 0.

    Returns:
        ``(T_s, T_p)``, each in [0, 1]; 0 under total reflection.

    >>> import numpy as np
    >>> [T.round(4).tolist() for T in dielectric_transmittance(np.asarray([0.0, 0.5, 1.0]), 1.5)]
    [[0.0, 0.8234, 0.96], [0.0, 0.9982, 0.96]]
    """
    cos_theta_t = refract_cosine(cos_theta_i, ior)
    sum_s, sum_p = _denominators(cos_theta_i, cos_theta_t, ior)
    product = 4 * ior * cos_theta_i * cos_theta_t
    return product / sum_s**2, product / sum_p**2


def _denominators(cos_theta_i: Array, cos_theta_t: Array, ior: float | Array) -> tuple[Array, Array]:
    """Return ``(cos_i + ior cos_t, ior cos_i + cos_t)``; 1 under total reflection, where both may be zero."""
    xp = array_namespace(cos_theta_i)
    total = cos_theta_t <= 0
    sum_s = cos_theta_i + ior * cos_theta_t
    sum_p = ior * cos_theta_i + cos_theta_t
    return xp.where(total, 1.0, sum_s), xp.where(total, 1.0, sum_p)
