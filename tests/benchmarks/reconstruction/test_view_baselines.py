"""Baselines of new views, on a sphere."""

import pytest
import torch
from torch.nn import functional as F

from benchmarks.reconstruction import view_baselines
from benchmarks.reconstruction.view_baselines import nearest_views
from clearpane.geometry.cameras import HALF_SIZE, Cameras, look_at, picture_rays, pinhole_intrinsics, project
from clearpane.reconstruction.field.evidence import voxel_centres
from clearpane.synthesis.objects.samples import fibonacci_sphere

RADIUS = 0.35


def cameras_at(eyes, side=64):
    intrinsics = pinhole_intrinsics(32, side, side).expand(len(eyes), 4)
    return Cameras(look_at(eyes, torch.zeros(3)), intrinsics, side, side)


def around(count, side=64, turned=0.0):
    """Cameras all around, each at its own distance."""
    turn = torch.linalg.matrix_exp(turned * torch.tensor([[0.0, 1, 2], [-1, 0, 3], [-2, -3, 0]]))
    distances = torch.linspace(1.8, 2.4, count)[:, None]
    return cameras_at(distances * fibonacci_sphere(count) @ turn, side)


def sphere_masks(cameras):
    """A sphere's share of each pixel, of 4 x 4 rays: [V, 1, H, W]."""
    origins, directions = picture_rays(cameras.resized(4 * cameras.height, 4 * cameras.width))
    along = (origins * directions).sum(-1)
    inside = along**2 - (origins**2).sum(-1) + RADIUS**2 > 0
    return F.avg_pool2d(inside.float()[:, None], 4)


def test_the_nearest_view_is_that_of_the_nearest_direction():
    cameras = around(8, 16)
    pictures = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(nearest_views(pictures, cameras, cameras[[5, 0, 5, 7]]), pictures[[5, 0, 5, 7]])
    # A little to the side it is still the nearest, however far either camera stands.
    far, near = torch.linspace(1, 20, 8)[:, None], torch.linspace(3, 1, 8)[:, None]
    moved = cameras.centres + 0.05 * torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    inputs, targets = cameras_at(far * cameras.centres, 16), cameras_at(near * moved, 16)
    assert torch.equal(nearest_views(pictures, inputs, targets), pictures)


@pytest.fixture
def baselines(monkeypatch):
    monkeypatch.setattr(view_baselines, "HULL_SIDE", 64)
    return view_baselines


def test_the_hull_of_a_sphere_is_as_large_as_the_sphere(baselines):
    cameras = around(20)
    masks = sphere_masks(cameras)
    hull = baselines.visual_hull(masks, cameras)
    side = hull.shape[-1]
    assert hull.shape == (side, side, side) and hull.min() >= 0 and hull.max() <= 1
    centres, voxel = voxel_centres(side, hull), 2 * HALF_SIZE / side
    distance, inside = centres.norm(dim=-1), hull > 0.5
    assert inside[distance < RADIUS - voxel].all()
    # The radius of a ball of the same volume; between the cones of the views corners stand out.
    radius = (3 * voxel**3 * float(inside.sum()) / (4 * torch.pi)) ** (1 / 3)
    assert radius == pytest.approx(RADIUS, abs=voxel)
    assert distance[inside].max() < RADIUS + 3 * voxel
    for view in range(len(masks)):
        pixels, _ = project(cameras[view], centres[hull > 0])
        column, row = pixels.floor().long().clamp(0, 63).unbind(-1)
        assert (F.max_pool2d(masks[view], 3, 1, 1)[0, row, column] > 0).all()


def test_one_mask_cuts_the_hull_whatever_the_others_say(baselines):
    cameras = around(6)
    masks = sphere_masks(cameras)
    masks[2, :, :, :32] = 0
    hull = baselines.visual_hull(masks, cameras)
    rest = voxel_centres(hull.shape[-1], hull)[hull > 0.5]
    assert len(rest) > 1000
    # Between two pixels, one of the object and one beside it, the mask's half is at their border.
    assert project(cameras[2], rest)[0][:, 0].min() > 32 - 1e-3
    masks[4] = 0
    assert not baselines.visual_hull(masks, cameras).any()


def test_a_sphere_of_one_colour_keeps_it_in_new_views_and_stands_on_white(baselines):
    cameras, targets = around(12), around(3, 48, turned=0.2)
    masks, true = sphere_masks(cameras), sphere_masks(targets)
    colour = torch.tensor([0.2, 0.5, 0.8])[:, None, None]
    hull = baselines.visual_hull(masks, cameras)
    shown = baselines.hull_views(hull, masks * colour + 1 - masks, masks, cameras, targets)
    assert shown.shape == (3, 3, 48, 48)
    inner = -F.max_pool2d(-true, 3, 1, 1)[:, 0] == 1
    outer = F.max_pool2d(true, 7, 1, 3)[:, 0] > 0
    assert inner.sum() > 500 and (~outer).sum() > 500
    shown = shown.movedim(1, -1)
    assert (shown[inner] - colour[:, 0, 0]).abs().max() < 1e-3
    assert (shown[~outer] == 1).all()
