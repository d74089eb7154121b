"""Compute the part of the sky that each surface point sees past the object: coarse and soft shadows.

Without it, light that does not reach a hollow would be fitted as a dark colour there. Points of a coarse grid
near the surface are traced in 128 directions; the surface interpolates between grid points.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE
from clearpane.optics.environment import direction_coordinates, texel_directions
from clearpane.reconstruction.field.evidence import sample_volume, voxel_centres
from clearpane.reconstruction.field.rendering import Field
from clearpane.reconstruction.field.surface_gradient import distance_gradient

SKY = (8, 16)
"""Directions: the texels of a map with this many rows and columns."""

_GRID, _DISTANCES = 24, 64
# Points within this many voxels of the surface are traced, from this height above it, metres.
_NEAR, _LIFTED = 2.5, 0.025
# Steps along a ray, and the smallest step, metres.
_STEPS, _LEAST_STEP = 28, 0.04
_AT_ONCE = 1 << 18


@dataclass(frozen=True, eq=False)
class SkyVisibility:
    """Hold the visibility of the sky from points in the cube.

    Attributes:
        volume: Visibility of each direction [1, 128, G, G, G]; 1 where it is free.
    """

    volume: Tensor

    def from_points(self, points: Tensor) -> Tensor:
        """Sample the visibility of all directions at points: [P, 3] -> [P, 128], in [0, 1]."""
        return sample_volume(self.volume, points)


def directed(visibility: Tensor, directions: Tensor) -> Tensor:
    """Sample each point's visibility [P, 128] in one direction [P, 3]: [P, 1]."""
    place = direction_coordinates(directions)
    rows, columns = SKY
    column = (place[:, 0] * columns).long().clamp(0, columns - 1)
    row = (place[:, 1] * rows).long().clamp(0, rows - 1)
    return visibility.gather(1, (row * columns + column)[:, None])


def for_lights(visibility: Tensor, height: int, width: int) -> Tensor:
    """Resample visibility [P, 128] to the texels of a finer map, row by row: [P, H W]."""
    rows, columns = SKY
    finer = visibility.reshape(-1, rows, columns).repeat_interleave(height // rows, 1)
    return finer.repeat_interleave(width // columns, 2).flatten(1)


@torch.no_grad()
def sky_visibility(field: Field) -> SkyVisibility:
    """Compute which directions an object hides near its surface; other points see all of the sky."""
    directions = torch.from_numpy(texel_directions(*SKY)).float().reshape(-1, 3)
    fine = voxel_centres(_DISTANCES, directions)
    parts = [field.signed_distance(part) for part in fine.reshape(-1, 3).split(_AT_ONCE)]
    distances = torch.cat(parts).reshape(1, 1, *fine.shape[:3])
    places = voxel_centres(_GRID, directions).reshape(-1, 3)
    distance = field.signed_distance(places)
    near = (distance.abs() < _NEAR * 2 * HALF_SIZE / _GRID)[:, 0].nonzero()[:, 0]
    normal = F.normalize(distance_gradient(field, places[near]), dim=-1)
    start = places[near] + (_LIFTED - distance[near]) * normal
    free = torch.ones(len(places), len(directions))
    free[near] = _free(distances, start, directions).reshape(len(near), len(directions))
    volume = free.T.reshape(1, -1, _GRID, _GRID, _GRID)
    return SkyVisibility(volume.contiguous(memory_format=torch.channels_last_3d))


def _free(distances: Tensor, start: Tensor, directions: Tensor) -> Tensor:
    """Return True for rays from all of [P, 3] in all directions [K, 3] that miss the surface: [P K]."""
    count = len(directions)
    free = torch.ones(len(start) * count)
    going = torch.arange(len(free))
    along = torch.full((len(free), 1), _LEAST_STEP)
    for _ in range(_STEPS):
        place = start[going // count] + along * directions[going % count]
        reach = sample_volume(distances, place)
        inside = place.abs().amax(-1) < HALF_SIZE
        blocked = inside & (reach[:, 0] < 0)
        free[going[blocked]] = 0
        on = (inside & ~blocked).nonzero()[:, 0]
        if not len(on):
            break
        along = along[on] + reach[on].clamp(min=_LEAST_STEP)
        going = going[on]
    return free
