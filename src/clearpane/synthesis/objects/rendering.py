"""Pictures of random objects: sphere tracing, an environment's light with shadows, and what is true of them.

Light comes straight from the environment: what objects throw at each other is left out, as in a path tracer
of depth 2.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE, Cameras, cube_interval, picture_rays
from clearpane.optics.color import linear_to_srgb
from clearpane.optics.environment import look_up, pyramid
from clearpane.optics.shading import EnvironmentLight, SurfacePoints, shade
from clearpane.synthesis.objects.solids import MOST_PRIMITIVES, STEP_SHARE, SolidObject

# Cells along a side of the grid of distances by which rays find their way.
_GRID = 96
_STEPS = 96
_SHADOW_STEPS = 32
# Points are this near to the surface at the end, metres; shadow rays begin so many grid cells above it.
_NEAR, _LIFTED = 2e-4, 1.5
# Points shaded at a time: as many times the number of lights are in memory.
_SHADED = 8192


@dataclass(frozen=True)
class ObjectRenderOptions:
    """How objects are rendered.

    Attributes:
        supersampling: rays along each side of a pixel.
        lights: that stand for the environment.
        facets: microfacets a point, for smooth surfaces.
    """

    supersampling: int = 2
    lights: int = 64
    facets: int = 8


class ObjectViews(NamedTuple):
    """What V cameras see of an object.

    Attributes:
        colour: sRGB on white, [V, 3, H, W] in [0, 1].
        mask: share of the pixel that is the object, [V, 1, H, W].
        depth: along the ray, metres, of what is seen in the mean; 0 where nothing is, [V, 1, H, W].
        normal: outward in the world, times the mask, [V, 3, H, W].
        albedo: linear, times the mask, [V, 3, H, W].
        metallic, roughness: times the mask, [V, 1, H, W].
        background: the environment behind, sRGB, [V, 3, H, W].
    """

    colour: Tensor
    mask: Tensor
    depth: Tensor
    normal: Tensor
    albedo: Tensor
    metallic: Tensor
    roughness: Tensor
    background: Tensor


class Surface(NamedTuple):
    """Where rays meet an object.

    Attributes:
        ray: which ray it is, [P] int64.
        distance: along it, metres, [P].
        points: [P, 3].
    """

    ray: Tensor
    distance: Tensor
    points: Tensor


class DistanceGrid:
    """An object's distances on a grid over the cube: cheap to look up, for rays to find their way.

    Args:
        solid: the object.
        side: points along a side, the cube's faces included.
    """

    def __init__(self, solid: SolidObject, device: torch.device, side: int = _GRID) -> None:
        self.cell = 2 * HALF_SIZE / (side - 1)
        axis = torch.linspace(-HALF_SIZE, HALF_SIZE, side, device=device)
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        points = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
        parts = [solid.signed_distance(part) for part in points.split(1 << 17)]
        self.values = torch.cat(parts).reshape(1, 1, side, side, side)

    def __call__(self, points: Tensor) -> Tensor:
        """Trilinear: [P, 3] -> [P]."""
        place = (points / HALF_SIZE)[None, None, None]
        return F.grid_sample(self.values, place, padding_mode="border", align_corners=True).flatten()


def trace(solid: SolidObject, grid: DistanceGrid, origins: Tensor, directions: Tensor) -> Surface:
    """Where rays first meet the object: by the grid's distances up to a cell from it, then by its own.

    Args:
        origins, directions: [N, 3]; directions of length 1.
    """
    near, far = (x[:, 0] for x in cube_interval(origins, directions))
    alive = (far > near).nonzero()[:, 0]
    distance = near.clone()
    for _ in range(_STEPS):
        # A trilinear distance may be off by its cell: closer than that, the object itself is asked.
        reach = grid(origins[alive] + distance[alive, None] * directions[alive])
        close = (reach < 2 * grid.cell).nonzero()[:, 0]
        exact = solid.signed_distance(
            origins[alive[close]] + distance[alive[close], None] * directions[alive[close]]
        )
        step = STEP_SHARE * (reach - grid.cell)
        step[close] = STEP_SHARE * exact
        distance[alive] += step
        moving = (step.abs() > _NEAR) & (distance[alive] < far[alive])
        alive = alive[moving]
        if not len(alive):
            break
    points = origins + distance[:, None] * directions
    candidates = ((distance < far) & (far > near)).nonzero()[:, 0]
    found = candidates[solid.signed_distance(points[candidates]).abs() < 5 * _NEAR]
    return Surface(found, distance[found], points[found])


def light_visibility(grid: DistanceGrid, points: Tensor, normals: Tensor, directions: Tensor) -> Tensor:
    """Whether distant lights reach points: [P, K], 1 or 0; lights below the horizon count as reaching.

    Args:
        points, normals: [P, 3].
        directions: to the lights, [K, 3].
    """
    visible = points.new_ones(len(points), len(directions))
    point, light = (normals @ directions.T > 0).nonzero(as_tuple=True)
    start = points + _LIFTED * grid.cell * normals
    visible[point, light] = _rays_leave(grid, start[point], directions[light]).to(visible)
    return visible


def _rays_leave(grid: DistanceGrid, start: Tensor, directions: Tensor) -> Tensor:
    """Whether rays, [P, 3] each, leave the cube without meeting the object: [P] bool."""
    leaves = torch.ones(len(start), dtype=torch.bool, device=start.device)
    going = torch.arange(len(start), device=start.device)
    distance = start.new_full((len(start),), 0.5 * grid.cell)
    for _ in range(_SHADOW_STEPS):
        place = start[going] + distance[:, None] * directions[going]
        reach = grid(place)
        inside = place.abs().amax(-1) < HALF_SIZE
        blocked = inside & (reach < 0.1 * grid.cell)
        leaves[going[blocked]] = False
        on = (inside & ~blocked).nonzero()[:, 0]
        if not len(on):
            break
        distance = distance[on] + reach[on].clamp(min=0.5 * grid.cell)
        going = going[on]
    return leaves


def render_object(
    solid: SolidObject,
    environment: Tensor,
    cameras: Cameras,
    options: ObjectRenderOptions | None = None,
) -> ObjectViews:
    """Pictures of an object in the light of an environment, from all cameras.

    Args:
        environment: equirectangular linear radiance, [H, W, 3] (`clearpane.optics.environment`).
        cameras: V.
    """
    options = options or ObjectRenderOptions()
    scale = options.supersampling
    fine = cameras.resized(cameras.height * scale, cameras.width * scale)
    origins, directions = (x.reshape(-1, 3) for x in picture_rays(fine))
    grid = DistanceGrid(solid, origins.device)
    light = EnvironmentLight.of(environment, options.lights)
    surface = trace(solid, grid, origins, directions)
    view = -directions[surface.ray]
    normal = solid.normals(surface.points)
    footprint = _footprint(fine, surface.distance)
    owners = solid.owners(surface.points)
    albedo, metallic, roughness = solid.surface(surface.points, owners, footprint)
    shared = _one_a_pixel(surface.ray, owners, cameras, scale)
    shadows = _Shadows(grid, light)
    parts = []
    for chosen in torch.arange(len(surface.ray), device=normal.device).split(_SHADED):
        first, back = torch.unique(shared[chosen], return_inverse=True)
        seen, mirrored = shadows(surface.points[first], normal[first], view[first])
        points = SurfacePoints(
            _facing(normal[chosen], view[chosen]),
            view[chosen],
            albedo[chosen],
            metallic[chosen],
            roughness[chosen],
        )
        parts.append(shade(points, light, options.facets, seen[back], mirrored[back]))
    radiance = torch.cat(parts) if parts else normal
    values = torch.cat(
        [
            linear_to_srgb(radiance.clamp(0, 1)),
            torch.ones_like(metallic),
            surface.distance[:, None],
            normal,
            albedo,
            metallic,
            roughness,
        ],
        dim=-1,
    )
    pictures = _averaged(values, surface.ray, fine, scale)
    colour, mask, depth, normals, albedos, metals, roughnesses = pictures.split([3, 1, 1, 3, 3, 1, 1], dim=1)
    return ObjectViews(
        (colour + 1 - mask).clamp(0, 1),
        mask,
        depth / mask.clamp(min=1e-6),
        normals,
        albedos,
        metals,
        roughnesses,
        _background(environment, cameras),
    )


def _facing(normal: Tensor, view: Tensor) -> Tensor:
    """Normals turned up to the horizon where a ray that grazes the object sees them from below."""
    cosine = (normal * view).sum(-1, keepdim=True)
    return F.normalize(normal + (0.01 - cosine).clamp(min=0) * view, dim=-1)


class _Shadows:
    """Which lights, and how much of what a mirror would show, reach points."""

    def __init__(self, grid: DistanceGrid, light: EnvironmentLight[Tensor]) -> None:
        self.grid, self.directions = grid, light.directions

    def __call__(self, points: Tensor, normal: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """[P, K] and [P, 1]."""
        lights = light_visibility(self.grid, points, normal, self.directions)
        mirror = 2 * (normal * view).sum(-1, keepdim=True) * normal - view
        start = points + _LIFTED * self.grid.cell * normal
        return lights, _rays_leave(self.grid, start, mirror).to(lights)[:, None]


def _one_a_pixel(ray: Tensor, owners: Tensor, cameras: Cameras, scale: int) -> Tensor:
    """For each point that of its pixel and primitive which is asked for shadows: [P] places in the list."""
    width = cameras.width * scale
    row, column = ray // width, ray % width  # rows of all views one after another
    pixel = row // scale * cameras.width + column // scale
    _, index = torch.unique(pixel * MOST_PRIMITIVES + owners, return_inverse=True)
    first = index.new_full((int(index.max()) + 1 if len(index) else 0,), len(ray))
    first.scatter_reduce_(0, index, torch.arange(len(ray), device=ray.device), "amin")
    return first[index]


def _footprint(fine: Cameras, distance: Tensor) -> float:
    """How large a ray's share of the picture is on the object, metres."""
    focal = float(fine.intrinsics[..., :2].mean())
    return float(distance.mean()) / focal if len(distance) else 1.0


def _averaged(values: Tensor, ray: Tensor, fine: Cameras, scale: int) -> Tensor:
    """Values of rays that met something, averaged over pixels: [V, C, H, W]."""
    views = len(fine.camera_to_world)
    flat = values.new_zeros(views * fine.height * fine.width, values.shape[-1])
    flat[ray] = values
    pictures = flat.reshape(views, fine.height, fine.width, -1).permute(0, 3, 1, 2)
    return F.avg_pool2d(pictures, scale)


def _background(environment: Tensor, cameras: Cameras) -> Tensor:
    """The environment as the cameras see it without the object, sRGB."""
    _, directions = picture_rays(cameras)
    # A texel of the map is a degree or less: as coarse as a pixel.
    texel = math.pi / environment.shape[0]
    pixel = 1 / float(cameras.intrinsics[..., :2].mean())
    levels = pyramid(environment)
    level = levels[min(max(round(math.log2(pixel / texel)), 0), len(levels) - 1)]
    return linear_to_srgb(look_up(level, directions).clamp(0, 1)).movedim(-1, 1)
