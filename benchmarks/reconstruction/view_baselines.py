"""Baselines for new views without learning: the nearest input view, the visual hull with colours, and
lirm-small before its training."""

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import Cameras, picture_rays, project
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.field.evidence import Evidence, add_views, hull_depth
from clearpane.reconstruction.field.field import HexaplaneField
from clearpane.reconstruction.lirm.model import LIRM_SMALL, Lirm
from clearpane.reconstruction.lirm.observing import observe_capture

HULL_SIDE = 128
# Exponent that prefers views from nearly the same side; a view that sees the point counts at least this much,
# and one that does not only where no view does.
_SHARPNESS, _LEAST_SEEN, _LEAST = 8, 0.01, 1e-9


def nearest_views(pictures: Tensor, cameras: Cameras, targets: Cameras) -> Tensor:
    """Return for each target the input picture from the nearest direction: [T, 3, H, W]."""
    directions, wanted = (F.normalize(c.centres, dim=-1) for c in (cameras, targets))
    return pictures[(wanted @ directions.T).argmax(-1)]


def visual_hull(masks: Tensor, cameras: Cameras) -> Tensor:
    """Compute the visual hull of the views' masks, [G, G, G] in [0, 1]."""
    empty = Evidence.empty(HULL_SIDE, masks)
    return add_views(empty, masks.expand(-1, 3, -1, -1), masks, cameras).hull


def hull_views(hull: Tensor, pictures: Tensor, masks: Tensor, cameras: Cameras, targets: Cameras) -> Tensor:
    """Render the hull from the targets, each point with the colours of the inputs that see it: [T, 3, H, W].

    Colours are weighted by the eighth power of the cosine between the target's view of the point and the
    input's, as in image-based rendering; white elsewhere. Views that the hull blocks count only where it
    blocks all.
    """
    depth = hull_depth(hull, targets)
    inputs_depth = hull_depth(hull, cameras)
    origins, directions = picture_rays(targets)
    result = torch.ones(len(depth), targets.height, targets.width, 3)
    margin = 0.03
    for view in range(len(depth)):
        inside = depth[view] > 0
        points = (origins[view] + depth[view, ..., None] * directions[view])[inside]
        pixels, along = project(cameras, points)
        place = (2 * pixels / pixels.new_tensor([cameras.width, cameras.height]) - 1)[:, None]
        mask = F.grid_sample(masks, place, align_corners=False)[:, 0, 0]
        colour = F.grid_sample(pictures, place, align_corners=False)[:, :, 0].transpose(1, 2)
        colour = (colour - (1 - mask[..., None])) / mask[..., None].clamp(min=0.1)  # without the white
        first = F.grid_sample(inputs_depth[:, None], place, mode="nearest", align_corners=False)[:, 0, 0]
        distance = (points - cameras.centres[:, None]).norm(dim=-1)
        seen = (
            (mask > 0.5)
            & (along > 0)
            & (place.abs() <= 1).all(-1)[:, 0]
            & (first > 0)
            & (distance < first + margin)
        )
        towards = F.normalize(cameras.centres[:, None] - points, dim=-1)
        cosine = (towards * -directions[view][inside]).sum(-1).clamp(min=0)
        weight = ((cosine**_SHARPNESS + _LEAST_SEEN) * seen + _LEAST)[..., None]
        result[view][inside] = ((weight * colour).sum(0) / weight.sum(0)).clamp(0, 1)
    return result.movedim(-1, 1)


@torch.no_grad()
def untrained_field(capture: Capture, seed: int = 0) -> HexaplaneField:
    """Return what lirm-small predicts with random weights: nearly its inputs, the hull and its mean colours.

    What the trained network does better than this, it has learnt.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lirm = Lirm(LIRM_SMALL).eval()
    (field,) = lirm.fields(observe_capture(capture, lirm))
    return field
