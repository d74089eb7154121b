"""Features of the views gathered in space: sums, agreement on the surface, gradients."""

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.reconstruction.evidence import Evidence, Sight, add_masks, sample_volume, voxel_centres
from clearpane.reconstruction.view_features import (
    ViewFeatures,
    add_features,
    empty_sums,
    mean_and_deviation,
)

from .conftest import orbit, sphere_views

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
        expected = torch.zeros(5)
        for view in range(3) if index in near else ():
            place, weight = sight.of_points(view, centres[index : index + 1], 0.03)
            found = F.grid_sample(features[view : view + 1], place[None, None], align_corners=False).flatten()
            expected += weight * torch.cat([torch.ones(1), found, found**2])
        assert torch.allclose(sums[:, index], expected, atol=1e-6)


def test_views_agree_about_the_surface_and_not_beside_it() -> None:
    pictures, _, sight = look(16)
    volume = mean_and_deviation(add_features(empty_sums(3, 48, pictures), pictures, sight))[None]
    direction = F.normalize(torch.randn(300, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    # On the surface half the voxels lie outside, where all views see something else.
    places = (RADIUS + 0.02, RADIUS - 0.02, RADIUS - 0.15)
    outside, surface, within = (sample_volume(volume, r * direction)[:, 3:].mean() for r in places)
    assert outside**2 > 2.5 * surface**2 and within**2 > 2.5 * surface**2
    # The sphere's colour is its normal.
    mean = sample_volume(volume, RADIUS * direction)[:, :3]
    assert (mean - (direction / 2 + 0.5)).abs().mean() < 0.1


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
        return mean_and_deviation(add_features(empty_sums(2, 8, features), features, sight))

    assert torch.autograd.gradcheck(volume, (features,), fast_mode=True)


def test_where_no_view_says_anything_all_is_nothing() -> None:
    assert not mean_and_deviation(empty_sums(4, 3, torch.zeros(1))).any()
