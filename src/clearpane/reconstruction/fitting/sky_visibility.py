"""Which part of the sky an object leaves each place on its surface: its own shadows, coarse and soft.

Without it, light that does not get into a hollow would be taken for a dark colour there. On a coarse grid,
each place near the surface is followed into 128 directions; the surface looks it up between grid points.
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
"""Directions: the texels of a map of so many rows and columns."""

_GRID, _DISTANCES = 24, 64
# Places up to so many voxels from the surface are asked; they are moved to so far above it, metres.
_NEAR, _LIFTED = 2.5, 0.025
# Along a ray: steps, at least so long, metres.
_STEPS, _LEAST_STEP = 28, 0.04
_AT_ONCE = 1 << 18


@dataclass(frozen=True, eq=False)
class SkyVisibility:
    """What is seen of the sky from places in the cube.

    Attributes:
        volume: 1 where a direction is free, [1, 128, G, G, G].
    """

    volume: Tensor

    def from_points(self, points: Tensor) -> Tensor:
        """How free each direction is, [P, 3] -> [P, 128] in [0, 1]."""
        return sample_volume(self.volume, points)


def directed(visibility: Tensor, directions: Tensor) -> Tensor:
    """Of each point's visibility [P, 128] that of a direction of its own [P, 3]: [P, 1]."""
    place = direction_coordinates(directions)
    rows, columns = SKY
    column = (place[:, 0] * columns).long().clamp(0, columns - 1)
    row = (place[:, 1] * rows).long().clamp(0, rows - 1)
    return visibility.gather(1, (row * columns + column)[:, None])


def for_lights(visibility: Tensor, height: int, width: int) -> Tensor:
    """[P, 128] for the texels of a finer map, row by row: [P, H W]."""
    rows, columns = SKY
    finer = visibility.reshape(-1, rows, columns).repeat_interleave(height // rows, 1)
    return finer.repeat_interleave(width // columns, 2).flatten(1)


@torch.no_grad()
def sky_visibility(field: Field) -> SkyVisibility:
    """Compute what an object hides of the sky near its surface; other places see all of it."""
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
    """Whether rays from all of [P, 3] into all of [K, 3] leave without meeting the surface: [P K]."""
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
