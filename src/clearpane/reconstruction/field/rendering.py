"""Render signed distance fields as volumes: VolSDF's density, sampled only where there may be a surface.

Source: L. Yariv et al., Volume rendering of neural implicit surfaces (VolSDF), 2021.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from clearpane.geometry.cameras import HALF_SIZE, Cameras, cube_interval, picture_rays

# Steps along a ray at which the occupancy is sampled.
_LOOK_UPS = 192
# Largest gradient of a learnt distance, where a true one has 1.
_STEEPNESS = 1.5
# Distance from the surface, in betas, beyond which the density is negligible.
_BETAS = 8.0
# Rays rendered at once for whole views: their samples must fit into memory.
_RAYS = 4096
# Samples below this fraction of their ray's mean weight are not decoded, nor are those of nearly empty
# rays.
_LEAST_SHARE, _LEAST_OPACITY = 0.01, 1e-3


class Appearance(NamedTuple):
    """Hold the appearance of points, or its mean along rays.

    Attributes:
        colour: Colour towards the viewer [P, 3], sRGB.
        albedo: Linear base colour [P, 3].
        metallic, roughness: Material parameters [P, 1], in [0, 1].
        normal: Normal [P, 3], of length 1 at a point, at most 1 along a ray.
    """

    colour: Tensor
    albedo: Tensor
    metallic: Tensor
    roughness: Tensor
    normal: Tensor


class Field(Protocol):
    """Define a field that can be rendered: a surface and its appearance.

    Both are decoded from the points' features. A caller that needs both passes ``features(points)``.
    """

    def features(self, points: Tensor) -> Tensor:
        """Return the features of points: [P, 3] -> [P, F]."""

    def signed_distance(self, points: Tensor, features: Tensor | None = None) -> Tensor:
        """Return the signed distance of points, below 0 inside: [P, 3] -> [P, 1]."""

    def appearance(self, points: Tensor, view: Tensor, features: Tensor | None = None) -> Appearance:
        """Return the appearance of points seen from the directions ``view`` [P, 3]."""


@dataclass(frozen=True)
class RenderOptions:
    """Configure how rays are rendered.

    Attributes:
        beta: Scale of the density, metres: the width of the surface.
        samples: Number of samples along a ray.
        occupancy: Cells along a side of the grid that marks empty space; 0 to sample everywhere.
    """

    beta: float
    samples: int = 128
    occupancy: int = 32


class Rendered(NamedTuple):
    """Hold the result of rendering rays.

    Attributes:
        opacity: Opacity [N, 1].
        depth: Mean distance along the ray [N, 1]; 0 where the ray hits nothing.
        appearance: Weighted sum of the samples' appearances; colours on white, everything else on 0.
    """

    opacity: Tensor
    depth: Tensor
    appearance: Appearance

    def of(self, rays: Tensor) -> "Rendered":
        """Select some of the rays."""
        return Rendered(
            self.opacity[rays], self.depth[rays], Appearance(*(value[rays] for value in self.appearance))
        )


def volsdf_density(signed_distance: Tensor, beta: float) -> Tensor:
    """Compute ``sigma = Psi(-s) / beta``, per metre; Psi is the distribution function of Laplace(0, beta)."""
    tail = 0.5 * torch.exp(-signed_distance.abs() / beta)
    return torch.where(signed_distance > 0, tail, 1 - tail) / beta


@torch.no_grad()
def occupied_cells(field: Field, options: RenderOptions, like: Tensor) -> Tensor | None:
    """Mark the cells that the surface may cross: bool [G, G, G], ordered (z, y, x), or None for all.

    A cell is skipped if the distance at its centre exceeds the distance to its corners, with a margin for the
    density's width and for the steepness of a learnt distance. Cells deep inside are skipped too: a ray that
    reaches them has passed the surface.
    """
    if not options.occupancy:
        return None
    cells = options.occupancy
    axis = (torch.arange(cells, dtype=like.dtype, device=like.device) + 0.5) / cells * 2 - 1
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    distance = field.signed_distance(torch.stack([x, y, z], dim=-1).reshape(-1, 3) * HALF_SIZE)
    reach = _STEEPNESS * math.sqrt(3) * HALF_SIZE / cells + _BETAS * options.beta
    return (distance.abs() < reach).reshape(cells, cells, cells)


def sample_rays(
    origins: Tensor,
    directions: Tensor,
    options: RenderOptions,
    occupied: Tensor | None,
    generator: Generator | None,
) -> tuple[Tensor, Tensor]:
    """Place samples along rays: their distances [N, S], and the length that each represents [N, 1].

    The part of a ray in occupied cells is divided into S equal lengths. A sample is in the middle of its
    length, or with a generator at a random point of it. The length is 0 for a ray without occupied cells.
    """
    near, far = cube_interval(origins, directions)
    rays, samples = len(origins), options.samples
    offset: Tensor | float = 0.5
    if generator is not None:
        offset = torch.rand(rays, samples, generator=generator).to(origins)
    places = (torch.arange(samples, dtype=origins.dtype, device=origins.device) + offset) / samples
    if occupied is None:
        return near + (far - near) * places, (far - near) / samples
    steps = (torch.arange(_LOOK_UPS, dtype=origins.dtype, device=origins.device) + 0.5) / _LOOK_UPS
    at = near + (far - near) * steps
    cells = occupied.shape[0]
    place = (origins[:, None] + at[..., None] * directions[:, None]) / HALF_SIZE
    index = ((place + 1) / 2 * cells).long().clamp(0, cells - 1)
    inside = occupied[index[..., 2], index[..., 1], index[..., 0]].to(origins.dtype)
    total = inside.cumsum(-1)
    wanted = places.expand(rays, samples) * total[:, -1:]
    step = torch.searchsorted(total, wanted, right=True).clamp(max=_LOOK_UPS - 1)
    # Distance into that step: the wanted length minus the length of all earlier steps.
    before = total.gather(1, step) - inside.gather(1, step)
    distance = near + (far - near) * (step + (wanted - before).clamp(0, 1)) / _LOOK_UPS
    return distance, total[:, -1:] * (far - near) / _LOOK_UPS / samples


def render_rays(
    field: Field,
    origins: Tensor,
    directions: Tensor,
    options: RenderOptions,
    occupied: Tensor | None = None,
    generator: Generator | None = None,
) -> Rendered:
    """Render rays: ``sum_i w_i c_i`` with ``w_i = exp(-sum_{j<i} sigma_j d_j) (1 - exp(-sigma_i d_i))``.

    Args:
        origins, directions: Origins and unit directions [N, 3].
        occupied: Occupied cells, see `occupied_cells`.
        generator: Random generator that jitters the samples, for training; None to place them in the middle.
    """
    placed = sample_rays(origins, directions, options, occupied, generator)
    return render_samples(field, origins, directions, options.beta, placed)


def render_samples(
    field: Field, origins: Tensor, directions: Tensor, beta: float, placed: tuple[Tensor, Tensor]
) -> Rendered:
    """Render rays by `render_rays`' formula at given samples.

    Args:
        origins, directions: Origins and unit directions [N, 3].
        beta: Width of the surface, metres.
        placed: Distances of the samples [N, S], and the length that each represents, [N, S] or [N, 1]; 0 for
            rays to leave out.
    """
    distance, length = placed
    hits = (length.amax(-1) > 0).nonzero()[:, 0]
    rays, samples = distance.shape
    distance, origins, directions = distance[hits], origins[hits], directions[hits]
    points = (origins[:, None] + distance[..., None] * directions[:, None]).reshape(-1, 3)
    features = field.features(points)
    signed = field.signed_distance(points, features).reshape(len(hits), samples)
    optical = volsdf_density(signed, beta) * length[hits]
    passed = torch.exp(-(optical.cumsum(-1) - optical))
    weights = passed * -torch.expm1(-optical)
    total = weights.detach().sum(-1, keepdim=True)
    least = torch.where(total > _LEAST_OPACITY, _LEAST_SHARE * total / samples, math.inf)
    seen = (weights.detach() > least).flatten().nonzero()[:, 0]
    of_ray = seen // samples
    appearance = field.appearance(points[seen], -directions[of_ray], features[seen])
    chosen = weights.flatten()[seen, None]

    def gather(values: Tensor) -> Tensor:
        total = values.new_zeros(rays, values.shape[-1])
        return total.index_add(0, hits[of_ray], values * chosen.to(values.dtype))

    opacity = weights.new_zeros(rays, 1).index_add(0, hits, weights.sum(-1, keepdim=True))
    depth = weights.new_zeros(rays, 1).index_add(0, hits, (weights * distance).sum(-1, keepdim=True))
    # Samples that are not decoded take the mean appearance of their ray.
    known = gather(torch.ones_like(appearance.albedo[:, :1]))
    share = torch.where(known > 0, opacity / known.clamp(min=1e-6), 0.0)
    summed = Appearance(*(gather(value) * share for value in appearance))
    white = torch.where(known > 0, 1 - opacity, 1.0)
    return Rendered(
        opacity,
        depth / opacity.clamp(min=1e-6),
        summed._replace(colour=summed.colour + white),
    )


@torch.no_grad()
def render_views(field: Field, cameras: Cameras, options: RenderOptions) -> dict[str, Tensor]:
    """Render the pictures of V cameras, without gradients: [V, C, H, W] by name.

    ``colour`` is sRGB on white, ``mask`` the opacity; ``albedo`` (linear) and ``normal`` are 0 where there is
    no object.
    """

    def channels(rendered: Rendered, origins: Tensor, directions: Tensor) -> dict[str, Tensor]:
        seen = rendered.appearance
        return {
            "colour": seen.colour,
            "mask": rendered.opacity,
            "albedo": seen.albedo,
            "normal": seen.normal,
        }

    return render_pictures(field, cameras, options, channels)


@torch.no_grad()
def render_pictures(
    field: Field,
    cameras: Cameras,
    options: RenderOptions,
    channels: Callable[[Rendered, Tensor, Tensor], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Render whole pictures of V cameras in chunks of rays, without gradients: [V, C, H, W] by name.

    Args:
        channels: Function from N rendered rays, their origins and directions to pixel values [N, C] by name.
    """
    origins, directions = (x.reshape(-1, 3) for x in picture_rays(cameras))
    occupied = occupied_cells(field, options, origins)
    parts = [
        channels(render_rays(field, o, d, options, occupied), o, d)
        for o, d in zip(origins.split(_RAYS), directions.split(_RAYS), strict=True)
    ]
    shape = (len(cameras.camera_to_world), cameras.height, cameras.width, -1)
    return {
        name: torch.cat([part[name] for part in parts]).reshape(shape).movedim(-1, 1) for name in parts[0]
    }
