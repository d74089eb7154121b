"""Shade a metallic-roughness surface under an HDR map, for NumPy arrays and PyTorch tensors.

    L(v) = integral over l of f(l, v) L_environment(l) max(n.l, 0)

without noise. The map is divided into distant lights (`clearpane.optics.environment.light_cells`), over which
f is summed. They are too few for a smooth surface, on which each would appear as a dot: there, the specular
part is instead a sum over the mirror directions of a fixed set of microfacets, each of which looks up the map
blurred by the width of its share of the lobe. Lamps and the sun, too small and bright for that, are removed
from the map and remain lights for every surface.

Source: J. Krivanek and M. Colbert, Real-time shading with filtered importance sampling, 2008.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from array_api_compat import array_namespace

from clearpane.optics.brdf import (
    base_reflectance,
    ggx_distribution,
    ggx_half_vector,
    schlick_fresnel,
    smith_factor,
)
from clearpane.optics.environment import (
    light_cells,
    like,
    look_up,
    look_up_level,
    pyramid,
    texel_directions,
)

Array = TypeVar("Array", bound=Any)

# A texel of 11 degrees that is brighter than the mean of the surroundings by this factor belongs to a lamp.
_LAMP_CONTRAST = 6.0
_SURROUNDINGS_HEIGHT = 16
# Share of the lights that represent lamps.
_LAMP_SHARE = 4
# The sum over lights replaces that over microfacets where a lobe is at least as wide as the lights are apart:
# # where alpha exceeds this share of the angle between them. Down to this share of that roughness both are
# mixed.
_WIDE_LOBE, _MIXED = 0.75, 0.8
# Fewer operations, for four times the memory per point.
_FACETS_AT_ONCE = 4


@dataclass(frozen=True, eq=False)
class EnvironmentLight(Generic[Array]):
    """HDR map prepared for shading.

    Attributes:
        levels: Pyramid of the map without its lamps.
        directions: Unit directions of its K distant lights, [K, 3]; the lamps are the last.
        irradiance: Irradiance across each light, [K, 3].
        lamps: Number of lights that are lamps.
    """

    levels: Sequence[Array]
    directions: Array
    irradiance: Array
    lamps: int

    @classmethod
    def of(cls, environment: Array, lights: int = 1024) -> "EnvironmentLight[Array]":
        """Prepare a map [H, W, 3] of linear radiance."""
        xp = array_namespace(environment)
        coarse = [level for level in pyramid(environment) if level.shape[0] >= _SURROUNDINGS_HEIGHT]
        directions = like(texel_directions(*environment.shape[:2]), environment)
        surroundings = look_up((coarse or [environment])[-1], directions)
        rest = xp.minimum(environment, _LAMP_CONTRAST * surroundings)
        lamps = lights // _LAMP_SHARE
        directions, irradiance = (
            xp.concat(both)
            for both in zip(
                light_cells(rest, lights - lamps), light_cells(environment - rest, lamps), strict=True
            )
        )
        return cls(pyramid(rest), directions, irradiance, lamps)


@dataclass(frozen=True, eq=False)
class SurfacePoints(Generic[Array]):
    """Points to shade.

    Attributes:
        normal, view: Unit vectors [N, 3] away from the surface; the view points towards the viewer.
        albedo: Albedo [N, 3], linear, in [0, 1].
        metallic, roughness: Material [N, 1] in [0, 1].
    """

    normal: Array
    view: Array
    albedo: Array
    metallic: Array
    roughness: Array


def shade(
    points: SurfacePoints[Array],
    light: EnvironmentLight[Array],
    samples: int = 256,
    visibility: Array | float = 1.0,
    mirrored_visibility: Array | float = 1.0,
) -> Array:
    """Compute the linear light towards the viewer, [N, 3].

    With 1024 lights and 256 microfacets the mean error is within 1 % of the integral; fewer are meant for
    rendering in bulk (``benchmarks/lirm/objects.py`` has their error).

    Args:
        samples: Number of microfacets per point.
        visibility: Share of each light that reaches each point, [N, K] in [0, 1].
        mirrored_visibility: Share of the mirrored surroundings that is visible from each point, [N, 1] in [0,
            1].
    """
    f0 = base_reflectance(points.albedo, points.metallic)
    received, lobe, lamp_lobe = _sum_over_lights(points, light, visibility, f0)
    diffuse = (1 - f0) * (1 - points.metallic) * points.albedo / math.pi * received
    sampled = lamp_lobe + _sum_over_facets(points, light, samples, f0) * mirrored_visibility
    rough = math.sqrt(_WIDE_LOBE * math.sqrt(4 * math.pi / light.directions.shape[0]))
    share = ((points.roughness / rough - _MIXED) / (1 - _MIXED)).clip(0.0, 1.0)
    result: Array = diffuse + share * lobe + (1 - share) * sampled
    return result


def _sum_over_lights(
    points: SurfacePoints[Array], light: EnvironmentLight[Array], visibility: Array | float, f0: Array
) -> tuple[Array, Array, Array]:
    """Return the irradiance below the surface over 1 - f0, the specular part, and that of lamps alone."""
    xp = array_namespace(points.normal)
    to_light = (points.normal @ light.directions.T).clip(0.0, 1.0)
    to_view = xp.sum(points.normal * points.view, axis=-1, keepdims=True)
    # |l + v|^2 = 2 + 2 l.v: the half vector's cosine to either is half that length.
    half_length = xp.sqrt((2 + 2 * (points.view @ light.directions.T)).clip(1e-9, 4.0))
    grazing = (1 - half_length / 2) ** 5
    lit = xp.where(to_view > 0, to_light * visibility, 0.0)
    received = (lit * (1 - grazing)) @ light.irradiance
    facing = (to_light + to_view) / half_length
    geometry = smith_factor(to_light, points.roughness) * smith_factor(to_view, points.roughness)
    lobe = ggx_distribution(facing, points.roughness) * geometry
    weight = xp.where(lit > 0, lit * lobe / (4 * (to_light * to_view).clip(1e-9, 1.0)), 0.0)

    def specular(weight: Array, grazing: Array, irradiance: Array) -> Array:
        result: Array = f0 * ((weight * (1 - grazing)) @ irradiance) + (weight * grazing) @ irradiance
        return result

    first = light.directions.shape[0] - light.lamps
    return (
        received,
        specular(weight, grazing, light.irradiance),
        specular(weight[:, first:], grazing[:, first:], light.irradiance[first:]),
    )


def _sum_over_facets(
    points: SurfacePoints[Array], light: EnvironmentLight[Array], samples: int, f0: Array
) -> Array:
    """Compute the specular part of the map without its lamps."""
    xp = array_namespace(points.normal)
    tangent, bitangent = _tangents(points.normal)
    axes = (tangent, bitangent, points.normal)
    view = xp.stack([xp.sum(axis * points.view, axis=-1) for axis in axes], axis=-1)
    above = view[:, 2:] > 0
    view = xp.where(above, view, like(np.asarray([0.0, 0.0, 1.0]), view))
    height, width = light.levels[0].shape[:2]
    texel = 2 * math.pi**2 / (height * width)
    total = xp.zeros_like(points.normal)
    drawn = like(hammersley(samples), view)[:, None, :]
    for first in range(0, samples, _FACETS_AT_ONCE):
        places = drawn[first : first + _FACETS_AT_ONCE] + xp.zeros_like(view[:, :2])
        half = ggx_half_vector(places, view, points.roughness)
        facing = xp.sum(half * view, axis=-1, keepdims=True).clip(1e-6, 1.0)
        mirrored = 2 * facing * half - view
        density = smith_factor(view[:, 2:], points.roughness) * ggx_distribution(
            half[..., 2:], points.roughness
        )
        direction = sum(mirrored[..., i : i + 1] * axis for i, axis in enumerate(axes))
        direction = direction / xp.sqrt(xp.sum(direction**2, axis=-1, keepdims=True))
        share = 4 * view[:, 2:] / (samples * density.clip(1e-9))
        radiance = look_up_level(light.levels, direction, 0.5 * xp.log2(share / texel)[..., 0])
        weight = schlick_fresnel(f0, facing) * smith_factor(mirrored[..., 2:], points.roughness)
        reflected = xp.where(above & (mirrored[..., 2:] > 0), weight * radiance, 0.0)
        total = total + xp.sum(reflected, axis=0)
    result: Array = total / samples
    return result


def hammersley(count: int) -> np.ndarray:
    """Spread points evenly over the unit square: ``((i + 1/2) / count, radical inverse)``, [count, 2].

    >>> hammersley(4).tolist()
    [[0.125, 0.0], [0.375, 0.5], [0.625, 0.25], [0.875, 0.75]]
    """
    index = np.arange(count)
    inverse, scale = np.zeros(count), 0.5
    while index.any():
        inverse += scale * (index & 1)
        index, scale = index >> 1, scale / 2
    return np.stack([(np.arange(count) + 0.5) / count, inverse], axis=-1)


def _tangents(normal: Array) -> tuple[Array, Array]:
    """Return two unit vectors that form a right-handed frame with each normal: [N, 3] each.

    Source: T. Duff et al., Building an orthonormal basis, revisited, 2017.
    """
    xp = array_namespace(normal)
    x, y, z = normal[:, 0], normal[:, 1], normal[:, 2]
    sign = xp.where(z >= 0, xp.ones_like(z), -xp.ones_like(z))
    a = -1 / (sign + z)
    b = x * y * a
    return (
        xp.stack([1 + sign * x * x * a, sign * b, -sign * x], axis=-1),
        xp.stack([b, sign + y * y * a, -y], axis=-1),
    )
