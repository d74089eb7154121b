"""Find what was added to an object between two rounds of views, and what was taken away.

The earlier views' hull holds the whole object of that time. What was added shows in the new masks where that
hull does not reach; what was taken away leaves earlier rays of the object that no longer meet the hull.
"""

from dataclasses import fields, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE, cube_interval
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.field.evidence import (
    Evidence,
    add_masks,
    hull_depth,
    look_up,
    picture_places,
    voxel_centres,
)
from clearpane.reconstruction.fitting.true_rays import TrueRays

# Side of the pictures in which hulls and masks are compared, pixels, and how far a hull is enlarged there.
SIDE, _REACH = 96, 2
# Share of the new views that must show a voxel outside the earlier hull, and the fewest voxels of a part.
_VOTES, _FEWEST = 0.5, 8
# Voxels around a changed part that count as part of it, and points along a ray.
_AROUND, _POINTS = 2, 96


@torch.no_grad()
def explained_masks(evidence: Evidence, capture: Capture) -> tuple[Tensor, Tensor]:
    """Return masks of new views [V, 1, S, S], and where the earlier views' hull is seen in them, 0 or 1."""
    hull = (hull_depth(evidence.hull, capture.cameras.resized(SIDE, SIDE))[:, None] > 0).to(capture.masks)
    masks = F.interpolate(capture.masks, (SIDE, SIDE), mode="area")
    return masks, F.max_pool2d(hull, 2 * _REACH + 1, 1, _REACH)


@torch.no_grad()
def added_part(evidence: Evidence, capture: Capture) -> Tensor:
    """Find the voxels of something that the earlier views do not have: [G, G, G] bool.

    All new views allow it, the earlier hull excludes it, and half of the new views show it beside that hull.
    """
    masks, explained = explained_masks(evidence, capture)
    new = add_masks(Evidence.empty(evidence.hull.shape[-1], evidence.hull), capture.masks, capture.cameras)
    centres = voxel_centres(evidence.hull.shape[-1], evidence.hull).reshape(-1, 3)
    beside = ((masks > 0.5) & (explained < 0.5)).to(masks)
    votes = torch.zeros(len(centres))
    for view in range(len(masks)):
        place, within = picture_places(capture.cameras[view], centres)
        votes += look_up(beside[view], place, "nearest")[0] * within
    added = (new.hull > 0.5) & (evidence.hull <= 0.5)
    added &= (votes >= _VOTES * len(masks)).reshape(added.shape)
    return added if added.sum() >= _FEWEST else torch.zeros_like(added)


def forgotten(evidence: Evidence, part: Tensor) -> Evidence:
    """Return evidence that knows nothing of the voxels in a part [G, G, G] and around it."""
    if not part.any():
        return evidence
    around = _grown(part, _AROUND)
    empty = Evidence.empty(evidence.hull.shape[-1], evidence.hull)
    return replace(
        evidence,
        **{
            f.name: torch.where(around, getattr(empty, f.name), getattr(evidence, f.name))
            for f in fields(Evidence)
        },
    )


@torch.no_grad()
def outdated(rays: TrueRays, before: Evidence, after: Evidence, added: Tensor) -> Tensor:
    """Find earlier rays that the object has outdated: [N] bool.

    They pass through what was added, showed what was taken away (they miss the hull now), or met the earlier
    hull first where such a ray did.

    Args:
        before, after: Evidence before and after the new views.
        added: Voxels of what was added [G, G, G].
    """
    side = added.shape[-1]
    near, far = cube_interval(rays.origins, rays.directions)
    along = near + (far - near) * (torch.arange(_POINTS) + 0.5) / _POINTS
    places = rays.origins[:, None] + along[..., None] * rays.directions[:, None]
    cell = ((places / HALF_SIZE + 1) / 2 * side).long().clamp(0, side - 1)
    index = (cell[..., 2] * side + cell[..., 1]) * side + cell[..., 0]
    was, remains = (evidence.hull > 0.5 for evidence in (before, after))
    shown = rays.masks[:, 0] > 0.5
    missing = shown & ~_grown(remains, 1).flatten()[index].any(-1)
    gone = torch.zeros_like(was)
    gone.view(-1)[index[missing].flatten()] = True
    gone = _grown(gone & was & ~remains, _AROUND) & was & ~remains
    entered = was.flatten()[index]
    first = index.gather(1, entered.float().argmax(-1, keepdim=True))[:, 0]
    behind = shown & entered.any(-1) & gone.flatten()[first]
    return added.flatten()[index].any(-1) | missing | behind


def _grown(part: Tensor, voxels: int) -> Tensor:
    """Enlarge a part [G, G, G] by some voxels in all directions."""
    whole = part.float()[None, None]
    return F.max_pool3d(whole, 2 * voxels + 1, 1, voxels)[0, 0] > 0
