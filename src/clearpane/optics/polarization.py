"""Polarising filter on the lens, for NumPy arrays and PyTorch tensors.

Of the unpolarised light that meets a pane, half is s-polarised (the field across the plane of incidence) and
half p-polarised (within it). A path reflects or transmits shares w_s and w_p of them. An ideal filter then
passes cos^2 psi of the s part and sin^2 psi of the p part (Malus's law), where **psi is the angle between the
s direction and the filter's axis of transmission**, both seen along the ray. The two parts have no fixed
phase to each other, so they add up to ``w_s cos^2 psi / 2 + w_p sin^2 psi / 2``.

**Exposure.** The filter absorbs half of all unpolarised light, and the photographer opens up by one stop. The
    functions here include that stop: light that the pane leaves unpolarised (w_s = w_p = w) keeps the weight
    w, and the mean over all orientations of the filter is the picture without filter, (w_s + w_p) / 2. For
    the picture at unchanged exposure, take half.

Light that is already polarised (a screen, the blue sky) is not modelled.

Source: Born and Wolf, Principles of Optics, 7th edition, section 1.5.3; Hecht, Optics, 5th
edition, chapter 8.
"""

from typing import Any, TypeVar

from array_api_compat import array_namespace

Array = TypeVar("Array", bound=Any)


def filtered_weight(weight_s: Array, weight_p: Array, cos2_psi: float | Array) -> Array:
    """Compute the weight of a path through the filter: ``w_s cos^2 psi + w_p sin^2 psi``.

    It includes the stop of exposure that the filter costs, see above.

    Args:
        weight_s: Weight of the path for s-polarised light, >= 0, as from :func:`~.slab.slab_orders`.
        weight_p: Weight of the path for p-polarised light.
        cos2_psi: Squared cosine of the angle between s direction and filter axis, in [0, 1], as from
            :func:`filter_alignment`. 1/2 everywhere is the picture without filter.

    Returns:
        Weight of unpolarised incoming light, >= 0, of the arguments' common shape.

    >>> import numpy as np
    >>> filtered_weight(np.asarray(0.15), np.asarray(0.0), np.asarray([0.0, 0.5, 1.0])).tolist()
    [0.0, 0.075, 0.15]
    """
    result: Array = weight_p + (weight_s - weight_p) * cos2_psi
    return result


def filter_alignment(
    direction: Array,  # [..., 3]
    normal: Array,  # [..., 3]
    axis: Array,  # [..., 3]
) -> Array:  # [...]
    """Compute the squared cosine of the angle psi between each ray's s direction and the filter's axis.

    ``cos^2 psi = (d . (n x a))^2 / (|d x n|^2 (|a|^2 - (a . d)^2))``, with d the ray, n the normal and a the
    axis. The s direction is d x n, and the axis counts with its part across the ray (for a sheet polariser an
    approximation, exact on the optical axis). At normal incidence, where s and p are the same, it is 1/2.

    Args:
        direction: Unit vectors [..., 3] from the lens to the pane, or back; the sign does not matter.
        normal: Unit normal [..., 3] of the pane; one, or one for each ray.
        axis: Axis of transmission, of any length > 0, in the same coordinates. It lies in the filter's plane,
            parallel to the sensor: for a camera with x right, y down, ``(cos a, sin a, 0)``. No ray may run
            along it.

    Returns:
        Array in [0, 1].

    >>> import numpy as np
    >>> ray, pane = np.asarray([0.6, 0.0, 0.8]), np.asarray([0.0, 0.0, -1.0])  # s is the vertical
    >>> [float(filter_alignment(ray, pane, np.asarray(axis))) for axis in ([0, 2.0, 0], [1.0, 0, 0])]
    [1.0, 0.0]
    """
    xp = array_namespace(direction, normal, axis)
    along_normal = xp.sum(direction * normal, axis=-1, keepdims=True)
    tangential = direction - along_normal * normal
    square_sine = xp.sum(tangential**2, axis=-1)
    across = xp.sum(axis**2, axis=-1) - xp.sum(direction * axis, axis=-1) ** 2
    triple = xp.sum(direction * xp.linalg.cross(normal, axis), axis=-1)
    slanted = square_sine > 1e-10  # below this, float32 cannot resolve the s direction
    alignment = triple**2 / (xp.where(slanted, square_sine, 1.0) * across)
    result: Array = xp.where(slanted, alignment.clip(0.0, 1.0), 0.5)
    return result
