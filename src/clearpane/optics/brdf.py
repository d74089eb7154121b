"""Reflection of glTF 2.0's metallic-roughness material, for NumPy arrays and PyTorch tensors.

Appendix B of the specification: with the half vector h of the directions l to the light and v to the viewer,

    f = (1 - F) (1 - metallic) albedo / pi + F D G / (4 |n.l| |n.v|),

F Schlick's with f0 = 0.04 mixed with the albedo by ``metallic``, D the GGX distribution and G Smith's, a
product of one factor for l and one for v, both with alpha = roughness^2.

Cosines are of angles to the normal, in [-1, 1]; below 0 a surface is neither lit nor seen. Arrays broadcast;
colours have three channels in the last axis, cosines and roughness one.
"""

import math
from typing import Any, TypeVar

from array_api_compat import array_namespace

Array = TypeVar("Array", bound=Any)

DIELECTRIC_F0 = 0.04
"""Reflectance of a dielectric of index 1.5 at normal incidence."""
_SMALLEST_ALPHA = 1e-3


def base_reflectance(albedo: Array, metallic: Array) -> Array:
    """Compute f0, the reflectance at normal incidence: 0.04 (dielectric) to albedo (metal); [..., 3]."""
    result: Array = DIELECTRIC_F0 * (1 - metallic) + albedo * metallic
    return result


def schlick_fresnel(f0: Array, cosine: Array) -> Array:
    """Compute ``f0 + (1 - f0) (1 - cosine)^5``, with the angle between the half vector and l or v.

    >>> import numpy as np
    >>> schlick_fresnel(np.asarray(0.04), np.asarray([1.0, 0.0])).tolist()
    [0.04, 1.0]
    """
    result: Array = f0 + (1 - f0) * (1 - cosine.clip(0.0, 1.0)) ** 5
    return result


def ggx_distribution(half_cosine: Array, roughness: Array) -> Array:
    """Compute the density of microfacets, per steradian: ``alpha^2 / (pi ((n.h)^2 (alpha^2 - 1) + 1)^2)``."""
    square = _alpha(roughness) ** 2
    result: Array = square / (math.pi * ((half_cosine.clip(0.0, 1.0) ** 2) * (square - 1) + 1) ** 2)
    return result


def smith_factor(cosine: Array, roughness: Array) -> Array:
    """Compute the share of microfacets that is visible from one direction, in [0, 1].

    ``2 c / (c + sqrt(alpha^2 + (1 - alpha^2) c^2))``; 0 below the horizon.
    """
    xp = array_namespace(cosine)
    square = _alpha(roughness) ** 2
    above = cosine.clip(0.0, 1.0)
    result: Array = 2 * above / (above + xp.sqrt(square + (1 - square) * above**2))
    return result


def gltf_brdf(
    normal: Array, light: Array, view: Array, albedo: Array, metallic: Array, roughness: Array
) -> Array:
    """Compute f(l, v) per steradian: [..., 3]; 0 if either direction is below the horizon.

    Args:
        normal, light, view: [..., 3], of length 1, away from the surface.
        albedo: [..., 3] linear, in [0, 1].
        metallic, roughness: [..., 1] in [0, 1].
    """
    xp = array_namespace(normal)
    half = _unit(light + view)
    to_light, to_view = _dot(normal, light), _dot(normal, view)
    fresnel = schlick_fresnel(base_reflectance(albedo, metallic), _dot(view, half))
    diffuse = (1 - fresnel) * (1 - metallic) * albedo / math.pi
    geometry = smith_factor(to_light, roughness) * smith_factor(to_view, roughness)
    lobe = ggx_distribution(_dot(normal, half), roughness) * geometry
    specular = fresnel * lobe / (4 * (to_light * to_view).clip(1e-9, 1.0))
    result: Array = xp.where((to_light > 0) & (to_view > 0), diffuse + specular, 0.0)
    return result


def ggx_half_vector(samples: Array, view: Array, roughness: Array) -> Array:
    """Draw a microfacet's normal with the density of normals visible from v, in a frame with n = z.

    The density is ``G1(v) D(h) (v.h) / (n.v)``; l, mirrored about the normal, has that over ``4 (v.h)``, so
    the weight of a sample, f (n.l) over its density, is ``F G1(l)``.

    Args:
        samples: Uniform numbers [..., 2] in [0, 1).
        view: Unit vectors [..., 3] above the horizon.
        roughness: Roughness [..., 1].

    Source: E. Heitz, Sampling the GGX distribution of visible normals, 2018, appendix A.
    """
    xp = array_namespace(samples)
    alpha = _alpha(roughness)
    stretched = _unit(xp.concat([view[..., :2] * alpha, view[..., 2:]], axis=-1))
    length = xp.sqrt((stretched[..., :1] ** 2 + stretched[..., 1:2] ** 2).clip(1e-12, 1.0))
    zero = xp.zeros_like(length)
    first = xp.concat([-stretched[..., 1:2] / length, stretched[..., :1] / length, zero], axis=-1)
    upright = xp.concat([zero + 1, zero, zero], axis=-1)
    first = xp.where(length > 1e-5, first, upright)
    second = _cross(stretched, first)
    radius, angle = xp.sqrt(samples[..., :1]), 2 * math.pi * samples[..., 1:]
    across, along = radius * xp.cos(angle), radius * xp.sin(angle)
    share = 0.5 * (1 + stretched[..., 2:])
    along = (1 - share) * xp.sqrt((1 - across**2).clip(0.0, 1.0)) + share * along
    rest = xp.sqrt((1 - across**2 - along**2).clip(0.0, 1.0))
    facet = across * first + along * second + rest * stretched
    result: Array = _unit(xp.concat([facet[..., :2] * alpha, facet[..., 2:].clip(1e-6, 1.0)], axis=-1))
    return result


def _alpha(roughness: Array) -> Array:
    result: Array = (roughness**2).clip(_SMALLEST_ALPHA, 1.0)
    return result


def _dot(a: Array, b: Array) -> Array:
    result: Array = array_namespace(a).sum(a * b, axis=-1, keepdims=True)
    return result


def _unit(vector: Array) -> Array:
    xp = array_namespace(vector)
    result: Array = vector / xp.sqrt(_dot(vector, vector).clip(1e-18))
    return result


def _cross(a: Array, b: Array) -> Array:
    xp = array_namespace(a)
    (ax, ay, az), (bx, by, bz) = ([v[..., i] for i in range(3)] for v in (a, b))
    result: Array = xp.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)
    return result
