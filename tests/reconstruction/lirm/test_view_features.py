"""Features of the views gathered in space: sums, agreement on the surface, gradients."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.reconstruction.field.evidence import Evidence, Sight, add_masks, sample_volume, voxel_centres
from clearpane.reconstruction.lirm.view_features import ViewFeatures, add_features, agreement, empty_sums

from ..conftest import orbit, sphere_views

RADIUS = 0.35


def look(views: int, side: int = 48) -> tuple[Tensor, Tensor, Sight]:
    cameras = orbit(views, 64)
    pictures, masks = sphere_views(cameras, RADIUS)
    carved = add_masks(Evidence.empty(side, pictures), masks, cameras)
    return pictures, masks, Sight.of(carved.hull, cameras)


def test_features_are_half_as_fine_as_pictures() -> None:
    torch.manual_seed(0)
    made = ViewFeatures(5)(torch.rand(2, 3, 3, 16, 24), torch.rand(2, 3, 1, 16, 24))
    assert made.shape == (2, 3, 5, 8, 12)


def test_sums_are_those_of_a_loop_over_voxels() -> None:
    _, _, sight = look(3, 24)
    features = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    sums = add_features(empty_sums(2, 12, features), features, sight).flatten(1)
    centres = voxel_centres(12, features).reshape(-1, 3)
    near = set(sight.voxels(12).tolist())
    for index in range(0, 12**3, 7):
        expected = torch.zeros(6)
        for view in range(3) if index in near else ():
            place, within, behind = sight.of_points(view, centres[index : index + 1])
            weight = within * torch.exp(-behind.clamp(min=0) / 0.03).clamp(min=1e-5)
            found = F.grid_sample(features[view : view + 1], place[None, None], align_corners=False).flatten()
            expected += weight * torch.cat([torch.ones(1), weight, found, found**2])
        assert torch.allclose(sums[:, index], expected, atol=1e-6)


def test_views_agree_about_the_surface_more_than_outside_and_deep_inside() -> None:
    pictures, _, sight = look(16)
    volume = agreement(add_features(empty_sums(3, 48, pictures), pictures, sight))[None]
    direction = F.normalize(torch.randn(300, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    # On the surface half the voxels lie outside, where all views see something else.
    places = (RADIUS + 0.02, RADIUS - 0.02, RADIUS - 0.15)
    outside, surface, within = (sample_volume(volume, r * direction)[:, 4:].mean() for r in places)
    assert outside**2 > 2.5 * surface**2 and within**2 > 2.5 * surface**2
    # The sphere's colour is its normal.
    mean = sample_volume(volume, RADIUS * direction)[:, 1:4]
    assert (mean - (direction / 2 + 0.5)).abs().mean() < 0.1


def test_deep_in_the_hull_those_say_most_who_look_in_from_the_nearest_side() -> None:
    _, _, sight = look(12)
    # What a view says is who it is: the mean tells whose word counts.
    features = torch.arange(12.0)[:, None, None, None].expand(12, 1, 4, 4)
    mean = agreement(add_features(empty_sums(1, 48, features), features, sight))[1].flatten()
    centres = voxel_centres(48, features).reshape(-1, 3)
    for view in range(12):
        towards = F.normalize(sight.cameras.centres[view], dim=0)
        voxel = (centres - (RADIUS - 0.12) * towards).norm(dim=-1).argmin()
        blocked = torch.cat([sight.of_points(v, centres[voxel][None])[2] for v in range(12)])
        weights = torch.exp(-blocked / 0.03)
        assert float(mean[voxel]) == pytest.approx(
            float((weights * torch.arange(12)).sum() / weights.sum()), rel=1e-4
        )
        near = (F.normalize(sight.cameras.centres, dim=-1) @ towards) > 0
        assert weights[near].sum() > 0.98 * weights.sum()


def test_a_single_view_does_not_look_like_several_that_agree() -> None:
    features = torch.ones(1, 1, 4, 4)
    for views in (1, 2, 4):
        sums = torch.zeros(4, 1, 1, 1)
        for _ in range(views):  # each of weight 0.2
            sums += torch.tensor([0.2, 0.04, 0.2, 0.2])[:, None, None, None] * features[0, 0, 0, 0]
        several, mean, deviation = agreement(sums).flatten().tolist()
        assert several == pytest.approx(1 - 1 / views, abs=1e-6)
        assert mean == pytest.approx(1) and deviation == pytest.approx(0, abs=1e-4)


def test_neither_order_nor_rounds_of_views_change_the_sums() -> None:
    pictures, _, sight = look(6)
    empty = empty_sums(3, 16, pictures)
    at_once = add_features(empty, pictures, sight)
    order = [3, 5, 0, 2, 4, 1]
    shuffled = Sight(sight.hull, sight.depths[order], sight.cameras[order])
    assert torch.allclose(add_features(empty, pictures[order], shuffled), at_once, atol=1e-5)
    halves = [Sight(sight.hull, sight.depths[part], sight.cameras[part]) for part in ([0, 1, 2], [3, 4, 5])]
    first = add_features(empty, pictures[:3], halves[0])
    assert torch.allclose(add_features(first, pictures[3:], halves[1]), at_once, atol=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    _, _, sight = look(2, 16)
    features = torch.rand(
        2, 2, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ).requires_grad_()

    def volume(features: Tensor) -> Tensor:
        return agreement(add_features(empty_sums(2, 8, features), features, sight))

    assert torch.autograd.gradcheck(volume, (features,), fast_mode=True)


def test_where_no_view_says_anything_all_is_nothing() -> None:
    assert not agreement(empty_sums(4, 3, torch.zeros(1))).any()
