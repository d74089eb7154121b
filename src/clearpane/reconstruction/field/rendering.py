"""Volume rendering of a signed distance field: VolSDF's density, samples only where there is something.

Source: L. Yariv et al., Volume rendering of neural implicit surfaces (VolSDF), 2021.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from clearpane.geometry.cameras import HALF_SIZE, Cameras, cube_interval, picture_rays

# Steps along a ray at which the occupancy is looked up.
_LOOK_UPS = 192
# A signed distance that is learnt may change so much faster than a true one.
_STEEPNESS = 1.5
# Beyond so many betas from the surface there is no density to speak of.
_BETAS = 8.0
# Rays of whole views that are rendered at a time: as many times the samples are in memory.
_RAYS = 4096
# Points that weigh less than this share of what is even on their ray are not asked how they look; nor are
# those of rays as good as empty.
_LEAST_SHARE, _LEAST_OPACITY = 0.01, 1e-3


class Appearance(NamedTuple):
    """How points look, or what a ray sees.

    Attributes:
        colour: sRGB towards the viewer, [P, 3].
        albedo: linear, [P, 3].
        metallic, roughness: [P, 1] in [0, 1].
        normal: [P, 3], of length 1 at a point, at most 1 along a ray.
    """

    colour: Tensor
    albedo: Tensor
    metallic: Tensor
    roughness: Tensor
    normal: Tensor


class Field(Protocol):
    """What can be rendered: a surface and how it looks.

    Both are read from the points' features. Who asks for both gives ``features(points)``.
    """

    def features(self, points: Tensor) -> Tensor:
        """Return the features of points: [P, 3] -> [P, F]."""

    def signed_distance(self, points: Tensor, features: Tensor | None = None) -> Tensor:
        """Below 0 inside: [P, 3] -> [P, 1]."""

    def appearance(self, points: Tensor, view: Tensor, features: Tensor | None = None) -> Appearance:
        """Of points seen from where ``view`` [P, 3] points to."""


@dataclass(frozen=True)
class RenderOptions:
    """How rays are rendered.

    Attributes:
        beta: of the density, in metres: the width of the surface.
        samples: along a ray.
        occupancy: cells along a side of the grid by which empty space is left out; 0 leaves out nothing.
    """

    beta: float
    samples: int = 128
    occupancy: int = 32


class Rendered(NamedTuple):
    """What rays see.

    Attributes:
        opacity: [N, 1].
        depth: the mean distance along the ray of what is seen, [N, 1]; 0 where nothing is.
        appearance: the sum of all points' times their weights; colours before white, all else before 0.
    """

    opacity: Tensor
    depth: Tensor
    appearance: Appearance

    def of(self, rays: Tensor) -> "Rendered":
        """Of some of the rays."""
        return Rendered(
            self.opacity[rays], self.depth[rays], Appearance(*(value[rays] for value in self.appearance))
        )


def volsdf_density(signed_distance: Tensor, beta: float) -> Tensor:
    """``sigma = Psi(-s) / beta``, Psi being the distribution function of Laplace(0, beta); per metre."""
    tail = 0.5 * torch.exp(-signed_distance.abs() / beta)
    return torch.where(signed_distance > 0, tail, 1 - tail) / beta


@torch.no_grad()
def occupied_cells(field: Field, options: RenderOptions, like: Tensor) -> Tensor | None:
    """Cells of the cube that the surface may pass through: bool [G, G, G] (z, y, x), or None for all.

    A cell is left out if the distance at its middle is more than from there to its corners, with room for
    the density's width and for a learnt distance's steepness. Space deep inside is left out too: whatever
    gets there has passed the surface.
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
    """Distances of samples along rays and the length that each stands for: [N, S] and [N, 1].

    The part of a ray in occupied cells is cut into S equal lengths; a sample is in the middle of each, or
    anywhere in it with a generator. The length is 0 for a ray that meets none.
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
    # How far into that step: what is wanted beyond all before it.
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
        origins, directions: [N, 3] each; directions of length 1.
        occupied: as `occupied_cells` gives it.
        generator: moves samples within their lengths, as training wants it; none, they are in the middle.
    """
    distance, length = sample_rays(origins, directions, options, occupied, generator)
    hits = (length[:, 0] > 0).nonzero()[:, 0]
    rays, samples = len(origins), options.samples
    distance, origins, directions = distance[hits], origins[hits], directions[hits]
    points = (origins[:, None] + distance[..., None] * directions[:, None]).reshape(-1, 3)
    features = field.features(points)
    signed = field.signed_distance(points, features).reshape(len(hits), samples)
    optical = volsdf_density(signed, options.beta) * length[hits]
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
    # Weights too small to be asked after look like the others of their ray.
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
    """Render a field for V cameras: [V, C, H, W] each, without gradients.

    ``colour`` is on white, sRGB; ``mask`` the opacity; ``albedo``, linear, and ``normal`` are 0 where nothing
    is.
    """

    def look(rendered: Rendered, origins: Tensor, directions: Tensor) -> dict[str, Tensor]:
        seen = rendered.appearance
        return {
            "colour": seen.colour,
            "mask": rendered.opacity,
            "albedo": seen.albedo,
            "normal": seen.normal,
        }

    return render_pictures(field, cameras, options, look)


@torch.no_grad()
def render_pictures(
    field: Field,
    cameras: Cameras,
    options: RenderOptions,
    look: Callable[[Rendered, Tensor, Tensor], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Whole views of V cameras, some thousand rays at a time: [V, C, H, W] by name, without gradients.

    Args:
        look: what becomes of N rays, given what they see, their origins and directions: [N, C] by name.
    """
    origins, directions = (x.reshape(-1, 3) for x in picture_rays(cameras))
    occupied = occupied_cells(field, options, origins)
    parts = [
        look(render_rays(field, o, d, options, occupied), o, d)
        for o, d in zip(origins.split(_RAYS), directions.split(_RAYS), strict=True)
    ]
    shape = (len(cameras.camera_to_world), cameras.height, cameras.width, -1)
    return {
        name: torch.cat([part[name] for part in parts]).reshape(shape).movedim(-1, 1) for name in parts[0]
    }
