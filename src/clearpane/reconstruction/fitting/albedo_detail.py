"""Give an albedo the detail of the pictures' pixels, which are finer than the grids of a fit."""

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE
from clearpane.optics.color import srgb_to_linear
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.field.evidence import sample_volume
from clearpane.reconstruction.field.projected_colours import project_colours, surface_sight
from clearpane.reconstruction.field.rendering import Field
from clearpane.reconstruction.field.surface_samples import SurfaceGrid
from clearpane.reconstruction.fitting.agreement import view_weights
from clearpane.reconstruction.fitting.refine import LAST_BETA

# Cells along a side of the cube: detail is what changes within about three of them.
_CELLS = 64
# Largest factor by which detail changes an albedo, and the sum of weights from which it does so wholly.
_LARGEST, _WHOLE = 2.0, 0.3
_LEAST = 1e-3


@torch.no_grad()
def detailed_albedo(
    field: Field, capture: Capture, points: Tensor, normals: Tensor, albedo: Tensor
) -> Tensor:
    """Return an albedo whose coarse part is the fit's, and whose fine part is that of the pictures.

    With ``low`` the mean over what lies around, the result is ``low(a) c / low(c)`` for colours c: light
    changes slowly over a surface, but for the edges of shadows and highlights.

    Args:
        field: Fitted object.
        capture: Views that it was fitted to.
        points, normals: Points on its surface, and unit normals [P, 3].
        albedo: Linear albedo of the points [P, 3].
    """
    surface = SurfaceGrid.of(field, LAST_BETA, points)
    sight = surface_sight(surface.distances, capture.cameras)
    trust = None if capture.weights is None else view_weights(capture, surface.distances)
    seen, weights = project_colours(points, normals, capture.pictures, capture.masks, sight, trust)
    known = (weights > 0).nonzero()[:, 0]
    if not len(known):
        return albedo
    place, colours = points[known], srgb_to_linear(seen[known].clamp(0, 1)).clamp(min=_LEAST)
    own = albedo[known].clamp(min=_LEAST)
    coarse = _coarse(place, torch.cat([colours, own], dim=-1), weights[known, None])
    gain = (colours / coarse[:, :3]) / (own / coarse[:, 3:])
    share = (weights[known, None] / _WHOLE).clamp(max=1)
    return albedo.index_copy(0, known, own * gain.clamp(1 / _LARGEST, _LARGEST) ** share).clamp(max=1)


def _coarse(points: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Average values [P, C] over the points around each of them, about three cells wide: [P, C]."""
    cell = ((points / HALF_SIZE + 1) / 2 * _CELLS).long().clamp(0, _CELLS - 1)
    index = (cell[:, 2] * _CELLS + cell[:, 1]) * _CELLS + cell[:, 0]
    sums = values.new_zeros(_CELLS**3, values.shape[-1] + 1)
    sums.index_add_(0, index, torch.cat([weights * values, weights], dim=-1))
    volume = sums.T.reshape(1, -1, _CELLS, _CELLS, _CELLS)
    around = F.avg_pool3d(volume, 3, 1, 1).contiguous(memory_format=torch.channels_last_3d)
    found = sample_volume(around, points)
    return found[:, :-1] / found[:, -1:].clamp(min=1e-9)
