"""Place samples along rays where a cached grid of distances shows the surface: most within a few betas of it.

Samples spread evenly over all places that may be occupied lie farther apart than a sharp surface is wide.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE, cube_interval
from clearpane.reconstruction.field.evidence import voxel_centres
from clearpane.reconstruction.field.rendering import Field, volsdf_density

# Voxels along a side of the grid, and steps along a ray at which it is looked up.
_GRID, _STEPS = 64, 128
# Distances from the surface, in betas: where most samples lie, and where the others lie too. The others, a
# quarter, find what the grid does not show.
_NEAR, _FAR, _NEAR_SHARE = 4.0, 8.0, 0.75
# Where less light passes, the surface is hidden.
_LEAST_PASSED = 0.01
_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False)
class SurfaceGrid:
    """Hold the signed distances of a field on a grid over the cube.

    Attributes:
        distances: Signed distances at voxel centres [1, 1, G, G, G], metres, ordered (z, y, x).
        beta: Width of the surface, metres.
    """

    distances: Tensor
    beta: float

    @classmethod
    @torch.no_grad()
    def of(cls, field: Field, beta: float, like: Tensor) -> "SurfaceGrid":
        """Evaluate a field on the grid, in the type of ``like``."""
        places = voxel_centres(_GRID, like).reshape(-1, 3).split(_AT_ONCE)
        distances = torch.cat([field.signed_distance(part) for part in places])
        return cls(distances.reshape(1, 1, _GRID, _GRID, _GRID), beta)

    @torch.no_grad()
    def samples(
        self, origins: Tensor, directions: Tensor, count: int, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Place samples along rays: their distances and the lengths that they represent, [N, S] each.

        Each ray has a density of samples; sample i is where its integral is ``(i + 1/2) / S``, or with a
        generator at a random place between ``i / S`` and ``(i + 1) / S``. Lengths are 0 for rays that pass
        the object at a distance.
        """
        near, far = cube_interval(origins, directions)
        step = (far - near) / _STEPS
        at = near + step * (torch.arange(_STEPS).to(near) + 0.5)
        place = (origins[:, None] + at[..., None] * directions[:, None]) / HALF_SIZE
        distance = F.grid_sample(
            self.distances, place[None, None].to(self.distances), padding_mode="border", align_corners=False
        )[0, 0, 0]
        share = self._density(distance, step)
        total = share.cumsum(-1)
        offset = 0.5 if generator is None else torch.rand(len(origins), count, generator=generator)
        wanted = (torch.arange(count).to(near) + offset) / count * total[:, -1:]
        index = torch.searchsorted(total, wanted, right=True).clamp(max=_STEPS - 1)
        own = share.gather(1, index)
        within = (wanted - total.gather(1, index) + own) / own.clamp(min=1e-9)
        lengths = torch.where(own > 0, step * total[:, -1:] / (count * own.clamp(min=1e-9)), 0.0)
        return near + step * (index + within.clamp(0, 1)), lengths

    def _density(self, distance: Tensor, step: Tensor) -> Tensor:
        """Return the share of its samples that each step of a ray gets: [N, K], adding up to 1 or 0."""
        voxel = 2 * HALF_SIZE / _GRID
        depth = volsdf_density(distance, self.beta) * step
        passed = torch.exp(depth - depth.cumsum(-1))
        reach = distance.abs() - step / 2
        close = ((reach < _NEAR * self.beta) & (passed > _LEAST_PASSED)).to(distance)
        around = (reach < _FAR * self.beta + voxel).to(distance)
        of_close, of_around = (x / x.sum(-1, keepdim=True).clamp(min=1) for x in (close, around))
        return torch.where(
            close.any(-1, keepdim=True), _NEAR_SHARE * of_close + (1 - _NEAR_SHARE) * of_around, of_around
        )
