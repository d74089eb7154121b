"""The glTF material in closed form, and its sampling against its density."""

import math

import numpy as np
import pytest
import torch

from clearpane.optics.brdf import (
    base_reflectance,
    ggx_distribution,
    ggx_half_vector,
    gltf_brdf,
    schlick_fresnel,
    smith_factor,
)
from clearpane.optics.fresnel import dielectric_reflectance


def hemisphere(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions about +z, [N, 3], and their solid angles, [N]."""
    theta = (np.arange(rows) + 0.5) / rows * math.pi / 2
    phi = (np.arange(columns) + 0.5) / columns * 2 * math.pi
    t, p = np.meshgrid(theta, phi, indexing="ij")
    directions = np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], axis=-1)
    weight = np.sin(t) * (math.pi / 2 / rows) * (2 * math.pi / columns)
    return directions.reshape(-1, 3), weight.ravel()


def at(angle: float) -> np.ndarray:
    """A direction so many degrees from the normal."""
    return np.asarray([math.sin(math.radians(angle)), 0.0, math.cos(math.radians(angle))])


def column(*values: float) -> np.ndarray:
    return np.asarray(values)[:, None]


def test_reflectance_at_normal_incidence_is_that_of_glass_or_the_metal() -> None:
    albedo = np.asarray([[0.9, 0.5, 0.1]])
    np.testing.assert_allclose(base_reflectance(albedo, column(0.0)), [[0.04] * 3])
    np.testing.assert_allclose(base_reflectance(albedo, column(1.0)), albedo)
    assert pytest.approx(((1.5 - 1) / (1.5 + 1)) ** 2) == 0.04


@pytest.mark.parametrize("roughness", [0.2, 0.5, 1.0])
def test_microfacets_project_onto_the_whole_surface(roughness: float) -> None:
    directions, weight = hemisphere(2000, 8)
    density = ggx_distribution(directions[:, 2:], column(roughness))[:, 0]
    assert (density * directions[:, 2] * weight).sum() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("angle", [0, 40, 80])
@pytest.mark.parametrize("roughness", [0.3, 0.7, 1.0])
def test_visible_microfacets_project_onto_what_the_viewer_sees(roughness: float, angle: float) -> None:
    # Heitz 2014, equation 14: the integral of G1(v) D(h) max(v.h, 0) is n.v.
    directions, weight = hemisphere(1200, 600)
    view = at(angle)
    density = ggx_distribution(directions[:, 2:], column(roughness))[:, 0]
    seen = smith_factor(column(view[2]), column(roughness)) * density * np.clip(directions @ view, 0, 1)
    assert (seen * weight).sum() == pytest.approx(view[2], rel=5e-3)


def test_the_brdf_is_reciprocal_and_dark_below_the_horizon() -> None:
    generator = np.random.default_rng(1)
    light, view = (np.abs(generator.normal(size=(50, 3))) for _ in range(2))
    light, view = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (light, view))
    normal = np.asarray([0.0, 0.0, 1.0])
    material = generator.random((50, 3)), generator.random((50, 1)), generator.random((50, 1))
    there, back = gltf_brdf(normal, light, view, *material), gltf_brdf(normal, view, light, *material)
    np.testing.assert_allclose(there, back)
    assert not gltf_brdf(normal, -light, view, *material).any()
    assert not gltf_brdf(normal, light, -view, *material).any()


@pytest.mark.parametrize("roughness", [0.3, 0.6, 1.0])
@pytest.mark.parametrize(("metallic", "albedo"), [(0.0, 0.7), (1.0, 1.0)])
@pytest.mark.parametrize("angle", [0, 60, 75])
def test_no_surface_sends_more_light_than_it_gets(
    angle: float, metallic: float, albedo: float, roughness: float
) -> None:
    # The specification's formula itself gives a white dielectric at a slant a few percent too much.
    directions, weight = hemisphere(400, 400)
    normal, view = np.asarray([0.0, 0.0, 1.0]), at(angle)
    value = gltf_brdf(normal, directions, view, np.full((1, 3), albedo), column(metallic), column(roughness))
    assert 0.3 < (value[:, 0] * directions[:, 2] * weight).sum() <= 1.0 + 1e-3


def test_a_rough_grey_dielectric_at_normal_incidence_is_lambert_less_its_fresnel() -> None:
    normal = np.asarray([[0.0, 0.0, 1.0]])
    value = gltf_brdf(normal, normal, normal, np.full((1, 3), 0.5), column(0.0), column(1.0))
    # D = G = 1 / pi and 1 at alpha = 1: 0.96 * 0.5 / pi + 0.04 / (4 pi).
    np.testing.assert_allclose(value, (0.96 * 0.5 + 0.01) / math.pi)


def test_schlick_lies_near_the_fresnel_of_glass() -> None:
    cosine = np.cos(np.radians(np.arange(0, 70)))
    exact = sum(dielectric_reflectance(cosine, 1.5)) / 2
    assert np.abs(schlick_fresnel(np.asarray(0.04), cosine) - exact).max() < 0.02


@pytest.mark.parametrize("roughness", [0.3, 0.8])
@pytest.mark.parametrize("angle", [0, 50, 75])
def test_drawn_facets_estimate_the_integral(angle: float, roughness: float) -> None:
    generator = np.random.default_rng(2)
    view = np.broadcast_to(at(angle), (200_000, 3))
    half = ggx_half_vector(generator.random((200_000, 2)), view, column(roughness))
    np.testing.assert_allclose(np.linalg.norm(half, axis=-1), 1)
    light = 2 * (half * view).sum(-1, keepdims=True) * half - view
    estimate = np.where(light[:, 2:] > 0, smith_factor(light[:, 2:], column(roughness)), 0).mean()
    directions, weight = hemisphere(600, 600)
    metal = gltf_brdf(
        np.asarray([0.0, 0.0, 1.0]), directions, at(angle), np.ones((1, 3)), column(1.0), column(roughness)
    )
    assert estimate == pytest.approx((metal[:, 0] * directions[:, 2] * weight).sum(), rel=0.01)


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    normal = torch.tensor([[0.0, 0.0, 1.0]]).double()
    light, view = (torch.from_numpy(at(a))[None] for a in (30.0, -20.0))
    albedo = torch.rand(1, 3, generator=generator).double().requires_grad_()
    metallic, roughness = (torch.full((1, 1), x).double().requires_grad_() for x in (0.4, 0.5))
    assert torch.autograd.gradcheck(
        lambda a, m, r: gltf_brdf(normal, light, view, a, m, r), (albedo, metallic, roughness)
    )
