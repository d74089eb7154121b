"""All short specular paths of rays through a pane of any shape, exact, in batched PyTorch.

A ray that meets a smooth face splits into a reflected and a refracted one, each of which continues to the
next face. A path is one sequence of such choices. After an odd number of reflections it leaves in front and
shows the reflected world (a path of R), after an even number behind, and shows the background (a path of T).

Paths are followed from the camera, against the light. By reciprocity a path has the same weight both ways: a
face's share of power is the same from either side, and the power that unpolarised light brings into one
polarisation at the camera, summed over the light's own, equals what that polarisation would carry the other
way. Weights are shares of radiance. The factor ior^2 of each refraction
(`clearpane.optics.fresnel.dielectric_transmittance`) cancels, as paths begin and end in air.

Interference is ignored. Also left out are light that meets the pane again after leaving it (two ends of a
hollow face), the phase shift between s and p under total reflection, which no ray from air meets between
plane-parallel faces, and light that leaves through the rim. Where a lens grows thicker outwards, the back
face's reflection is tilted further at each crossing, until it is totally reflected and runs to the rim. No
number of reflections brings it back; there the weights sum up to less than 1, which is right for a black rim.
A polished rim would send that light back: some 4 % of R for a strongly biconcave lens.

Source: Born and Wolf, Principles of Optics, 7th edition, section 1.5; Chipman, Mechanics of polarization ray
tracing, Optical Engineering 34, 1995 (the field as a vector in space).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from clearpane.optics.fresnel import dielectric_transmittance, reflection_amplitudes, refract_cosine
from clearpane.synthesis.glass.scene import Pane
from clearpane.synthesis.glass.surfaces import Hit, Surface, meet, pane_surfaces, refract, surface_side


@dataclass(frozen=True, eq=False)
class SpecularPath:
    """One path through the pane, for all rays.

    Attributes:
        reflected_at: Indices of the reflecting faces in order, 0 being the front one. (0,) is the front
            face's reflection, (1,) a pane's ghost, () direct transmission.
        origin: Point where the path leaves the last face [..., 3].
        direction: Unit direction away from the pane [..., 3].
        weight: Share of the radiance from there that arrives, for red, green and blue, [..., 3].
        exists: False where the ray misses a face or is totally reflected where the path would pass, [...]
            bool; there the weight is 0 and the other values are meaningless.
    """

    reflected_at: tuple[int, ...]
    origin: Tensor
    direction: Tensor
    weight: Tensor
    exists: Tensor

    @property
    def in_front(self) -> bool:
        """True if the path leaves on the camera's side: a path of R, not of T."""
        return len(self.reflected_at) % 2 == 1


def stacked_surfaces(panes: Sequence[Pane], rays: Tensor) -> list[Surface[Tensor]]:
    """Stack the faces of B panes with equally many faces, in the type of the rays [B, ..., 3]."""
    inner = [1] * (rays.ndim - 2)

    def stacked(name: str, surfaces: Sequence[Surface[np.ndarray]]) -> Tensor:
        values = np.stack([getattr(surface, name) for surface in surfaces])
        return torch.from_numpy(values).to(rays).reshape(len(values), *inner, *values.shape[1:])

    faces = zip(*(pane_surfaces(pane) for pane in panes), strict=True)
    return [Surface(**{f.name: stacked(f.name, face) for f in fields(Surface)}) for face in faces]


def camera_fields(direction: Tensor, polarizers: Sequence[float | None]) -> Tensor:
    """Compute the polarisations that the camera records, as electric fields to follow.

    Without a filter, two perpendicular fields of half the power each; with a filter, the one that it passes
    at full power, and nothing of the other. So unpolarised light keeps its brightness, as in
    `clearpane.optics.polarization`.

    Args:
        direction: Unit directions of rays from the camera [B, ..., 3].
        polarizers: `Camera.polarizer` of B cameras: degrees from the x axis towards the y axis; None for no
            filter. The axis is projected perpendicular to the ray.

    Returns:
        Fields [2, B, ..., 3].
    """
    shape = [len(polarizers)] + [1] * (direction.ndim - 1)
    angle = torch.tensor([0.0 if p is None else p for p in polarizers]).to(direction).deg2rad().view(shape)
    axis = torch.cat([angle.cos(), angle.sin(), torch.zeros_like(angle)], dim=-1)
    first = torch.nn.functional.normalize(axis - _dot(axis, direction) * direction, dim=-1)
    second = torch.linalg.cross(direction, first)
    power = torch.tensor([0.5 if p is None else 1.0 for p in polarizers]).to(direction).view(shape)
    return torch.stack([first * power.sqrt(), second * (1 - power).sqrt()])


def specular_paths(
    surfaces: Sequence[Surface[Tensor]],
    origin: Tensor,
    direction: Tensor,
    fields: Tensor | None,
    max_reflections: int,
) -> Iterator[SpecularPath]:
    """Yield all paths with at most this many reflections. Differentiable with respect to all tensors.

    K orders of a flat pane take 2 K - 2: its reflections of order k < K have max(1, 2 k - 1), its
    transmissions 2 k. Memory holds, besides the current path, only one ray for each face met.

    Args:
        surfaces: Faces from the camera on, as returned by `stacked_surfaces`.
        origin, direction: Origins and unit directions of rays from the camera [..., 3].
        fields: Fields [P, ..., 3] from `camera_fields`, or any perpendicular to the direction; the weight is
            the sum of their remaining squares. None averages s and p at each face, as in renderers without
            polarisation, with `clearpane.optics.slab.averaging_reflectance`.
        max_reflections: Maximum number of reflections on a path, >= 0.
    """
    ray = _Ray(
        origin=origin,
        direction=direction,
        fields=torch.ones_like(origin[None, ..., :1]) if fields is None else fields,
        attenuation=torch.ones_like(origin),
        exists=torch.ones_like(origin[..., 0], dtype=torch.bool),
        reflected_at=(),
    )
    yield from _follow(surfaces, ray, 0, True, max_reflections)


@dataclass(frozen=True, eq=False)
class _Ray:
    """A partial path. Averaging fields have one component, the square root of the power."""

    origin: Tensor
    direction: Tensor
    fields: Tensor
    attenuation: Tensor
    exists: Tensor
    reflected_at: tuple[int, ...]


def _follow(
    surfaces: Sequence[Surface[Tensor]], ray: _Ray, index: int, forward: bool, reflections_left: int
) -> Iterator[SpecularPath]:
    """Yield the paths of a ray on its way to face ``index``, or out of the pane if there is none."""
    if not 0 <= index < len(surfaces):
        power = (ray.fields**2).sum(dim=(0, -1)) * ray.exists
        weight = power[..., None] * ray.attenuation
        yield SpecularPath(ray.reflected_at, ray.origin, ray.direction, weight, ray.exists)
        return
    surface = surfaces[index]
    ahead = 1 if forward else -1
    hit = meet(surface, ray.origin, ray.direction, forward)
    ior = surface.ior_behind / surface.ior_before
    if not forward:
        ior = 1 / ior
    exists = ray.exists & hit.exists
    # Beyond a lens's rim or a wedge's edge there are faces but no glass.
    if index > 0:
        exists = exists & (surface_side(surfaces[index - 1], hit.position) < 0)
    if index + 1 < len(surfaces):
        exists = exists & (surface_side(surfaces[index + 1], hit.position) > 0)
    crossed = index - 1 if forward else index
    attenuation = ray.attenuation
    if crossed >= 0:
        attenuation = attenuation * (-surfaces[crossed].absorption_behind * hit.distance[..., None]).exp()

    passes = refract_cosine(hit.cosine, ior) > 0
    mirrored = ray.direction - 2 * hit.cosine[..., None] * hit.normal
    refracted = torch.where(passes[..., None], refract(ray.direction, hit, ior), hit.normal)
    split = _split if ray.fields.shape[-1] == 3 else _split_averaging
    fields_mirrored, fields_refracted = split(ray, hit, ior, mirrored, refracted)
    met = replace(ray, origin=hit.position, attenuation=attenuation)
    if reflections_left > 0:
        turned = replace(
            met,
            direction=mirrored,
            fields=fields_mirrored,
            exists=exists,
            reflected_at=(*ray.reflected_at, index),
        )
        yield from _follow(surfaces, turned, index - ahead, not forward, reflections_left - 1)
    onward = replace(met, direction=refracted, fields=fields_refracted, exists=exists & passes)
    yield from _follow(surfaces, onward, index + ahead, forward, reflections_left)


def _split(
    ray: _Ray, hit: Hit[Tensor], ior: Tensor, mirrored: Tensor, refracted: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the reflected and refracted fields: s and p parts times Fresnel's amplitudes.

    The p direction is the cross product of the ray's direction and the s direction, matching the signs in
    `clearpane.optics.fresnel`. Refracted amplitudes are scaled so that their squares are power.
    """
    s = _s_direction(ray.direction, hit.normal)
    part_s = _dot(ray.fields, s)
    part_p = _dot(ray.fields, torch.linalg.cross(ray.direction, s))
    r_s, r_p = reflection_amplitudes(hit.cosine, ior)
    t_s, t_p = (_root(share) for share in dielectric_transmittance(hit.cosine, ior))

    def recombined(amplitude_s: Tensor, amplitude_p: Tensor, direction: Tensor) -> Tensor:
        p = torch.linalg.cross(direction, s)
        field: Tensor = amplitude_s[..., None] * part_s * s + amplitude_p[..., None] * part_p * p
        return field

    return recombined(r_s, r_p, mirrored), recombined(t_s, t_p, refracted)


def _split_averaging(
    ray: _Ray, hit: Hit[Tensor], ior: Tensor, mirrored: Tensor, refracted: Tensor
) -> tuple[Tensor, Tensor]:
    transmittance_s, transmittance_p = dielectric_transmittance(hit.cosine, ior)
    share = ((transmittance_s + transmittance_p) / 2)[..., None]
    return ray.fields * _root(1 - share), ray.fields * _root(share)


def _s_direction(direction: Tensor, normal: Tensor) -> Tensor:
    """Compute a unit vector perpendicular to the plane of incidence, or to the ray at normal incidence."""
    x, y, z = direction.unbind(-1)
    zero = torch.zeros_like(x)
    any_across = torch.where(
        (x.abs() < 0.6)[..., None], torch.stack([zero, z, -y], -1), torch.stack([-z, zero, x], -1)
    )
    across = torch.linalg.cross(direction, normal)
    # Below this, float32 cannot resolve the s direction.
    slanted = _dot(across, across) > 1e-10
    return torch.nn.functional.normalize(torch.where(slanted, across, any_across), dim=-1)


def _root(share: Tensor) -> Tensor:
    """Compute the square root, with gradient 0 instead of infinity at 0."""
    return torch.where(share > 0, torch.where(share > 0, share, 1.0).sqrt(), 0.0)


def _dot(one: Tensor, other: Tensor) -> Tensor:  # [..., 1]
    return (one * other).sum(dim=-1, keepdim=True)
