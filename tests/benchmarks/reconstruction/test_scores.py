"""Scores of shapes, views and materials, against closed forms."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks.reconstruction.scores import chamfer, crossings, material_scores, summary, view_scores
from clearpane.geometry.cameras import HALF_SIZE
from clearpane.optics.color import linear_to_srgb
from clearpane.reconstruction.field.evidence import voxel_centres
from clearpane.synthesis.objects.samples import fibonacci_sphere

RADIUS = 0.35


def cube_grid(count):
    axis = torch.linspace(-HALF_SIZE, HALF_SIZE, count)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def sample_of(**views):
    return SimpleNamespace(views=SimpleNamespace(**views))


def decibel(error):
    return -10 * float(np.log10(error))


def test_parallel_planes_are_as_far_apart_as_their_distance_in_millimetres():
    axis = torch.linspace(-0.5, 0.5, 80)
    plane = torch.cartesian_prod(axis, axis, torch.tensor([0.1]))
    assert chamfer(plane, plane + torch.tensor([0.0, 0.0, 0.03])) == pytest.approx(30, abs=0.05)
    assert chamfer(plane + torch.tensor([0.0, 0.0, 0.002]), plane) == pytest.approx(2, abs=0.05)
    # Distances are roots of differences in float32.
    assert chamfer(plane, plane) == pytest.approx(0, abs=0.05)


def test_both_ways_count_the_same_and_nothing_found_has_no_distance():
    one, two = torch.zeros(1, 3), torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.3, 0.0]])
    # 100 mm from the one to the nearer of two, and 200 mm in the mean from those to the one.
    assert chamfer(one, two) == pytest.approx(150)
    assert chamfer(two, one) == pytest.approx(150)
    assert chamfer(torch.zeros(0, 3), two) is None


def test_crossings_of_a_linear_field_lie_on_its_plane():
    grid = cube_grid(24)
    normal = F.normalize(torch.tensor([1.0, -2.0, 0.5]), dim=0)
    found = crossings(grid @ normal - 0.07, grid)
    assert len(found) > 24**2
    assert (found @ normal - 0.07).abs().max() < 1e-5
    assert found.abs().max() < HALF_SIZE + 1e-5
    for place in (grid[11, 0, 0, 0], grid[11:13, 0, 0, 0].mean()):
        # Upright: one point an edge, also where the plane passes through points of the grid.
        upright = crossings(grid[..., 0] - place, grid)
        assert len(upright) == 24**2
        assert (upright[:, 0] - place).abs().max() < 1e-6
        assert len(upright[:, 1:].unique(dim=0)) == 24**2
    assert len(crossings(grid[..., 0] + 1, grid)) == 0


def test_crossings_of_a_sphere_are_at_its_radius():
    for grid in (cube_grid(64), voxel_centres(64, torch.zeros(1))):
        found = crossings(grid.norm(dim=-1) - RADIUS, grid)
        # A chord is off by at most h^2 / 8 times the curvature, and always inwards.
        edge = 2 * HALF_SIZE / 63
        error = found.norm(dim=-1) - RADIUS
        assert error.min() > -(edge**2) / 8 / (RADIUS - edge) - 1e-6 and error.max() < 1e-6
        assert found.mean(0).abs().max() < 1e-3
        assert (F.normalize(found, dim=-1) @ fibonacci_sphere(500).T).amax(0).min() > 0.999


def test_summaries_are_over_the_objects_that_have_the_figure():
    rows = [
        {"psnr": 20.0, "chamfer": 0.0, "albedo": None},
        {"psnr": 24.0, "chamfer": None, "albedo": None},
        {"psnr": 28.0, "chamfer": 3.0, "albedo": None},
    ]
    found = summary(rows)
    assert found["psnr"] == pytest.approx({"mean": 24, "sd": (32 / 3) ** 0.5, "objects": 3})
    assert found["chamfer"] == pytest.approx({"mean": 1.5, "sd": 1.5, "objects": 2})
    assert found["albedo"] is None
    assert list(found) == ["psnr", "chamfer", "albedo"]


def test_scores_of_a_view_know_a_constant_error():
    truth = torch.stack([torch.full((3, 16, 20), level / 255) for level in (80, 255, 100)])
    mask = torch.zeros(3, 1, 16, 20)
    mask[..., :8, :5] = 1
    sample = sample_of(colour=truth, mask=mask)
    assert view_scores(truth, sample, [0, 1, 2]) == pytest.approx({"psnr": 100, "object": 100, "ssim": 1})
    found = view_scores(truth[[2]] + 10 / 255, sample, [2])
    assert found["psnr"] == pytest.approx(decibel((10 / 255) ** 2), abs=1e-3)
    assert found["object"] == pytest.approx(decibel((10 / 255) ** 2), abs=1e-3)
    a, b, c = 110 / 255, 100 / 255, 0.01**2
    assert found["ssim"] == pytest.approx((2 * a * b + c) / (a * a + b * b + c), abs=1e-5)
    # An error of the object's eighth of the picture alone; then the mean with a picture without error.
    result = truth[[2, 0]] + torch.tensor([20 / 255, 0])[:, None, None, None] * mask[:2]
    error = decibel((20 / 255) ** 2)
    found = view_scores(result[:1], sample, [2])
    assert found["object"] == pytest.approx(error, abs=1e-3)
    assert found["psnr"] == pytest.approx(error + decibel(1 / 8), abs=1e-3)
    assert view_scores(result, sample, [2, 0])["object"] == pytest.approx((error + 100) / 2, abs=1e-3)


def test_albedo_is_scored_after_one_gain_a_picture_and_channel():
    mask = torch.ones(2, 1, 8, 8)
    mask[..., -1] = 0.9  # the edge, where anything may stand
    truth = torch.full((2, 3, 8, 8), 0.2)
    truth[0, :, 4:] = truth[1, :, :4] = 0.6
    normal = torch.zeros(2, 3, 8, 8)
    normal[:, 2] = 1
    sample = sample_of(mask=mask, albedo=truth, normal=normal)
    gains = torch.tensor([[0.5, 1.0, 3.0], [0.1, 0.7, 2.0]])[:, :, None, None]
    rubbish = torch.rand(2, 3, 8, 1, generator=torch.Generator().manual_seed(0))
    right = torch.cat([(gains * truth)[..., :-1], rubbish], dim=-1)
    assert material_scores({"albedo": right, "normal": normal}, sample, [0, 1])["albedo"] > 99
    assert material_scores({"albedo": right[[1]], "normal": normal[:1]}, sample, [1])["albedo"] > 99
    # An even grey is fitted to the mean of both halves, whatever it was.
    even = torch.cat([gains.expand(2, 3, 8, 7), rubbish], dim=-1)
    low, fitted, high = linear_to_srgb(torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64)).tolist()
    expected = decibel(((low - fitted) ** 2 + (high - fitted) ** 2) / 2)
    found = material_scores({"albedo": even, "normal": normal}, sample, [0, 1])
    assert found["albedo"] == pytest.approx(expected, abs=1e-3)


def test_brightness_is_off_by_stops_of_the_means_of_channels():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 3, 8, 8, generator=generator) + 0.1
    mask = torch.ones(2, 1, 8, 8)
    mask[..., -1] = 0.9  # the edge, where anything may stand
    sample = sample_of(mask=mask, albedo=truth, normal=torch.ones(2, 3, 8, 8))
    # Other pixels, as bright in the mean but for two stops; then red for three, green and blue for minus one.
    gains = torch.tensor([[4.0, 4.0, 4.0], [8.0, 0.5, 0.5]])[:, :, None, None]
    albedo = gains * truth.flip(-2)
    albedo[..., -1] = torch.rand(2, 3, 8, generator=generator)
    found = material_scores({"albedo": albedo, "normal": truth}, sample, [0, 1])["brightness"]
    assert found == pytest.approx((2 + (3 + 1 + 1) / 3) / 2, abs=1e-5)


def test_normals_are_off_by_the_angle_that_they_are_turned_by():
    angle = 2 * torch.pi * torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))

    def turned(degrees):
        by = angle + torch.deg2rad(torch.tensor(degrees))[:, None, None]
        return torch.stack([by.cos(), torch.zeros_like(by), by.sin()], dim=1)

    white, mask = torch.ones(2, 3, 8, 8), torch.ones(2, 1, 8, 8)
    sample = sample_of(mask=mask, albedo=white, normal=turned([0.0, 0.0]))

    def score(normal):
        return material_scores({"albedo": white, "normal": normal}, sample, [0, 1])["normal"]

    assert score(turned([0.0, 0.0])) == pytest.approx(0, abs=0.05)
    assert score(turned([30.0, 30.0])) == pytest.approx(30, abs=0.01)
    assert score(0.3 * turned([-10.0, 50.0])) == pytest.approx(30, abs=0.01)
    assert score(turned([180.0, 180.0])) == pytest.approx(180, abs=0.05)
    half = turned([0.0, 0.0])
    half[..., :4] = 0
    assert score(half) == pytest.approx(45, abs=0.05)


def test_an_object_that_is_not_found_is_black_and_a_right_angle_off():
    truth = torch.ones(1, 3, 8, 8)
    sample = sample_of(mask=torch.ones(1, 1, 8, 8), albedo=truth, normal=truth)
    nothing = {"albedo": torch.zeros(1, 3, 8, 8), "normal": torch.zeros(1, 3, 8, 8)}
    assert material_scores(nothing, sample, [0]) == pytest.approx(
        {"albedo": 0, "brightness": 10, "normal": 90}, abs=1e-3
    )
