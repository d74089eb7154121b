"""Layouts of planes: what they sample, and what leaks."""

import pytest
import torch

from benchmarks.lirm.plane_leakage import OBJECTS, Options, double_planes, fit, layouts, surface, three_planes
from clearpane.geometry.cameras import HALF_SIZE


def test_all_layouts_have_as_many_parameters():
    sizes = [torch.Size(size).numel() for _, size in layouts(48).values()]
    assert max(sizes) < 1.01 * min(sizes)


def test_three_planes_do_not_know_the_sign_of_the_third_axis_and_the_others_do():
    points = torch.tensor([[0.3, 0.2, 0.3], [0.3, 0.2, -0.3]]) * HALF_SIZE
    for name, (sample, size) in layouts(8).items():
        first = sample(torch.rand(size), points)[:, : size[1]]  # the features of (x, y)
        assert torch.allclose(*first) == (name == "three planes"), name


def test_double_planes_are_two_planes_away_from_the_shared_edge():
    halves = torch.rand(3, 2, 2, 8, 8)  # pair, half, channel
    points = 0.6 * (2 * torch.rand(50, 3) - 1) * HALF_SIZE
    double = double_planes(torch.cat([halves[:, 1], halves[:, 0]], dim=-1), points)
    for axis, name in enumerate("xyz"):  # the third axes of the pairs are z, x, y
        pair = (axis + 1) % 3
        for half in (0, 1):
            chosen = (points[:, axis] < 0) == bool(half)
            same = three_planes(halves[:, half], points[chosen])[:, 2 * pair : 2 * pair + 2]
            torch.testing.assert_close(double[chosen][:, 2 * pair : 2 * pair + 2], same, msg=name)


@pytest.mark.parametrize("name", OBJECTS)
def test_front_and_back_have_opposite_colours(name):
    textures = torch.rand(2, 3, 4, 4)
    points, own, other = surface(OBJECTS[name], textures, 64, torch.Generator().manual_seed(0))
    again, _, _ = surface(OBJECTS[name], textures.flip(0), 64, torch.Generator().manual_seed(0))
    assert torch.equal(points, again) and points.abs().max() < HALF_SIZE
    _, swapped, _ = surface(OBJECTS[name], textures.flip(0), 64, torch.Generator().manual_seed(0))
    assert torch.equal(swapped, other) and not torch.equal(own, other)


def test_three_planes_leak_more():
    options = Options(steps=80, side=16, texture=6)
    shape = OBJECTS["card of 4 cm"]
    leaked = {
        name: fit(options, name, shape, 0)[1] for name in ("six planes, blended (here)", "three planes")
    }
    assert leaked["three planes"] > 1.5 * leaked["six planes, blended (here)"]
