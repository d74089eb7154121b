"""Samples near the surface of a sphere, whose crossings and depths are known."""

import math

import pytest
import torch
from torch import Generator, Tensor

from clearpane.geometry.cameras import HALF_SIZE
from clearpane.reconstruction.field.rendering import (
    RenderOptions,
    occupied_cells,
    render_rays,
    render_samples,
)
from clearpane.reconstruction.field.surface_samples import SurfaceGrid

from ..conftest import Sphere

BETA, SAMPLES = 1 / 300, 24


@pytest.fixture(scope="module")
def grid() -> SurfaceGrid:
    return SurfaceGrid.of(Sphere(), BETA, torch.zeros(()))


def rays_at(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Rays along -z that pass the origin at so many metres."""
    zero = torch.zeros_like(offsets)
    origins = torch.stack([offsets, zero, zero + 2], dim=-1)
    return origins, torch.tensor([0.0, 0.0, -1.0]).expand_as(origins)


def test_most_samples_lie_within_four_betas_of_the_crossing(grid: SurfaceGrid) -> None:
    origins, directions = rays_at(torch.linspace(0, 0.28, 30))
    distance, length = grid.samples(origins, directions, SAMPLES)
    points = origins[:, None] + distance[..., None] * directions[:, None]
    step = 2 * HALF_SIZE / 128
    close = (points.norm(dim=-1) - 0.35).abs() < 4 * BETA + step
    front = points[..., 2] > 0
    assert ((close & front).float().mean(-1) > 0.7).all()
    assert (distance[:, 1:] > distance[:, :-1]).all() and (length > 0).all()


@pytest.mark.parametrize("seed", [None, 0])
def test_two_dozen_samples_show_the_depth_that_thousands_show(grid: SurfaceGrid, seed: int | None) -> None:
    generator = None if seed is None else Generator().manual_seed(seed)
    origins, directions = rays_at(torch.linspace(0, 0.35 * math.sin(math.radians(60)), 40))
    placed = grid.samples(origins, directions, SAMPLES, generator)
    found = render_samples(Sphere(), origins, directions, BETA, placed)
    dense = render_rays(Sphere(), origins, directions, RenderOptions(BETA, 4096, 0))
    error = (found.depth - dense.depth).abs()
    options = RenderOptions(BETA, SAMPLES, 40)
    occupied = occupied_cells(Sphere(), options, origins)
    even = render_rays(Sphere(), origins, directions, options, occupied, generator)
    assert error.mean() < 4e-4
    assert error.mean() < 0.5 * (even.depth - dense.depth).abs().mean()
    assert (found.opacity - dense.opacity).abs().max() < 0.02


def test_lengths_add_up_to_the_part_near_the_object_and_rays_far_from_it_have_none(grid: SurfaceGrid) -> None:
    origins, directions = rays_at(torch.tensor([0.0, 0.5]))
    length = grid.samples(origins, directions, 512)[1].sum(-1)
    # In front of the sphere and behind it, from 8 betas and a voxel outside to as much inside.
    expected = 4 * (8 * BETA + 2 * HALF_SIZE / 64)
    assert float(length[0]) == pytest.approx(expected, abs=3 * 2 * HALF_SIZE / 128)
    assert float(length[1]) == 0
