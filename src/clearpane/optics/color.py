"""Convert between sRGB values and linear light (IEC 61966-2-1), for NumPy arrays and PyTorch tensors."""

from typing import Any, TypeVar

from array_api_compat import array_namespace

Array = TypeVar("Array", bound=Any)


def srgb_to_linear(srgb: Array) -> Array:
    """Decode sRGB values into linear light.

    ``L = V / 12.92`` where ``|V| <= 0.04045``, else ``((|V| + 0.055) / 1.055) ** 2.4``, with the sign of V
    (IEC 61966-2-1; odd-symmetric and unbounded as in scRGB, so that wide-gamut and HDR values survive).

    Args:
        srgb: Floating-point array of any shape.

    Returns:
        Linear light, same shape and type.

    >>> import numpy as np
    >>> srgb_to_linear(np.asarray([0.0, 0.5, 1.0])).round(4).tolist()
    [0.0, 0.214, 1.0]
    """
    xp = array_namespace(srgb)
    magnitude = xp.abs(srgb)
    curve = ((magnitude + 0.055) / 1.055) ** 2.4
    result: Array = xp.where(magnitude <= 0.04045, srgb / 12.92, xp.sign(srgb) * curve)
    return result


def linear_to_srgb(linear: Array) -> Array:
    """Encode linear light as sRGB values: the inverse of :func:`srgb_to_linear`.

    ``V = 12.92 L`` where ``|L| <= 0.0031308``, else ``1.055 |L| ** (1 / 2.4) - 0.055``, with the sign of L.

    Args:
        linear: Floating-point array of any shape.

    Returns:
        sRGB values, same shape and type.

    >>> import numpy as np
    >>> linear_to_srgb(np.asarray([0.0, 0.214, 1.0])).round(3).tolist()
    [0.0, 0.5, 1.0]
    """
    xp = array_namespace(linear)
    magnitude = xp.abs(linear)
    # The lower bound keeps the power's gradient finite at black; those values take the straight branch.
    curve = 1.055 * xp.where(magnitude <= 0.0031308, 0.0031308, magnitude) ** (1 / 2.4) - 0.055
    result: Array = xp.where(magnitude <= 0.0031308, 12.92 * linear, xp.sign(linear) * curve)
    return result
