"""Weigh the pixels of views by how far the other views agree: what moves over an object is not the object.

The reflection in a pane lies on another part of the object in each view. It only adds light, so a pixel
counts less if it is brighter than what other views show at its point of the surface; a darker one counts in
full, for it is the others that may be wrong. A highlight of the object itself moves as well: it cannot be
told from a reflection, and counts less, too. What is fitted then looks somewhat rougher than it is.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE, Cameras, picture_rays
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.field.evidence import (
    Evidence,
    Sight,
    add_masks,
    hull_depth,
    look_up,
    sample_volume,
)

# Side of the pictures that are compared: their pixels are as coarse as the surface is uncertain at first.
_SIDE = 128
# Voxels along a side of the hull.
_HULL_SIDE = 64
# Excess over the other views' median, sRGB, that halves a weight; smallest weight; fewest other views.
_EXCESS, _FLOOR, _FEWEST = 0.06, 0.05, 3
# Smallest coverage of a pixel by the object that is compared.
_COVERED = 0.9
# Steps from a cell of the hull's depth to the surface.
_STEPS = 3
# Weight below which a pixel is doubted, and share of doubted pixels that is too large.
_DOUBTED, _MOST_DOUBTED = 0.5, 0.35


def with_weights(capture: Capture) -> Capture:
    """Weigh a capture's pixels by its visual hull, and warn if the views agree hardly anywhere."""
    hull = add_masks(Evidence.empty(_HULL_SIDE, capture.masks), capture.masks, capture.cameras)
    weights = view_weights(capture, hull.distance[None, None])
    doubted = float((weights[capture.masks > _COVERED] < _DOUBTED).float().mean())
    warnings = capture.warnings
    if doubted > _MOST_DOUBTED:
        warnings += (
            f"the views contradict each other on {doubted:.0%} of the object: the pane is not flat, the "
            "poses are wrong, or the light changed. Photograph through a flat pane, or without one",
        )
    return replace(capture, weights=weights, warnings=warnings)


@torch.no_grad()
def view_weights(capture: Capture, distances: Tensor) -> Tensor:
    """Compute the weight of each pixel of each view: [V, 1, S, S], in [0.05, 1].

    The weight is ``1 / (1 + (e / 0.06)^2)``, but for the floor. The excess e is that of the pixel's colour,
    the mean of its sRGB channels, over the (lower) median of at least three other views that see its point.
    Where fewer do, and off the object, it is 1.

    Args:
        capture: Views.
        distances: Signed distances to the surface at voxel centres [1, 1, G, G, G], metres.
    """
    side = min(_SIDE, capture.cameras.width)
    cameras = capture.cameras.resized(side, side)
    pictures, masks = (F.interpolate(x, (side, side), mode="area") for x in (capture.pictures, capture.masks))
    colours = (pictures - (1 - masks)) / masks.clamp(min=_COVERED)
    inside = (distances[0, 0] < 0).to(distances)
    sight = Sight(inside, hull_depth(inside, cameras), cameras)
    weights = torch.ones_like(masks)
    for view in range(len(masks)):
        pixels = ((masks[view, 0] > _COVERED) & (sight.depths[view] > 0)).flatten().nonzero()[:, 0]
        points = _surface_points(cameras[view], pixels, sight.depths[view].flatten()[pixels], distances)
        others = [other for other in range(len(masks)) if other != view]
        seen = torch.stack([_colours_seen(colours, masks, sight, other, points) for other in others])
        enough = seen[..., 0].isfinite().sum(0) >= _FEWEST
        excess = colours[view].flatten(1).T[pixels] - seen.nanmedian(0).values
        doubt = (excess.mean(-1).clamp(min=0) / _EXCESS).square()
        found = _FLOOR + (1 - _FLOOR) / (1 + doubt)
        weights[view, 0].view(-1)[pixels] = torch.where(enough, found, 1.0)
    return F.interpolate(weights, capture.masks.shape[-2:], mode="bilinear", align_corners=False)


def _surface_points(camera: Cameras, pixels: Tensor, depth: Tensor, distances: Tensor) -> Tensor:
    """Return where the rays of some pixels meet the surface, from depths right to a voxel: [P, 3]."""
    origins, directions = (x.reshape(-1, 3)[pixels] for x in picture_rays(camera))
    voxel = 2 * HALF_SIZE / distances.shape[-1]
    along = depth[:, None]
    for _ in range(_STEPS):
        along = along + sample_volume(distances, origins + along * directions).clamp(-voxel, voxel)
    return origins + along * directions


def _colours_seen(colours: Tensor, masks: Tensor, sight: Sight, view: int, points: Tensor) -> Tensor:
    """Return the colours that one view shows at points, NaN where it does not see them: [P, 3]."""
    place, within, behind = sight.of_points(view, points)
    seen = within & (behind <= 0) & (look_up(masks[view], place)[0] > _COVERED)
    return torch.where(seen[:, None], look_up(colours[view], place).T, torch.nan)
