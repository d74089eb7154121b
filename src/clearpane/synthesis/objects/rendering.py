"""Renderings of random objects: sphere tracing, environment light with shadows, and ground truth.

All light comes directly from the environment: interreflections are ignored, as in a path tracer of depth 2.
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

# Points along a side of the distance grid.
_GRID = 96
_STEPS = 96
_SHADOW_STEPS = 32
# Final distance of traced points from the surface, metres; height at which shadow rays begin, grid cells.
_NEAR, _LIFTED = 2e-4, 1.5
# Points shaded at a time; memory grows with this times the number of lights.
_SHADED = 8192


@dataclass(frozen=True)
class ObjectRenderOptions:
    """Rendering options of objects.

    Attributes:
        supersampling: Rays along each side of a pixel.
        lights: Number of directional lights that represent the environment.
        facets: Number of microfacets sampled per point, for smooth surfaces.
    """

    supersampling: int = 2
    lights: int = 64
    facets: int = 8


class ObjectViews(NamedTuple):
    """Pictures of an object by V cameras, with ground truth.

    Attributes:
        colour: Object on white [V, 3, H, W], sRGB in [0, 1].
        mask: Share of the pixel that the object covers [V, 1, H, W].
        depth: Mean depth of the visible surface along the ray, metres, 0 beside the object [V, 1, H, W].
        normal: Outward normal in world space, times the mask [V, 3, H, W].
        albedo: Linear albedo, times the mask [V, 3, H, W].
        metallic, roughness: Metallic and roughness, times the mask [V, 1, H, W].
        background: Environment behind the object, sRGB [V, 3, H, W].
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
    """Intersections of rays with an object.

    Attributes:
        ray: Index of the ray [P] int64.
        distance: Distance along the ray, metres [P].
        points: Points on the surface [P, 3].
    """

    ray: Tensor
    distance: Tensor
    points: Tensor


class DistanceGrid:
    """Signed distances of an object on a grid over the cube, cheap to look up while tracing rays.

    Args:
        solid: Object.
        device: Device of the grid.
        side: Number of points along a side, including the cube's faces.
    """

    def __init__(self, solid: SolidObject, device: torch.device, side: int = _GRID) -> None:
        self.cell = 2 * HALF_SIZE / (side - 1)
        axis = torch.linspace(-HALF_SIZE, HALF_SIZE, side, device=device)
        z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
        points = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
        parts = [solid.signed_distance(part) for part in points.split(1 << 17)]
        self.values = torch.cat(parts).reshape(1, 1, side, side, side)

    def __call__(self, points: Tensor) -> Tensor:
        """Interpolate distances [P] trilinearly at points [P, 3]."""
        place = (points / HALF_SIZE)[None, None, None]
        return F.grid_sample(self.values, place, padding_mode="border", align_corners=True).flatten()


def trace(solid: SolidObject, grid: DistanceGrid, origins: Tensor, directions: Tensor) -> Surface:
    """Find the first intersections of rays with an object, using exact distances near the surface.

    Farther than about a grid cell from the surface, the cheaper distances of the grid are used.

    Args:
        solid: Object.
        grid: Distance grid of the object.
        origins, directions: Origins and unit directions of the rays [N, 3].
    """
    near, far = (x[:, 0] for x in cube_interval(origins, directions))
    alive = (far > near).nonzero()[:, 0]
    distance = near.clone()
    for _ in range(_STEPS):
        # Trilinear distances may be off by a cell: closer than that, the exact distance is computed.
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
    """Compute the visibility [P, K] of distant lights, 1 or 0; lights below the horizon count as visible.

    Args:
        grid: Distance grid of the object.
        points, normals: Points on the surface and their normals [P, 3].
        directions: Directions to the lights [K, 3].
    """
    visible = points.new_ones(len(points), len(directions))
    point, light = (normals @ directions.T > 0).nonzero(as_tuple=True)
    start = points + _LIFTED * grid.cell * normals
    visible[point, light] = _rays_leave(grid, start[point], directions[light]).to(visible)
    return visible


def _rays_leave(grid: DistanceGrid, start: Tensor, directions: Tensor) -> Tensor:
    """Test which rays, origins and directions [P, 3], leave the cube without meeting the object: [P] bool."""
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
    """Render an object lit by an environment, from all cameras.

    Args:
        solid: Object.
        environment: Equirectangular linear radiance [H, W, 3] (`clearpane.optics.environment`).
        cameras: V cameras.
        options: Rendering options.
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
    """Turn normals up to the horizon where a grazing ray sees them from below."""
    cosine = (normal * view).sum(-1, keepdim=True)
    return F.normalize(normal + (0.01 - cosine).clamp(min=0) * view, dim=-1)


class _Shadows:
    """Visibility from points of the lights and of the mirror direction."""

    def __init__(self, grid: DistanceGrid, light: EnvironmentLight[Tensor]) -> None:
        self.grid, self.directions = grid, light.directions

    def __call__(self, points: Tensor, normal: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the visibility of the lights [P, K] and of the mirror direction [P, 1]."""
        lights = light_visibility(self.grid, points, normal, self.directions)
        mirror = 2 * (normal * view).sum(-1, keepdim=True) * normal - view
        start = points + _LIFTED * self.grid.cell * normal
        return lights, _rays_leave(self.grid, start, mirror).to(lights)[:, None]


def _one_a_pixel(ray: Tensor, owners: Tensor, cameras: Cameras, scale: int) -> Tensor:
    """Choose one point per pixel and primitive for shadow rays; return its index for every point [P]."""
    width = cameras.width * scale
    row, column = ray // width, ray % width  # rows of all views one after another
    pixel = row // scale * cameras.width + column // scale
    _, index = torch.unique(pixel * MOST_PRIMITIVES + owners, return_inverse=True)
    first = index.new_full((int(index.max()) + 1 if len(index) else 0,), len(ray))
    first.scatter_reduce_(0, index, torch.arange(len(ray), device=ray.device), "amin")
    chosen: Tensor = first[index]
    return chosen


def _footprint(fine: Cameras, distance: Tensor) -> float:
    """Compute the mean size of a ray's pixel on the object, metres."""
    focal = float(fine.intrinsics[..., :2].mean())
    return float(distance.mean()) / focal if len(distance) else 1.0


def _averaged(values: Tensor, ray: Tensor, fine: Cameras, scale: int) -> Tensor:
    """Average the values of rays that met the object over pixels: [V, C, H, W]."""
    views = len(fine.camera_to_world)
    flat = values.new_zeros(views * fine.height * fine.width, values.shape[-1])
    flat[ray] = values
    pictures = flat.reshape(views, fine.height, fine.width, -1).permute(0, 3, 1, 2)
    return F.avg_pool2d(pictures, scale)


def _background(environment: Tensor, cameras: Cameras) -> Tensor:
    """Render the environment as seen by the cameras without the object, sRGB."""
    _, directions = picture_rays(cameras)
    # Use the level whose texels are about as coarse as a pixel.
    texel = math.pi / environment.shape[0]
    pixel = 1 / float(cameras.intrinsics[..., :2].mean())
    levels = pyramid(environment)
    level = levels[min(max(round(math.log2(pixel / texel)), 0), len(levels) - 1)]
    return linear_to_srgb(look_up(level, directions).clamp(0, 1)).movedim(-1, 1)
