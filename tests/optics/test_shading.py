"""Shading under an HDR map against Monte Carlo and against the sum over all texels."""

import math

import numpy as np
import pytest
import torch

from clearpane.optics.brdf import ggx_distribution, ggx_half_vector, gltf_brdf, smith_factor
from clearpane.optics.environment import (
    coordinate_directions,
    direction_coordinates,
    look_up,
    solid_angles,
    texel_directions,
)
from clearpane.optics.shading import EnvironmentLight, SurfacePoints, hammersley, shade


def sunny_map(height: int = 64) -> np.ndarray:
    """A sky, a ground, a bright window and a sun of one texel as bright as all else."""
    directions = texel_directions(height, 2 * height)
    sky = np.clip(directions[..., 1:2], 0, 1) * np.asarray([0.3, 0.5, 1.0]) + 0.1
    ground = np.asarray([0.3, 0.25, 0.2]) * (directions[..., 1:2] < 0)
    environment = sky + ground + 0.05 * np.sin(9 * directions[..., :1])
    environment[height // 3 : height // 2, height // 2 : 2 * height // 3] += 6.0
    environment[height // 4, height] += 2.0 * math.pi / solid_angles(height, 2 * height)[height // 4]
    return environment


def random_points(count: int, roughness: float, seed: int = 0) -> SurfacePoints:
    generator = np.random.default_rng(seed)

    def unit(vectors: np.ndarray) -> np.ndarray:
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    normal = unit(generator.normal(size=(count, 3)))
    view = unit(normal + 0.5 * unit(generator.normal(size=(count, 3))))
    metallic = (generator.random((count, 1)) < 0.5).astype(float)
    return SurfacePoints(
        normal, view, generator.uniform(0.1, 0.9, (count, 3)), metallic, np.full((count, 1), roughness)
    )


def monte_carlo(points: SurfacePoints, environment: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """The plain twin: half of the directions drawn by the map's light, half by the lobe, weighed together."""
    generator = np.random.default_rng(seed)
    height, width = environment.shape[:2]
    share = (environment.sum(-1) * solid_angles(height, width)[:, None]).ravel()
    share = share / share.sum()
    texel = generator.choice(share.size, samples // 2, p=share)
    place = np.stack([texel % width, texel // width], axis=-1) + generator.random((samples // 2, 2))
    from_map = coordinate_directions(place / np.asarray([width, height]))
    result = []
    for i in range(len(points.normal)):
        normal, view, roughness = points.normal[i], points.view[i], points.roughness[i]
        basis = np.linalg.qr(np.stack([normal, *np.eye(3)[:2]]).T)[0][:, [1, 2, 0]]
        basis[:, 2] = normal
        local = view @ basis
        drawn = generator.random((samples // 2, 2))
        half = ggx_half_vector(drawn, np.broadcast_to(local, (samples // 2, 3)), roughness) @ basis.T
        light = np.concatenate([from_map, 2 * (half @ view)[:, None] * half - view])
        u, v = direction_coordinates(light).T
        row, column = np.clip((v * height).astype(int), 0, height - 1), (u * width).astype(int) % width
        by_map = share[row * width + column] * height * width / (2 * math.pi**2 * np.sin(math.pi * v) + 1e-12)
        middle = light + view
        middle /= np.linalg.norm(middle, axis=-1, keepdims=True)
        lobe = ggx_distribution(middle @ normal[:, None], roughness)[:, 0]
        by_lobe = smith_factor(local[2:], roughness) * lobe / (4 * local[2])
        value = gltf_brdf(normal, light, view, points.albedo[i], points.metallic[i], roughness)
        cosine = np.clip(light @ normal, 0, 1)[:, None]
        density = (by_map + by_lobe)[:, None] / 2
        result.append((value * cosine * environment[row, column] / density).mean(0))
    return np.stack(result)


@pytest.mark.parametrize("roughness", [0.15, 0.25, 0.35, 0.6, 1.0])
def test_shading_is_within_one_percent_of_monte_carlo(roughness: float) -> None:
    environment, points = sunny_map(), random_points(24, roughness)
    reference = monte_carlo(points, environment, 100_000, seed=1)
    result = shade(points, EnvironmentLight.of(environment), samples=256)
    assert np.abs(result - reference).mean() / reference.mean() < 0.01


def test_a_constant_map_gives_the_albedo_of_the_brdf() -> None:
    points = random_points(8, 0.7)
    result = shade(points, EnvironmentLight.of(np.ones((32, 64, 3))))
    light, weight = texel_directions(128, 256).reshape(-1, 3), np.repeat(solid_angles(128, 256), 256)
    for i in range(8):
        value = gltf_brdf(
            points.normal[i], light, points.view[i], points.albedo[i], points.metallic[i], points.roughness[i]
        )
        expected = (value * np.clip(light @ points.normal[i], 0, 1)[:, None] * weight[:, None]).sum(0)
        np.testing.assert_allclose(result[i], expected, rtol=0.01)


def test_a_mirror_shows_the_map() -> None:
    # Smooth: the look-ups of the sharpest level, but for Fresnel (an albedo of 1 has none).
    directions = texel_directions(64, 128)
    environment = 1 + np.stack([directions[..., 0], directions[..., 1], directions[..., 2] ** 2], axis=-1)
    points = random_points(30, 0.02)
    metal = SurfacePoints(
        points.normal, points.view, np.ones((30, 3)), np.ones((30, 1)), np.full((30, 1), 0.02)
    )
    mirror = 2 * (points.normal * points.view).sum(-1, keepdims=True) * points.normal - points.view
    result = shade(metal, EnvironmentLight.of(environment))
    np.testing.assert_allclose(result, look_up(environment, mirror), rtol=0.02)


def test_what_is_hidden_gives_no_light() -> None:
    environment = sunny_map(32)
    light = EnvironmentLight.of(environment, 64)
    for roughness in (0.1, 0.8):
        points = random_points(6, roughness)
        none = shade(points, light, 16, np.zeros((6, 64)), np.zeros((6, 1)))
        assert not none.any()
        half = shade(points, light, 16, np.full((6, 64), 0.5), np.full((6, 1), 0.5))
        np.testing.assert_allclose(half, shade(points, light, 16) / 2)


def test_light_adds_up() -> None:
    environment, points = sunny_map(32), random_points(6, 0.3)
    once, twice = (shade(points, EnvironmentLight.of(f * environment, 64)) for f in (1.0, 2.0))
    np.testing.assert_allclose(twice, 2 * once)


def test_numpy_and_torch_agree() -> None:
    environment, points = sunny_map(32), random_points(6, 0.3)
    there = SurfacePoints(
        *(torch.from_numpy(x) for x in (points.normal, points.view, points.albedo, points.metallic)),
        torch.from_numpy(points.roughness),
    )
    theirs = shade(there, EnvironmentLight.of(torch.from_numpy(environment), 64), 16)
    ours = shade(points, EnvironmentLight.of(environment, 64), 16)
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-9)


def test_gradients_are_those_of_finite_differences() -> None:
    light = EnvironmentLight.of(torch.from_numpy(sunny_map(16)), 32)
    points = random_points(2, 0.5)
    normal, view, albedo, metallic = (
        torch.from_numpy(x) for x in (points.normal, points.view, points.albedo, points.metallic)
    )
    roughness = torch.tensor([[0.5], [0.9]]).double().requires_grad_()
    albedo.requires_grad_()

    def picture(albedo: torch.Tensor, roughness: torch.Tensor) -> torch.Tensor:
        return shade(SurfacePoints(normal, view, albedo, metallic, roughness), light, 4)

    assert torch.autograd.gradcheck(picture, (albedo, roughness))


@pytest.mark.parametrize("samples", [5, 8])
def test_facets_at_once_are_those_one_by_one(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points, light = random_points(7, 0.2), EnvironmentLight.of(sunny_map(), 64)
    together = shade(points, light, samples)
    monkeypatch.setattr("clearpane.optics.shading._FACETS_AT_ONCE", 1)
    np.testing.assert_allclose(together, shade(points, light, samples), rtol=1e-10)


def test_hammersley_points_are_even() -> None:
    points = hammersley(64)
    assert np.histogram2d(*points.T, bins=8, range=[[0, 1], [0, 1]])[0].tolist() == np.ones((8, 8)).tolist()
