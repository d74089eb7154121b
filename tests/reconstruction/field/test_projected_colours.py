"""Pixels projected back onto a surface, on a ball."""

import torch
from torch.nn import functional as F

from clearpane.reconstruction.field.evidence import voxel_centres
from clearpane.reconstruction.field.projected_colours import project_colours, surface_sight

from ..conftest import orbit, sphere_views

RADIUS = 0.35


def ball(side: int) -> torch.Tensor:
    return voxel_centres(side, torch.zeros(())).norm(dim=-1)[None, None] - RADIUS


def test_straight_views_count_most_and_hidden_ones_not() -> None:
    cameras = orbit(6, 64)
    pictures, masks = sphere_views(cameras)
    for view in range(6):  # each view shows the ball in a grey of its own
        pictures[view] = torch.where(masks[view] > 0, 0.1 * view, 1.0)
    normals = F.normalize(torch.randn(300, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    sight = surface_sight(ball(48), cameras)
    colours, weights = project_colours(RADIUS * normals, normals, pictures, masks, sight)
    towards = F.normalize(cameras.centres[:, None] - RADIUS * normals, dim=-1)
    cosine = (towards * normals).sum(-1)
    clear = ((cosine > 0.35) | (cosine < -0.1)).all(0)  # not at an outline, where neighbours mix
    square = cosine.clamp(min=0).square()
    grey = (square * 0.1 * torch.arange(6.0)[:, None]).sum(0) / square.sum(0).clamp(min=1e-6)
    seen = clear & (square.sum(0) > 0)
    assert seen.sum() > 50
    torch.testing.assert_close(weights[clear], square.sum(0)[clear], rtol=0, atol=0.02)
    torch.testing.assert_close(colours[seen], grey[seen, None].expand(-1, 3), rtol=0, atol=0.02)
