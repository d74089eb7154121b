"""Project the pictures' pixels back onto a surface: sharper than the mean colours of the visual hull.

Once the surface is right, the views agree on its colours. Views that look straight at it count most.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import Cameras
from clearpane.reconstruction.field.evidence import (
    COLOUR_CHANNELS,
    Sight,
    hull_normals,
    look_up,
    sample_volume,
    voxel_centres,
)

# Voxels this near the surface get new colours, metres.
_NEAR = 0.025
# Smallest sum of the weights of a colour that is used.
_LEAST_WEIGHT = 0.05


@torch.no_grad()
def project_colours(
    points: Tensor, normals: Tensor, pictures: Tensor, masks: Tensor, sight: Sight
) -> tuple[Tensor, Tensor]:
    """Average the views' colours of surface points, weighted by ``(n.v)^2``, over the views that see them.

    Args:
        points, normals: Points of the surface and unit normals [P, 3].
        pictures: Pictures on white [V, 3, H, W], sRGB in [0, 1].
        masks: Masks [V, 1, H, W].
        sight: Visibility from the V views, past the surface itself.

    Returns:
        Colours [P, 3], sRGB without the white background, and the sums of their weights [P]; a colour that no
        view shows is 0.
    """
    sums, weights = torch.zeros_like(points), torch.zeros_like(points[:, 0])
    for view in range(len(masks)):
        place, within, behind = sight.of_points(view, points)
        towards = F.normalize(sight.cameras.centres[view] - points, dim=-1)
        weight = (towards * normals).sum(-1).clamp(min=0).square() * (within & (behind <= 0))
        mask = look_up(masks[view], place)[0]
        of_object = (look_up(pictures[view], place) - (1 - mask)).clamp(min=0)
        sums = sums + (weight * of_object).T
        weights = weights + weight * mask
    return sums / weights.clamp(min=1e-6)[:, None], weights


@torch.no_grad()
def surface_sight(distance: Tensor, cameras: Cameras) -> Sight:
    """Compute what a surface hides from cameras, from its distance [1, 1, S, S, S] on a grid."""
    return Sight.of((distance[0, 0] < 0).to(distance), cameras)


@torch.no_grad()
def recolour(features: Tensor, distance: Tensor, pictures: Tensor, masks: Tensor, cameras: Cameras) -> Tensor:
    """Return a volume of evidence whose mean colours are those of the surface, where views show it.

    Each voxel next to the surface takes the colour of the surface point nearest to it.

    Args:
        features: Volume of `evidence_features` [1, 11, G, G, G].
        distance: Signed distance of the surface [1, 1, S, S, S], metres, on a grid of any size.
        pictures: Pictures on white [V, 3, H, W], sRGB in [0, 1].
        masks: Masks [V, 1, H, W].
        cameras: Cameras of the V views.
    """
    side = features.shape[-1]
    centres = voxel_centres(side, features).reshape(-1, 3)
    gradient = hull_normals(distance[0, 0])[None]
    sight = surface_sight(distance, cameras)
    finer = F.interpolate(distance, (side,) * 3, mode="trilinear", align_corners=False)
    whole = finer.flatten()
    near = (whole.abs() < _NEAR).nonzero()[:, 0]
    normals = F.normalize(sample_volume(gradient, centres[near]), dim=-1)
    points = centres[near] - whole[near, None] * normals
    colours, weights = project_colours(points, normals, pictures, masks, sight)
    known = weights > _LEAST_WEIGHT
    result = features.clone(memory_format=torch.preserve_format)
    table = result.squeeze(0).permute(1, 2, 3, 0).view(side**3, -1)
    table[near[known], COLOUR_CHANNELS] = colours[known]
    return result
