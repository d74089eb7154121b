"""Volume rendering: a sphere in closed form, the plain twin, occupancy."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE, cube_interval, picture_rays
from clearpane.reconstruction.field import rendering
from clearpane.reconstruction.field.rendering import (
    Field,
    RenderOptions,
    occupied_cells,
    render_rays,
    render_views,
    sample_rays,
    volsdf_density,
)

from ..conftest import Sphere, orbit, sphere_views


def rays_at(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Rays along -z that pass the origin at so many metres."""
    zero = torch.zeros_like(offsets)
    origins = torch.stack([offsets, zero, zero + 2], dim=-1)
    return origins, torch.tensor([0.0, 0.0, -1.0]).to(offsets).expand_as(origins)


def plain(field: Field, origin: Tensor, direction: Tensor, options: RenderOptions) -> Tensor:
    """The plain twin for one ray: colour on white."""
    near, far = cube_interval(origin[None], direction[None])
    length = float(far - near) / options.samples
    passed, colour = 1.0, torch.zeros(3, dtype=origin.dtype)
    for index in range(options.samples):
        point = (origin + (float(near) + (index + 0.5) * length) * direction)[None]
        alpha = 1 - math.exp(-float(volsdf_density(field.signed_distance(point), options.beta)) * length)
        colour += passed * alpha * field.appearance(point, -direction[None]).colour[0]
        passed *= 1 - alpha
    return colour + passed


def test_density_is_half_at_the_surface_and_full_inside() -> None:
    beta = 0.05
    density = volsdf_density(torch.tensor([-1.0, 0.0, 1.0]), beta)
    assert density.tolist() == pytest.approx([1 / beta, 0.5 / beta, 0.0], abs=1e-6)


def test_the_optical_depth_towards_a_plane_is_that_of_the_integral() -> None:
    # From far away to the plane s = 0: the integral of exp(-s / beta) / (2 beta) is a half.
    beta, distance = 0.05, torch.linspace(0, 2, 200_001).double()
    depth = torch.trapezoid(volsdf_density(distance, beta), distance)
    assert float(depth) == pytest.approx(0.5, abs=1e-6)


def test_rays_are_rendered_as_by_the_plain_twin(sphere: Sphere) -> None:
    options = RenderOptions(beta=0.05, samples=64, occupancy=0)
    origins, directions = (x[0, ::7, ::7].reshape(-1, 3).double() for x in picture_rays(orbit(1)))
    rendered = render_rays(sphere, origins, directions, options)
    for i in range(len(origins)):
        expected = plain(sphere, origins[i], directions[i], options)
        assert torch.allclose(rendered.appearance.colour[i], expected, atol=2e-3)


@pytest.mark.parametrize(
    ("beta", "depth", "normal", "silhouette"),
    [(0.02, 0.025, 2.0, 0.05), (0.005, 0.006, 0.7, 0.02), (0.001, 0.0015, 0.2, 0.005)],
)
def test_a_sphere_comes_nearer_to_its_closed_form_as_beta_falls(
    sphere: Sphere, beta: float, depth: float, normal: float, silhouette: float
) -> None:
    """Depth in metres, normal in degrees at 60 degrees and less, the silhouette's radius in metres."""
    options = RenderOptions(beta, samples=4096, occupancy=64)
    offsets = torch.linspace(0, sphere.radius * math.sin(math.radians(60)), 25).double()
    origins, directions = rays_at(offsets)
    occupied = occupied_cells(sphere, options, origins)
    rendered = render_rays(sphere, origins, directions, options, occupied)
    true_depth = 2 - (sphere.radius**2 - offsets**2).sqrt()
    assert (rendered.depth[:, 0] - true_depth).abs().max() < depth
    true_normal = (origins + true_depth[:, None] * directions) / sphere.radius
    found = torch.nn.functional.normalize(rendered.appearance.normal, dim=-1)
    degrees = torch.rad2deg((found * true_normal).sum(-1).clamp(-1, 1).acos())
    assert degrees.max() < normal
    edge, along = rays_at(torch.linspace(sphere.radius - 0.1, sphere.radius + 0.1, 401).double())
    opacity = render_rays(sphere, edge, along, options, occupied).opacity[:, 0]
    radius = edge[int((opacity > 0.5).sum()) - 1, 0]
    assert abs(float(radius) - sphere.radius) < silhouette


def test_empty_space_is_left_out_without_a_trace(sphere: Sphere) -> None:
    options = RenderOptions(beta=0.005, samples=512, occupancy=32)
    origins, directions = (x.reshape(-1, 3).double() for x in picture_rays(orbit(2)))
    occupied = occupied_cells(sphere, options, origins)
    assert occupied is not None and 0.05 < occupied.double().mean() < 0.4
    sparse = render_rays(sphere, origins, directions, options, occupied)
    dense = render_rays(sphere, origins, directions, replace(options, samples=4096), None)
    assert (sparse.appearance.colour - dense.appearance.colour).abs().max() < 0.02
    assert (sparse.opacity - dense.opacity).abs().max() < 0.01


def test_no_cell_with_the_surface_is_left_out(sphere: Sphere) -> None:
    options = RenderOptions(beta=1e-4, occupancy=16)
    occupied = occupied_cells(sphere, options, torch.zeros(1).double())
    assert occupied is not None
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(5000, 3, generator=generator), dim=-1) * sphere.radius
    cell = ((points / HALF_SIZE + 1) / 2 * 16).long()
    assert occupied[cell[:, 2], cell[:, 1], cell[:, 0]].all()


def test_samples_are_spread_over_the_occupied_part_alone() -> None:
    occupied = torch.zeros(8, 8, 8, dtype=torch.bool)
    occupied[2] = occupied[5] = True  # two slabs in z
    origins, directions = rays_at(torch.tensor([0.1]).double())
    distance, length = sample_rays(origins, directions, RenderOptions(0.1, 32), occupied, None)
    z = (origins[:, None] + distance[..., None] * directions[:, None])[0, :, 2]
    cell = ((z / HALF_SIZE + 1) / 2 * 8).floor()
    assert sorted(cell.tolist()) == [2.0] * 16 + [5.0] * 16
    assert float(length) == pytest.approx(2 * 2 * HALF_SIZE / 8 / 32)


def test_a_generator_moves_samples_within_their_lengths() -> None:
    origins, directions = rays_at(torch.tensor([0.1, 0.2]))
    options = RenderOptions(0.1, 16)
    middle, length = sample_rays(origins, directions, options, None, None)
    moved = sample_rays(origins, directions, options, None, torch.Generator().manual_seed(0))[0]
    assert not torch.equal(middle, moved)
    assert ((moved - middle).abs() <= length / 2 + 1e-6).all()


def test_whole_views_are_the_rays_of_their_pixels(sphere: Sphere, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_RAYS", 100)  # in several parts
    cameras = orbit(2, 24)
    options = RenderOptions(beta=1 / 2000, samples=64)
    seen = render_views(sphere, cameras, options)
    assert {name: tuple(x.shape) for name, x in seen.items()} == {
        "colour": (2, 3, 24, 24),
        "mask": (2, 1, 24, 24),
        "albedo": (2, 3, 24, 24),
        "normal": (2, 3, 24, 24),
    }
    pictures, masks = sphere_views(cameras, sphere.radius)
    # Away from the outline, where a pixel is wholly the sphere or not at all.
    spread = F.max_pool2d(masks, 3, 1, 1), -F.max_pool2d(-masks, 3, 1, 1)
    sure = (spread[0] == spread[1])[:, 0]
    assert torch.allclose(seen["mask"][:, 0][sure], masks[:, 0][sure], atol=1e-3)
    for name in ("colour", "albedo"):
        inside = sure & (masks[:, 0] > 0)
        a, b = (x.movedim(1, -1)[inside] for x in (seen[name], pictures))
        assert torch.allclose(a, b, atol=0.02)
    empty = sure & (masks[:, 0] == 0)
    assert (seen["colour"].movedim(1, -1)[empty] == 1).all()
    assert not seen["albedo"].movedim(1, -1)[empty].any()


def test_a_ray_that_misses_the_cube_sees_white(sphere: Sphere) -> None:
    origins, directions = rays_at(torch.tensor([3.0, 0.0]))
    options = RenderOptions(0.005)
    rendered = render_rays(sphere, origins, directions, options, occupied_cells(sphere, options, origins))
    assert rendered.appearance.colour[0].tolist() == [1.0, 1.0, 1.0]
    assert rendered.opacity[0] == rendered.depth[0] == 0
    assert rendered.opacity[1] > 0.99


def test_gradients_are_those_of_finite_differences() -> None:
    origins, directions = rays_at(torch.tensor([0.0, 0.2, 0.33]).double())
    options = RenderOptions(beta=0.1, samples=24, occupancy=0)

    def picture(radius: Tensor) -> tuple[Tensor, Tensor]:
        rendered = render_rays(Sphere(radius), origins, directions, options)  # type: ignore[arg-type]
        return rendered.appearance.colour, rendered.depth

    radius = torch.tensor(0.35, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(picture, (radius,))
