"""The evidence grid: hull, distance, colours, and what it does not depend on."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE
from clearpane.reconstruction.field.evidence import (
    Evidence,
    Sight,
    add_views,
    directional_colours,
    evidence_features,
    hull_depth,
    look_up,
    sample_volume,
    voxel_centres,
)

from ..conftest import orbit, sphere_views

RADIUS = 0.35


def seen(views: int, size: int = 64, side: int = 32) -> Evidence:
    cameras = orbit(views, size)
    return add_views(Evidence.empty(side, torch.zeros(1)), *sphere_views(cameras, RADIUS), cameras)


def test_the_hull_of_many_views_is_nearly_the_sphere() -> None:
    evidence = seen(24)
    distance = voxel_centres(32, torch.zeros(1)).norm(dim=-1)
    hull, voxel = evidence.hull > 0.5, 2 * HALF_SIZE / 32
    assert hull[distance < RADIUS - voxel].all()  # it does not cut into the object
    assert (hull & (distance > RADIUS)).sum() < 0.15 * (distance < RADIUS).sum()


@pytest.mark.parametrize("side", [24, 48])
def test_distances_of_a_sphere_are_true_near_it_and_hardly_larger_anywhere(side: int) -> None:
    evidence = seen(40, 128, side)
    true = voxel_centres(side, torch.zeros(1)).norm(dim=-1) - RADIUS
    error = evidence.distance - true
    near = true.abs() < 0.04
    assert error[near].abs().mean() < 0.005
    assert error.max() < 0.03


def test_before_the_first_view_everything_is_deep_inside() -> None:
    assert (Evidence.empty(8, torch.zeros(1)).distance == -0.4).all()


def test_without_an_object_everything_is_outside() -> None:
    cameras = orbit(3, 32)
    pictures = torch.ones(3, 3, 32, 32)
    evidence = add_views(Evidence.empty(16, pictures), pictures, torch.zeros(3, 1, 32, 32), cameras)
    assert (evidence.distance > 0.2).all()


def test_the_hulls_depth_is_where_rays_meet_it() -> None:
    evidence = seen(24, side=64)
    cameras = orbit(2, 48, seed=9)
    depth = hull_depth(evidence.hull, cameras)
    assert depth[:, 24, 24].allclose(torch.full((2,), 2 - RADIUS), atol=0.04)
    assert not depth[:, 0, 0].any()


def test_colours_are_those_of_the_side_that_is_seen() -> None:
    # The sphere's colour is its normal: what a blocked view says of the far side would be its opposite.
    features = evidence_features(seen(24, side=48))
    generator = torch.Generator().manual_seed(1)
    normal = torch.nn.functional.normalize(torch.randn(300, 3, generator=generator), dim=-1)
    colour = sample_volume(features, RADIUS * normal)[:, 3:6]
    assert (colour - (normal / 2 + 0.5)).abs().mean() < 0.04


def test_neither_the_order_of_views_nor_their_rounds_change_masks() -> None:
    cameras = orbit(8)
    pictures, masks = sphere_views(cameras, RADIUS)
    start = Evidence.empty(24, pictures)
    at_once = add_views(start, pictures, masks, cameras)
    order = [5, 2, 7, 0, 1, 3, 6, 4]
    shuffled = add_views(start, pictures[order], masks[order], cameras[order])
    for one, other in zip(vars(at_once).values(), vars(shuffled).values(), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    first = add_views(start, pictures[:4], masks[:4], cameras[:4])
    second = add_views(first, pictures[4:], masks[4:], cameras[4:])
    assert torch.equal(second.hull, at_once.hull)
    assert torch.equal(second.distance, at_once.distance)
    assert torch.allclose(second.masks, at_once.masks, atol=1e-5)


def test_beyond_a_picture_of_the_whole_object_there_is_nothing() -> None:
    cameras = orbit(2, 32, distance=0.9)
    pictures, masks = sphere_views(cameras, 0.1)
    whole = add_views(Evidence.empty(16, pictures), pictures, masks, cameras)
    assert (whole.masks[1] == 2).all()
    masks[:, :, 0] = 1  # cut off by the edge: what is beyond may be more of it
    part = add_views(Evidence.empty(16, pictures), pictures, masks, cameras)
    unseen = part.masks[1] == 0
    assert unseen.any() and (part.hull[unseen] == 1).all()
    assert not (whole.hull[unseen] > 0).any()


def test_colours_are_without_the_white_behind() -> None:
    cameras = orbit(12, 64)
    _, masks = sphere_views(cameras, RADIUS)
    soft = torch.nn.functional.avg_pool2d(masks, 5, 1, 2)
    grey = 0.2 * soft + 1 - soft
    evidence = add_views(Evidence.empty(32, masks), grey.expand(-1, 3, -1, -1), soft, cameras)
    points = torch.nn.functional.normalize(
        torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    colour = sample_volume(evidence_features(evidence), 0.95 * RADIUS * points)[:, 3:6]
    assert (colour - 0.2).abs().max() < 0.02


def test_the_change_of_colours_with_direction_is_the_ridge_regression_over_the_views() -> None:
    cameras = orbit(7, 48)
    _, masks = sphere_views(cameras, RADIUS)
    pictures = torch.rand(7, 3, 48, 48, generator=torch.Generator().manual_seed(3))
    pictures = masks * pictures + 1 - masks
    evidence = add_views(Evidence.empty(16, masks), pictures, masks, cameras)
    found = directional_colours(evidence)[0]
    sight = Sight.of(evidence.hull, cameras)
    centres = voxel_centres(16, masks)
    for z, y, x in ((8, 8, 10), (5, 8, 8), (10, 6, 9)):
        point = centres[z, y, x][None]
        rows, wanted = [], []
        for view in range(7):
            place, within, behind = sight.of_points(view, point)
            weight = within * torch.where(behind <= 0, 1.0, 0.01)
            mask = look_up(masks[view], place)[0]
            assert mask > 0.99
            toward = F.normalize(cameras.centres[view] - point[0], dim=0)
            share = (weight * mask).sqrt().item()
            rows.append(share * np.array([1, *toward]))
            wanted.append(share * look_up(pictures[view], place)[:, 0].numpy())
        rows += list(np.eye(4)[1:])  # |B|^2
        wanted += [np.zeros(3)] * 3
        solution = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]
        assert found[:3, z, y, x].numpy() == pytest.approx(solution[0], abs=1e-4)
        assert found[3:, z, y, x].reshape(3, 3).numpy() == pytest.approx(solution[1:].T, abs=1e-4)


def test_of_a_single_view_there_is_its_colour_from_everywhere() -> None:
    features, directional = evidence_features(seen(1)), directional_colours(seen(1))
    known = features[0, 7] > 0.4
    assert known.any()
    assert torch.allclose(directional[0, :3, known], features[0, 3:6, known], atol=1e-5)
    assert directional[0, 3:, known].abs().max() < 1e-5


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last_3d])
def test_volumes_are_looked_up_as_pytorch_does(memory: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(1, 3, 6, 6, 6, generator=generator, dtype=torch.float64)
    volume = volume.contiguous(memory_format=memory).requires_grad_()
    points = (
        1.2 * HALF_SIZE * (2 * torch.rand(50, 3, generator=generator, dtype=torch.float64) - 1)
    ).requires_grad_()
    place = (points / HALF_SIZE)[None, None, None]
    plain = F.grid_sample(volume, place, padding_mode="border", align_corners=False)[0, :, 0, 0].T
    found = sample_volume(volume, points)
    torch.testing.assert_close(found, plain)
    weight = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), (volume, points)),
        torch.autograd.grad((plain * weight).sum(), (volume, points)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
