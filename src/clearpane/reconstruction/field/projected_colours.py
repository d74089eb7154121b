"""Project the pictures' pixels back onto a surface: sharper than the mean colours of the visual hull.

Once the surface is right, the views agree on its colours. Views that look straight at it count most.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import Cameras
from clearpane.reconstruction.field.evidence import Sight, look_up


@torch.no_grad()
def project_colours(
    points: Tensor,
    normals: Tensor,
    pictures: Tensor,
    masks: Tensor,
    sight: Sight,
    trust: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Average the views' colours of surface points, weighted by ``(n.v)^2``, over the views that see them.

    Args:
        points, normals: Points of the surface and unit normals [P, 3].
        pictures: Pictures on white [V, 3, H, W], sRGB in [0, 1].
        masks: Masks [V, 1, H, W].
        sight: Visibility from the V views, past the surface itself.
        trust: Further weights of the pixels [V, 1, H, W]; None for 1 everywhere.

    Returns:
        Colours [P, 3], sRGB without the white background, and the sums of their weights [P]; a colour that no
        view shows is 0.
    """
    sums, weights = torch.zeros_like(points), torch.zeros_like(points[:, 0])
    for view in range(len(masks)):
        place, within, behind = sight.of_points(view, points)
        towards = F.normalize(sight.cameras.centres[view] - points, dim=-1)
        weight = (towards * normals).sum(-1).clamp(min=0).square() * (within & (behind <= 0))
        if trust is not None:
            weight = weight * look_up(trust[view], place)[0]
        mask = look_up(masks[view], place)[0]
        of_object = (look_up(pictures[view], place) - (1 - mask)).clamp(min=0)
        sums = sums + (weight * of_object).T
        weights = weights + weight * mask
    return sums / weights.clamp(min=1e-6)[:, None], weights


@torch.no_grad()
def surface_sight(distance: Tensor, cameras: Cameras) -> Sight:
    """Compute what a surface hides from cameras, from its distance [1, 1, S, S, S] on a grid."""
    return Sight.of((distance[0, 0] < 0).to(distance), cameras)
